"""Settings of one giant-step run (paper, sections 1-2 and Algorithm 1)."""

from __future__ import annotations

from math import sqrt
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from regimes.config import RunSettings
from regimes.studies.giant_step.functions import ACTIVATIONS, TARGETS, directions


class GiantSteps(RunSettings):
    """Hyperparameters of one run of Algorithm 1: giant steps, then ridge regression."""

    TABLES: ClassVar[dict[str, str]] = {
        "target": "regimes.studies.giant_step.functions:TARGETS",
        "activation": "regimes.studies.giant_step.functions:ACTIVATIONS",
    }

    target: Literal[tuple(TARGETS)] = Field(description="name of the target f*")
    activation: Literal[tuple(ACTIVATIONS)] = Field("relu", description="name of the activation")
    dimension: Annotated[int, Field(ge=2)] = Field(description="input dimension d")
    width: Annotated[int, Field(ge=2)] = Field(description="number of neurons p")
    batch_factor: Annotated[float, Field(gt=0)] = Field(1.0, description="n = factor * d^exponent")
    batch_exponent: Annotated[float, Field(ge=0, le=4)] = Field(
        1.0, description="n = factor * d^exponent"
    )
    steps: Annotated[int, Field(ge=0, le=100)] = Field(
        1, description="number of giant steps T, each on a fresh batch; 0 keeps the initial weights"
    )
    learning_rate_rule: Literal["scaled", "width", "root"] = Field(
        "scaled",
        description="eta / factor: p sqrt(n/d) (scaled), p (width), sqrt(n p) (root)",
    )
    learning_rate_factor: Annotated[float, Field(gt=0)] = Field(
        1.0, description="factor of the learning rate rule"
    )
    residual: Literal["full", "labels"] = Field(
        "full", description="full: y - f(z); labels: y alone (correlation loss)"
    )
    rows: Literal["sphere", "gauss"] = Field("sphere", description="law of the rows of W at step 0")
    readout: Literal["uniform", "gauss", "hypercube"] = Field(
        "uniform", description="law of the read-out weights a"
    )
    symmetric: bool = Field(
        True, description="w_i = w_(p-i+1), a_i = -a_(p-i+1): zero output at step 0"
    )
    preprocess: bool = Field(
        False, description="subtract mean and linear part of the labels, measured on the batch"
    )
    ridge_strengths: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (), description="strengths of the second-stage ridge; empty: no second stage"
    )
    ridge_data: Literal["fresh", "same"] = Field(
        "fresh", description="second stage on a fresh batch, or on the last one of stage 1"
    )
    ridge_batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="batch sizes of the second stage; empty: the n of the first stage"
    )
    surrogate: bool = Field(
        False,
        description="also ridge on conditional Gaussian surrogate features, at the last step",
    )
    test_size: Annotated[int, Field(ge=100)] = Field(20_000, description="fresh test samples")
    spectrum: bool = Field(
        False, description="store the singular values of the first gradient (first p/2 rows)"
    )
    start_seed: int | None = Field(
        None, description="seed of teacher, W and a where runs share them; null: the run's own seed"
    )

    @model_validator(mode="after")
    def _consistent(self) -> GiantSteps:
        if self.symmetric and self.width % 2:
            raise ValueError("width must be even where symmetric is true")
        if directions(self.target) > self.dimension:
            raise ValueError("dimension is below the number of teacher directions of the target")
        if self.surrogate and not (self.ridge_strengths and self.steps):
            raise ValueError("surrogate needs ridge strengths and at least one step")
        if self.ridge_data == "same" and (self.ridge_batch_sizes or not self.steps):
            raise ValueError("ridge_data: same needs steps >= 1 and no ridge_batch_sizes")
        return self

    @property
    def batch_size(self) -> int:
        """Samples per giant step, n = round(factor * d^exponent)."""
        return max(1, round(self.batch_factor * self.dimension**self.batch_exponent))

    @property
    def learning_rate(self) -> float:
        """Learning rate eta of section 2.4 (proportional to p, growing with n)."""
        n, d, p = self.batch_size, self.dimension, self.width
        scale = {"scaled": p * sqrt(n / d), "width": float(p), "root": sqrt(n * p)}
        return self.learning_rate_factor * scale[self.learning_rate_rule]


KINDS = {"giant_steps": GiantSteps}
