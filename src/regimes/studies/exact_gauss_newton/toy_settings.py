"""Settings of the runs that check the update and the architecture themselves (sections 2, 7)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from regimes.config import RunSettings

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Even = Annotated[int, Field(ge=2, multiple_of=2)]
Positive = Annotated[float, Field(gt=0)]


class _Toy(RunSettings):
    """A small reversible network, all blocks nonlinear, in float64 without truncation."""

    inputs: Even = Field(description="input dimension d")
    blocks: Count = Field(description="number of blocks L")
    width: Count = Field(description="bottleneck width d'")
    samples: Count = Field(description="samples n")
    activation: Literal["tanh", "relu"] = Field(description="activation of all blocks")
    expansion_std: Positive = Field(1.0, description="standard deviation of the frozen C")
    weight_std: Positive = Field(description="standard deviation of the initial weights")

    @model_validator(mode="after")
    def _independent_features(self) -> _Toy:
        if self.samples > self.width:
            raise ValueError(
                f"samples: {self.samples} samples cannot have independent features of width "
                f"{self.width}; the update is exact for samples <= width"
            )
        return self


class Identities(_Toy):
    """The layer-wise update against the network's Jacobian, written out in full."""

    smallest_step: Positive = Field(1e-5, description="smallest alpha of the compared steps")
    largest_step: Positive = Field(1e-3, description="largest alpha of the compared steps")
    step_sizes: Annotated[int, Field(ge=2)] = Field(9, description="log-spaced values of alpha")

    @model_validator(mode="after")
    def _increasing(self) -> Identities:
        if self.largest_step <= self.smallest_step:
            raise ValueError("largest_step must be larger than smallest_step")
        return self


class Flow(_Toy):
    """Full-batch Gauss-Newton on the squared loss of random targets."""

    alpha: Annotated[float, Field(gt=0, le=1)] = Field(description="step alpha in function space")
    end: Positive = Field(1.0, description="time t = alpha k of the last step")

    @property
    def steps(self) -> int:
        """Number of updates."""
        return round(self.end / self.alpha)

    @model_validator(mode="after")
    def _whole_steps(self) -> Flow:
        if self.steps < 1 or abs(self.steps * self.alpha / self.end - 1) > 1e-9:
            raise ValueError("end must be a multiple of alpha, so that a step ends there")
        return self


class FeatureRank(RunSettings):
    """Singular values of the features of the first half-coupled layer at the start."""

    data: Literal["digits", "gaussian", "mnist", "cifar10"] = Field(
        description="what is fed in: 'gaussian' stands for standard normal numbers"
    )
    inputs: Even | None = Field(None, description="input dimension d of Gaussian data")
    samples: Count = Field(description="samples n, the first ones of a data set")
    width: Count = Field(description="bottleneck width d'")
    activation: Literal["relu", "linear"] = Field(description="activation of the features")
    rtol: Positive = Field(description="singular values below rtol times the largest do not count")

    @model_validator(mode="after")
    def _inputs_of_draws(self) -> FeatureRank:
        if (self.data == "gaussian") != (self.inputs is not None):
            raise ValueError("inputs: needed for Gaussian data, and known for all others")
        return self


class Counts(RunSettings):
    """Number of trainable parameters, from the shapes alone."""

    inputs: Even = Field(description="input dimension d")
    blocks: Count = Field(description="number of blocks L")
    width: Count | None = Field(None, description="bottleneck width d'; without: no bottleneck")


TOY_KINDS: dict[str, type[RunSettings]] = {
    "identities": Identities,
    "flow": Flow,
    "rank": FeatureRank,
    "counts": Counts,
}
