"""Settings of the runs that check the theory itself: exact rewritings, one step from zero."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from regimes.config import RunSettings

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Positive = Annotated[float, Field(gt=0)]

DIGITS = 1797  # images in the data set


class Exponents(RunSettings):
    """Exponents of random preconditioners, and updates in sample space against dense ones."""

    width: Annotated[int, Field(ge=1, le=1024)] = Field(
        description="width M of the random layer: M inputs and M outputs"
    )
    samples: Count = Field(description="examples N of the batch")
    outputs: Count = Field(description="outputs C of the network, for the Fisher signals")
    damping: Positive = Field(description="damping over the largest eigenvalue of its factor")
    pairs: Count = Field(description="random powers (e_A, e_B) of the factors, uniform in [0, 1]")


class ZeroOutputStep(RunSettings):
    """One step of a relu network with zero output weights, and kernel ridge regression.

    Squared loss on +1 for even and -1 for odd digits; weights N(0, 1 / fan_in), no biases.
    """

    width: Count = Field(description="width M of the hidden layers")
    depth: Annotated[int, Field(ge=2)] = Field(3, description="number of weight layers L")
    samples: Annotated[int, Field(ge=2)] = Field(description="training samples N")
    test_samples: Count = Field(description="test samples")
    smallest_ridge: Positive = Field(description="smallest damping rho, rho_A = rho M")
    largest_ridge: Positive = Field(description="largest damping rho")
    ridges: Annotated[int, Field(ge=2)] = Field(3, description="log-spaced values of rho")

    @model_validator(mode="after")
    def _increasing(self) -> ZeroOutputStep:
        if self.largest_ridge <= self.smallest_ridge:
            raise ValueError("largest_ridge must be larger than smallest_ridge")
        return self

    @model_validator(mode="after")
    def _enough_digits(self) -> ZeroOutputStep:
        if self.samples + self.test_samples > DIGITS:
            raise ValueError(
                f"samples: {self.samples} + {self.test_samples} test samples are more than the "
                f"{DIGITS} digits"
            )
        return self


TOY_KINDS: dict[str, type[RunSettings]] = {
    "exponents": Exponents,
    "nngp": ZeroOutputStep,
}
