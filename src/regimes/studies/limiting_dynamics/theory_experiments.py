"""OU processes, closed forms and exact recursions: runs that need no network.

Only the OU processes of Figure 3 are random; the others compute expectations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from regimes import store
from regimes.config import RunSettings
from regimes.data.streams import numpy_stream
from regimes.ensemble.batches import group
from regimes.studies.limiting_dynamics import theory
from regimes.studies.limiting_dynamics.theory_settings import (
    ModeRecursion,
    OuEnsemble,
    OuPath,
    PowerLawModes,
    Spectrum,
)

Array = np.ndarray
Train = Callable[..., xr.Dataset]
# Rows of A = V^-1 diag(s) V (Figure 3) are combinations of those of V.
OU_BASIS = np.array([[-1.0, 1.0], [1.0, 1.0]])
NOISE_BLOCK = 2**21  # normals drawn at a time, 16 MB
PER_DECADE = 40  # recorded steps where not every one is
BEFORE_FIT = 20  # recorded steps per decade outside the window of a fit

TEXTS = {
    "drift": "drift matrix A",
    "drift_offset": "constant part b of the drift",
    "diffusion": "diffusion matrix D",
    "path": "position of the walker",
    "late_mean": "mean position over the second half of the updates",
    "covariance": "covariance of the walkers, mean over updates after the burn-in",
    "circulation": "mean of x1 dx2 - x2 dx1 about the minimum per unit time, after the burn-in",
    "row": "coordinate",
    "column": "coordinate",
    "path_step": "number of updates",
    "step": "number of updates",
    "global_displacement": "expected squared global displacement |theta_k - theta_0|^2",
    "local_displacement": "expected squared local displacement |theta_k - theta_(k-1)|^2",
    "mean_position": "mean of the displacement theta_k - theta_0",
    "var_position": "variance of the displacement",
    "mean_velocity": "mean of the velocity, minus the momentum buffer",
    "var_velocity": "variance of the velocity",
}


def _together(simulate: Callable[[Sequence], xr.Dataset], *shape: str) -> Train:
    """Turn a function of runs that agree in the named settings into one of any runs."""

    def train(settings: Sequence[RunSettings], device: object = None) -> xr.Dataset:
        """Simulate runs in the order of ``settings``; the device does not matter."""
        parts, order = [], []
        for members in group(settings, lambda run: tuple(getattr(run, name) for name in shape)):
            found = simulate([settings[index] for index in members])
            parts.append(store.described(found, TEXTS))
            order.extend(members)
        return store.join_runs(parts).isel(run=np.argsort(order))

    return train


def recorded(dense: int, last: int, per_decade: int = PER_DECADE) -> Array:
    """Steps 0, 1, ..., ``dense`` and then ``per_decade`` log-spaced ones up to ``last``."""
    first = np.arange(min(dense, last) + 1)
    if last <= dense:
        return first
    count = int(np.ceil(per_decade * np.log10(last / dense))) + 1
    return np.unique([*first, *np.round(np.geomspace(dense, last, count)).astype(int)])


# --- Two-dimensional OU process (Figure 3) --------------------------------------------------------


class _Ou:
    """Walkers of several runs: x <- x - eta (A x - b) - eta L z, with L L^T = D."""

    def __init__(self, runs: Sequence[OuPath], walkers: int) -> None:
        values = np.array([run.drift_eigenvalues for run in runs])
        self.drift = np.linalg.inv(OU_BASIS) @ (values[:, :, None] * OU_BASIS)
        self.bias = np.array([run.drift_bias for run in runs])
        self.diagonal = np.array([run.diffusion_diagonal for run in runs])
        self.eta = np.array([run.eta for run in runs])
        self.steps, self.walkers = runs[0].steps, walkers
        # One array per coordinate, shape (run, walker).
        self.x = tuple(
            np.repeat([[run.start[i]] for run in runs], walkers, axis=1) for i in range(2)
        )
        self._streams = [numpy_stream(run.seed, "ou", walkers) for run in runs]

    def described_by(self) -> dict[str, tuple]:
        """Matrices of the process over ``run``."""
        both = ("run", "row", "column")
        return {
            "drift": (both, self.drift),
            "drift_offset": (("run", "row"), self.bias),
            "diffusion": (both, self.diagonal[:, :, None] * np.eye(2)),
        }

    def __iter__(self):
        """Positions after each update."""
        eta = self.eta[:, None, None]
        (m11, m12), (m21, m22) = np.moveaxis(np.eye(2) - eta * self.drift, 0, -1)[..., None]
        (c1, c2) = (self.eta[:, None] * self.bias).T[..., None]
        size = (self.eta[:, None] * np.sqrt(self.diagonal))[:, None, None, :]
        block = max(1, NOISE_BLOCK // (2 * self.walkers * len(self.eta)))
        for start in range(0, self.steps, block):
            shape = (min(block, self.steps - start), self.walkers, 2)
            kicks = size * np.stack([stream.standard_normal(shape) for stream in self._streams])
            for kick1, kick2 in kicks.transpose(1, 3, 0, 2):
                x1, x2 = self.x
                self.x = (m11 * x1 + m12 * x2 + c1 - kick1, m21 * x1 + m22 * x2 + c2 - kick2)
                yield self.x


def _ou_path(runs: Sequence[OuPath]) -> xr.Dataset:
    process = _Ou(runs, 1)
    kept, late, count = [np.stack(process.x)], 0.0, 0
    for step, x in enumerate(process, start=1):
        if step % runs[0].every == 0:
            kept.append(np.stack(x))
        if 2 * step > process.steps:
            late, count = late + np.stack(x), count + 1
    path = np.array(kept)[..., 0].transpose(2, 0, 1)
    return xr.Dataset(
        {
            **process.described_by(),
            "path": (("run", "path_step", "row"), path),
            "late_mean": (("run", "row"), (late / count)[..., 0].T),
        },
        coords={
            "row": [1, 2],
            "column": [1, 2],
            "path_step": runs[0].every * np.arange(path.shape[1]),
        },
    )


def _ou_ensemble(runs: Sequence[OuEnsemble]) -> xr.Dataset:
    process = _Ou(runs, runs[0].walkers)
    minimum = np.linalg.solve(process.drift, process.bias[..., None])  # (run, 2, 1)
    burn_in = runs[0].burn_in
    products = np.zeros((3, len(runs)))
    circulation, count, before = np.zeros(len(runs)), 0, None
    for step, x in enumerate(process, start=1):
        if step < burn_in:
            continue
        now = [x[i] - minimum[:, i] for i in range(2)]
        if before is not None:
            circulation += (before[0] * now[1] - before[1] * now[0]).mean(axis=1)
            first, second = (part - part.mean(axis=1, keepdims=True) for part in now)
            products += [(first**2).mean(1), (first * second).mean(1), (second**2).mean(1)]
            count += 1
        before = now
    xx, xy, yy = products / count * process.walkers / (process.walkers - 1)
    return xr.Dataset(
        {
            **process.described_by(),
            "covariance": (("run", "row", "column"), np.array([[xx, xy], [xy, yy]]).T),
            "circulation": ("run", circulation / count / process.eta),
        },
        coords={"row": [1, 2], "column": [1, 2]},
    )


# --- Expectations over spectra (Figure 7, section 2.5) --------------------------------------------


def grouped_spectrum(
    modes: int, bins: int, top: float, exponent: float
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues top j^-exponent, j = 1..modes, in logarithmic bins of j.

    Returns
    -------
    tuple of numpy.ndarray
        Eigenvalue at the geometric midpoint of each bin and number of modes in it; bins that hold
        no j are left out.
    """
    edges = np.unique(np.round(np.geomspace(1, modes + 1, bins + 1)).astype(np.int64))
    middle = np.sqrt(edges[:-1] * (edges[1:] - 1.0))
    return top * middle**-exponent, np.diff(edges)


