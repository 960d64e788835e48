"""Runs watched with probes: which to compare, and kernel alignments from stored inner products.

Networks are compared by optimizer. Where an experiment has one optimizer at several learning
rates, as Adam at laptop scale, the largest counts: the smaller one is a control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from regimes.studies.exact_gauss_newton.reading import (
    RAN,
    cases,
    matching,
    pick,
    side_by_side,
)

OPTIMIZERS = ("gn", "adam", "sgd")
PAIRS = (("gn", "adam"), ("gn", "sgd"), ("adam", "sgd"))
EARLY = 10  # epochs after which the weights of small networks are looked at
TEXTS = {
    "ran": RAN,
    "optimizer": "optimizer",
    "lr_code": "learning rate, without division by the number of blocks",
    "seed": "seed",
    "epoch": "epochs of training",
    "block": "block, counted from the input",
    "half": "half-layer F1, G1, F2, G2, ..., counted from the input",
    "pair": "the two optimizers that are compared",
}


def pair_name(first: str, second: str) -> str:
    """Name of two optimizers in analyses."""
    return f"{first}-{second}"


def shown_blocks(count: int) -> tuple[int, int, int]:
    """First, middle and last of L blocks, counted from 1; the middle one is L/2, rounded up."""
    return 1, -(-count // 2), count


# --- Choice of runs ------------------------------------------------------------------------------


def probed(experiments: Mapping[str, xr.Dataset]) -> str:
    """Experiment whose runs carry the probes: ``mini_batch_hard`` where there is no ``lazy_probe``.

    At laptop scale the inputs of ``mini_batch_hard`` are too few for lazy training; images are not.
    """
    return "lazy_probe" if "lazy_probe" in experiments else "mini_batch_hard"


def by_optimizer(
    experiments: Mapping[str, xr.Dataset], experiment: str, names: Sequence[str]
) -> xr.Dataset:
    """Variables of the runs of each optimizer at its largest learning rate, without a switch.

    Parameters
    ----------
    experiments
        Name to trained runs.
    experiment
        The one that is read; a scale may not have it.
    names
        Variables.

    Returns
    -------
    xr.Dataset
        Variables (optimizer, seed, ...) up to the last epoch that all optimizers are planned to
        reach, NaN where a run or a variable is missing; learning rate ``lr_code`` (optimizer) and
        ``ran`` (optimizer, seed), 1 where a run exists, as coordinates. Optimizers are always those
        of `OPTIMIZERS`, in this order.

    Raises
    ------
    ValueError
        If the runs of an optimizer differ in settings other than learning rate and seed.
    """
    found = {name: experiments[name] for name in (experiment,) if name in experiments}
    data = cases(found, names)
    chosen, rates = {}, []
    for optimizer in OPTIMIZERS:
        own = matching(data, optimizer=optimizer)
        rates.append(float(data["lr_code"].values[own].max()) if own.size else np.nan)
        chosen[optimizer] = pick(data, optimizer=optimizer, lr_code=rates[-1])
    joined = side_by_side(chosen, "optimizer")
    joined = joined.assign_coords(lr_code=("optimizer", np.array(rates, dtype=float)))
    ends = [float(one["epochs"]) for one in chosen.values() if "epochs" in one.coords]
    if ends and "epoch" in joined.dims:
        joined = joined.sel(epoch=slice(0, min(ends)))
    return joined


# --- Kernel alignment from inner products --------------------------------------------------------


def alignment(first: np.ndarray, second: np.ndarray, *, debiased: bool = False) -> np.ndarray:
    """Linear CKA of two sets of features: cosine of their centred kernels.

    Parameters
    ----------
    first, second
        Uncentred inner products of the same n points (..., n, n).
    debiased
        Estimate each inner product without bias, as if of infinitely many points. As usually
        computed, features that are many compared with n push the alignment towards 1.

    Returns
    -------
    np.ndarray
        (...), between 0 and 1, debiased at most a little above 1; NaN where the square of a kernel
        is not positive or not finite, and debiased for fewer than 4 points.

    References
    ----------
    Kornblith et al., Similarity of neural network representations revisited (2019). Debiased:
    Song et al., Feature selection via dependence maximization (2012), eq. 5; Nguyen, Raghu and
    Kornblith, Do wide and deep networks learn the same things? (2021).
    """
    if not debiased:
        return _cosine(_product, _centred(first), _centred(second))
    if first.shape[-1] < 4:
        return np.full(np.broadcast_shapes(first.shape, second.shape)[:-2], np.nan)
    return _cosine(_unbiased_product, _hollow(first), _hollow(second))


def _cosine(product: Callable, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Inner product over the root of both squares."""
    squares = product(first, first), product(second, second)
    valid = (squares[0] > 0) & (squares[1] > 0)
    scale = np.sqrt(np.where(valid, squares[0], np.nan)) * np.sqrt(np.where(valid, squares[1], 1))
    return product(first, second) / scale


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("...ij,...ij->...", first, second)


def _unbiased_product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Unbiased inner product of centred kernels, up to n (n - 3), from kernels without diagonal."""
    n = first.shape[-1]
    rows = first.sum(-1), second.sum(-1)
    sums = rows[0].sum(-1) * rows[1].sum(-1) / ((n - 1) * (n - 2))
    return _product(first, second) + sums - 2 / (n - 2) * (rows[0] * rows[1]).sum(-1)


def _centred(kernel: np.ndarray) -> np.ndarray:
    """Kernel of the centred features, in float64."""
    kernel = np.asarray(kernel, dtype=float)
    rows = kernel.mean(-1, keepdims=True)
    columns = kernel.mean(-2, keepdims=True)
    return kernel - rows - columns + rows.mean(-2, keepdims=True)


def _hollow(kernel: np.ndarray) -> np.ndarray:
    """Kernel in float64 with zeros on the diagonal."""
    kernel = np.array(kernel, dtype=float)
    index = np.arange(kernel.shape[-1])
    kernel[..., index, index] = 0
    return kernel


def grams(runs: xr.Dataset) -> tuple[xr.DataArray, Iterator[tuple[int, np.ndarray]]]:
    """Inner products of the runs of `by_optimizer`, epoch by epoch to spare memory.

    Parameters
    ----------
    runs
        Runs with ``probe_gram`` (run, epoch, block, probe, probe_other).

    Returns
    -------
    ran : xr.DataArray
        1 where a run exists (optimizer, seed), seeds sorted.
    parts : iterator of (int, np.ndarray)
        Number of the epoch and inner products (optimizer, seed, block, n, n), NaN where a run is
        missing.
    """
    # Copies of all inner products would not fit into memory at image scale: number the runs.
    numbers = {"row": ("run", np.arange(runs.sizes["run"], dtype=float))}
    numbers = runs.drop_vars(list(runs.data_vars)).assign(numbers)
    rows = by_optimizer({"numbers": numbers}, "numbers", ["row"])["row"]
    rows = rows.transpose("optimizer", "seed")
    missing = np.isnan(rows.values)
    known = np.where(missing, 0, rows.values).astype(int)
    last = float(runs["epochs"].values[np.unique(known)].min())
    gram = runs["probe_gram"].transpose("run", "epoch", "block", "probe", "probe_other")
    gram = gram.sel(epoch=slice(0, last))

    def parts() -> Iterator[tuple[int, np.ndarray]]:
        for place, epoch in enumerate(gram["epoch"].values):
            values = gram.isel(epoch=place).values[known].astype(float)
            values[missing] = np.nan
            yield int(epoch), values

    return rows["ran"], parts()
