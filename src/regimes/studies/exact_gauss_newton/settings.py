"""Settings of one training run of the exact Gauss-Newton study."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from regimes.config import RunSettings
from regimes.ensemble.schedules import steps_at
from regimes.studies.exact_gauss_newton.toy_settings import TOY_KINDS


class DataSet(NamedTuple):
    """Sizes of a data set: training samples, features as the network sees them, outputs."""

    samples: int
    features: int
    outputs: int


CLASSIFICATION = {
    "digits": DataSet(1437, 64, 10),
    "mnist1d": DataSet(4000, 40, 10),
    "mnist1d_embedded": DataSet(4000, 512, 10),
    "mnist": DataSet(60_000, 784, 10),
    "cifar10": DataSet(50_000, 3072, 10),
    "cifar10_jpeg": DataSet(50_000, 3072, 10),
}
IMAGES = ("mnist", "cifar10", "cifar10_jpeg")  # read from files
# Odd numbers of features (13, 81) carry a column of zeros.
REGRESSION = {
    "wine": DataSet(142, 14, 1),
    "diabetes": DataSet(353, 10, 1),
    "superconductivity": DataSet(17_010, 82, 1),
}
DATA = {**CLASSIFICATION, **REGRESSION}

Data = Literal[tuple(DATA)]
Optimizer = Literal["gn", "adam", "sgd"]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Train(RunSettings):
    """Training of a reversible network by Gauss-Newton, Adam or SGD, or by two of them in turn."""

    data: Data = Field(description="data set")
    samples: Count | None = Field(
        None, description="training samples used, the first ones; null for all"
    )
    blocks: Count = Field(description="blocks L, of two half-coupled layers each")
    width: Count | None = Field(
        description="width d' of the frozen expansions; null for no bottleneck"
    )
    first_block_linear: bool = Field(True, description="no activation in the first block")
    sigma: Annotated[float, Field(ge=0)] = Field(
        1e-3, description="standard deviation sigma of the initial weights"
    )
    optimizer: Optimizer = Field(description="gn, adam or sgd")
    lr_code: Positive = Field(
        description="learning rate as in the official code: for gn not divided by L"
    )
    epochs: Count = Field(description="passes over the training samples")
    batch_size: Count | None = Field(None, description="samples per update; null for full batch")
    then: Literal["", "gn", "adam", "sgd"] = Field("", description="optimizer after a switch")
    then_lr_code: Positive | None = Field(None, description="its learning rate")
    then_epochs: Annotated[int, Field(ge=0)] = Field(0, description="its epochs")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight decay: for gn and sgd times theta, added to the update"
    )
    cross_term: bool = Field(True, description="gn: the cross term of equation 17")
    inverse: Literal["truncate", "damp", "noise"] = Field(
        "truncate", description="gn: what is done about small singular values"
    )
    rtol: Annotated[float, Field(ge=0, lt=1)] = Field(
        1e-2, description="gn: singular values kept, over the largest"
    )
    atol: Annotated[float, Field(ge=0)] = Field(1e-5, description="gn: singular values kept")
    damping: Annotated[float, Field(ge=0)] = Field(
        1e-2, description="gn: shift of damped singular values, over the largest"
    )
    noise: Annotated[float, Field(ge=0)] = Field(
        0.1, description="gn: noise in the features, over their standard deviation"
    )
    augment: bool = Field(False, description="random resized crops of training images")
    precision: Literal["single", "double"] = Field("single", description="float32 or float64")
    judge_updates: bool = Field(
        False, description="loss of each batch also after its update, one more forward pass"
    )
    evaluation_samples: Count = Field(
        1000,
        description="training samples on which loss and accuracy are evaluated, at most; a full "
        "batch is evaluated whole",
    )
    test_at: str = Field(
        "every 1", description="schedule of test samples and Gauss-Newton diagnostics, in epochs"
    )
    probe_at: str = Field("", description="schedule of tangent-kernel and CKA probes, in epochs")
    probe_samples: Count = Field(1024, description="training samples probed by CKA, at most")
    kept_samples: Annotated[int, Field(ge=0)] = Field(
        0, description="probed samples whose inner products are kept for CKA between runs"
    )
    kernel_samples: Count = Field(256, description="training samples probed by the tangent kernel")
    kernel_vectors: Count = Field(10, description="Gaussian vectors multiplied by tangent kernels")

    @property
    def alpha_eff(self) -> float:
        """Step size alpha = lr_code * L of Gauss-Newton in the paper's convention."""
        return self.lr_code * self.blocks if self.optimizer == "gn" else float("nan")

    @model_validator(mode="after")
    def _consistent(self) -> Train:
        available = DATA[self.data].samples
        if self.samples is not None and self.samples > available:
            raise ValueError(
                f"samples: {self.samples} is more than the {available} training samples of "
                f"{self.data}; at most {available}, or null for all"
            )
        if self.batch_size is not None and self.batch_size > self.used():
            raise ValueError(
                f"batch_size: {self.batch_size} is more than the {self.used()} training samples; "
                f"at most {self.used()}, or null for full batch"
            )
        switched = (self.then != "", self.then_lr_code is not None, self.then_epochs > 0)
        if len(set(switched)) > 1:
            raise ValueError("then, then_lr_code and then_epochs belong together; give all or none")
        if self.augment and self.data not in IMAGES:
            raise ValueError(f"augment: {self.data} has no images to crop; leave it out")
        if self.augment and self.batch() == self.used():
            raise ValueError(
                "augment: a full batch is always the same; leave it out, or give a batch_size "
                f"below {self.used()}"
            )
        for name in ("test_at", "probe_at"):
            try:
                steps_at(getattr(self, name), self.total_epochs())
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if self.kept_samples > self.probe_samples:
            raise ValueError(
                f"kept_samples: {self.kept_samples} is more than probe_samples {self.probe_samples}"
            )
        return self

    def used(self) -> int:
        """Training samples."""
        return DATA[self.data].samples if self.samples is None else self.samples

    def batch(self) -> int:
        """Samples per update."""
        return self.used() if self.batch_size is None else self.batch_size

    def evaluated(self) -> int:
        """Training samples on which loss and accuracy are evaluated."""
        return self.used() if self.batch_size is None else min(self.used(), self.evaluation_samples)

    def updates_per_epoch(self) -> int:
        """Updates of an epoch, its last smaller batch included."""
        return ceil(self.used() / self.batch())

    def stages(self) -> tuple[tuple[str, float, int], ...]:
        """Optimizer, learning rate and epochs, before and after the switch."""
        first = (self.optimizer, self.lr_code, self.epochs)
        return (first, (self.then, self.then_lr_code, self.then_epochs)) if self.then else (first,)

    def total_epochs(self) -> int:
        """Epochs of all stages."""
        return self.epochs + self.then_epochs

    def uses_gauss_newton(self) -> bool:
        """Whether some stage is Gauss-Newton."""
        return "gn" in (self.optimizer, self.then)


KINDS: dict[str, type[RunSettings]] = {"train": Train, **TOY_KINDS}
