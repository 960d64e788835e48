"""Reversible multilayer perceptron with frozen random expansions (RevMLP).

A block couples the two halves of its input, each half in turn (Buffelli et al. 2024, eqs. 14-15;
rows are samples here),

    y1 = x1 + phi_F(x2) W_F + b_F,    y2 = x2 + phi_G(y1) W_G + b_G,    phi(u) = s(u C),

with trainable W (d', h), b (h,) and a frozen Gaussian expansion C (h, d'), h = d / 2: an inverted
bottleneck where d' > h. Logits are ``x_L U`` with a frozen U of orthonormal columns. A block is
inverted in closed form, so tangents travel backwards through the network without any derivative of
a loss; that is what makes the Gauss-Newton update of `regimes.optim.gauss_newton` exact and cheap.

Everything takes any number of leading axes (none, or R runs), the same for parameters and data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from regimes.nn import lanewise
from regimes.nn.parameterization import Shapes, Stream

Parameters = Mapping[str, Tensor]

READOUT = "readout"
ACTIVATIONS = ("relu", "tanh")


class Half(NamedTuple):
    """What a half-coupled layer computed.

    Attributes
    ----------
    source : Tensor (..., B, h)
        The half u of the state that it reads.
    features : Tensor (..., B, d')
        phi(u) = s(u C).
    """

    source: Tensor
    features: Tensor


class Pass(NamedTuple):
    """A forward pass.

    Attributes
    ----------
    first, second : Tensor (..., B, h)
        Halves of x_L.
    halves : tuple of Half
        F and G of the first block, F and G of the second, ...
    """

    first: Tensor
    second: Tensor
    halves: tuple[Half, ...]

    @property
    def output(self) -> Tensor:
        """x_L (..., B, d)."""
        return torch.cat([self.first, self.second], -1)


@dataclass(frozen=True)
class RevMLP:
    """Shapes and equations; parameters and frozen tensors come in one dict.

    Trained are ``w1f, b1f, w1g, b1g, w2f, ...``, frozen ``c1f, c1g, ...`` and ``readout``.

    Attributes
    ----------
    inputs : int
        Dimension d of inputs and states, even.
    blocks : int
        Number L of blocks: 2 L half-coupled layers.
    width : int or None
        Width d' of the expansions; None: no expansion, C = 1 and d' = h.
    outputs : int or None
        Number k of logits, at most d; None: no read-out, the output is x_L itself.
    activation : str
        "relu" or "tanh".
    first_block_linear : bool
        Whether the first block has no activation, as in the official code.

    Raises
    ------
    ValueError
        If a size is impossible; an odd d has no halves.
    """

    inputs: int
    blocks: int
    width: int | None
    outputs: int | None = 10
    activation: str = "relu"
    first_block_linear: bool = True

    def __post_init__(self) -> None:
        if self.inputs < 2 or self.inputs % 2:
            raise ValueError(
                f"a reversible network splits its inputs into halves: their number must be even, "
                f"not {self.inputs}; append a column of zeros"
            )
        if self.blocks < 1 or (self.width is not None and self.width < 1):
            raise ValueError(f"numbers of blocks and width are positive: {self}")
        if self.outputs is not None and not 1 <= self.outputs <= self.inputs:
            raise ValueError(f"between 1 and {self.inputs} outputs, not {self.outputs}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activations are {', '.join(ACTIVATIONS)}: {self}")

    @property
    def half_width(self) -> int:
        """H = d / 2."""
        return self.inputs // 2

    @property
    def features(self) -> int:
        """Number of features of a half-coupled layer: d', or h without expansion."""
        return self.half_width if self.width is None else self.width

    @property
    def halves(self) -> tuple[str, ...]:
        """Names of the half-coupled layers in the order of the forward pass: 1f, 1g, 2f, ..."""
        return tuple(f"{block}{side}" for block in range(1, self.blocks + 1) for side in "fg")

    def linear(self, half: str) -> bool:
        """Whether a half-coupled layer has no activation."""
        return self.first_block_linear and half[:-1] == "1"

    def shapes(self) -> Shapes:
        """Shapes of the trained parameters."""
        shapes: Shapes = {}
        for half in self.halves:
            shapes[f"w{half}"] = (self.features, self.half_width)
            shapes[f"b{half}"] = (self.half_width,)
        return shapes

    def initial(self, stream: Stream, sigma: float) -> dict[str, np.ndarray]:
        """Float64 parameters at the start: weights N(0, sigma^2), biases zero.

        Parameters
        ----------
        stream
            From a parameter's name to its random generator.
        sigma
            Standard deviation; the paper's 1e-3 makes the network nearly the identity map.
        """
        return {
            name: np.zeros(shape)
            if name.startswith("b")
            else sigma * stream(name).standard_normal(shape)
            for name, shape in self.shapes().items()
        }

    def frozen(self, stream: Stream, expansion_std: float | None = None) -> dict[str, np.ndarray]:
        """Float64 expansions and read-out.

        Parameters
        ----------
        stream
            From a tensor's name to its random generator.
        expansion_std
            Standard deviation of C; ``1 / sqrt(d')`` unless given (official code).
        """
        drawn: dict[str, np.ndarray] = {}
        if self.width is not None:
            scale = 1 / sqrt(self.width) if expansion_std is None else expansion_std
            for half in self.halves:
                shape = (self.half_width, self.width)
                drawn[f"c{half}"] = scale * stream(f"c{half}").standard_normal(shape)
        if self.outputs is not None:
            gaussian = stream(READOUT).standard_normal((self.inputs, self.outputs))
            drawn[READOUT] = np.linalg.qr(gaussian)[0]
        return drawn

    def run(self, params: Parameters, x: Tensor) -> Pass:
        """Forward pass of inputs (..., B, d)."""
        first, second = x.chunk(2, -1)
        halves = []
        for block in range(1, self.blocks + 1):
            features = self.expand(params, f"{block}f", second)
            halves.append(Half(second, features))
            first = first + self.couple(params, f"{block}f", features)
            features = self.expand(params, f"{block}g", first)
            halves.append(Half(first, features))
            second = second + self.couple(params, f"{block}g", features)
        return Pass(first, second, tuple(halves))

    def apply(self, params: Parameters, x: Tensor) -> Tensor:
        """Outputs (..., B, k) of inputs (..., B, d)."""
        return self.readout(params, self.run(params, x).output)

    def readout(self, params: Parameters, state: Tensor) -> Tensor:
        """Logits x_L U (..., B, k), or x_L itself without read-out."""
        return state if self.outputs is None else lanewise.product(state, params[READOUT])

    def lift(self, params: Parameters, error: Tensor) -> Tensor:
        """Output errors (..., B, k) as errors of x_L (..., B, d): eps U^T."""
        return error if self.outputs is None else lanewise.product(error, params[READOUT].mT)

    def states(self, passed: Pass) -> list[Tensor]:
        """Outputs [y1, y2] (..., B, d) of every block."""
        # What the next block's F reads is y2; what a block's G reads is y1.
        firsts = [half.source for half in passed.halves[1::2]]
        seconds = [*(half.source for half in passed.halves[2::2]), passed.second]
        return [torch.cat(pair, -1) for pair in zip(firsts, seconds, strict=True)]

    def inverse(self, params: Parameters, output: Tensor) -> Tensor:
        """Inputs (..., B, d) that the network maps to these x_L."""
        first, second = output.chunk(2, -1)
        for block in range(self.blocks, 0, -1):
            second = second - self._half(params, f"{block}g", first)
            first = first - self._half(params, f"{block}f", second)
        return torch.cat([first, second], -1)

    def inverse_tangent(
        self, params: Parameters, block: int, passed: Pass, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tangent of the inverse of a block: from changes of its output to changes of its input.

        Parameters
        ----------
        params
            Trained and frozen tensors.
        block
            Counted from 1.
        passed
            Forward pass, whose activations are used instead of rebuilt.
        first, second : Tensor (..., B, h)
            Tangents of y1 and y2.

        Returns
        -------
        tuple of Tensor (..., B, h)
            Tangents of x1 and x2.
        """
        of_f, of_g = passed.halves[2 * block - 2 : 2 * block]
        second = second - self.push(params, f"{block}g", of_g, first)
        first = first - self.push(params, f"{block}f", of_f, second)
        return first, second

    def push(self, params: Parameters, half: str, at: Half, tangent: Tensor) -> Tensor:
        """Directional derivative of ``u -> phi(u) W`` along a tangent (..., B, h)."""
        if self.width is not None:
            tangent = lanewise.product(tangent, params[f"c{half}"])
        if not self.linear(half):  # derivatives from the activations themselves
            if self.activation == "relu":  # zero at zero
                tangent = torch.ops.aten.threshold_backward(tangent, at.features, 0)
            else:
                tangent = tangent * (1 - at.features.square())
        return lanewise.product(tangent, params[f"w{half}"])

    def expand(self, params: Parameters, half: str, source: Tensor) -> Tensor:
        """Features phi(u) = s(u C) (..., B, d') of u (..., B, h)."""
        if self.width is not None:
            source = lanewise.product(source, params[f"c{half}"])
        if self.linear(half):
            return source
        return torch.relu(source) if self.activation == "relu" else lanewise.tanh(source, 2)

    def couple(self, params: Parameters, half: str, features: Tensor) -> Tensor:
        """What a half-coupled layer adds to the other half, phi W + b (..., B, h)."""
        bias = params[f"b{half}"].unsqueeze(-2)
        return lanewise.product(features, params[f"w{half}"]) + bias

    def _half(self, params: Parameters, half: str, source: Tensor) -> Tensor:
        return self.couple(params, half, self.expand(params, half, source))
