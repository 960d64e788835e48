"""Updates in the space of samples against dense ones, on random matrices in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from regimes.data.streams import numpy_stream
from regimes.nn.lanewise import product
from regimes.optim import kronecker, layerwise_gauss_newton, shampoo
from regimes.studies.second_order_mup.toy_settings import Exponents

DENSE_WEIGHTS = 1024  # weights of the layer whose Gauss-Newton matrix is written out
REWRITINGS = ("push_through", "woodbury", "thin_svd", "sample_space", "tangent_kernel")


def _distance(found: Tensor, dense: Tensor) -> np.ndarray:
    """Relative Frobenius distances (R,)."""
    gap = (found - dense).flatten(1).norm(dim=1)
    return (gap / dense.flatten(1).norm(dim=1)).numpy()


def dense_gauss_newton(jacobian: Tensor, coefficients: Tensor, samples: int, rho: Tensor) -> Tensor:
    """(J'J / N + rho)^-1 J'c / N of Jacobians (R, N C, P) and coefficients (R, N C): (R, P).

    With the matrix of all P weights, as the rewriting in the space of samples avoids it.
    """
    size = jacobian.shape[-1]
    matrix = product(jacobian.mT, jacobian) / samples
    matrix = matrix + rho.view(-1, 1, 1) * torch.eye(size, dtype=rho.dtype)
    gradient = product(jacobian.mT, coefficients.unsqueeze(-1)) / samples
    return torch.linalg.solve(matrix, gradient).squeeze(-1)


def rewriting_errors(
    inputs: Tensor, signals: Tensor, coefficients: Tensor, damping: Tensor
) -> dict[str, np.ndarray]:
    """Distances between updates in sample space and dense ones.

    Parameters
    ----------
    inputs : Tensor (R, N, n)
        Inputs h of the layer.
    signals : Tensor (R, N C, m)
        Derivatives of the C outputs with respect to the layer's outputs.
    coefficients : Tensor (R, N, C)
        Derivatives of the loss with respect to the outputs.
    damping : Tensor (R,)
        Dampings over the largest eigenvalue of their factor.

    Returns
    -------
    dict
        (R,) by entry of `REWRITINGS`. The Gauss-Newton matrix of the layer is written out for its
        first outputs only, so many that it has at most `DENSE_WEIGHTS` rows.
    """
    samples, columns = coefficients.shape[1:]
    slopes = kronecker.combined(coefficients, signals)
    gradient = product(inputs.mT, slopes) / samples
    a = kronecker.second_moment(inputs, samples)
    b = kronecker.second_moment(signals, samples)
    rho = kronecker.damping("largest", damping, a, b)

    kfac = kronecker.dense_direction(gradient, a, b, *rho)
    both = product(*kronecker.sample_direction(inputs, slopes, signals, *rho, coefficients))
    one = product(*kronecker.sample_direction(inputs, slopes, signals, *rho))

    sides = shampoo.factors(gradient)
    roots = shampoo.dense_direction(gradient, *sides, "largest", damping)
    thin = product(*shampoo.thin_direction(inputs, slopes, "largest", damping))

    few = signals[..., : max(1, DENSE_WEIGHTS // inputs.shape[-1])].contiguous()
    repeated = inputs.repeat_interleave(columns, dim=1)
    jacobian = (repeated.unsqueeze(-1) * few.unsqueeze(-2)).flatten(2)
    kernel = layerwise_gauss_newton.tangent_kernel(inputs, few, columns)
    rho_kernel = damping * kronecker.largest_eigenvalue(kernel)
    gauss_newton = dense_gauss_newton(jacobian, coefficients.flatten(1), samples, rho_kernel)
    solved = layerwise_gauss_newton.direction(inputs, few, coefficients, kernel, rho_kernel)
    return {
        "push_through": _distance(both, kfac),
        "woodbury": _distance(one, kfac),
        "thin_svd": _distance(thin, roots),
        "sample_space": _distance(product(*solved).flatten(1), gauss_newton),
        "tangent_kernel": _distance(kernel, product(jacobian, jacobian.mT) / samples),
    }


def exponents(runs: Sequence[Exponents]) -> xr.Dataset:
    """Errors of the rewritings on normal matrices, and random powers, of runs of one shape."""
    one = runs[0]
    shapes = {
        "inputs": (one.samples, one.width),
        "signals": (one.samples * one.outputs, one.width),
        "coefficients": (one.samples, one.outputs),
    }
    drawn = [
        torch.from_numpy(
            np.stack([numpy_stream(run.seed, name).standard_normal(shape) for run in runs])
        )
        for name, shape in shapes.items()
    ]
    damping = torch.tensor([run.damping for run in runs], dtype=torch.float64)
    errors = rewriting_errors(*drawn, damping)
    powers = np.stack([numpy_stream(run.seed, "powers").random((2, one.pairs)) for run in runs])
    return xr.Dataset(
        {
            "power_inputs": (("run", "pair"), powers[:, 0]),
            "power_outputs": (("run", "pair"), powers[:, 1]),
            "rewriting_error": (("run", "rewriting"), np.stack(list(errors.values()), 1)),
        },
        coords={"pair": np.arange(one.pairs), "rewriting": list(errors)},
    )
