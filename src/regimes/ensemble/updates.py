"""Update rules, in place on the parameters of many runs, each with its own hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from regimes.ensemble.networks import Parameters

Hyperparameters = Mapping[str, torch.Tensor]


class Update(NamedTuple):
    """An update rule and what it remembers between steps.

    Attributes
    ----------
    memory
        From parameters of R runs to the memory before the first step, tensors (R, ...); what is
        remembered of a parameter bears its name.
    apply
        ``apply(params, gradient, memory, hyperparameters)`` changes parameters and memory in
        place; hyperparameters are tensors (R,): "rate", in its place "rate.<name>" for a parameter
        with a learning rate of its own, and whatever else the rule reads.
    """

    memory: Callable[[Parameters], Parameters]
    apply: Callable[[Parameters, Parameters, Parameters, Hyperparameters], None]


def rate_of(hyper: Hyperparameters, name: str) -> torch.Tensor:
    """Learning rates (R,) of a parameter: its own, or those of all."""
    own = hyper.get(f"rate.{name}")
    return hyper["rate"] if own is None else own


def _nothing(params: Parameters) -> Parameters:
    return {}


def _zeros(params: Parameters) -> Parameters:
    return {name: torch.zeros_like(value) for name, value in params.items()}


def sgd(
    params: Parameters, gradient: Parameters, memory: Parameters, hyper: Hyperparameters
) -> None:
    """``theta <- theta - rate * g``, with ``rate`` of shape (R,): see `rate_of`."""
    for name, value in params.items():
        value.addcmul_(gradient[name], _over(rate_of(hyper, name), value), value=-1)


def sign_sgd(
    params: Parameters, gradient: Parameters, memory: Parameters, hyper: Hyperparameters
) -> None:
    """``theta <- theta - rate * sign(g)``, with ``rate`` of shape (R,)."""
    for name, value in params.items():
        value.addcmul_(gradient[name].sign(), _over(rate_of(hyper, name), value), value=-1)


def heavy_ball(
    params: Parameters, gradient: Parameters, memory: Parameters, hyper: Hyperparameters
) -> None:
    """``v <- momentum v + g + weight_decay theta``, then ``theta <- theta - rate v``.

    The convention of ``torch.optim.SGD`` without dampening; the memory is v, zero at first.
    """
    for name, value in params.items():
        buffer = memory[name]
        buffer.mul_(_over(hyper["momentum"], value)).add_(gradient[name])
        buffer.addcmul_(value, _over(hyper["weight_decay"], value))
        value.addcmul_(buffer, _over(rate_of(hyper, name), value), value=-1)


def decayed(
    params: Parameters, gradient: Parameters, memory: Parameters, hyper: Hyperparameters
) -> None:
    """``theta <- theta - rate * (g + weight_decay * theta)``: `sgd` with weight decay."""
    for name, value in params.items():
        rate = _over(rate_of(hyper, name), value)
        step = torch.addcmul(gradient[name], value, _over(hyper["weight_decay"], value))
        value.addcmul_(step, rate, value=-1)


BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam


def adam(
    params: Parameters, gradient: Parameters, memory: Parameters, hyper: Hyperparameters
) -> None:
    """Adam with bias correction (Kingma and Ba, algorithm 1), weight decay added to the gradient.

    The convention of ``torch.optim.Adam``; the memory holds the running means of gradients and of
    their squares, and the number of updates.
    """
    count = memory["updates"].add_(1)
    corrections = [1 - beta**count for beta in BETAS]
    for name, value in params.items():
        mean, square = memory[f"{name}.mean"], memory[f"{name}.square"]
        slope = torch.addcmul(gradient[name], value, _over(hyper["weight_decay"], value))
        mean.lerp_(slope, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
        first, second = (_over(each.to(value.dtype), value) for each in corrections)
        spread = (square / second).sqrt_().add_(EPSILON)
        value.addcmul_(mean / spread, _over(rate_of(hyper, name), value) / first, value=-1)


def _moments(params: Parameters) -> Parameters:
    """Memory of `adam`: zeros."""
    first = next(iter(params.values()))
    memory = {"updates": first.new_zeros(len(first), dtype=torch.float64)}
    for name, value in params.items():
        memory[f"{name}.mean"] = torch.zeros_like(value)
        memory[f"{name}.square"] = torch.zeros_like(value)
    return memory


def _over(rate: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return rate.view(-1, *(1,) * (value.ndim - 1))


UPDATES: dict[str, Update] = {
    "sgd": Update(_nothing, sgd),
    "sign": Update(_nothing, sign_sgd),
    "heavy_ball": Update(_zeros, heavy_ball),
    "decayed": Update(_nothing, decayed),
    "adam": Update(_moments, adam),
}
