"""Networks of the study, their parameterization and the update rule of each optimizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from regimes.config import ConfigError
from regimes.ensemble.preconditioned import Preconditioner, preconditioned
from regimes.ensemble.recorded import RecordedNetwork
from regimes.ensemble.updates import UPDATES, Update
from regimes.nn import abc_parameterization as abc
from regimes.nn.taped.cbow import Cbow
from regimes.nn.taped.convolutional import VGG19, Myrtle5, TapedCNN
from regimes.nn.taped.layers import TapedModel
from regimes.nn.taped.mlp import TapedMLP
from regimes.nn.taped.residual import TapedResNet
from regimes.studies.second_order_mup.settings import DATA, SECOND_ORDER, Train

LARGE_IMAGES = 64  # pixels a side from which a ResNet has the stem of ImageNet


def model_of(run: Train) -> TapedModel:
    """Network of a run.

    Raises
    ------
    regimes.config.ConfigError
        If its sizes do not fit the images.
    """
    try:
        return _model_of(run)
    except ValueError as error:
        place = f"model: {run.model} of width {run.width} on {run.data}"
        raise ConfigError(f"{place}: {error}") from None


def _model_of(run: Train) -> TapedModel:
    _, shape, classes = DATA[run.data]
    if run.model == "cbow":
        return Cbow(classes, run.width)
    channels, height, width_pixels = shape
    image = {"channels": channels, "height": height, "width_pixels": width_pixels}
    sizes = {**image, "width": run.width, "classes": classes}
    if run.model == "mlp":
        inputs = channels * height * width_pixels
        return TapedMLP(inputs, run.width, classes, activation=run.activation)
    if run.model == "cnn":
        return TapedCNN(**sizes)
    if run.model == "myrtle5":
        return Myrtle5(**sizes)
    if run.model == "vgg19":
        return VGG19(**sizes, unit=run.unit)
    large = height >= LARGE_IMAGES
    return TapedResNet(**sizes, model=run.model, unit=run.unit, large_images=large)


def network_of(run: Train, model: TapedModel) -> RecordedNetwork:
    """Network with the statistics that the optimizer needs."""
    fisher = run.fisher if run.optimizer in ("kfac", "foof", "layerwise_gn") else None
    # Shampoo's thin form needs what a batch's gradient is made of, as long as nothing is averaged.
    thin = run.optimizer == "shampoo" and run.ema == 1 and run.interval == 1
    return RecordedNetwork(model, run.loss, fisher, thin, run.interval)


def preconditioner_of(run: Train, model: TapedModel) -> Preconditioner | None:
    """How gradients become directions; None for first-order optimizers."""
    if run.optimizer not in SECOND_ORDER:
        return None
    return Preconditioner(model.layers, run.optimizer, run.damping_rule, run.ema, run.interval)


def update_of(run: Train, preconditioner: Preconditioner | None) -> Update:
    """Update rule of the optimizer."""
    if run.optimizer == "adam":
        return UPDATES["adam"]
    step = UPDATES["heavy_ball" if run.momentum else "decayed"]
    return step if preconditioner is None else preconditioned(preconditioner, step)


def rates(run: Train, model: TapedModel) -> dict[str, float]:
    """Learning rate of every layer: lr (M / M_0)^-c. Parameters of no layer have lr itself."""
    exponents = abc.learning_rate_exponents(run.optimizer, run.parameterization)
    factors = abc.rate_factors(exponents, run.ratio())
    return {name: run.lr * factors[layer.role] for name, layer in model.layers.items()}


def weight_factors(run: Train, model: TapedModel) -> dict[str, float]:
    """Factor of the standard initial weights of every layer."""
    factors = abc.initial_factors(
        run.parameterization, run.ratio(), run.output_exponent, run.output_multiplier
    )
    return {name: factors[layer.role] for name, layer in model.layers.items()}


def hyperparameters(
    runs: Sequence[Train], model: TapedModel, where: dict
) -> dict[str, torch.Tensor]:
    """Hyperparameters (R,) of the update beside the base learning rate."""

    def of(values) -> torch.Tensor:
        return torch.tensor(list(values), **where)

    found = {
        "damping": of(run.damping for run in runs),
        "momentum": of(run.momentum for run in runs),
        "weight_decay": of(run.weight_decay for run in runs),
    }
    each = [rates(run, model) for run in runs]
    found |= {f"rate.{name}": of(rate[name] for rate in each) for name in model.layers}
    if runs[0].damping_rule == "scaled":
        found |= _scaled_damping(runs, model, of)
    return found


def _scaled_damping(runs: Sequence[Train], model: TapedModel, of) -> dict[str, torch.Tensor]:
    """Dampings relative to the base width: (M / M_0)^-d."""
    found = {}
    for name, layer in model.layers.items():
        for side in "AB":
            values = []
            for run in runs:
                b = run.output_exponent
                if b is None:
                    b = float(abc.initial_exponents(run.parameterization)[2])
                table = abc.damping_exponents(run.optimizer, b)
                exponent = abc.by_role(table[side])[layer.role] if side in table else None
                values.append(0.0 if exponent is None else run.ratio() ** -exponent)
            found[f"damping.{name}.{side}"] = of(values)
    return found
