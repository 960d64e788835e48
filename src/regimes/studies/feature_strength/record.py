"""What is kept of trained networks: labelled arrays over runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from regimes.ensemble.engine import LIMIT, Trained
from regimes.studies.feature_strength.settings import Network
from regimes.studies.feature_strength.watch import Watched

LONGEST = 20_000  # steps up to which the loss of every step is kept
BINS = 200  # logarithmic bins of longer runs

LONG_NAMES = {
    "eta": "learning rate eta",
    "initial_loss": "train loss at step 0",
    "peak_loss": "largest train loss, 1e30 where the run diverged",
    "final_train_loss": "mean train loss over the last 10 % of steps",
    "diverged_at": "first step whose loss was not finite or above 1e30, -1 for none",
    "train_loss": "loss of the batch of each step, before its update",
    "train_loss_binned": "train loss, mean over logarithmic bins of steps",
    "bin_step": "mean step of the bin",
    "test_loss": "loss on held-out samples",
    "test_accuracy": "accuracy on held-out samples",
    "cka_label": "alignment (CKA) of the layer's kernel with the labels",
    "cka_initial": "alignment (CKA) of the layer's kernel with itself at step 0",
    "relative_move": "|W - W_0| / |W_0| of the layer's weights",
    "tangent_cka_label": "alignment (CKA) of the tangent kernel with the labels",
    "sharpness": "largest eigenvalue of the Hessian, raw parameters",
    "lowest_eigenvalue": "smallest eigenvalue of the Hessian, raw parameters",
    "sharpness_residual": "relative residual of the largest eigenvalue",
    "spectrum": "largest eigenvalues of the Hessian, raw parameters",
    "mean_output": "mean of |f| over held-out samples and classes",
    "outputs": "outputs f on test samples at the end",
    "last_kernel": "kernel h h^T / n of the last hidden layer at the end",
}


def to_dataset(
    run: Network, trained: Trained, watched: Sequence[Watched], eta: np.ndarray
) -> xr.Dataset:
    """Dataset over ``run`` of one program; variables as in `LONG_NAMES`.

    Parameters
    ----------
    run
        Any run of the program: they share all that decides shapes.
    trained
        Result of the engine.
    watched
        The observations of the program, in the order of ``trained.observed``.
    eta
        Learning rates (R,).
    """
    loss, diverged = trained.loss, trained.diverged_at >= 0
    steps = loss.shape[1]
    last = loss[:, steps - max(1, steps // 10) :]
    peak = np.where(diverged, LIMIT, np.fmax.reduce(loss, axis=1))
    variables: dict[str, tuple] = {
        "eta": (("run",), eta),
        "initial_loss": (("run",), loss[:, 0]),
        "peak_loss": (("run",), peak),
        "final_train_loss": (("run",), np.where(diverged, np.nan, last.mean(axis=1))),
        "diverged_at": (("run",), trained.diverged_at.astype("int64")),
    }
    coords: dict[str, tuple] = {}
    if steps <= LONGEST:
        variables["train_loss"] = (("run", "step"), loss.astype("float32"))
        coords["step"] = ("step", np.arange(steps), {"long_name": "updates done", "units": "1"})
    else:
        step, binned = log_binned(loss)
        variables["train_loss_binned"] = (("run", "bin"), binned.astype("float32"))
        variables["bin_step"] = (("run", "bin"), np.tile(step, (len(loss), 1)))
    for what, observed in zip(watched, trained.observed, strict=True):
        for name, values in observed.items():
            if what.final:
                values = values[:, -1]
            else:
                coords[what.dim] = (
                    what.dim, list(what.steps), {"long_name": "updates done", "units": "1"}
                )  # fmt: skip
            leading = ("run",) if what.final else ("run", what.dim)
            dims = (*leading, *what.further)
            precise = name in ("sharpness", "lowest_eigenvalue", "spectrum")
            # A last value before divergence may exceed the range of float32.
            values = values if precise else np.clip(values, -LIMIT, LIMIT).astype("float32")
            variables[name] = (dims, values)
    for dim in ("layer", "rank"):
        sizes = [v.shape[d.index(dim)] for d, v in variables.values() if dim in d]
        if sizes:
            attributes = {"long_name": f"{dim}, counted from 1", "units": "1"}
            coords[dim] = (dim, np.arange(1, max(sizes) + 1), attributes)
    named = {
        name: (dims, values, {"long_name": LONG_NAMES[name], "units": "1"})
        for name, (dims, values) in variables.items()
    }
    return xr.Dataset(named, coords=coords)


def log_binned(loss: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """Means over logarithmic bins of steps: mean step (bins,) and mean loss (R, bins).

    Bins hold at least one step each; a bin with a missing loss is NaN.
    """
    steps = loss.shape[1]
    edges = np.unique(np.round(np.geomspace(1, steps + 1, bins + 1)).astype(int)) - 1
    counts = np.diff(edges)
    step = np.add.reduceat(np.arange(steps, dtype=float), edges[:-1]) / counts
    return step, np.add.reduceat(loss, edges[:-1], axis=1) / counts
