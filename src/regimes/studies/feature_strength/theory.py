"""Closed forms of the toy models and the scalings they predict for networks.

Sections refer to the specification cited in docs/studies/feature_strength.md: one-weight model
2.2, two-weight model 2.3, SignSGD 2.4. ``gamma`` is the feature strength, ``depth`` the number L
of weight layers, ``steps`` the budget T; toy losses are in excess of their minimum and the target
is f = 1. Lines for figures of networks are exponents only: their prefactors are not predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from regimes.studies.feature_strength.toys import (
    LOSS_CURVATURE,
    LOSSES,
    P0,
    P1,
    XENT_MINIMUM,
    initial_loss,
    one_weight_curvature,
    pair_threshold,
)

__all__ = [
    "LOSS_NAMES",
    "P0",
    "P1",
    "REGIMES",
    "TOY_WINDOWS",
    "XENT_MINIMUM",
    "catapult_duration",
    "escape_time",
    "eta_crit",
    "eta_crit_asymptote",
    "eta_min",
    "exponent",
    "flow_time",
    "guide",
    "initial_loss",
    "initial_slope",
    "minimiser",
    "one_weight_curvature",
    "pair_divergence",
    "pair_overshoot",
    "pair_threshold",
    "plateau_exponent",
    "sharpness_exponent",
    "staircase_half_steps",
    "superclass_plateau",
]

Array = np.ndarray
LOSS_NAMES = ["mse", "cross_entropy"]
REGIMES = ["lazy", "rich"]
# Windows of log10 gamma in which the toy exponents are fitted (section 6.2).
TOY_WINDOWS = {"lazy": (-5.0, -2.0), "rich": (2.0, 5.0)}


def initial_slope(loss: str) -> float:
    """Size of the derivative of the loss at f = 0: 1 (MSE), p1 - 1/2 (cross-entropy)."""
    return abs(float(LOSSES[loss](np.array(0.0))[1]))


# --- Exponents (Table 1) -------------------------------------------------------------------------


def exponent(quantity: str, loss: str, regime: str, depth: int, optimizer: str = "sgd") -> float:
    """Exponent of gamma of a boundary of the trainable region (Table 1; SignSGD: section 2.4).

    Parameters
    ----------
    quantity
        ``eta_min`` (too slow below), ``eta_crit`` (catapults above), ``eta_max`` (diverges
        above) or ``eta_star`` (optimum: it follows the catapult threshold). The lower boundary
        also scales as 1/T.
    loss
        ``mse`` or ``cross_entropy``.
    regime
        ``lazy`` (gamma << 1) or ``rich`` (gamma >> 1).
    depth
        Weight layers L >= 2. At L = 2 the rich ``eta_min`` carries a further log gamma.
    optimizer
        ``sgd`` or ``sign``.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    known = {
        "quantity": (quantity, ["eta_min", "eta_crit", "eta_max", "eta_star"]),
        "loss": (loss, LOSS_NAMES),
        "regime": (regime, REGIMES),
        "optimizer": (optimizer, ["sgd", "sign"]),
    }
    for what, (name, names) in known.items():
        if name not in names:
            raise ValueError(f"{what}: got {name!r}, valid: {', '.join(names)}")
    if optimizer == "sign":
        return 1.0 if regime == "lazy" else 1 / depth
    if regime == "rich":
        return 1.0 if quantity == "eta_min" else 2 / depth
    # The tail of cross-entropy is linear: steps stay bounded up to eta ~ gamma.
    return 1.0 if (quantity, loss) == ("eta_max", "cross_entropy") else 2.0


def guide(log10_gamma: Array, slope: float, anchor: tuple[float, float]) -> tuple[Array, Array]:
    """Straight line of a given exponent through one point, both axes in log10.

    Parameters
    ----------
    log10_gamma
        Where the line is drawn.
    slope
        Exponent, for instance from `exponent`.
    anchor
        (log10 gamma, log10 eta) of the point.
    """
    x = np.asarray(log10_gamma, dtype=float)
    return x, anchor[1] + slope * (x - anchor[0])


def sharpness_exponent(regime: str, depth: int) -> float:
    """Exponent of gamma of the top Hessian eigenvalue: -2 (lazy), -2/L at convergence (rich)."""
    return -exponent("eta_crit", "mse", regime, depth)


def plateau_exponent(depth: int) -> float:
    """Exponent of gamma of the plateau's length in steps at eta ~ gamma^(2/L): 1 - 2/L."""
    return exponent("eta_min", "mse", "rich", depth) - exponent("eta_max", "mse", "rich", depth)


# --- One weight (section 2.2) --------------------------------------------------------------------


def minimiser(gamma: Array | float, depth: int) -> Array | float:
    """Weight w* = (1 + gamma)^(1/L) at which f = 1."""
    return (1 + gamma) ** (1 / depth)


def eta_crit(gamma: Array | float, depth: int, loss: str) -> Array | float:
    """Learning rate 2/H at which the minimiser loses its stability."""
    return 2 / one_weight_curvature(gamma, depth, loss)


def eta_crit_asymptote(gamma: Array | float, depth: int, loss: str, regime: str) -> Array | float:
    """Limit of `eta_crit` for gamma << 1, 2 gamma^2/(c L^2), or gamma >> 1, 2 gamma^(2/L)/(c L^2).

    c = 1 (MSE) or p0 p1 (cross-entropy).
    """
    return 2 * gamma ** exponent("eta_crit", loss, regime, depth) / (
        LOSS_CURVATURE[loss] * depth**2
    )  # fmt: skip


