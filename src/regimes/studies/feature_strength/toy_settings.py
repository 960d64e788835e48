"""Settings of the toy models (sections 2.2-2.4, 6.2 of the specification)."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from regimes.config import RunSettings

MOST_VALUES = 5000


def axis(limits: tuple[float, float, float]) -> np.ndarray:
    """Values start, start + step, ... up to and including stop, rounded to six decimals.

    Rounding makes axes of different runs agree where they overlap.
    """
    start, stop, step = limits
    count = int(np.floor((stop - start) / step + 1e-6)) + 1
    return np.round(start + step * np.arange(count), 6)


def _increasing(limits: tuple[float, float, float]) -> tuple[float, float, float]:
    start, stop, step = limits
    if step < 1e-6 or stop < start:
        raise ValueError("must be start, stop, step with start <= stop and step > 0")
    if (stop - start) / step > MOST_VALUES:
        raise ValueError(f"has more than {MOST_VALUES} values")
    return limits


Range = Annotated[tuple[float, float, float], AfterValidator(_increasing)]
Loss = Literal["mse", "cross_entropy"]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]
Positive = Annotated[float, Field(gt=0)]


class OneWeight(RunSettings):
    """One-weight models f = (w^L - 1) / gamma on a grid of feature strengths and rates."""

    depth: Annotated[int, Field(ge=2, le=8)] = Field(description="depth L, power of the weight")
    loss: Loss = Field(description="loss, squared error or cross-entropy")
    optimizer: Literal["gd", "sign"] = Field("gd", description="gradient descent or SignSGD")
    steps: Steps = Field(description="number of updates T")
    log10_gamma_range: Range = Field(description="start, stop, step of log10 gamma")
    log10_eta_range: Range = Field(description="start, stop, step of log10 eta")
    grid_shifts: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="copies of the grid of log10 eta, shifted by equal parts of its step"
    )


class TwoWeights(RunSettings):
    """Two-weight models f = u v / gamma: thresholds, trajectories, duration of catapults."""

    loss: Loss = Field(description="loss, squared error or cross-entropy")
    steps: Steps = Field(description="number of updates T of the grid")
    log10_gamma_range: Range = Field(description="start, stop, step of log10 gamma")
    log10_eta_range: Range = Field(description="start, stop, step of log10 eta")
    shown_log10_gamma: float = Field(description="log10 gamma of the trajectories")
    shown_multiples: tuple[Positive, ...] = Field(
        description="learning rates of the trajectories, in units of the catapult threshold"
    )
    shown_steps: Steps = Field(description="number of updates of the trajectories")
    duration_log10_gamma: float = Field(description="log10 gamma of the durations")
    duration_range: Range = Field(description="start, stop, step of log10(eta/gamma), durations")
    duration_steps: Steps = Field(description="number of updates after which durations end")


class StaircaseToy(RunSettings):
    """Decoupled one-weight models with several targets: modes learned one after the other."""

    depth: Annotated[int, Field(ge=2, le=8)] = Field(description="depth L, power of the weights")
    log10_gamma: float = Field(description="log10 of the feature strength gamma")
    targets: tuple[Positive, ...] = Field(description="target of each mode")
    edge_share: Positive = Field(description="eta in units of the edge of stability 2/H")
    steps: Steps = Field(description="number of updates T")


TOY_KINDS: dict[str, type[RunSettings]] = {
    "one_weight": OneWeight,
    "two_weights": TwoWeights,
    "staircase_toy": StaircaseToy,
}
