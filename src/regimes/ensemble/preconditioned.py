"""Second-order update rules of the engine: K-FAC, FOOF, Shampoo, layer-wise Gauss-Newton.

They turn the gradients and statistics of `regimes.ensemble.recorded` into one direction per
layer,

    K-FAC:    A <- (1 - ema) A + ema H^T H / N,   B <- (1 - ema) B + ema S^T S / N,
              P = (A + rho_A)^-1 G (B + rho_B)^-1            (FOOF without B),
    Shampoo:  L <- (1 - ema) L + ema G G^T,       R <- (1 - ema) R + ema G^T G,
              P = (L + rho_L)^-1/4 G (R + rho_R)^-1/4,
    layer-wise Gauss-Newton:  P = J^T (J J^T / N + rho)^-1 c / N,

and leave the step along it to a first-order rule (momentum, weight decay, learning rate per
layer). Averages start at the first batch's factors. With an interval, factors and their inverses
are renewed at the first of so many steps. Parameters that belong to no layer, as those of batch
norms, follow their gradient.

Without averages a linear layer never sees a matrix larger than the number of its samples, where
that is smaller than the side: see `regimes.optim.kronecker.Samples`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from regimes.ensemble.networks import Parameters
from regimes.ensemble.recorded import statistic
from regimes.ensemble.updates import Hyperparameters, Update
from regimes.nn.lanewise import product
from regimes.nn.taped.layers import Layer
from regimes.optim import kronecker, layerwise_gauss_newton, shampoo
from regimes.optim.kronecker import Factor, Prepared, Samples

METHODS = ("kfac", "foof", "shampoo", "layerwise_gn")
SCALED = "scaled"  # damping rule: strengths per layer and factor, given as hyperparameters


@dataclass(frozen=True)
class Preconditioner:
    """How gradients of the layers of a model become directions.

    Attributes
    ----------
    layers : dict of Layer
    method : str
        One of `METHODS`.
    rule : str
        Damping rule: see `regimes.optim.kronecker.damping`; "scaled" takes the strength
        "damping" times "damping.<name>.A" and "damping.<name>.B" from the hyperparameters.
    ema : float
        Weight of the newest factors in their averages; 1: no memory.
    interval : int
        Steps from one renewal of the factors to the next.
    largest : int
        Longest side that has a dense factor; beyond it, as for large vocabularies, only the
        diagonal is kept.
    """

    layers: Mapping[str, Layer]
    method: str
    rule: str = "rescaled"
    ema: float = 1.0
    interval: int = 1
    largest: int = 20_000

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"preconditioners are {', '.join(METHODS)}, not {self.method!r}")
        if not (0 < self.ema <= 1 and self.interval >= 1):
            raise ValueError(f"ema lies in (0, 1] and interval is at least 1: {self}")
        if self.method == "layerwise_gn":
            others = [n for n, layer in self.layers.items() if layer.kind != "linear"]
            if others or self.remembers:
                raise ValueError(
                    "layer-wise Gauss-Newton has no averages and no interval, and linear layers "
                    f"only: ema {self.ema}, interval {self.interval}, other layers {others}"
                )

    @property
    def remembers(self) -> bool:
        """Whether factors live longer than a step."""
        return self.ema < 1 or self.interval > 1

    def directions(
        self, gradient: Parameters, memory: Parameters, hyper: Hyperparameters
    ) -> Parameters:
        """Directions of all parameters; renews what the memory holds."""
        result = dict(gradient)
        for name, layer in self.layers.items():
            of = {"shampoo": self._shampoo, "layerwise_gn": self._gauss_newton}
            matrix = of.get(self.method, self._kfac)(name, gradient, memory, hyper)
            result[name] = matrix.reshape(len(matrix), *layer.shape)
        return {name: value for name, value in result.items() if "/" not in name}

    def measured(
        self, gradient: Parameters, hyper: Hyperparameters
    ) -> dict[str, dict[str, Tensor]]:
        """Factors of one batch, without memory, and their damping.

        Returns
        -------
        dict of dict of Tensor (R,)
            Per layer "trace_A", "lambda_max_A", "rho_A", the same for B where there is a second
            factor (A stands for J J^T / N of layer-wise Gauss-Newton, A and B for G G^T and G^T G
            of Shampoo), and "precond_grad_norm", the norm of the direction.
        """
        single = Preconditioner(self.layers, self.method, self.rule, largest=self.largest)
        directions = single.directions(gradient, {}, hyper)
        found = {}
        for name in self.layers:
            norm = directions[name].flatten(1).square().sum(1).sqrt()
            found[name] = {"precond_grad_norm": norm}
            for side, spectrum in single._spectra(name, gradient, hyper).items():
                kinds = ("trace", "lambda_max", "rho")
                found[name] |= {f"{k}_{side}": v for k, v in zip(kinds, spectrum, strict=True)}
        return found

    def _spectra(
        self, name: str, gradient: Parameters, hyper: Hyperparameters
    ) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Trace, largest eigenvalue and damping of the factors of one batch."""
        if self.method == "shampoo":
            return self._products_spectra(name, gradient, hyper)
        if self.method == "layerwise_gn":
            factors = (self._kernel(name, gradient), None)
        else:
            factors = self._fresh(name, gradient)
        rho = self._damping(name, *factors, hyper)
        return {
            side: (kronecker.trace(factor), kronecker.largest_eigenvalue(factor), shift)
            for side, factor, shift in zip("AB", factors, rho, strict=True)
            if factor is not None
        }

    def _products_spectra(self, name, gradient, hyper) -> dict[str, tuple]:
        """The same of G G^T and G^T G, whose eigenvalues are equal up to zeros."""
        rows = gradient.get(statistic(name, "inputs"))
        if rows is not None:
            values = shampoo.eigenvalues(rows, gradient[statistic(name, "slopes")])
            total, largest = values.sum(-1), values.amax(-1)
            both = [(total, largest)] * 2
        else:
            sides = self._products(self.layers[name].matrix(gradient[name]))
            both = [(kronecker.trace(s), kronecker.largest_eigenvalue(s)) for s in sides]
        return {
            side: (total, largest, shampoo.ridge(self.rule, hyper["damping"], largest, total))
            for side, (total, largest) in zip("AB", both, strict=True)
        }

    def _damping(
        self, name: str, inputs: Factor, outputs: Factor | None, hyper: Hyperparameters
    ) -> kronecker.Damping:
        strength = hyper["damping"]
        if self.rule != SCALED:
            return kronecker.damping(self.rule, strength, inputs, outputs)
        given = [hyper.get(f"damping.{name}.{side}", torch.zeros_like(strength)) for side in "AB"]
        return kronecker.Damping(*(strength * each for each in given))

    def _kfac(self, name, gradient, memory, hyper) -> Tensor:
        """K-FAC and FOOF."""
        inputs, outputs = self._kfac_factors(name, gradient, memory, hyper)
        rows = gradient.get(statistic(name, "inputs"))
        matrix = self.layers[name].matrix(gradient[name])
        if rows is None or rows.shape[1] >= max(matrix.shape[1:]):
            left = kronecker.divided(inputs, matrix)
            return left if outputs is None else kronecker.divided(outputs, left.mT).mT
        slopes = gradient[statistic(name, "slopes")]
        weights = gradient.get(statistic(name, "coefficients"))
        return product(*kronecker.thin_direction(rows, slopes, inputs, outputs, weights))

    def _kfac_factors(self, name, gradient, memory, hyper) -> tuple[Prepared, Prepared | None]:
        """Damped factors of this step: new ones, or those of the last renewal."""
        kept = {side: statistic(name, f"{side}.lower") for side in "AB"}
        renewed = any(statistic(name, kind) in gradient for kind in ("signals", "A"))
        if not renewed:
            return tuple(
                Prepared(memory[key], None, hyper["damping"]) if key in memory else None
                for key in kept.values()
            )
        sides = self._fresh(name, gradient)
        if self.remembers:
            sides = tuple(
                None if side is None else self._averaged(statistic(name, which), side, memory)
                for which, side in zip("AB", sides, strict=True)
            )
        rho = self._damping(name, *sides, hyper)
        found = tuple(
            None if side is None else kronecker.prepared(side, shift)
            for side, shift in zip(sides, rho, strict=True)
        )
        if self.interval > 1:
            for key, side in zip(kept.values(), found, strict=True):
                if side is not None:
                    memory[key] = side.lower
        return found

    def _averaged(self, key: str, new: Tensor, memory: Parameters) -> Tensor:
        if key not in memory:
            memory[key] = new.clone()
            return memory[key]
        return kronecker.averaged(memory[key], new, self.ema)

    def _fresh(self, name: str, gradient: Parameters) -> tuple[Factor, Factor | None]:
        """Factors A and B of this batch, in the form that the solution needs; B None for FOOF."""
        if statistic(name, "A") in gradient:
            inputs, outputs = (gradient[statistic(name, side)] for side in "AB")
        else:
            rows = gradient[statistic(name, "inputs")]
            inputs = self._factor(rows, rows.shape[1])
            outputs = self._factor(gradient[statistic(name, "signals")], rows.shape[1])
        return inputs, None if self.method == "foof" else outputs

    def _factor(self, rows: Tensor, samples: int) -> Factor:
        """Factor of rows (R, k, n): samples where they are few, diagonal where the side is long."""
        if not self.remembers and rows.shape[1] < rows.shape[2]:
            return Samples(rows / samples**0.5)
        if rows.shape[2] > self.largest:
            return rows.square().sum(1) / samples
        return kronecker.second_moment(rows, samples)

    def _shampoo(self, name, gradient, memory, hyper) -> Tensor:
        rows = gradient.get(statistic(name, "inputs"))
        matrix = self.layers[name].matrix(gradient[name])
        if not self.remembers and rows is not None and rows.shape[1] < max(matrix.shape[1:]):
            slopes = gradient[statistic(name, "slopes")]
            return product(*shampoo.thin_direction(rows, slopes, self.rule, hyper["damping"]))
        if not self.remembers:
            sides = self._products(matrix)
            return shampoo.dense_direction(matrix, *sides, self.rule, hyper["damping"])
        keys = [statistic(name, side) for side in "LR"]
        roots = [f"{key}.root" for key in keys]
        if round(float(memory["updates/count"][0])) % self.interval == 0:
            for key, root, side in zip(keys, roots, self._products(matrix), strict=True):
                factor = self._averaged(key, side, memory)
                memory[root] = shampoo.root(factor, self.rule, hyper["damping"])
        return shampoo.between(memory[roots[0]], matrix, memory[roots[1]])

    def _products(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """G G^T and G^T G, their diagonals for long sides."""
        rows, columns = matrix.shape[1:]
        left = matrix.square().sum(2) if rows > self.largest else product(matrix, matrix.mT)
        right = matrix.square().sum(1) if columns > self.largest else product(matrix.mT, matrix)
        return left, right

    def _kernel(self, name: str, gradient: Parameters) -> Tensor:
        weights = gradient[statistic(name, "coefficients")]
        return layerwise_gauss_newton.tangent_kernel(
            gradient[statistic(name, "inputs")],
            gradient[statistic(name, "signals")],
            weights.shape[2],
        )

    def _gauss_newton(self, name, gradient, memory, hyper) -> Tensor:
        kernel = self._kernel(name, gradient)
        rho = self._damping(name, kernel, None, hyper).inputs
        kinds = ("inputs", "signals", "coefficients")
        parts = (gradient[statistic(name, kind)] for kind in kinds)
        return product(*layerwise_gauss_newton.direction(*parts, kernel, rho))


def preconditioned(preconditioner: Preconditioner, step: Update) -> Update:
    """Update rule that steps along preconditioned gradients by a first-order rule.

    Parameters
    ----------
    preconditioner : Preconditioner
    step : Update
        Entry of `regimes.ensemble.updates.UPDATES`.
    """

    def memory(params: Parameters) -> Parameters:
        first = next(iter(params.values()))
        return {**step.memory(params), "updates/count": first.new_zeros(len(first))}

    def apply(params, gradient, memory, hyper) -> None:
        directions = preconditioner.directions(gradient, memory, hyper)
        step.apply(params, directions, memory, hyper)
        memory["updates/count"].add_(1)

    return Update(memory, apply)
