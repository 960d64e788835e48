"""Update rules, in place on the parameters of many runs, each with its own learning rate."""

from __future__ import annotations

from collections.abc import Callable

import torch

from regimes.ensemble.networks import Parameters

Update = Callable[[Parameters, Parameters, torch.Tensor], None]


def sgd(params: Parameters, gradient: Parameters, rate: torch.Tensor) -> None:
    """``theta <- theta - rate * g``, with ``rate`` of shape (R,)."""
    for name, value in params.items():
        value.addcmul_(gradient[name], _over(rate, value), value=-1)


def sign_sgd(params: Parameters, gradient: Parameters, rate: torch.Tensor) -> None:
    """``theta <- theta - rate * sign(g)``, with ``rate`` of shape (R,)."""
    for name, value in params.items():
        value.addcmul_(gradient[name].sign(), _over(rate, value), value=-1)


def _over(rate: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return rate.view(-1, *(1,) * (value.ndim - 1))


UPDATES: dict[str, Update] = {"sgd": sgd, "sign": sign_sgd}
