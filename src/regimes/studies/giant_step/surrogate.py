"""Conditional Gaussian surrogate of the network's features (paper, conditional equivalence).

Along the spike direction q the features stay what they are; orthogonal to it they become a linear
map plus independent Gaussian noise of the same first two moments. With z = u q + z_perp,
w_i = kappa_i q + w_i_perp, s_i = |w_i_perp|:

    sigma(<w_i, z>)  ->  m_i(u) + b_i(u) <w_i_perp, z_perp>/s_i + cstar_i(u) xi_i
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import pi, sqrt

import numpy as np
import torch

from regimes import lanes
from regimes.studies.giant_step.functions import ACTIVATIONS


def surrogate_coefficients(
    u: torch.Tensor, kappa: torch.Tensor, s: torch.Tensor, activation: str = "relu"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coefficients m, b, cstar of the surrogate, elementwise over broadcast arguments.

    ``m = E sigma(kappa u + s g)``, ``b = E g sigma(kappa u + s g)``,
    ``cstar^2 = E sigma^2 - m^2 - b^2`` over g ~ N(0, 1): in closed form for ReLU, otherwise by
    Gauss-Hermite quadrature, exact for polynomials up to degree 7.
    """
    mean = kappa * u
    if activation == "relu":
        t = mean / s
        cdf = torch.special.ndtr(t)
        pdf = torch.exp(-(t**2) / 2) / sqrt(2 * pi)
        m = mean * cdf + s * pdf
        b = s * cdf
        second = (mean**2 + s**2) * cdf + mean * s * pdf
    else:
        nodes, weights = np.polynomial.hermite_e.hermegauss(8)
        m = b = second = 0.0
        for node, weight in zip(nodes, weights / sqrt(2 * pi), strict=True):
            value = ACTIVATIONS[activation][0](mean + s * node)
            m = m + weight * value
            b = b + weight * node * value
            second = second + weight * value**2
    return m, b, (second - m**2 - b**2).clamp(min=0).sqrt()


def surrogate_features(
    rows: torch.Tensor,
    spike: torch.Tensor,
    noise: Iterable[torch.Tensor],
    activation: str = "relu",
    mirrored: bool = False,
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Feature map of the surrogate: Z (R, m, d) -> (R, m, p), float64, to be used for one pass.

    Parameters
    ----------
    rows : Tensor (R, p, d)
        First-layer weights W.
    spike : Tensor (R, d)
        Spike direction of the first gradient, of any length.
    noise : iterable of Tensor (R, m, p)
        Standard Gaussian xi, in chunks of the same sizes as those of Z.
    activation : str
        Name in `functions.ACTIVATIONS`.
    mirrored : bool
        Neurons i and p-i+1 are copies of each other and share their xi (symmetric start).
    """
    rows = rows.double()
    direction = torch.nn.functional.normalize(spike.double(), dim=1)
    kappa = lanes.product(rows, direction.unsqueeze(2)).transpose(1, 2)  # (R, 1, p)
    rest = rows - kappa.transpose(1, 2) * direction.unsqueeze(1)
    s = rest.norm(dim=2).unsqueeze(1)
    unit = (rest / s.transpose(1, 2)).to(spike.dtype)
    axis = direction.to(spike.dtype).unsqueeze(1)
    chunks = iter(noise)

    def feature_map(samples: torch.Tensor) -> torch.Tensor:
        u = lanes.product(axis, samples.transpose(1, 2)).transpose(1, 2).double()
        xi = next(chunks).double()
        if mirrored:
            half = xi[:, :, : xi.shape[2] // 2]
            xi = torch.cat([half, half.flip(2)], dim=2)
        m, b, cstar = surrogate_coefficients(u, kappa, s, activation)
        # w_perp is orthogonal to q, so <w_perp, z_perp> = <w_perp, z>.
        return m + b * lanes.product(samples, unit.transpose(1, 2)).double() + cstar * xi

    return feature_map
