"""Settings of one training run of the second-order muP study."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from regimes.config import RunSettings
from regimes.ensemble.schedules import steps_at
from regimes.studies.second_order_mup.toy_settings import TOY_KINDS


class DataSet(NamedTuple):
    """Sizes of a data set: training samples, shape of an input, classes.

    Inputs are images (channels, height, width), or as many word numbers as a context has.
    """

    samples: int
    shape: tuple[int, ...]
    classes: int


CONTEXT = 4  # words on each side
DATA = {
    "digits": DataSet(1437, (1, 8, 8), 10),
    "mnist1d": DataSet(4000, (1, 1, 40), 10),
    "colour_motifs": DataSet(5000, (3, 12, 12), 10),
    "made_text": DataSet(30_000, (2 * CONTEXT,), 296),
    "mnist": DataSet(60_000, (1, 28, 28), 10),
    "fashion_mnist": DataSet(60_000, (1, 28, 28), 10),
    "cifar10": DataSet(50_000, (3, 32, 32), 10),
    "cifar10_jpeg": DataSet(50_000, (3, 32, 32), 10),
    "cifar100": DataSet(50_000, (3, 32, 32), 100),
    "imagenet": DataSet(1_281_167, (3, 224, 224), 1000),
    # Fixed before the text is read: its first windows, its most frequent words.
    "wikitext2": DataSet(1_600_000, (2 * CONTEXT,), 2000),
}
# Read from files.
IMAGES = ("mnist", "fashion_mnist", "cifar10", "cifar10_jpeg", "cifar100", "imagenet")
AUGMENTATIONS = ("affine", "crop_and_flip", "resized_crop")
TEXTS = ("made_text", "wikitext2")
MODELS = ("mlp", "cnn", "myrtle5", "vgg19", "resnet8", "resnet18", "resnet50", "cbow")
SECOND_ORDER = ("kfac", "foof", "shampoo", "layerwise_gn")

Data = Literal[tuple(DATA)]
Model = Literal[MODELS]
Optimizer = Literal["sgd", "adam", "kfac", "foof", "shampoo", "layerwise_gn"]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Train(RunSettings):
    """Training of a network at one width, in one parameterization, by one optimizer."""

    data: Data = Field(description="data set")
    samples: Count | None = Field(
        None, description="training samples used, the first ones; null for all"
    )
    model: Model = Field(description="network")
    width: Count = Field(description="width M; width multiplier of vgg19 and the resnets")
    base_width: Count = Field(description="base width M_0, at which all parameterizations agree")
    unit: Count = Field(16, description="vgg19 and resnets: channels at width multiplier 1")
    activation: Literal["relu", "tanh", "gelu", "identity"] = Field(
        "relu", description="mlp: activation"
    )
    parameterization: Literal["sp", "up", "mup"] = Field(
        description="sp (standard), up (neural tangent), mup"
    )
    output_exponent: Annotated[float, Field(ge=0, le=128)] | None = Field(
        None, description="exponent b_L of the output layer; null for the parameterization's"
    )
    output_multiplier: Positive = Field(
        1.0, description="factor of the initial output layer; 1/sqrt(M_0) for a deviation of 1/M"
    )
    optimizer: Optimizer = Field(description="optimizer")
    loss: Literal["mse", "cross_entropy"] = Field("mse", description="loss")
    fisher: Literal["ggn", "mc", "empirical"] = Field(
        "ggn", description="kfac, foof, layerwise_gn: where the output-side factor comes from"
    )
    damping_rule: Literal["rescaled", "heuristic", "largest", "absolute", "scaled"] = Field(
        "rescaled",
        description="damping rho: rescaled by traces or by largest eigenvalues, heuristic of "
        "Martens and Grosse, absolute, scaled by hand with the width",
    )
    damping: Positive = Field(1e-2, description="strength of the damping")
    ema: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="weight of the newest factors in their moving average; 1: no average"
    )
    interval: Count = Field(1, description="steps from one renewal of the factors to the next")
    lr: Positive = Field(description="base learning rate eta'")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="heavy-ball momentum")
    weight_decay: NotNegative = Field(0.0, description="weight decay, added to the direction")
    batch_size: Count | None = Field(None, description="samples per update; null for full batch")
    steps: Count = Field(description="updates; those of the epochs where epochs are given")
    epochs: Count | None = Field(
        None, description="passes over the training samples, without those that fill no batch"
    )
    augment: Literal["", *AUGMENTATIONS] = Field(
        "", description="random changes of training images; none if empty"
    )
    precision: Literal["single", "double"] = Field("single", description="float32 or float64")
    evaluate_at: str = Field(
        "", description="schedule of loss and accuracy on all samples, in updates; none if empty"
    )
    evaluation_samples: Count | None = Field(
        None, description="training samples on which they are evaluated, at most; null for all"
    )
    layers_at: str = Field("", description="schedule of the observables per layer, in updates")
    factors: Literal["start", "always"] = Field(
        "start", description="when factors and gradients are observed: before training, or always"
    )
    kernel_at: str = Field("", description="schedule of the distance to kernel ridge regression")
    probe_samples: Count = Field(64, description="test samples on which layers are observed")

    @model_validator(mode="before")
    @classmethod
    def _steps_of_epochs(cls, given: Any) -> Any:
        """Fill in the updates of so many epochs, where the settings that decide them are valid."""
        if not isinstance(given, dict) or given.get("epochs") is None:
            return given
        epochs, data = given["epochs"], given.get("data")
        samples = given.get("samples") or (DATA[data].samples if data in DATA else None)
        batch = given.get("batch_size") or samples
        numbers = (epochs, samples, batch)
        if any(not isinstance(each, int) or each < 1 for each in numbers) or batch > samples:
            return {"steps": 1, **given}  # refused elsewhere, with the better message
        steps = epochs * (samples // batch)
        if given.get("steps", steps) != steps:
            raise ValueError(f"steps: {epochs} epochs have {steps} updates; give one of the two")
        return {**given, "steps": steps}

    @model_validator(mode="after")
    def _consistent(self) -> Train:
        available = DATA[self.data].samples
        if self.samples is not None and self.samples > available:
            raise ValueError(
                f"samples: {self.samples} is more than the {available} training samples of "
                f"{self.data}; at most {available}, or null for all"
            )
        if self.batch() > self.used():
            raise ValueError(
                f"batch_size: {self.batch_size} is more than the {self.used()} training samples; "
                f"at most {self.used()}, or null for full batch"
            )
        if (self.data in TEXTS) != (self.model == "cbow"):
            raise ValueError(
                f"model: {self.model} does not read {self.data}; cbow reads {', '.join(TEXTS)}, "
                "the others images"
            )
        if self.data == "mnist1d" and self.model != "mlp":
            raise ValueError(
                f"model: mnist1d has signals, no images; mlp reads them, not {self.model}"
            )
        if self.augment and self.data not in IMAGES:
            raise ValueError(
                f"augment: {self.data} has no images to change; leave it out, or take one of "
                f"{', '.join(IMAGES)}"
            )
        if self.augment and self.batch() == self.used():
            raise ValueError(
                "augment: a full batch is always the same; leave it out, or give a batch_size "
                f"below {self.used()}"
            )
        if self.model != "mlp" and self.activation != "relu":
            raise ValueError(f"activation: {self.model} has relu units, only mlp has others")
        if self.model == "cbow" and self.loss != "cross_entropy":
            raise ValueError("loss: cbow predicts words; take cross_entropy")
        if self.kernel_at and (self.model == "cbow" or self.loss != "mse"):
            raise ValueError(
                "kernel_at: kernel regression is compared with image models of squared loss only; "
                "leave it out, or take loss mse"
            )
        if self.factors == "always" and not self.layers_at:
            raise ValueError("factors: they are observed with the layers; give layers_at as well")
        self._check_optimizer()
        for name in ("evaluate_at", "layers_at", "kernel_at"):
            try:
                steps_at(getattr(self, name), self.steps)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return self

    def _check_optimizer(self) -> None:
        if self.optimizer == "adam" and self.parameterization == "up":
            raise ValueError("parameterization: there are no up exponents for adam; take sp or mup")
        if self.optimizer == "adam" and self.momentum:
            raise ValueError("momentum: adam has its own; leave it out")
        if self.optimizer not in SECOND_ORDER and (self.ema < 1 or self.interval > 1):
            raise ValueError(
                f"ema, interval: {self.optimizer} has no factors; leave them out, or take one of "
                f"{', '.join(SECOND_ORDER)}"
            )
        rules = {
            "foof": ("rescaled", "largest", "absolute", "scaled"),
            "shampoo": ("rescaled", "largest", "absolute"),
            "layerwise_gn": ("rescaled", "largest", "absolute", "scaled"),
        }
        allowed = rules.get(self.optimizer)
        if allowed is not None and self.damping_rule not in allowed:
            raise ValueError(
                f"damping_rule: {self.optimizer} has {', '.join(allowed)}, not {self.damping_rule}"
            )
        if self.optimizer == "layerwise_gn" and (
            self.model != "mlp" or self.ema < 1 or self.interval > 1 or self.fisher != "ggn"
        ):
            raise ValueError(
                "optimizer: layerwise_gn is for the mlp, with ema 1, interval 1 and fisher ggn"
            )

    def used(self) -> int:
        """Training samples."""
        return DATA[self.data].samples if self.samples is None else self.samples

    def batch(self) -> int:
        """Samples per update."""
        return self.used() if self.batch_size is None else self.batch_size

    def ratio(self) -> float:
        """Width over base width."""
        return self.width / self.base_width


KINDS: dict[str, type[RunSettings]] = {"train": Train, **TOY_KINDS}
