"""Largest and smallest eigenvalues of the Hessian of many runs at once.

Products of the Hessian (or its Gauss-Newton part) with a vector per run, and Lanczos iterations
that use nothing else. Everything is batched over R runs along the first axis; a run's numbers do
not depend on its neighbours, and on the CPU neither do their bits for any R >= 2.

Parameters are dicts of stacked tensors (R, ...); vectors are flat, (R, P), in the order of the
dict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from regimes import lanes
from regimes.observe.aligned import AlignedProducts

Params = Mapping[str, Tensor]
Product = Callable[[Tensor], Tensor]

FIRST_BASIS = 64  # vectors for which memory is taken at first, doubled when they are used up


def flatten(tensors: Params) -> Tensor:
    """Stacked tensors (R, ...) side by side as one vector per run, (R, P); without gradient."""
    parts = [tensor.detach().reshape(tensor.shape[0], -1) for tensor in tensors.values()]
    size = sum(part.shape[1] for part in parts)
    flat = lanes.empty(parts[0].shape[0], size, dtype=parts[0].dtype, device=parts[0].device)
    torch.cat(parts, 1, out=flat)
    return flat


def unflatten(flat: Tensor, like: Params) -> dict[str, Tensor]:
    """Vectors (R, P) cut into aligned copies of the shapes of ``like``, the inverse of `flatten`.

    Raises
    ------
    ValueError
        If the length of the vectors is not the number of parameters.
    """
    sizes = [tensor[0].numel() for tensor in like.values()]
    if sum(sizes) != flat.shape[1]:
        raise ValueError(f"vectors have {flat.shape[1]} numbers, the parameters {sum(sizes)}")
    parts = flat.split(sizes, 1)
    return {
        name: lanes.spaced(part.reshape(flat.shape[0], *tensor.shape[1:]))
        for part, (name, tensor) in zip(parts, like.items(), strict=True)
    }


def hessian_vector_products(
    loss: Callable[..., Tensor], params: Params, extras: Sequence = ()
) -> Product:
    """Products of the Hessian of each run's loss with a vector per run.

    The gradient is formed once and its graph kept; a product is the derivative of its inner
    product with the vector. On an MLP that takes 40 % of the time of forward-over-reverse
    (`torch.func.jvp` of the gradient), which repeats the gradient for every vector.

    Parameters
    ----------
    loss : callable
        ``loss(params_of_one_run, *extras_of_one_run) -> scalar``; twice differentiable by
        autograd, for instance attention written out, not fused. What all runs share (data,
        labels) belongs in its closure.
    params : dict of Tensor (R, ...)
        Point at which the Hessian is taken.
    extras : sequence
        What differs between runs, tensors (R, ...) or dicts of them: gamma (R,), frozen outputs.

    Returns
    -------
    callable
        ``product(vectors (R, P)) -> (R, P)``. It holds on to the graph: on an MLP measured as six
        times the hidden activations of all runs, eleven times while it computes a product.
    """
    point = _leaves(params)
    with torch.enable_grad(), AlignedProducts():
        total = vmap(loss)(point, *extras).sum()
        gradient = _derivative([total], point.values(), create=True)

    def product(vectors: Tensor) -> Tensor:
        along = unflatten(vectors, point)
        with AlignedProducts():
            result = _derivative(gradient, point.values(), along.values())
        return flatten(dict(zip(point, result, strict=True)))

    return product


def gauss_newton_products(
    apply: Callable[..., Tensor],
    loss: Callable[..., Tensor],
    params: Params,
    extras: Sequence = (),
) -> Product:
    """Products of the Gauss-Newton matrix J^T H J of each run with a vector per run.

    J is the Jacobian of the network outputs, H the Hessian of the loss with respect to them.

    Parameters
    ----------
    apply : callable
        ``apply(params_of_one_run, *extras_of_one_run) -> outputs``, any shape.
    loss : callable
        ``loss(outputs_of_one_run, *extras_of_one_run) -> scalar``.
    params, extras
        As in `hessian_vector_products`; the extras go to both functions.

    Returns
    -------
    callable
        ``product(vectors (R, P)) -> (R, P)``.
    """
    point = _leaves(params)
    with torch.enable_grad(), AlignedProducts():
        outputs = vmap(apply)(point, *extras)
        # J^T u is linear in u: its derivative with respect to u, applied to a vector, is J times
        # that vector, at any u.
        weights = torch.zeros_like(outputs).requires_grad_()
        pulled = _derivative([outputs], point.values(), [weights], create=True)
        reached = outputs.detach().requires_grad_()
        total = vmap(loss)(reached, *extras).sum()
        slope = _derivative([total], [reached], create=True)

    def product(vectors: Tensor) -> Tensor:
        along = unflatten(vectors, point)
        with AlignedProducts():
            change = _derivative(pulled, [weights], along.values())
            change = _derivative(slope, [reached], change)
            result = _derivative([outputs], point.values(), change)
        return flatten(dict(zip(point, result, strict=True)))

    return product


class Eigenvalues(NamedTuple):
    """Result of `lanczos`; NaN in a run whose products are not finite.

    Attributes
    ----------
    values : Tensor (R, wanted)
        Algebraically largest eigenvalues, decreasing.
    lowest : Tensor (R,)
        Algebraically smallest eigenvalue.
    residuals : Tensor (R, wanted)
        |A x - theta x| of each value, over the largest |theta| of the run, without the rounding
        of the products. The error of a value is at most that, and for a separated value close to
        its square.
    lowest_residual : Tensor (R,)
        The same for ``lowest``.
    vectors : Tensor (R, P)
        Unit eigenvector of the largest value.
    iterations : Tensor (R,)
        Products used until the run's first successful check (else until the end).
    converged : Tensor (R,) of bool
        Whether all residuals came below the tolerance.
    """

    values: Tensor
    lowest: Tensor
    residuals: Tensor
    lowest_residual: Tensor
    vectors: Tensor
    iterations: Tensor
    converged: Tensor


def start_vectors(
    runs: int,
    size: int,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Start vectors (R, P) for `lanczos`: one random unit vector, the same for all runs.

    Drawn on the CPU in float64, whatever the dtype and the device.
    """
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    vector = (vector / vector.norm()).to(device, dtype)
    return lanes.spaced(vector.expand(runs, size))


