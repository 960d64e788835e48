"""How alike networks trained by two optimizers represent images (Fig. 11)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.exact_gauss_newton.probes import (
    OPTIMIZERS,
    PAIRS,
    biased_alignment,
    debiased_alignment,
    described,
    grams,
    pair_name,
    probed,
)

TEXTS = {
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
        (optimizer, seed, epoch, block), all on the images whose inner products were kept.
    """
    runs = experiments.get(probed(experiments))
    if runs is None or "probe_gram" not in runs:
        seeds, epochs, blocks = [0], [0], [1]
        alignments = np.full((3, len(PAIRS), 1, 1, 1), np.nan)
    else:
        seeds, parts = grams(runs)
        epochs, found, start = [], [], None
        for epoch, values in parts:
            start = values if start is None else start
            epochs.append(epoch)
            found.append(_alignments(values, start))
        blocks = runs["block"].values
        alignments = np.stack(found, 3)  # (kind, pair or optimizer, seed, epoch, block)
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
            **dict(zip(dims, (seeds, epochs, blocks), strict=True)),
        },
    )
    return described(data, TEXTS)


def _alignments(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Alignments (3, 3, seed, block) of inner products (optimizer, seed, block, n, n).

    First axis: biased between optimizers, debiased between optimizers, debiased with the start.
    """
    first, second = (values[[OPTIMIZERS.index(pair[side]) for pair in PAIRS]] for side in (0, 1))
    return np.stack(
        [
            biased_alignment(first, second),
            debiased_alignment(first, second),
            debiased_alignment(values, start),
        ]
    )
