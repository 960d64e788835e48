"""Floating-point operations of torch code, counted as it runs, on a CPU, a GPU or without data."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from math import prod

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten


class Counter(TorchDispatchMode):
    """Counts matrix products, convolutions, attention and matrix decompositions.

    A multiplication with its addition counts as two. Elementwise operations are left out, which in
    all but the smallest networks is a few per cent. Decompositions count as in Golub and Van Loan,
    Matrix Computations (leading terms).

    Attributes
    ----------
    flops : float
        So far.
    peak : int
        Largest number of bytes of tensors made in this mode that were alive at one time; counted
        where ``track_memory`` is set.
    """

    def __init__(self, track_memory: bool = False) -> None:
        super().__init__()
        self.flops = 0.0
        self.paused = False
        self.peak = 0
        self._alive: dict[int, int] = {}
        self._bytes = 0
        self._tracked = track_memory

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and count it."""
        result = func(*args, **(kwargs or {}))
        if not self.paused:
            self.flops += of_operation(func, args, kwargs or {}, result)
        if self._tracked:
            for value in tree_leaves(result):
                if isinstance(value, torch.Tensor):
                    self._track(value.untyped_storage())
        return result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Do without the compiler, whose import takes longer than most of what is counted."""
        return False

    def _track(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = storage.nbytes()
            self._bytes += storage.nbytes()
            self.peak = max(self.peak, self._bytes)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._bytes -= self._alive.pop(key)


def of_operation(func, args: tuple, kwargs: dict, result) -> float:
    """Operations of one call; 0 for those that are not counted."""
    packet = func._overloadpacket
    packet = _IN_PLACE.get(packet, packet)
    if packet in _DECOMPOSITIONS:
        return float(_DECOMPOSITIONS[packet](*args, **kwargs))
    if packet in flop_registry:
        return float(flop_registry[packet](*args, **kwargs, out_val=result))
    return 0.0


_IN_PLACE = {aten.baddbmm_: aten.baddbmm, aten.addmm_: aten.addmm}


def _shape(matrix: torch.Tensor) -> tuple[int, int, int]:
    """Number of matrices, the longer side and the shorter one."""
    rows, columns = matrix.shape[-2:]
    return prod(matrix.shape[:-2]), max(rows, columns), min(rows, columns)


def _eigh(matrix, uplo="L", compute_v=True, **_) -> float:
    count, n, _n = _shape(matrix)
    return count * (9 if compute_v else 4 / 3) * n**3


def _svd(matrix, full_matrices=False, compute_uv=True, **_) -> float:
    count, m, n = _shape(matrix)
    return count * (6 * m * n**2 + 20 * n**3 if compute_uv else 2 * m * n**2 + 2 * n**3)


def _qr(matrix, mode="reduced", **_) -> float:
    count, m, n = _shape(matrix)
    return count * (2 if mode == "r" else 4) * (m - n / 3) * n**2


def _cholesky(matrix, *_, **__) -> float:
    count, n, _n = _shape(matrix)
    return count * n**3 / 3


def _triangular(matrix, right, *_, **__) -> float:
    count, n, _n = _shape(matrix)
    return count * n**2 * right.shape[-1]


def _cholesky_solve(right, lower, *_, **__) -> float:
    count, n, _n = _shape(lower)
    return count * 2 * n**2 * right.shape[-1]


def _inverse(matrix, *_, **__) -> float:
    count, n, _n = _shape(matrix)
    return count * 2 * n**3


def _solve(matrix, right, *_, **__) -> float:
    count, n, _n = _shape(matrix)
    columns = right.shape[-1] if right.dim() == matrix.dim() else 1
    return count * (2 / 3 * n**3 + 2 * n**2 * columns)


_DECOMPOSITIONS: dict[object, Callable[..., float]] = {
    aten._linalg_eigh: _eigh,
    aten._linalg_svd: _svd,
    aten.linalg_pinv: _svd,
    aten.linalg_qr: _qr,
    aten.linalg_cholesky_ex: _cholesky,
    aten.linalg_solve_triangular: _triangular,
    aten.cholesky_solve: _cholesky_solve,
    aten.linalg_inv_ex: _inverse,
    aten._linalg_solve_ex: _solve,
}