def _spectrum(runs: Sequence[Spectrum]) -> xr.Dataset:
    """Displacements of many hyperparameters on one spectrum by the exact recursion."""
    one = runs[0]
    rho, counts = grouped_spectrum(one.modes, one.bins, one.top, one.exponent)
    noise = rho * one.noise_trace / np.sum(counts * rho)
    early = recorded(1, one.fit_from, BEFORE_FIT)[1:]
    record = np.union1d(early, np.arange(one.fit_from, one.fit_to + 1))
    eta, beta, size, decay = (
        np.array([[getattr(run, name)] for run in runs], dtype=float)
        for name in ("eta", "momentum", "batch_size", "weight_decay")
    )
    offset = one.offset_norm / np.sqrt(one.modes)
    found = theory.displacement_recursion(
        record, rho, noise, counts, eta, beta, size, decay, offset
    )
    return xr.Dataset(
        {
            "global_displacement": (("run", "step"), found.global_),
            "local_displacement": (("run", "step"), found.local),
        },
        coords={"step": record},
    )


def _power_law(runs: Sequence[PowerLawModes]) -> xr.Dataset:
    one = runs[0]
    inside = np.geomspace(one.fit_from, one.fit_to, one.fit_points)
    # The fit has all its points inside the window; a few outside are for the eye.
    outside = np.geomspace(1, one.fit_from, int(BEFORE_FIT * np.log10(one.fit_from)) + 2)[:-1]
    record = np.concatenate([outside, np.round(inside)]) if one.fit_from > 1 else np.round(inside)
    record = np.unique(np.round(record).astype(int))
    j = np.arange(1.0, one.modes + 1)
    # Each run is 1e7 evaluations: joining runs would gain nothing.
    values = []
    for run in runs:
        rho = j**-run.exponent
        values.append(theory.displacement_stationary(record, rho, rho, run.eta, run.momentum, 1))
    return xr.Dataset(
        {"global_displacement": (("run", "step"), np.array(values))}, coords={"step": record}
    )


# --- Single modes ---------------------------------------------------------------------------------


def _mode_recursion(runs: Sequence[ModeRecursion]) -> xr.Dataset:
    """Exact moments of single modes, all runs as modes of one recursion."""
    rho, noise, eta, beta, offset = (
        np.array([getattr(run, name) for run in runs], dtype=float)
        for name in ("rho", "noise", "eta", "momentum", "offset")
    )
    record = recorded(runs[0].dense_steps, runs[0].steps)
    moments = theory.recorded_moments(record, rho, noise, eta, beta, 1, 0.0, offset)
    names = {
        "mean_position": moments.mean_x,
        "var_position": moments.var_x,
        "mean_velocity": moments.mean_v,
        "var_velocity": moments.var_v,
    }
    return xr.Dataset(
        {name: (("run", "step"), values.T) for name, values in names.items()},
        coords={"step": record},
    )


_OU = ("steps", "every")
_SHAPE = ("modes", "bins", "top", "exponent", "noise_trace", "offset_norm", "fit_from", "fit_to")
THEORY_TRAIN: dict[str, Train] = {
    "ou_path": _together(_ou_path, *_OU),
    "ou_ensemble": _together(_ou_ensemble, "walkers", "burn_in", *_OU),
    "spectrum": _together(_spectrum, *_SHAPE),
    "power_law_modes": _together(_power_law, "modes", "fit_from", "fit_to", "fit_points"),
    "mode_recursion": _together(_mode_recursion, "steps", "dense_steps"),
}