def escape_time(gamma: Array | float, depth: int, loss: str) -> Array | float:
    """Rescaled time tau = eta t / gamma at which the one-weight model leaves its start, gamma >> 1.

    The early flow dw/dtau = L |l'(0)| w^(L-1) does not contain gamma. At L > 2 it blows up at
    tau = 1/(L (L-2) |l'(0)|); at L = 2 the weight reaches sqrt(gamma) at log(gamma)/(4 |l'(0)|).
    """
    if depth == 2:
        return np.log(gamma) / (4 * initial_slope(loss))
    return 1 / (depth * (depth - 2) * initial_slope(loss)) + 0 * np.asarray(gamma)


def eta_min(
    gamma: Array | float, depth: int, loss: str, steps: int, regime: str, remaining: float = 0.5
) -> Array | float:
    """Smallest learning rate that lowers the excess loss to a share ``remaining`` in T steps.

    Gradient flow in the limits. Lazy: df/dt = -(eta L^2/gamma^2) l'(f), so gamma^2/T times a
    constant. Rich: the time to escape, gamma/T times a constant; the drop after it takes no time.
    """
    if regime == "lazy":
        time = _lazy_time(loss, remaining)
        return time * gamma**2 / (depth**2 * steps)
    return escape_time(gamma, depth, loss) * gamma / steps


def _level(loss: str, remaining: float) -> float:
    """Output in (0, 1) at which the excess loss is a share ``remaining`` of that at 0."""
    low, high = 0.0, 1.0
    goal = remaining * initial_loss(loss)
    for _ in range(60):
        middle = (low + high) / 2
        above = float(LOSSES[loss](np.array(middle))[0]) > goal
        low, high = (middle, high) if above else (low, middle)
    return (low + high) / 2


def _lazy_time(loss: str, remaining: float) -> float:
    """Time of df/dt = -l'(f) from f = 0 to a share of the excess loss."""

    def slowness(f: float) -> float:
        return -1 / float(LOSSES[loss](np.array(f))[1])

    return _integral(slowness, 0, _level(loss, remaining))


def _integral(function: Callable[[float], float], low: float, high: float, **options) -> float:
    # Imported here: it takes 0.4 s, and most who import this module only draw lines.
    from scipy.integrate import quad

    return quad(function, low, high, **options)[0]


def flow_time(gamma: float, depth: int, target: float, output: float) -> float:
    """Time eta t that gradient flow takes from f = 0 to an output, squared loss.

    Integral of dw / (L w^(L-1) (s - f) / gamma) for the loss (f - s)^2/2 (section 2.2).

    Parameters
    ----------
    gamma
        Feature strength.
    depth
        Power L of the weight.
    target
        Target s > 0.
    output
        Output below the target.
    """

    def slowness(w: float) -> float:
        return gamma / (depth * w ** (depth - 1) * (target - (w**depth - 1) / gamma))

    return _integral(slowness, 1.0, (1 + gamma * output) ** (1 / depth), epsabs=0, epsrel=1e-10)


def staircase_half_steps(gamma: float, depth: int, targets: Sequence[float], eta: float) -> Array:
    """Steps at which the squared error of each mode has halved, in the limit of small steps.

    Shape (mode,). At large gamma and L = 3, eta t/gamma tends to 1/(3 s) (section 6.2).
    """
    # The squared error has halved at f = s (1 - 1/sqrt(2)).
    share = 1 - math.sqrt(0.5)
    return np.array([flow_time(gamma, depth, s, share * s) / eta for s in targets])


# --- Two weights (section 2.3) -------------------------------------------------------------------


def pair_divergence(gamma: Array | float, loss: str) -> Array | float:
    """Learning rate above which the two-weight model has no end with small loss.

    MSE: 4 gamma^2, exact for gamma -> 0. Cross-entropy: gamma/(p0 p1), above which not even the
    flattest minimiser, u = v = sqrt(gamma) with sharpness 2/gamma, is stable: an upper bound.
    """
    if loss == "mse":
        return 4 * gamma**2
    return gamma / LOSS_CURVATURE[loss]


def pair_overshoot(loss: str) -> float:
    """Learning rate over gamma^2 at which the first step leads back to the initial loss.

    The first step leads from f = 0 to f = eta |l'(0)|/gamma^2. MSE: exactly the threshold 2.
    Cross-entropy is not symmetric about its minimum, so this lies below the threshold: the
    criterion "loss never above its start" measures it, a little below 2/(p0 p1).
    """
    if loss == "mse":
        return 2.0
    # l(f) = l(0): log(1 + e^-f) + p0 f = log 2, the root other than 0 by Newton's method.
    f = 2.0
    for _ in range(50):
        value = math.log1p(math.exp(-f)) + P0 * f - math.log(2)
        f -= value / (P0 - 1 / (1 + math.exp(f)))
    return f / initial_slope(loss)


def catapult_duration(ratio: Array | float) -> Array | float:
    """Scaling of the steps a cross-entropy catapult takes, (gamma/eta)^2, without its prefactor.

    In the linear tail u^2 - v^2 shrinks by 1 - (eta l'/gamma)^2 per step.

    Parameters
    ----------
    ratio
        eta/gamma.
    """
    return np.asarray(ratio, dtype=float) ** -2.0


# --- Staircase of hierarchical labels (section 6.3) ----------------------------------------------


def superclass_plateau(classes: int = 10, per_super_class: int = 5) -> float:
    """Class-mean squared loss of the predictor that knows only the super-class.

    f = 1/m on the m classes of the right super-class: ((1 - 1/m)^2 + (m - 1)/m^2)/C
    = (1 - 1/m)/C; 0.08 for ten classes in two super-classes.
    """
    return (1 - 1 / per_super_class) / classes