def lanczos(
    product: Product,
    start: Tensor,
    wanted: int,
    *,
    largest_iterations: int,
    tolerance: float,
    check_every: int = 10,
    lowest: bool = True,
) -> Eigenvalues:
    """Algebraically largest eigenvalues and the smallest one of symmetric matrices, one per run.

    Lanczos iterations with full reorthogonalization (Gram-Schmidt done twice; Golub and Van Loan,
    Matrix Computations, chapter 10). All runs iterate together; each is read at its first
    successful check, so that the result of a run does not depend on how long others take.

    An eigenvalue of exact multiplicity k is found once before the Krylov space of the start vector
    is exhausted; then the iteration goes on with a random vector orthogonal to it and finds the
    copies.

    Parameters
    ----------
    product : callable
        Products of the matrices with vectors, (R, P) to (R, P).
    start : Tensor (R, P)
        Start vectors of any length, see `start_vectors`; gives the dtype and the device.
    wanted : int
        Number of largest eigenvalues.
    largest_iterations : int
        Bound on the products; P if that is smaller. The basis takes P numbers per run and
        iteration.
    tolerance : float
        A run has converged when the residuals of the wanted and of the smallest eigenvalue are
        below ``tolerance`` times its largest |eigenvalue|. In float32 not below about 1e-6.
    check_every : int
        Iterations between checks.
    lowest : bool
        Whether the smallest eigenvalue has to converge too; it often takes twice as long.

    Returns
    -------
    Eigenvalues
        In the dtype of ``start``; where a run has not converged, the state of the last iteration.

    Raises
    ------
    ValueError
        If more eigenvalues are wanted than there are iterations or parameters.
    """
    runs, size = start.shape
    longest = min(largest_iterations, size)
    if not 1 <= wanted <= longest:
        raise ValueError(f"wanted is {wanted}, but iterations and parameters allow 1 to {longest}")
    basis = lanes.spaced(start[:, None, :])
    basis[:, 0] = start / _norm(start)[:, None]
    diagonal, beside, scale = [], [], start.new_zeros(runs)
    results, done = None, torch.zeros(runs, dtype=torch.bool)

    for used in range(1, longest + 1):
        spanned, last = basis[:, :used], used == longest
        image = lanes.spaced(product(basis[:, used - 1]))
        overlap = _orthogonalize_(image, spanned)
        length = _norm(image)
        diagonal.append(overlap[:, -1])
        scale = torch.maximum(scale, torch.maximum(diagonal[-1].abs(), length))
        # Nothing but rounding is left in a vector this short: the space is invariant.
        exhausted = length <= 10 * torch.finfo(start.dtype).eps * scale
        beside.append(length.masked_fill(exhausted, 0))

        if last or (used % check_every == 0 and used >= wanted):
            now, failed = _read(spanned, diagonal, beside, wanted, tolerance, lowest)
            results = now if results is None else _keep(results, now, done)
            done |= now.converged.cpu() | failed
            if done.all():
                break
        if not last:
            if used == basis.shape[1]:
                basis = _longer(basis, min(longest, max(2 * used, FIRST_BASIS)))
            basis[:, used] = _next_vector(image, length, exhausted, spanned)
    return results


def _longer(basis: Tensor, rows: int) -> Tensor:
    """Copy of a basis (R, m, P) with room for more vectors."""
    runs, used, size = basis.shape
    longer = lanes.empty(runs, rows, size, dtype=basis.dtype, device=basis.device)
    longer[:, :used] = basis
    return longer


