"""How alike networks trained by two optimizers represent images (Fig. 11)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.store import described
from regimes.studies.exact_gauss_newton import probes
from regimes.studies.exact_gauss_newton.probes import (
    OPTIMIZERS,
    PAIRS,
    alignment,
    grams,
    pair_name,
    probed,
)

TEXTS = probes.TEXTS | {
    "both_ran": "1 where both runs of a pair exist",
    "cka": "linear CKA between block outputs of two optimizers at equal epoch and seed",
    "cka_debiased": "the same from unbiased inner products",
    "cka_initial_debiased": "linear CKA of block outputs with their initial values, from unbiased "
    "inner products",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Kernel alignment between optimizers, as in the paper (biased) and debiased.

    Parameters
    ----------
    experiments
        ``lazy_probe`` or, where a scale has none, ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        ``cka``, ``cka_debiased`` (pair, seed, epoch, block) and ``cka_initial_debiased``
        (optimizer, seed, epoch, block), all on the images whose inner products were kept;
        coordinates ``ran`` (optimizer, seed) and ``both_ran`` (pair, seed), 1 where the runs exist.
    """
    runs = experiments.get(probed(experiments))
    if runs is None or "probe_gram" not in runs:
        ran, epochs, blocks = np.zeros((len(OPTIMIZERS), 1)), [0], [1]
        seeds = [0]
        alignments = np.full((3, len(PAIRS), 1, 1, 1), np.nan)
    else:
        existing, parts = grams(runs)
        ran, seeds = existing.values, existing["seed"].values
        epochs, found, start = [], [], None
        for epoch, values in parts:
            start = values if start is None else start
            epochs.append(epoch)
            found.append(_alignments(values, start))
        blocks = runs["block"].values
        alignments = np.stack(found, 3)  # (kind, pair or optimizer, seed, epoch, block)
    both = ran[_side(0)] * ran[_side(1)]
    dims = ("seed", "epoch", "block")
    data = xr.Dataset(
        {
            "cka": (("pair", *dims), alignments[0]),
            "cka_debiased": (("pair", *dims), alignments[1]),
            "cka_initial_debiased": (("optimizer", *dims), alignments[2]),
        },
        coords={
            "pair": [pair_name(*pair) for pair in PAIRS],
            "optimizer": list(OPTIMIZERS),
            "ran": (("optimizer", "seed"), ran),
            "both_ran": (("pair", "seed"), both),
            **dict(zip(dims, (seeds, epochs, blocks), strict=True)),
        },
    )
    return described(data, TEXTS)


def _side(which: int) -> list[int]:
    """Numbers of the first (0) or second (1) optimizer of each pair."""
    return [OPTIMIZERS.index(pair[which]) for pair in PAIRS]


def _alignments(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Alignments (3, 3, seed, block) of inner products (optimizer, seed, block, n, n).

    First axis: biased between optimizers, debiased between optimizers, debiased with the start.
    """
    first, second = values[_side(0)], values[_side(1)]
    return np.stack(
        [
            alignment(first, second),
            alignment(first, second, debiased=True),
            alignment(values, start, debiased=True),
        ]
    )
