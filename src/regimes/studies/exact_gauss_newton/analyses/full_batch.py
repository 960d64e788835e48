"""Full-batch training on the easy and the hard data (Fig. 1), with the function-space recursion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from scipy.optimize import minimize_scalar

from regimes.studies.exact_gauss_newton.reading import cases
from regimes.studies.exact_gauss_newton.theory import function_space_recursion

CURVES = ("train_loss", "train_accuracy")
FIT = (1, 60)  # steps to which the rate of the recursion is fitted
RATES = np.geomspace(0.1, 3.0, 35)  # factors of alpha among which the fit looks first


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Loss and accuracy against step; for GN, what the recursion from its initial logits gives.

    Parameters
    ----------
    experiments
        Any of ``full_batch_easy``, ``full_batch_hard``.

    Returns
    -------
    xr.Dataset
        Over (case, seed, epoch), an epoch being a step: ``train_loss``, ``train_accuracy`` and
        ``recursion``, the cross-entropy of z <- z - alpha_eff (softmax(z) - y). Over (case,
        seed): ``rate_factor``, see `fitted_factor`. NaN for other optimizers than GN.
    """
    data = cases(experiments, [*CURVES, "initial_logits", "label"])
    recursion = np.full(data["train_loss"].shape, np.nan)
    factor = np.full(recursion.shape[:2], np.nan)
    for index in np.flatnonzero(data["optimizer"].values == "gn"):
        case = data.isel(case=int(index))
        seeds = np.flatnonzero(case["label"].notnull().any("sample").values)
        logits, label = _rows(case.isel(seed=seeds))
        if not label.size:
            continue
        alpha, steps = float(case["alpha_eff"]), int(case["epochs"])
        found = function_space_recursion(logits, label, alpha, steps)
        used = np.flatnonzero(data["epoch"].values <= steps)
        recursion[np.ix_([index], seeds, used)] = found[:, data["epoch"].values[used]]
        for seed, z, y in zip(seeds, logits, label, strict=True):
            loss = case["train_loss"].isel(seed=int(seed))
            factor[index, seed] = fitted_factor(z, y, alpha, loss)
    result = data[[*CURVES]]
    text = "cross-entropy of the function-space recursion from the initial logits"
    result["recursion"] = (("case", "seed", "epoch"), recursion, {"long_name": text, "units": "1"})
    text = f"factor of alpha with which the recursion fits the loss best, steps {FIT[0]}-{FIT[1]}"
    result["rate_factor"] = (("case", "seed"), factor, {"long_name": text, "units": "1"})
    return result


def _rows(case: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Logits (seed, sample, class) and labels (seed, sample) without what pads them."""
    logits = case["initial_logits"].transpose("seed", "sample", "class")
    known = case["label"].notnull().all("seed").values
    classes = logits.notnull().any(("seed", "sample")).values
    label = case["label"].transpose("seed", "sample").values[:, known]
    return logits.values[:, known][:, :, classes], label


def fitted_factor(logits: np.ndarray, label: np.ndarray, alpha: float, loss: xr.DataArray) -> float:
    """Factor r for which the recursion with r * alpha fits log(loss) best over the steps `FIT`.

    Parameters
    ----------
    logits, label
        At the start, shapes (n, K) and (n,).
    alpha
        Step in function space if the network followed it exactly.
    loss
        Measured cross-entropy over ``epoch``, counted in steps.

    Returns
    -------
    float
        Least squares of the logarithm; NaN if a step of the window is missing, or if the best
        factor lies outside of `RATES`.
    """
    step = np.arange(FIT[0], FIT[1] + 1)
    measured = loss.reindex(epoch=step).values.astype(float)
    if not (measured > 0).all():
        return np.nan

    def misfit(factors: np.ndarray) -> np.ndarray:
        rate = np.atleast_1d(factors) * alpha
        start = np.broadcast_to(logits, (rate.size, *logits.shape))
        labels = np.broadcast_to(label, (rate.size, *label.shape))
        expected = function_space_recursion(start, labels, rate, FIT[1])[:, step]
        return np.mean((np.log(expected) - np.log(measured)) ** 2, axis=-1)

    best = int(np.argmin(misfit(RATES)))
    if best in (0, RATES.size - 1):
        return np.nan
    ends = np.log(RATES[[best - 1, best + 1]])
    refined = minimize_scalar(
        lambda x: float(misfit(np.exp(x))[0]),
        bounds=ends,
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(refined.x))