def _keep(old: Eigenvalues, new: Eigenvalues, done: Tensor) -> Eigenvalues:
    """Old results where a run is done, otherwise the new."""
    pairs = zip(old, new, strict=True)
    return Eigenvalues(*(torch.where(_like(done, now), was, now) for was, now in pairs))


def _read(
    basis, diagonal, beside, wanted: int, tolerance: float, lowest: bool
) -> tuple[Eigenvalues, Tensor]:
    """State of all runs after some iterations, and which of them have failed (are not finite).

    The small eigenproblems are solved in float64 on the CPU, whatever the basis is in.
    """
    tridiagonal, failed = _tridiagonal(diagonal, beside)
    theta, states = torch.linalg.eigh(tridiagonal)
    picked = [*range(-1, -1 - wanted, -1), 0]
    largest = theta.abs().amax(1, keepdim=True)
    # What a product moves out of the space spanned so far: all along the next vector.
    residual = beside[-1].cpu().double()[:, None] * states[:, -1, picked].abs()
    needed = residual if lowest else residual[:, :-1]
    converged = (needed <= tolerance * largest).all(1) & ~failed
    residual = residual / largest.clamp_min(torch.finfo(theta.dtype).tiny)
    vectors = lanes.weighted_sum(states[:, :, -1].to(basis), basis)
    numbers = (
        theta[:, picked[:-1]],
        theta[:, 0],
        residual[:, :-1],
        residual[:, -1],
        vectors / _norm(vectors)[:, None],
    )
    numbers = [value.masked_fill(_like(failed, value), torch.nan).to(basis) for value in numbers]
    iterations = torch.full_like(failed, len(diagonal), dtype=torch.int64).to(basis.device)
    return Eigenvalues(*numbers, iterations, converged.to(basis.device)), failed


def _like(runs: Tensor, other: Tensor) -> Tensor:
    """Mask of runs (R,) on the device of a tensor (R, ...), shaped to be used with it."""
    return runs.to(other.device).view(-1, *[1] * (other.dim() - 1))


def _tridiagonal(diagonal, beside) -> tuple[Tensor, Tensor]:
    """Tridiagonal matrices (R, m, m), zero where any entry is not finite, and where that is."""
    alpha, beta = (torch.stack(column, 1).cpu().double() for column in (diagonal, beside))
    failed = ~(torch.isfinite(alpha).all(1) & torch.isfinite(beta).all(1))
    alpha, beta = (torch.where(failed[:, None], 0, column) for column in (alpha, beta[:, :-1]))
    matrix = torch.diag_embed(alpha) + torch.diag_embed(beta, 1) + torch.diag_embed(beta, -1)
    return matrix, failed


def _orthogonalize_(vectors: Tensor, basis: Tensor) -> Tensor:
    """Remove from vectors (R, P), in place, their parts along a basis (R, m, P).

    Returns those parts, (R, m). The second pass removes what rounding left of the first.
    """
    parts = 0
    for _ in range(2):
        found = lanes.times_vector(basis, vectors)
        vectors -= lanes.weighted_sum(found, basis)
        parts = parts + found
    return parts


def _next_vector(image, length, exhausted, basis) -> Tensor:
    """Return the image as a unit vector; a random one orthogonal to the basis where exhausted."""
    unit = image / length[:, None]
    if not exhausted.any():
        return unit
    other = start_vectors(*image.shape, seed=basis.shape[1], dtype=image.dtype, device=image.device)
    _orthogonalize_(other, basis)
    return torch.where(exhausted[:, None], other / _norm(other)[:, None], unit)


def _norm(vectors: Tensor) -> Tensor:
    """Lengths of vectors (R, P): (R,)."""
    vectors = lanes.spaced(vectors)
    return lanes.product(vectors.unsqueeze(1), vectors.unsqueeze(2)).flatten().sqrt()


def _leaves(params: Params) -> dict[str, Tensor]:
    """Aligned copies of the parameters with respect to which derivatives are taken."""
    return {name: lanes.spaced(value.detach()).requires_grad_() for name, value in params.items()}


def _derivative(
    values: Iterable[Tensor],
    inputs: Iterable[Tensor],
    along: Iterable[Tensor] | None = None,
    *,
    create: bool = False,
) -> tuple[Tensor, ...]:
    """Gradient of the values times ``along``; zero where there is no influence; keeps the graph."""
    values, inputs = list(values), list(inputs)
    along = [None] * len(values) if along is None else list(along)
    # A value that is constant, as the gradient of what enters linearly, has no graph.
    kept = [index for index, value in enumerate(values) if value.requires_grad]
    if not kept:
        return tuple(torch.zeros_like(value) for value in inputs)
    return torch.autograd.grad(
        [values[index] for index in kept],
        inputs,
        [along[index] for index in kept],
        retain_graph=True,
        create_graph=create,
        materialize_grads=True,
    )
