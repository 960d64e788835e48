"""Closed forms of the giant-step paper: alignment, second step, second layer.

Symbols follow the paper: e_i = sqrt(p) a_i is the rescaled readout, n/d the batch ratio,
s = eta/p the rescaled learning rate, v* = C_1/|C_1|, C_k and c_k the Hermite coefficients of
target and activation (`regimes.studies.giant_step.hermite`, whose functions of a target are
available here too). Section and equation numbers are those of ``docs/studies/giant_step.md``.
Targets are given by name throughout (`KeyError` for an unknown one).
"""

from __future__ import annotations

from math import factorial, pi, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from regimes.studies.giant_step.functions import directions
from regimes.studies.giant_step.hermite import (
    ZERO,
    activation_second_moment,
    derivative_second_moment,
    hermite_coefficients,
    hermite_tensor,
    leap_index,
    linear_floor,
    linear_part,
    one_step_floor,
    second_moment,
    staircase,
    subspace_floor,
    tensor_span,
    variance,
)
from regimes.studies.giant_step.quadrature import chi_square_rule

__all__ = [
    "alignment_leap1",
    "alignment_leap2",
    "alignment_refined",
    "frozen_feature_plateau",
    "hermite_coefficients",
    "hermite_tensor",
    "leap_index",
    "linear_floor",
    "linear_part",
    "one_step_floor",
    "random_overlap",
    "row_alignment",
    "second_moment",
    "second_step",
    "second_step_slopes",
    "spike_overlap",
    "spike_singular_value",
    "staircase",
    "subspace_floor",
    "surrogate_coefficients",
    "teacher_frame",
    "tensor_span",
    "variance",
]


# --- Alignment after one step (2.5) -----------------------------------------------------------


def random_overlap(dimension: ArrayLike) -> np.ndarray:
    """Mean overlap E|<w, w*>| of a random unit row, sqrt(2 / (pi d)) (2.9)."""
    return np.sqrt(2 / (pi * np.asarray(dimension, dtype=float)))


def alignment_leap1(target: str, ratio: ArrayLike, activation: str = "relu") -> np.ndarray:
    """Squared cosine of the first gradient with V* for a target of leap 1 (2.1).

    Parameters
    ----------
    target : str
        Name in ``TARGETS``.
    ratio : array_like
        n/d; infinity is allowed.
    activation : str
        Name in ``ACTIVATIONS``; (2.1) is written for ReLU, with c_1^2 = 1/4, E[sigma'^2] = 1/2.

    Returns
    -------
    ndarray, shape of ``ratio``
    """
    signal = hermite_coefficients(activation, 1)[1] ** 2 * linear_part(target)
    noise = derivative_second_moment(activation) * second_moment(target)
    return signal / (signal + noise / np.asarray(ratio, dtype=float))


def alignment_refined(
    leap: int, dimension: ArrayLike, batch_size: ArrayLike, activation: str = "relu"
) -> np.ndarray:
    """Mean squared cosine of the first gradient for f* = He_l(<w*, z>) / sqrt(l!) (2.1').

    Refines the leading order by the larger noise inside V*, E[f*^2 <w*,z>^2] = 2l + 1. The
    signal S2 = c_l^2 l! / (l-1)!^2 (x/d)^(l-1) is averaged over x ~ chi^2 with one degree of
    freedom, x/d being the squared overlap of the initial row with w*.

    Parameters
    ----------
    leap : int
        l, at least 1.
    dimension, batch_size : array_like
        d and n, broadcast against each other.
    activation : str
        Name in ``ACTIVATIONS``; for ReLU the signal of leap 3 is zero and the floor remains.

    Returns
    -------
    ndarray, broadcast shape of ``dimension`` and ``batch_size``
    """
    d = np.asarray(dimension, dtype=float)[..., None]
    n = np.asarray(batch_size, dtype=float)[..., None]
    x, weights = chi_square_rule(1)
    c_l = hermite_coefficients(activation, leap)[leap]
    s2 = c_l**2 * factorial(leap) / factorial(leap - 1) ** 2 * (x / d) ** (leap - 1)
    noise = derivative_second_moment(activation) / n  # per coordinate; 1/(2n) for ReLU
    in_plane = s2 + (2 * leap + 1) * noise
    return in_plane / (in_plane + (d - 1) * noise) @ weights


