"""Convolution and pooling of image maps, bits independent of how many runs are stacked.

Maps are (..., C, H, W, B): the batch is innermost, so every row of a patch matrix is made of
contiguous pieces of B numbers whatever the kernel, stride and channel count, and a map is a matrix
(C, H W B) without a copy. Runs share nothing: see `regimes.nn.lanewise`.

A convolution is a product of the kernel (N, k k C) and the patches (k k C, P), P the number of
output positions times B. Patches of all runs together would be k k times as large as their maps;
they are made for a few runs at a time, so that they are still in the cache for the product.

Grouped convolutions, which `vmap` makes of `torch.nn.functional.conv2d`, have bits that depend on
the number of groups. Measured on one core, a step of `regimes.nn.cnn` on 32 x 32 images takes 1.2
times as long as with them for 8 runs of width 4, and 0.7 to 0.9 times as long for 16 to 32 runs of
width 8; with `torch.nn.functional.unfold` it takes 1.5 to 4 times as long as here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from regimes import lanes
from regimes.nn.lanewise import add_present, empty, front, stack

# Bytes of patches made at a time: what stays in the cache, and on a GPU what fits the memory.
PATCHES = {"cpu": 2**22, "cuda": 2**30}


@dataclass(frozen=True)
class Window:
    """Where a k x k kernel stands on H x W maps; a bias is one more row of every patch, all ones.

    Attributes
    ----------
    kernel : int
        Side k.
    stride, padding : int
        Step between positions, and zeros added on each side.
    bias : bool
        Whether the kernel as a matrix has a last row, the bias.
    height, width : int
        Input map.
    """

    kernel: int
    stride: int
    padding: int
    bias: bool
    height: int
    width: int

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output map."""
        return tuple(
            (size + 2 * self.padding - self.kernel) // self.stride + 1
            for size in (self.height, self.width)
        )

    @property
    def plain(self) -> Window:
        """The same without bias."""
        return replace(self, bias=False)

    def weights(self, kernel: Tensor) -> Tensor:
        """Rows of a kernel (..., k k C [+ 1], N) without the bias."""
        return kernel[..., :-1, :] if self.bias else kernel

    def positions(self, maps: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Number of each place in the kernel, and what it sees of padded maps (..., H, W, B)."""
        spans = [(size - 1) * self.stride + 1 for size in self.out]
        for row in range(self.kernel):
            for column in range(self.kernel):
                yield (
                    row * self.kernel + column,
                    maps[
                        ...,
                        row : row + spans[0] : self.stride,
                        column : column + spans[1] : self.stride,
                        :,
                    ],
                )


def from_images(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Maps (C, H, W, B) of images (B, C, H, W), or of their flattened numbers (B, C H W)."""
    return x.reshape(-1, channels, height, width).permute(1, 2, 3, 0).contiguous()


def to_samples(maps: Tensor) -> Tensor:
    """Numbers (B, C H W) of each sample, a transposed view of maps (C, H, W, B)."""
    return maps.flatten(0, 2).mT


def convolve(
    maps: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
) -> Tensor:
    """Correlate maps with a kernel, as neural networks do.

    Parameters
    ----------
    maps : Tensor
        (..., C, H, W, B).
    kernel : Tensor
        (..., k, k, C, N).
    bias : Tensor, optional
        (..., N), added to every output position.
    stride, padding : int
        Step between positions, and zeros added on each side.

    Returns
    -------
    Tensor
        (..., N, H', W', B).
    """
    window = Window(kernel.shape[-4], stride, padding, bias is not None, *maps.shape[-3:-1])
    matrix = kernel.flatten(-4, -2)
    if bias is not None:
        matrix = torch.cat((matrix, bias.unsqueeze(-2)), -2)
    return _Convolve.apply(maps, matrix, window)


def average_pool(maps: Tensor) -> Tensor:
    """Averages over 2 x 2 squares, (..., H, W, B) to (..., H // 2, W // 2, B)."""
    height, width = maps.shape[-3] // 2, maps.shape[-2] // 2
    if (2 * height, 2 * width) != maps.shape[-3:-1]:
        maps = maps[..., : 2 * height, : 2 * width, :]
    # By unbind, as its gradient is one copy; that of an index fills a whole map with zeros first.
    top, bottom = maps.unflatten(-3, (height, 2)).unbind(-3)
    left, right = (top + bottom).unflatten(-2, (width, 2)).unbind(-2)
    return (left + right) * 0.25


def max_pool(maps: Tensor) -> Tensor:
    """Largest of 2 x 2 squares, (..., H, W, B) to (..., H // 2, W // 2, B).

    Equal numbers share the derivative.
    """
    height, width = maps.shape[-3] // 2, maps.shape[-2] // 2
    if (2 * height, 2 * width) != maps.shape[-3:-1]:
        maps = maps[..., : 2 * height, : 2 * width, :]
    top, bottom = maps.unflatten(-3, (height, 2)).unbind(-3)
    left, right = torch.maximum(top, bottom).unflatten(-2, (width, 2)).unbind(-2)
    return torch.maximum(left, right)


def overlapping_max_pool(maps: Tensor) -> Tensor:
    """Largest of 3 x 3 squares every 2 pixels, maps (..., H, W, B) padded by one pixel.

    As after the stem of residual networks for large images. Equal numbers share the derivative.
    """
    window = Window(3, 2, 1, False, *maps.shape[-3:-1])
    padded = F.pad(maps, (0, 0, 1, 1, 1, 1), value=-torch.inf)
    return reduce(torch.maximum, (seen for _, seen in window.positions(padded)))


class _Convolve(torch.autograd.Function):
    """Maps (..., C, H, W, B) and kernels (..., k k C [+ 1], N) to maps (..., N, H', W', B)."""

    @staticmethod
    def forward(maps: Tensor, kernel: Tensor, window: Window) -> Tensor:
        result = empty(maps.shape[:-4], kernel.shape[-1], *window.out, maps.shape[-1], like=maps)
        maps, left, out = stack(maps, 4), lanes.aligned(stack(kernel, 2).mT), stack(result, 4)
        for runs, patches in _patches(maps, window):
            torch.bmm(left[runs], patches, out=_matrix(out[runs]))
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.window = inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (maps, kernel), window = ctx.saved_tensors, ctx.window
        to_maps, to_kernel, _ = ctx.needs_input_grad
        return (
            _Spread.apply(gradient, window.weights(kernel), window.plain) if to_maps else None,
            _Correlate.apply(maps, gradient, window) if to_kernel else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, d_maps: Tensor | None, d_kernel: Tensor | None, _: None) -> Tensor:
        (maps, kernel), window = ctx.saved_tensors, ctx.window
        return add_present(
            None
            if d_maps is None
            else _Convolve.apply(d_maps, window.weights(kernel), window.plain),
            None if d_kernel is None else _Convolve.apply(maps, d_kernel, window),
        )

    @staticmethod
    def vmap(info: Any, axes: tuple, *inputs: Any) -> tuple[Tensor, int]:
        return _batched(_Convolve, info, axes, inputs)


class _Spread(torch.autograd.Function):
    """Gradient of the convolution to its maps.

    Output gradients (..., N, H', W', B) and kernels (..., k k C, N) to maps (..., C, H, W, B).
    """

    @staticmethod
    def forward(gradient: Tensor, kernel: Tensor, window: Window) -> Tensor:
        area, (*lead, _, _, _, batch), edge = window.kernel**2, gradient.shape, window.padding
        channels = kernel.shape[-2] // area
        height, width = window.height + 2 * edge, window.width + 2 * edge
        padded = gradient.new_zeros(*lead, channels, height, width, batch)
        gradient, maps = stack(gradient, 4), stack(padded, 4)
        left, right = lanes.aligned(stack(kernel, 2)), lanes.aligned(_matrix(gradient))
        for runs in _few_runs(gradient, channels, window):
            patches = lanes.product(left[runs], right[runs])
            patches = patches.unflatten(2, (*window.out, batch)).unflatten(1, (area, channels))
            for place, seen in window.positions(maps[runs]):
                seen.add_(patches[:, place])
        if not edge:
            return padded
        inside = slice(edge, -edge)
        return padded[..., inside, inside, :].clone(memory_format=torch.contiguous_format)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _Convolve.setup_context(ctx, inputs, output)

    @staticmethod
    def backward(ctx: Any, maps: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        gradient, kernel = ctx.saved_tensors
        to_gradient, to_kernel, _ = ctx.needs_input_grad
        return (
            _Convolve.apply(maps, kernel, ctx.window) if to_gradient else None,
            _Correlate.apply(maps, gradient, ctx.window) if to_kernel else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, d_gradient: Tensor | None, d_kernel: Tensor | None, _: None) -> Tensor:
        gradient, kernel = ctx.saved_tensors
        return add_present(
            None if d_gradient is None else _Spread.apply(d_gradient, kernel, ctx.window),
            None if d_kernel is None else _Spread.apply(gradient, d_kernel, ctx.window),
        )

    @staticmethod
    def vmap(info: Any, axes: tuple, *inputs: Any) -> tuple[Tensor, int]:
        return _batched(_Spread, info, axes, inputs)


class _Correlate(torch.autograd.Function):
    """Gradient of the convolution to its kernel.

    Maps (..., C, H, W, B) and output gradients (..., N, H', W', B) to (..., k k C [+ 1], N).
    """

    @staticmethod
    def forward(maps: Tensor, gradient: Tensor, window: Window) -> Tensor:
        rows = window.kernel**2 * maps.shape[-4] + window.bias
        result = empty(maps.shape[:-4], rows, gradient.shape[-4], like=maps)
        maps, out = stack(maps, 4), stack(result, 2)
        right = lanes.aligned(_matrix(stack(gradient, 4)).mT)
        for runs, patches in _patches(maps, window):
            torch.bmm(patches, right[runs], out=out[runs])
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _Convolve.setup_context(ctx, inputs, output)

    @staticmethod
    def backward(ctx: Any, kernel: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (maps, gradient), window = ctx.saved_tensors, ctx.window
        to_maps, to_gradient, _ = ctx.needs_input_grad
        return (
            _Spread.apply(gradient, window.weights(kernel), window.plain) if to_maps else None,
            _Convolve.apply(maps, kernel, window) if to_gradient else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, d_maps: Tensor | None, d_gradient: Tensor | None, _: None) -> Tensor:
        (maps, gradient), window = ctx.saved_tensors, ctx.window
        by_maps = None
        if d_maps is not None:
            by_maps = _Correlate.apply(d_maps, gradient, window.plain)
            if window.bias:
                by_maps = F.pad(by_maps, (0, 0, 0, 1))
        return add_present(
            by_maps,
            None if d_gradient is None else _Correlate.apply(maps, d_gradient, window),
        )

    @staticmethod
    def vmap(info: Any, axes: tuple, *inputs: Any) -> tuple[Tensor, int]:
        return _batched(_Correlate, info, axes, inputs)


def _batched(operation: Any, info: Any, axes: tuple, inputs: tuple) -> tuple[Tensor, int]:
    return operation.apply(*front(info, inputs[:2], axes[:2]), inputs[2]), 0


def _matrix(maps: Tensor) -> Tensor:
    """Maps (R, N, H, W, B) as matrices (R, N, H W B)."""
    return maps.flatten(2)


def _few_runs(maps: Tensor, channels: int, window: Window) -> Iterator[slice]:
    """Runs (R, ...) in groups whose patches of so many channels fit the cache together."""
    rows, columns = window.out
    size = window.kernel**2 * channels * rows * columns * maps.shape[4] * maps.element_size()
    step = max(1, PATCHES.get(maps.device.type, PATCHES["cpu"]) // size)
    for start in range(0, len(maps), step):
        yield slice(start, start + step)


def _patches(maps: Tensor, window: Window) -> Iterator[tuple[slice, Tensor]]:
    """Patches (r, k k C [+ 1], P) of a few runs at a time, lanes aligned.

    Runs that share their maps share the patches: all runs at once, patches made once.
    """
    if len(maps) > 1 and maps.stride(0) == 0:
        ((_, patches),) = _patches(maps[:1], window)
        yield slice(None), patches.expand(len(maps), -1, -1)
        return
    edge, (_, channels, _, _, batch) = window.padding, maps.shape
    for runs in _few_runs(maps, channels, window):
        padded = F.pad(maps[runs], (0, 0, edge, edge, edge, edge)) if edge else maps[runs]
        rows = window.kernel**2 * channels
        shape = (len(padded), rows + window.bias, *window.out, batch)
        patches = lanes.empty(*shape, dtype=maps.dtype, device=maps.device)
        patches[:, rows:] = 1
        places = patches[:, :rows].unflatten(1, (-1, channels))
        for place, seen in window.positions(padded):
            places[:, place] = seen
        yield runs, _matrix(patches)


def correlate(
    maps: Tensor, gradient: Tensor, kernel: int, *, stride: int = 1, padding: int = 0
) -> Tensor:
    """Gradient to a kernel of the convolution that sees these maps.

    Parameters
    ----------
    maps : Tensor
        (..., C, H, W, B).
    gradient : Tensor
        Of the loss with respect to the outputs, (..., N, H', W', B).
    kernel, stride, padding : int

    Returns
    -------
    Tensor
        (..., k, k, C, N).
    """
    window = Window(kernel, stride, padding, False, *maps.shape[-3:-1])
    matrix = _Correlate.apply(maps, gradient, window)
    return matrix.unflatten(-2, (kernel, kernel, maps.shape[-4]))


def patch_moment(maps: Tensor, kernel: int, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Sums of the outer products of all patches, over positions and batch.

    Parameters
    ----------
    maps : Tensor
        (R, C, H, W, B).
    kernel, stride, padding : int
        Of the convolution that sees them.

    Returns
    -------
    Tensor
        (R, k k C, k k C), in the order of a kernel's rows.
    """
    window = Window(kernel, stride, padding, False, *maps.shape[-3:-1])
    rows = kernel**2 * maps.shape[1]
    out = lanes.empty(len(maps), rows, rows, dtype=maps.dtype, device=maps.device)
    for runs, patches in _patches(maps, window):
        torch.bmm(patches, patches.mT, out=out[runs])
    return out
