"""Settings of one run of the limiting-dynamics study: training, and curvature at a point."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from regimes.config import RunSettings
from regimes.ensemble.schedules import steps_at
from regimes.studies.limiting_dynamics.theory_settings import THEORY_KINDS

# Samples of each data set, by the models that take it; regression data have real targets, the
# others ten classes or more.
REGRESSION = {
    "regression_cascade": 20_000,
    "regression_harmonic": 4_096,
    "regression_wide": 20_000,
    "cifar10_regression": 50_000,
    "cifar10_jpeg_regression": 50_000,
}
VECTORS = {"teacher_noisy": 4_096, "teacher_clean": 4_096}
PHOTOGRAPHS = {
    "cifar10": 50_000,
    "cifar10_augmented": 50_000,
    "cifar10_augmented_noisy": 50_000,
    "cifar10_jpeg": 50_000,
    "cifar10_jpeg_augmented": 50_000,
    "cifar10_jpeg_augmented_noisy": 50_000,
    "imagenet": 1_281_167,
}
SAMPLES = {**REGRESSION, **VECTORS, **PHOTOGRAPHS}
# What those of images are made of: entries of `regimes.data.catalog.CATALOG`.
VARIANTS = ("augmented", "noisy", "regression")
FILES = {
    name: "_".join(part for part in name.split("_") if part not in VARIANTS)
    for name in ("cifar10_regression", "cifar10_jpeg_regression", *PHOTOGRAPHS)
}
IMAGE_MODELS = ("resnet18", "resnet34", "vgg16", "vgg16_bn", "vgg11_bn")

# As in `regimes.data.samples`, which imports torch; the Snakefile reads settings without it.
WITH_REPLACEMENT, EPOCHS = "with_replacement", "epochs"

Data = Literal[tuple(SAMPLES)]
Model = Literal["linear", "mlp", *IMAGE_MODELS]
Positive = Annotated[float, Field(gt=0)]
Steps = Annotated[int, Field(ge=1, le=10_000_000)]


class _Setting(RunSettings):
    """Network and data set of a run."""

    model: Model = Field(description="network; linear: least squares without hidden layer")
    hidden: Annotated[int, Field(ge=1)] = Field(24, description="hidden units of an mlp")
    activation: Literal["tanh", "relu"] = Field("tanh", description="activation of an mlp")
    width: Annotated[int, Field(ge=1)] = Field(64, description="first channels of an image network")
    data: Data = Field(description="data set")
    residual_sd: Annotated[float, Field(ge=0)] = Field(
        0.25, description="standard deviation of the noise in regression targets"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="weight decay lambda")
    norm_groups: Annotated[int, Field(ge=1)] = Field(
        1,
        description="groups of a batch that pass through an image network one after the other, "
        "each normalized by itself where it has batch norm; as the cores of a distributed run do",
    )

    @model_validator(mode="after")
    def _model_fits_data(self) -> _Setting:
        wanted = {"linear": REGRESSION, "mlp": VECTORS}.get(self.model, PHOTOGRAPHS)
        if self.data not in wanted:
            raise ValueError(f"a model {self.model} takes data {', '.join(wanted)}")
        if self.norm_groups > 1 and self.model not in IMAGE_MODELS:
            raise ValueError(
                f"norm_groups: got {self.norm_groups} for a model {self.model}; image networks "
                f"alone ({', '.join(IMAGE_MODELS)}) have groups, leave it out"
            )
        return self


class Sgd(_Setting):
    """Training with momentum from a start point, with its path through phase space recorded."""

    START: ClassVar[str] = "may"

    origin: Literal["initial", "start", "minimum", "torchvision"] = Field(
        "start",
        description="initial: random weights; start: those of the start point of the experiment; "
        "minimum: the least-squares solution; torchvision: its weights for ImageNet, from a file",
    )
    eta: Positive | None = Field(None, description="learning rate eta; null with stages")
    steps: Steps | None = Field(None, description="number of updates K; null with stages")
    stages: tuple[tuple[Positive, Steps], ...] = Field(
        (), description="learning rates and their numbers of updates, one after the other"
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(description="samples per step S")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(description="momentum beta")
    sampling: Literal[WITH_REPLACEMENT, EPOCHS] = Field(
        WITH_REPLACEMENT,
        description="independent draws, or shuffled epochs without replacement, their last batch "
        "as small as it may be",
    )
    record_at: str = Field("every 1", description="schedule of displacements and batch losses")
    project_at: str = Field("", description="schedule of projections on Hessian eigenvectors")
    modes: Annotated[int, Field(ge=0)] = Field(0, description="eigenvectors projected on")
    controls: Annotated[int, Field(ge=0)] = Field(0, description="random directions beside them")
    evaluate_at: str = Field("", description="schedule of loss and accuracy on all data")
    keep_weights: bool = Field(False, description="keep the final weights")

    @model_validator(mode="after")
    def _consistent(self) -> Sgd:
        whole = self.eta is not None and self.steps is not None
        if bool(self.stages) == whole or (self.eta is None) != (self.steps is None):
            raise ValueError("give eta and steps, or stages instead of both")
        if self.stages and (self.record_at or self.project_at):
            raise ValueError("stages: only evaluate_at and keep_weights; set record_at: ''")
        for name in ("record_at", "project_at", "evaluate_at"):
            try:
                steps_at(getattr(self, name), self.length())
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if bool(self.project_at) != bool(self.modes):
            raise ValueError("project_at and modes belong together; give both or neither")
        if self.sampling == EPOCHS and self.batch_size > SAMPLES[self.data]:
            raise ValueError(
                f"batch_size: {self.batch_size} is more than the {SAMPLES[self.data]} samples of "
                f"an epoch of {self.data}; at most {SAMPLES[self.data]} with sampling: {EPOCHS}"
            )
        if self.norm_groups > self.batch_size:
            raise ValueError(
                f"norm_groups: {self.norm_groups} are more than the {self.batch_size} samples of a "
                f"batch; at most {self.batch_size}"
            )
        if self.origin == "minimum" and self.model != "linear":
            raise ValueError("origin: minimum is known for the linear model only")
        if self.origin == "torchvision" and (self.data, self.width) != ("imagenet", 64):
            raise ValueError(
                "origin: torchvision has weights for data: imagenet and width: 64 only"
            )
        return self

    @classmethod
    def expand(cls, point: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Turn ``epochs: n`` into the steps that n passes over the data set take at this S."""
        if "epochs" in point:
            point = dict(point)
            epochs = point.pop("epochs")
            if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
                raise ValueError(f"epochs: got {epochs!r}; must be a whole number from 1")
            if "steps" in point or "stages" in point:
                raise ValueError("epochs sets steps itself; drop steps and stages")
            cls.model_validate({**point, "steps": 1})  # so that what follows meets sound values
            point["steps"] = epochs * ceil(SAMPLES[point["data"]] / point["batch_size"])
        yield point

    def pretrained(self) -> str | None:
        """Network of torchvision whose weights the run reads."""
        return self.model if self.origin == "torchvision" else None

    def length(self) -> int:
        """Number of updates."""
        return sum(count for _, count in self.stages) or int(self.steps or 0)

    def schedule(self) -> tuple[tuple[float, int], ...]:
        """Learning rates and numbers of updates."""
        return self.stages or ((float(self.eta), int(self.steps)),)