def alignment_leap2(
    dimension: ArrayLike,
    batch_size: ArrayLike,
    directions: int = 1,
    in_plane_noise: bool = False,
) -> np.ndarray:
    """Mean squared cosine of the first gradient for a quadratic target, ReLU (2.5c).

    f* = sum_k +-He2(z_k) / sqrt(2r), of unit variance with r = ``directions``. With
    C_2 = sqrt(2/r) diag(+-1) and x ~ chi^2 with r degrees of freedom,
    cos^2 = x / (x + r pi d^2 / (2n)).

    Parameters
    ----------
    dimension, batch_size : array_like
        d and n, broadcast against each other.
    directions : int
        r; 1 is He2 / sqrt(2), 2 is (He2 +- He2) / 2.
    in_plane_noise : bool
        Count the larger noise inside V* as (2.1') does: E[f*^2 z_k^2] = (4 + r)/r for each of the
        r directions instead of 1. It sets the floor below the leap threshold.

    Returns
    -------
    ndarray, broadcast shape of ``dimension`` and ``batch_size``
    """
    d = np.asarray(dimension, dtype=float)[..., None]
    n = np.asarray(batch_size, dtype=float)[..., None]
    x, weights = chi_square_rule(directions)
    signal = hermite_coefficients("relu", 2)[2] ** 2 * (2 / directions) * x / d
    if in_plane_noise:
        noise = derivative_second_moment("relu") / n
        in_plane = signal + (4 + directions) * noise
        return in_plane / (in_plane + (d - directions) * noise) @ weights
    return signal / (signal + derivative_second_moment("relu") * d / n) @ weights


def row_alignment(
    target: str, ratio: ArrayLike, scale: ArrayLike, readout_sign: ArrayLike = 1.0
) -> np.ndarray:
    """Cosine rho of a row with v* after one step from a unit row, ReLU (2.2).

    Parameters
    ----------
    target : str
        Name in ``TARGETS``.
    ratio, scale : array_like
        n/d (infinity allowed) and s = eta/p, broadcast against each other.
    readout_sign : array_like
        e_i = sqrt(p) a_i: +-1 for the hypercube readout, a value in [-1, 1] for the uniform one.

    Returns
    -------
    ndarray
        rho_i, with the sign of e_i.
    """
    s, e = np.asarray(scale, dtype=float), np.asarray(readout_sign, dtype=float)
    c = s * e * hermite_coefficients("relu", 1)[1] * sqrt(linear_part(target))
    noise = derivative_second_moment("relu") * second_moment(target) / np.asarray(ratio, float)
    return c / np.sqrt(1 + c**2 + s**2 * e**2 * noise)


def spike_singular_value(target: str, ratio: ArrayLike) -> np.ndarray:
    """Largest singular value of the first gradient, p s_1 / sqrt(rows), e_i = +-1, ReLU (2.5e).

    It is |chat| / 2 with chat = (1/n) sum y z and |chat|^2 = |C_1|^2 + (d/n) E f*^2;
    ``ratio`` is n/d.
    """
    chat_squared = linear_part(target) + second_moment(target) / np.asarray(ratio, dtype=float)
    return hermite_coefficients("relu", 1)[1] * np.sqrt(chat_squared)


def spike_overlap(target: str, ratio: ArrayLike) -> np.ndarray:
    """Cosine of the spike direction chat = (1/n) sum y z with v*, at n/d = ``ratio`` (2.5e)."""
    signal = linear_part(target)
    return np.sqrt(signal / (signal + second_moment(target) / np.asarray(ratio, dtype=float)))


# --- Second step (2.6) ------------------------------------------------------------------------


def teacher_frame(target: str) -> tuple[np.ndarray, np.ndarray]:
    """Directions v* = C_1/|C_1| and v_perp of the second step (2.6).

    v_perp is what C_2 adds to v*: the normalized part of C_2 v* orthogonal to v*. Where C_2 adds
    nothing, it is v* turned clockwise by a right angle in a plane, and 0 in other dimensions.

    Raises
    ------
    ValueError
        If the target has no linear part.
    """
    c_1 = hermite_tensor(target, 1)
    tolerance = ZERO * sqrt(second_moment(target))
    if np.linalg.norm(c_1) <= tolerance:
        raise ValueError(f"target {target!r} has no linear part, hence no direction v*")
    v = c_1 / np.linalg.norm(c_1)
    c_2_v = hermite_tensor(target, 2) @ v
    added = c_2_v - (v @ c_2_v) * v
    if np.linalg.norm(added) > tolerance:
        return v, added / np.linalg.norm(added)
    return v, np.array([v[1], -v[0]]) if len(v) == 2 else np.zeros_like(v)


