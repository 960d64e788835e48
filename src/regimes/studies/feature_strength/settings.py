"""Settings of one run of the feature-strength study (paper, section 2; official code)."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from regimes.config import RunSettings
from regimes.ensemble.schedules import steps_at
from regimes.studies.feature_strength.toy_settings import TOY_KINDS

# Shape (channels, height, width) or (features,), classes, and number of samples of each stream.
STREAMS: dict[str, tuple[tuple[int, ...], int, int | None]] = {
    "gmm30": ((64,), 10, None),
    "gmm30_patches": ((1, 8, 8), 10, None),
    "hierarchical": ((64,), 10, None),
    "templates": ((1, 32, 32), 10, None),
    "mnist1d": ((40,), 10, None),
    "mnist_augmented": ((1, 28, 28), 10, None),
    "mnist_pixels": ((1, 28, 28), 10, None),  # augmented as well, pixels / 255 as they are
    "cifar10_augmented": ((3, 32, 32), 10, None),
    "cifar10_jpeg_augmented": ((3, 32, 32), 10, None),
    "tinyimagenet_augmented": ((3, 64, 64), 200, None),
    "mnist1m": ((1, 28, 28), 10, 1_000_000),
    "cifar5m": ((3, 32, 32), 10, 6_002_688),
}
DOUBLE_BELOW = -2.0  # log10 gamma below which outputs are differences of large numbers
ASSIGNED_DEPTH = {"cnn": 4, "resnet": 3}
SMALLEST_IMAGE = 10  # pixels a side that two convolutions and two poolings leave anything of


class Window(BaseModel):
    """Learning rates around the theory's edges: levels in decades, see `Network.expand`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    top: float
    bottom: float
    step: Annotated[float, Field(gt=0)]

    @classmethod
    def of(cls, values: Any) -> Window:
        """Window from the mapping of a grid; ValueError for the user's mistakes."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, ("eta_window", *first["loc"])))
            message = first["msg"][0].lower() + first["msg"][1:]
            raise ValueError(f"{where}: {message}; needs numbers top, bottom and step") from None


class Network(RunSettings):
    """Hyperparameters of one network trained online with a constant learning rate."""

    architecture: Literal["mlp", "cnn", "resnet", "vit"] = Field(
        "mlp", description="architecture of section 3.2"
    )
    depth: Annotated[int, Field(ge=2, le=64)] = Field(
        description="L in gamma^(2/L): weight layers of an MLP, 4 for the CNN, an assigned 3 for"
        " ResNets and ViTs"
    )
    blocks: Annotated[int, Field(ge=1, le=16)] = Field(
        2, description="blocks of a ViT, blocks per stage of a ResNet"
    )
    heads: Annotated[int, Field(ge=1)] = Field(4, description="attention heads of a ViT")
    patch: Annotated[int, Field(ge=1)] = Field(4, description="patch size of a ViT, pixels")
    width: Annotated[int, Field(ge=1)] = Field(description="width N, the factor of lr = N eta")
    bias: bool = Field(True, description="whether layers have biases")
    stream: Literal[tuple(STREAMS)] = Field(description="online stream of samples")
    batch_size: Annotated[int, Field(ge=1)] = Field(description="samples per step B")
    steps: Annotated[int, Field(ge=1)] = Field(description="number of steps T, a fresh batch each")
    loss: Literal["mse", "cross_entropy"] = Field(
        description="mse: mean over batch and classes, no 1/2; cross_entropy: mean over the batch"
    )
    optimizer: Literal["sgd", "sign"] = Field(
        "sgd", description="sgd with lr = N eta; sign: step eta * sign(gradient)"
    )
    log10_gamma: Annotated[float, Field(ge=-12, le=12)] = Field(
        description="log10 of the feature strength gamma"
    )
    eta_rule: Literal["absolute", "power", "gamma", "sharpness"] = Field(
        "absolute",
        description="unit of eta: 1; gamma^2 below gamma=1 and gamma^(2/L) above; gamma; "
        "2/(N lambda_0) with the sharpness lambda_0 at step 0",
    )
    eta_factor: Annotated[float, Field(gt=0)] = Field(
        1.0, description="eta = factor * 10^log10_eta * unit of the rule"
    )
    log10_eta: Annotated[float, Field(ge=-40, le=40)] = Field(
        0.0, description="eta = factor * 10^log10_eta * unit of the rule"
    )
    data_seed: Annotated[int, Field(ge=0)] | None = Field(
        None, description="seed of the data where runs share it; null: the run's own seed"
    )
    precision: Literal["auto", "float32", "float64"] = Field(
        "auto", description="auto: float64 below gamma = 0.01, float32 otherwise"
    )
    test_size: Annotated[int, Field(ge=2)] = Field(1000, description="held-out test samples")
    test_at: str = Field("1-2-5", description="schedule of test loss and accuracy")
    points: Annotated[int, Field(ge=2)] = Field(
        600, description="fixed held-out samples for kernels, curvature and outputs"
    )
    kernels_at: str = Field("", description="schedule of layer kernels and their alignment")
    tangent_at: str = Field("", description="schedule of the tangent kernel's alignment")
    tangent_points: Annotated[int, Field(ge=2)] = Field(100, description="samples for it")
    sharpness_at: str = Field("", description="schedule of the extreme Hessian eigenvalues")
    spectrum_at: str = Field("", description="schedule of the top of the Hessian spectrum")
    spectrum_size: Annotated[int, Field(ge=1)] = Field(50, description="eigenvalues kept of it")
    outputs_at: str = Field("", description="schedule of the mean absolute output")
    final_outputs: bool = Field(False, description="keep test outputs and last kernel at the end")
    kernel_points: Annotated[int, Field(ge=2)] = Field(256, description="samples of that kernel")

    @model_validator(mode="after")
    def _consistent(self) -> Network:
        for name in ("test", "kernels", "tangent", "sharpness", "spectrum", "outputs"):
            try:
                steps_at(getattr(self, f"{name}_at"), self.steps)
            except ValueError as error:
                raise ValueError(f"{name}_at: {error}") from None
        shape = STREAMS[self.stream][0]
        if self.architecture != "mlp" and len(shape) != 3:
            raise ValueError(f"architecture {self.architecture} needs a stream of images")
        if self.architecture == "cnn" and min(shape[1:]) < SMALLEST_IMAGE:
            raise ValueError(
                f"a cnn needs images of at least {SMALLEST_IMAGE} pixels a side, "
                f"{self.stream} has {shape[1]} x {shape[2]}"
            )
        if self.architecture == "vit" and (shape[1] % self.patch or shape[2] % self.patch):
            raise ValueError(f"patch {self.patch} does not divide images {shape[1]} x {shape[2]}")
        if self.architecture == "resnet" and self.tangent_at:
            raise ValueError("tangent_at: the tangent kernel is not defined with batch norm")
        for name in ("tangent_points", "kernel_points"):
            if name in self.model_fields_set and getattr(self, name) > self.points:
                raise ValueError(f"{name} must not exceed points, {self.points}")
        assigned = ASSIGNED_DEPTH.get(self.architecture, self.depth)
        if self.depth != assigned:
            raise ValueError(f"depth of a {self.architecture} is {assigned} by convention")
        if self.architecture == "vit" and self.width % self.heads:
            raise ValueError("width of a ViT must be a multiple of heads")
        available = STREAMS[self.stream][2]
        if available is not None and self.steps * self.batch_size > available:
            raise ValueError(
                f"steps * batch_size is {self.steps * self.batch_size}, the stream {self.stream} "
                f"has {available} samples, and samples are never repeated"
            )
        return self

    @classmethod
    def expand(cls, point: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Turn ``eta_window: {top, bottom, step}`` into values of log10_eta at this gamma.

        The window follows the theory's edges (section 2.2): its top lies ``top`` decades above
        gamma^2 (cross-entropy: gamma) below gamma = 1 and gamma^(2/L) above, its bottom ``bottom``
        decades above gamma^2 and gamma. SignSGD (2.4): gamma and gamma^(1/L) for both. Values are
        multiples of ``step``, so that grids at different gamma share them.
        """
        if "eta_window" not in point:
            yield point
            return
        point = dict(point)
        window = Window.of(point.pop("eta_window"))
        missing = sorted({"log10_gamma", "depth", "loss"} - set(point))
        if missing:
            raise ValueError(f"eta_window needs {', '.join(missing)}")
        if "log10_eta" in point or point.get("eta_rule", "absolute") != "absolute":
            raise ValueError("eta_window sets log10_eta itself; drop log10_eta and eta_rule")
        cls.model_validate(point)  # so that what follows meets sound numbers
        step = window.step
        upper, lower = window_exponents(
            point["loss"], point.get("optimizer", "sgd"), point["depth"]
        )
        side = 0 if point["log10_gamma"] < 0 else 1
        top = window.top + upper[side] * point["log10_gamma"]
        bottom = window.bottom + lower[side] * point["log10_gamma"]
        multiples = range(ceil(bottom / step - 1e-9), floor(top / step + 1e-9) + 1)
        if not multiples:
            raise ValueError(
                f"eta_window holds no learning rate at log10_gamma = {point['log10_gamma']}: its "
                f"top is at log10 eta = {top:g}, its bottom at {bottom:g}"
            )
        for multiple in multiples:
            yield {**point, "log10_eta": round(multiple * step, 6)}

    @property
    def gamma(self) -> float:
        """Feature strength gamma."""
        return 10.0**self.log10_gamma

    @property
    def double(self) -> bool:
        """Whether the run is trained in float64."""
        if self.precision == "auto":
            return self.log10_gamma < DOUBLE_BELOW
        return self.precision == "float64"

    def eta(self, sharpness: float = float("nan")) -> float:
        """Learning rate eta; the initial sharpness matters to the rule of that name only."""
        gamma = self.gamma
        unit = {
            "absolute": 1.0,
            "power": gamma**2 if gamma < 1 else gamma ** (2 / self.depth),
            "gamma": gamma,
            "sharpness": 2 / (self.width * sharpness),
        }[self.eta_rule]
        return self.eta_factor * 10.0**self.log10_eta * unit


def window_exponents(
    loss: str, optimizer: str, depth: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Exponents of gamma, lazy and rich, that a window's top and bottom follow."""
    if optimizer == "sign":
        return (1.0, 1 / depth), (1.0, 1 / depth)
    return (2.0 if loss == "mse" else 1.0, 2 / depth), (2.0, 1.0)


KINDS: dict[str, type[RunSettings]] = {"network": Network, **TOY_KINDS}