class Geometry(_Setting):
    """Curvature and gradient noise at a start point."""

    START: ClassVar[str] = "must"

    spectrum: Literal["full", "top"] = Field(
        "full", description="all eigenvalues of the Hessian, or the largest ones, matrix-free"
    )
    modes: Annotated[int, Field(ge=1)] = Field(60, description="eigenvectors kept")
    tolerance: Positive = Field(1e-3, description="relative residual of matrix-free eigenvectors")
    grid_size: Annotated[int, Field(ge=2)] = Field(40, description="points a side of loss maps")
    grid_half_width: Positive = Field(description="reach of loss maps around the start")
    rise_radius: Positive = Field(description="distance at which the rise of the loss is measured")
    curvature_samples: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="images of each part that the curvature, losses and loss maps of an image "
        "network are measured on; null: all",
    )
    curvature_batch: Annotated[int, Field(ge=1)] = Field(
        250,
        description="images that pass through an image network together there, and that batch "
        "norm normalizes together; in training batch_size / norm_groups do",
    )
    noise_batch: Annotated[int, Field(ge=1)] = Field(
        256,
        description="images in a batch whose gradient gives the noise of an image network, in "
        "norm_groups groups",
    )
    noise_batches: Annotated[int, Field(ge=2)] = Field(
        400, description="number of such batches; their mean gradient gives the bias"
    )

    @model_validator(mode="after")
    def _fits_model(self) -> Geometry:
        if self.model in IMAGE_MODELS and self.spectrum == "full":
            raise ValueError("spectrum: full is for an mlp; an image network takes spectrum: top")
        largest = SAMPLES[self.data] if self.model in IMAGE_MODELS else 0
        if (self.curvature_samples or 0) > largest:
            what = f"at most {largest}, the images of {self.data}" if largest else "null for an mlp"
            raise ValueError(f"curvature_samples: got {self.curvature_samples}; must be {what}")
        if self.norm_groups > self.noise_batch:
            raise ValueError(
                f"norm_groups: {self.norm_groups} are more than the {self.noise_batch} images of "
                f"noise_batch; at most {self.noise_batch}"
            )
        return self


KINDS: dict[str, type[RunSettings]] = {"sgd": Sgd, "geometry": Geometry, **THEORY_KINDS}