def second_step(
    target: str, ratio: ArrayLike, scale: ArrayLike, with_output: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Rescaled gradient components of the second step in the teacher plane, ReLU (2.3).

    For f* = A u + B u s with u = <v*, z>, s = <v_perp, z> and readout e_i = eps_i = +-1,
    p <g_i, v*> = eps_i alpha / 2 and p <g_i, v_perp> = B rho / sqrt(2 pi), where
    alpha = A - c/2 is the slope left by the network of step 1 and rho its row alignment (2.2).
    A = |C_1| and B = C_2[v*, v_perp] are taken from the target; its other coefficients (such as
    C_2[v*, v*], zero for ``minus``) do not enter (2.3).

    Parameters
    ----------
    target : str
        Name in ``TARGETS``, of leap 1.
    ratio, scale : array_like
        n/d (infinity allowed) and s = eta/p, broadcast against each other.
    with_output : bool
        False neglects the network output in the residual, alpha = A (correlation loss; the
        published theory lines).

    Returns
    -------
    u, s : ndarray
        p <g, v*> / eps and p <g, v_perp>; s has the same sign for both eps.

    Raises
    ------
    ValueError
        If the target has no linear part.
    """
    v, v_perp = teacher_frame(target)
    slope = sqrt(linear_part(target))  # A
    mixed = v @ hermite_tensor(target, 2) @ v_perp  # B
    _, c_1, c_2 = hermite_coefficients("relu", 2)
    c = np.asarray(scale, dtype=float) * c_1 * slope
    alpha = slope - c_1 * c if with_output else slope + 0 * c
    rho = row_alignment(target, ratio, scale)
    return c_1 * alpha, c_2 * mixed * rho


def second_step_slopes(
    target: str, ratio: ArrayLike, scale: ArrayLike, with_output: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes z2/z1 of the two clusters of the second step in the teacher plane (2.3).

    Parameters are those of `second_step`. Normalizing a gradient within the plane keeps its
    slope, so these are the lines of both the raw and the unit-circle scatter.

    Returns
    -------
    plus, minus : ndarray
        For e = +1 (eps u v* + s v_perp with eps = 1) and for e = -1; reciprocal to each other
        where v* is the diagonal.

    Raises
    ------
    ValueError
        If the target does not have two teacher directions, or no linear part.
    """
    if directions(target) != 2:
        raise ValueError(f"target {target!r} has {directions(target)} teacher directions, not 2")
    v, v_perp = teacher_frame(target)
    u, s = second_step(target, ratio, scale, with_output)
    plus, minus = (
        (eps * u * v[1] + s * v_perp[1]) / (eps * u * v[0] + s * v_perp[0]) for eps in (1, -1)
    )
    return plus, minus


# --- Second layer (2.7, 2.8) ------------------------------------------------------------------


def frozen_feature_plateau(
    target: str, dimension: int, width: int, draws: int = 4, seed: int = 0
) -> float:
    """Error of frozen ReLU features at n >> p, without regularization (2.7).

    err = Var f* - |C_1|^2 F, F = b^T (c_1^2 W W^T + c_*^2 I)^(-1) b, b = c_1 W v, with
    c_*^2 = E[sigma^2] - c_0^2 - c_1^2. The law of W does not change under rotations, so F is
    averaged over v as well: F = tr[c_1^2 W W^T (c_1^2 W W^T + c_*^2 I)^(-1)] / d.

    Parameters
    ----------
    target : str
        Name in ``TARGETS``.
    dimension, width : int
        d and p (distinct rows); the result depends on p/d up to finite-size corrections.
    draws : int
        Number of matrices W, rows uniform on the unit sphere.
    seed : int
        Seed of the draws.
    """
    c_0, c_1 = hermite_coefficients("relu", 1)
    c_star_squared = activation_second_moment("relu") - c_0**2 - c_1**2
    rng = np.random.default_rng(seed)
    explained = []
    for _ in range(draws):
        w = rng.standard_normal((width, dimension))
        w /= np.linalg.norm(w, axis=1, keepdims=True)
        linear = c_1**2 * np.linalg.eigvalsh(w @ w.T)
        explained.append(np.sum(linear / (linear + c_star_squared)) / dimension)
    return variance(target) - linear_part(target) * float(np.mean(explained))


def surrogate_coefficients(
    u: ArrayLike, kappa: ArrayLike, s: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Conditional Gaussian surrogate of a ReLU neuron given the spike component u (2.8).

    With h = kappa u + s g, g standard normal: m = E[sigma(h)], b = E[g sigma(h)] and
    cstar^2 = E[sigma(h)^2] - m^2 - b^2, in closed form through t = kappa u / s.

    Parameters
    ----------
    u : array_like
        Component of the sample on the spike direction q.
    kappa, s : array_like
        Component of the row on q and norm of the rest (s > 0); all three are broadcast.

    Returns
    -------
    m, b, cstar : ndarray
    """
    mean, s = np.asarray(kappa, dtype=float) * u, np.asarray(s, dtype=float)
    t = mean / s
    cdf, pdf = ndtr(t), np.exp(-(t**2) / 2) / sqrt(2 * pi)
    m = mean * cdf + s * pdf
    b = s * cdf
    second = (mean**2 + s**2) * cdf + mean * s * pdf
    # Deep in the linear regime of the ReLU the difference is zero up to rounding of either sign.
    return m, b, np.sqrt(np.maximum(second - m**2 - b**2, 0))
