"""Natural frequency of a driven oscillator from the periodogram of its velocity.

The model is S(w) = a w^2 / ((omega^2 - w^2)^2 + 4 gamma^2 w^2), fitted by Whittle's likelihood
(each ordinate of a periodogram is exponentially distributed about S). Sampled at every step of
the momentum recursion, the spectrum has this very form in the frequency w = (2/eta) sin(phi/2) of
a phase phi per step, up to a factor cos^2(phi/2) of the damping term, which matters only near the
highest frequencies, where that term is negligible: with z = exp(-i phi) the velocity's filter is
(1 - z)/((1 - z)(1 - beta z) + eta h z), whose denominator has the squared modulus
(eta h - 2 (1 + beta) sin^2(phi/2))^2 + (1 - beta)^2 sin^2(phi).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.signal.windows import tukey

from regimes.studies.limiting_dynamics.oscillator import velocity_spectrum

TAPER = 0.1  # share of either end of a block
SKIPPED = 2  # lowest frequencies, which the window mixes with the mean
STARTS = 60  # frequencies among which the search starts


def phase_frequency(phase: np.ndarray, eta: float) -> np.ndarray:
    """Frequency w = (2/eta) sin(phi/2) per unit of time t = eta k of a phase phi per step."""
    return 2 / eta * np.sin(np.asarray(phase) / 2)


def periodogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Phases per step and tapered periodogram along the last axis.

    The taper, cosines over a tenth of either end, keeps the peak out of low frequencies, where the
    velocity has no power, at a small loss of information (Bloomfield, Fourier Analysis of Time
    Series, 2000).

    Parameters
    ----------
    values
        Shape (..., n), evenly spaced; the mean over the last axis is taken off.

    Returns
    -------
    tuple
        Phases phi = 2 pi j / n of shape (m,), without the `SKIPPED` lowest ones and zero, and the
        power of shape (..., m); white noise of variance s^2 has mean power s^2.
    """
    values = np.asarray(values, dtype=float)
    n = values.shape[-1]
    window = tukey(n, 2 * TAPER, sym=False)
    centred = values - values.mean(-1, keepdims=True)
    power = np.abs(np.fft.rfft(centred * window)) ** 2 / max(float(np.sum(window**2)), 1e-300)
    kept = slice(SKIPPED, None)
    return 2 * np.pi * np.arange(power.shape[-1])[kept] / n, power[..., kept]


def amplitude(frequency: np.ndarray, power: np.ndarray, omega: float, gamma: float) -> float:
    """Amplitude a of largest likelihood at given omega and gamma."""
    return float(np.mean(power / velocity_spectrum(frequency, gamma, omega)))


def _misfit(frequency: np.ndarray, power: np.ndarray, omega: float, gamma: float) -> float:
    """Negative log likelihood per ordinate at the best amplitude, up to a constant."""
    curve = velocity_spectrum(frequency, gamma, omega)
    return float(np.log(np.mean(power / curve)) + np.mean(np.log(curve)))


def fit_frequency(frequency: np.ndarray, power: np.ndarray, gamma: float) -> float:
    """Natural frequency omega at known damping.

    The damping gamma = (1 - beta)/(eta (1 + beta)) is fixed by the optimizer alone, the same for
    every mode; left free it trades off against omega where a mode is overdamped.

    Parameters
    ----------
    frequency, power
        Shape (n,), frequencies per unit of time, positive.
    gamma
        Damping per unit of time.

    Returns
    -------
    float
        NaN for fewer than three frequencies or power that is not known.
    """
    if power.size < 3 or not np.isfinite(power).all() or not power.any():
        return float("nan")
    low, high = np.log(frequency.min()), np.log(frequency.max())
    starts = np.linspace(low, high, STARTS)
    misfits = [_misfit(frequency, power, float(np.exp(s)), gamma) for s in starts]
    best = int(np.argmin(misfits))
    bounds = starts[max(best - 1, 0)], starts[min(best + 1, STARTS - 1)]
    found = minimize_scalar(
        lambda s: _misfit(frequency, power, float(np.exp(s)), gamma),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-7},
    )
    return float(np.exp(found.x))
