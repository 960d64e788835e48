"""Vision transformer in the parameterization of the feature-strength study."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from regimes.nn import lanewise
from regimes.nn.normalization import layer_norm
from regimes.nn.parameterization import (
    Parameters,
    Shapes,
    Stream,
    bias_name,
    final_linear,
    normal,
    std_linear,
)

# Width of the hidden layer of a block over the width of its tokens.
RATIO = 4


@dataclass(frozen=True)
class ViT:
    """Transformer on patches: embedding, pre-norm blocks, mean over tokens, read-out.

    Patches -> linear embedding + learned positions; in each block h += attention(norm(h)) and
    h += linear(gelu(linear(norm(h)))), the hidden layer 4N wide; norm, mean over tokens, read-out
    N -> classes. Every linear layer is `std_linear`, the read-out `final_linear`. Logits of the
    attention are q . k / d_head, the power 1 of muP: queries and keys align as they learn.

    Attributes
    ----------
    shape : tuple of int
        Shape of an input: (C, H, W) cut into square patches, or (D,) into pieces.
    patch : int
        Side of a patch, or length of a piece; divides H and W, or D.
    width : int
        N, size of a token.
    depth : int
        Blocks.
    heads : int
        Heads of attention; divides the width.
    classes : int
        Outputs C.
    bias : bool
        Whether linear layers have biases.
    """

    shape: tuple[int, ...]
    patch: int
    width: int
    depth: int
    heads: int
    classes: int = 10
    bias: bool = True

    def __post_init__(self) -> None:
        sizes = (*self.shape, self.patch, self.width, self.depth, self.heads, self.classes)
        if min(sizes) < 1:
            raise ValueError(f"sizes of a network are positive: {self}")
        if len(self.shape) not in (1, 3):
            raise ValueError(f"an input is (C, H, W) or (D,), not {self.shape}")
        if any(side % self.patch for side in self._sides):
            raise ValueError(f"patches of {self.patch} do not tile inputs of {self.shape}")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")

    @property
    def width_multiplier(self) -> int:
        """N in the learning rate N * eta."""
        return self.width

    @property
    def tokens(self) -> int:
        """Patches of an input."""
        return prod(side // self.patch for side in self._sides)

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """Weights of each block, in the order of `features`; the embedding is in the first."""
        blocks = [_block(number) for number in range(1, self.depth + 1)]
        blocks[0] = ("w_embed", *blocks[0])
        return tuple(blocks)

    def shapes(self) -> Shapes:
        """Shapes of all parameters, block by block.

        "w_embed" (one patch, N) and "w_positions" (tokens, N); in block l, counted from 1,
        "wl.attention" (N, 3N) to queries, keys and values, heads together, "wl.mix" (N, N),
        "wl.up" (N, 4N) and "wl.down" (4N, N), the norms "scalel.attention", "scalel.up" and their
        shifts; "scale_last", "shift_last"; "w_readout". Biases follow their weights.
        """
        width = self.width
        weights = {"w_embed": (prod(self.shape) // self.tokens, width)}
        for number in range(1, self.depth + 1):
            sizes = ((width, 3 * width), (width, width), (width, RATIO * width))
            weights |= dict(zip(_block(number), (*sizes, (RATIO * width, width)), strict=True))
        weights["w_readout"] = (width, self.classes)
        shapes: Shapes = {}
        for name, size in weights.items():
            norm = "_last" if name == "w_readout" else name[1:]
            if norm == "_last" or name.endswith((".attention", ".up")):
                shapes |= {f"scale{norm}": (width,), f"shift{norm}": (width,)}
            shapes[name] = size
            if self.bias:
                shapes[bias_name(name)] = size[-1:]
            if name == "w_embed":
                shapes["w_positions"] = (self.tokens, width)
        return shapes

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters at the start, each weight from the stream of its name.

        Positions are N(0, 1) like weights: entries of the embedding have variance |patch|^2 / its
        size, 1 for standardized inputs, so position and content count alike.
        """
        return normal(self.shapes(), stream)

    def apply(self, params: Parameters, x: Tensor) -> Tensor:
        """Raw outputs o (B, C), before division by gamma, of inputs (B, ...)."""
        return self.features(params, x)[1]

    def features(self, params: Parameters, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Hidden representations (B, N) after each block, and raw outputs (B, C).

        Tokens are averaged; those of the last block after the last norm, as the read-out sees them.
        """
        h = std_linear(params, "w_embed", self._patches(x)) + params["w_positions"]
        hidden = []
        for number in range(1, self.depth + 1):
            attention, mix, up, down = _block(number)
            z = std_linear(params, attention, _norm(params, attention[1:], h))
            h = h + std_linear(params, mix, self._attend(z))
            z = lanewise.gelu(std_linear(params, up, _norm(params, up[1:], h)))
            h = h + std_linear(params, down, z)
            hidden.append(h.mean(1))
        hidden[-1] = _norm(params, "_last", h).mean(1)
        return hidden, final_linear(params, "w_readout", hidden[-1])

    @property
    def _sides(self) -> tuple[int, ...]:
        return self.shape[-2:]

    def _patches(self, x: Tensor) -> Tensor:
        """Inputs (B, ...) cut into patches: (B, tokens, numbers of a patch)."""
        if len(self.shape) == 1:
            return x.reshape(-1, self.tokens, self.patch)
        channels, height, width = self.shape
        rows, columns = height // self.patch, width // self.patch
        cut = x.reshape(-1, channels, rows, self.patch, columns, self.patch)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, rows * columns, channels * self.patch**2)

    def _attend(self, z: Tensor) -> Tensor:
        """Attention of queries, keys and values (B, tokens, 3N): (B, tokens, N)."""
        size = self.width // self.heads
        queries, keys, values = z.unflatten(2, (3, self.heads, size)).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(lanewise.product(queries, keys.mT) / size, -1)
        return lanewise.product(weights, values).transpose(1, 2).flatten(2)


def _block(number: int) -> tuple[str, str, str, str]:
    """Names of the weights of a block, in the order of their use."""
    return tuple(f"w{number}.{layer}" for layer in ("attention", "mix", "up", "down"))


def _norm(params: Parameters, name: str, h: Tensor) -> Tensor:
    return layer_norm(h, params[f"scale{name}"], params[f"shift{name}"])
