"""Batch norm and layer norm as functions of one batch, without memory of earlier ones."""

from __future__ import annotations

from torch import Tensor

# Added to variances, as by torch.nn.
SMALL = 1e-5


def batch_norm(maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Each channel to mean zero and variance one over this batch and its positions, then affine.

    Parameters
    ----------
    maps : Tensor
        (..., C, H, W, B).
    scale, shift : Tensor
        (..., C).
    """
    channels = _standard(maps.flatten(-3)) * scale.unsqueeze(-1) + shift.unsqueeze(-1)
    return channels.unflatten(-1, maps.shape[-3:])


def layer_norm(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Each row of h (..., n) to mean zero and variance one, then affine with (n,) each."""
    return _standard(h) * scale + shift


def _standard(rows: Tensor) -> Tensor:
    """Rows with mean zero and variance one."""
    # Written out: the same sums as torch.nn, in an order that does not depend on other runs.
    centred = rows - rows.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / (variance + SMALL).sqrt()
