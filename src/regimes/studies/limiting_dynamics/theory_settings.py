"""Settings of the runs that need no network: OU processes and exact recursions (sections 2-4)."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Literal

from pydantic import Field, model_validator

from regimes.config import RunSettings

Steps = Annotated[int, Field(ge=1, le=10_000_000)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
PositivePair = tuple[Positive, Positive]


class OuPath(RunSettings):
    """Path of the 2-D process dx = -(A x - b) dt + noise of Figure 3; A = V^-1 diag(s) V."""

    eta: Positive = Field(description="time step eta, also the strength of the noise")
    steps: Steps = Field(description="number of updates")
    start: tuple[float, float] = Field(description="start point")
    drift_eigenvalues: PositivePair = Field(description="eigenvalues s of the drift A")
    drift_bias: tuple[float, float] = Field(description="constant part b of the drift")
    diffusion_diagonal: PositivePair = Field(description="diagonal of the diffusion D")
    every: Count = Field(10, description="updates between recorded points of the path")

    @model_validator(mode="after")
    def _stable(self) -> OuPath:
        if self.eta * max(self.drift_eigenvalues) >= 2:
            raise ValueError("eta times the largest eigenvalue of the drift must be below 2")
        return self


class OuEnsemble(OuPath):
    """Averages over walkers and late steps of the process of Figure 3."""

    walkers: Annotated[int, Field(ge=2)] = Field(description="independent walkers")
    burn_in_times: NotNegative = Field(
        10.0, description="slow relaxation times that are left out of averages"
    )

    @property
    def burn_in(self) -> int:
        """Updates before averages begin."""
        return ceil(self.burn_in_times / (self.eta * min(self.drift_eigenvalues)) - 1e-9)

    @model_validator(mode="after")
    def _long_enough(self) -> OuEnsemble:
        if self.steps <= self.burn_in:
            raise ValueError(f"needs more than the {self.burn_in} steps of its burn-in")
        return self


class _Fitted(RunSettings):
    """Window of the fit of the exponent c."""

    fit_from: Steps = Field(description="first step of the fit of the exponent c")
    fit_to: Steps = Field(description="last step of the fit, and of the run")

    @model_validator(mode="after")
    def _ordered(self) -> _Fitted:
        if self.fit_to <= self.fit_from:
            raise ValueError("fit_to must be larger than fit_from")
        return self


class Spectrum(_Fitted):
    """Exact displacements for a Hessian with a power-law spectrum rho_j = top j^-exponent."""

    modes: Count = Field(description="number of modes m")
    bins: Count = Field(description="logarithmic bins of modes that share an eigenvalue")
    top: Positive = Field(description="largest eigenvalue")
    exponent: NotNegative = Field(description="exponent of the spectrum")
    noise_trace: Positive = Field(description="trace of the covariance of single-sample gradients")
    offset_norm: NotNegative = Field(
        description="distance of the start from the minimum, spread evenly over the modes"
    )
    eta: Positive = Field(description="learning rate eta")
    batch_size: Count = Field(description="batch size S")
    momentum: Momentum = Field(description="momentum beta")
    weight_decay: NotNegative = Field(description="weight decay lambda")


class PowerLawModes(_Fitted):
    """Displacement from a stationary start in closed form, spectrum rho_j = j^-exponent."""

    exponent: Positive = Field(description="exponent a of the spectrum")
    modes: Count = Field(description="number of modes")
    eta: Positive = Field(description="learning rate eta")
    momentum: Momentum = Field(description="momentum beta")
    fit_points: Annotated[int, Field(ge=3)] = Field(description="log-spaced steps in the fit")


class ModeRecursion(RunSettings):
    """Exact moments of a single mode from rest."""

    case: Literal["flat", "saturating", "drift", "oscillating", "double_sum"] = Field(
        description="what the mode stands for"
    )
    eta: Positive = Field(description="learning rate eta")
    momentum: Momentum = Field(description="momentum beta")
    curvature: NotNegative | None = Field(None, description="eigenvalue rho of the Hessian")
    relaxation_steps: Positive | None = Field(
        None, description="overdamped relaxation time (1-beta)/(eta rho), instead of the curvature"
    )
    noise: NotNegative = Field(1.0, description="variance q of minibatch gradients along the mode")
    offset: float = Field(0.0, description="start relative to the minimum")
    steps: Steps = Field(description="number of updates")
    dense_steps: Steps = Field(1000, description="steps up to which every one is recorded")

    @property
    def rho(self) -> float:
        """Eigenvalue of the Hessian along the mode."""
        if self.curvature is not None:
            return self.curvature
        return (1 - self.momentum) / (self.eta * self.relaxation_steps)

    @model_validator(mode="after")
    def _one_curvature(self) -> ModeRecursion:
        if (self.curvature is None) == (self.relaxation_steps is None):
            raise ValueError("give either curvature or relaxation_steps")
        return self


THEORY_KINDS: dict[str, type[RunSettings]] = {
    "ou_path": OuPath,
    "ou_ensemble": OuEnsemble,
    "spectrum": Spectrum,
    "power_law_modes": PowerLawModes,
    "mode_recursion": ModeRecursion,
}
