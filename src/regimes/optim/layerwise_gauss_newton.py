"""Layer-wise Gauss-Newton in the space of samples.

The Gauss-Newton matrix of one layer is J^T J / N with one row of J per example and column of the
loss's curvature, J_(ik) = h_i (x) s_ik. Its damped inverse on the gradient needs only the matrix

    J J^T = (S S^T) o (H H^T)        (entrywise, H H^T repeated over the K columns),
    P = J^T (J J^T / N + rho)^-1 c / N,   where the gradient is J^T c / N,

of size N K, however wide the layer (arXiv 2312.12226, appendix). The run is the first axis.
"""

from __future__ import annotations

from torch import Tensor

from regimes.nn.lanewise import product
from regimes.optim import kronecker


def tangent_kernel(inputs: Tensor, signals: Tensor, columns: int) -> Tensor:
    """J J^T / N (R, N K, N K) of inputs (R, N, n) and signals (R, N K, m), K columns each."""
    samples = inputs.shape[1]
    kernel = product(signals, signals.mT).unflatten(1, (samples, columns))
    kernel = kernel.unflatten(3, (samples, columns))
    kernel = kernel * product(inputs, inputs.mT)[:, :, None, :, None]
    return kernel.flatten(3).flatten(1, 2) / samples


def direction(
    inputs: Tensor, signals: Tensor, coefficients: Tensor, kernel: Tensor, rho: Tensor
) -> tuple[Tensor, Tensor]:
    """Damped Gauss-Newton direction of a layer as a product of thin matrices.

    Parameters
    ----------
    inputs : Tensor (R, N, n)
        H.
    signals : Tensor (R, N K, m)
        S, columns of the loss's curvature propagated to the layer's outputs.
    coefficients : Tensor (R, N, K)
        Of the columns in the derivatives of the loss of each example.
    kernel : Tensor (R, N K, N K)
        `tangent_kernel` of these.
    rho : Tensor (R,)
        Damping.

    Returns
    -------
    left, right : Tensor (R, n, N), (R, N, m)
        P = left @ right.
    """
    samples = inputs.shape[1]
    known = coefficients.flatten(1).unsqueeze(-1)
    solved = kronecker.divided(kronecker.prepared(kernel, rho), known)
    weights = solved.squeeze(-1).unflatten(1, coefficients.shape[1:])
    return inputs.mT / samples, kronecker.combined(weights, signals)
