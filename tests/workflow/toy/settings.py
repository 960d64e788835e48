"""Settings of the toy study: exponential decays."""

from typing import Annotated, Literal

from pydantic import Field

from regimes.config import RunSettings


class Decay(RunSettings):
    """One decaying number."""

    rate: Annotated[float, Field(gt=0)] = Field(description="rate of decay")
    batch_size: Annotated[int, Field(ge=1)] = Field(1, description="samples per step")
    shape: Literal["exponential", "linear"] = "exponential"
    pause: float = 0.0


KINDS = {"decay": Decay}
