"""Frequency of oscillation of the modes of linear regression against their eigenvalues."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.limiting_dynamics import theory
from regimes.studies.limiting_dynamics.linear_paths import SETTINGS
from regimes.studies.limiting_dynamics.long_names import described


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Mean Fourier frequency of positions, measured and of the mean path of theory.

    Of positions, since their frequencies lie in the published range of 300 to 1200. The record
    is short against the oscillations of most modes, so that the jump between its end and its start
    weighs on the mean: it lies far above the frequency of the oscillator.

    Parameters
    ----------
    experiments
        ``linreg_fft``.

    Returns
    -------
    xr.Dataset
        Over (seed, mode), frequencies in cycles per unit of t = eta k: ``frequency`` of the runs,
        ``frequency_theory`` of the continuous mean path from the same start through the same
        estimator, ``oscillation`` = sqrt(omega^2 - gamma^2) / 2 pi (0 if overdamped);
        ``eigenvalue``.
    """
    data = experiments["linreg_fft"]
    eta, _, momentum, weight_decay = (data[name].values.astype(float)[:, None] for name in SETTINGS)
    eigenvalue = data["eigenvalue"].transpose("run", "mode")
    constants = theory.mode_constants(eigenvalue.values, eta, momentum, weight_decay)
    start = -data["minimum"].transpose("run", "mode").values.astype(float)
    time = eta * data["projection_step"].values
    mean, _ = theory.mean_path(
        time[..., None], constants.damping[:, None], constants.frequency[:, None], start[:, None]
    )
    position = data["position"].transpose("run", "projection_step", "mode").values
    squared = np.maximum(constants.frequency**2 - constants.damping**2, 0)
    over = ("run", "mode")
    result = xr.Dataset(
        {
            "frequency": (over, mean_frequency(position, eta)),
            "frequency_theory": (over, mean_frequency(mean, eta)),
            "oscillation": (over, np.sqrt(squared) / (2 * np.pi)),
            "eigenvalue": (over, eigenvalue.values.astype(float)),
        },
        coords={"mode": data["mode"], "seed": data["seed"]},
    )
    texts = {
        "frequency": "amplitude-weighted mean Fourier frequency of the position, per unit t",
        "frequency_theory": "the same of the mean path of the continuous-time theory, per unit t",
        "oscillation": "frequency of the damped oscillator by theory, per unit t",
        "eigenvalue": "eigenvalue of the Hessian without weight decay",
        "mode": "mode, by decreasing eigenvalue",
    }
    return described(by_setting(result, ["seed"]), texts)


def mean_frequency(paths: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Amplitude-weighted mean frequency of the Fourier transform, without the constant part.

    Parameters
    ----------
    paths
        Recorded at every step, shape (runs, steps, modes).
    eta
        Learning rates (runs, 1): time between two steps.

    Returns
    -------
    np.ndarray
        In cycles per unit of t = eta k, shape (runs, modes); NaN for paths with a NaN or
        without motion.
    """
    amplitude = abs(np.fft.rfft(np.asarray(paths, float), axis=1))[:, 1:]
    cycles = np.fft.rfftfreq(paths.shape[1])[1:, None]
    total = amplitude.sum(axis=1)
    weighted = (amplitude * cycles).sum(axis=1)
    return weighted / np.where(total > 0, total, np.nan) / eta
