"""What the settings of a run ask to observe, as observations of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import torch

from regimes.ensemble import engine
from regimes.ensemble import observations as observe
from regimes.ensemble.losses import LOSSES
from regimes.ensemble.networks import stacked
from regimes.ensemble.observations import Points
from regimes.ensemble.schedules import steps_at
from regimes.studies.feature_strength.settings import Network

SPECTRUM_TOLERANCE = 1e-3  # residual relative to the largest eigenvalue


class Model(Protocol):
    """What the observations need of an architecture (`regimes.nn`)."""

    layers: tuple[tuple[str, ...], ...]
    apply: observe.Apply
    features: observe.Features

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all parameters."""


@dataclass(frozen=True)
class Watched(engine.Observation):
    """An observation and how its results are labelled.

    Attributes
    ----------
    dim
        Dimension of the steps.
    further
        Further dimensions of its variables.
    final
        Measured at the end only, kept without a dimension of steps.
    """

    dim: str = ""
    further: tuple[str, ...] = ()
    final: bool = False


def observations(
    run: Network, model: Model, fixed: Points, test: Points, runs: engine.Runs
) -> list[Watched]:
    """Observations of a program whose runs share all settings that decide shapes.

    Kernels, curvature and mean outputs are measured on ``fixed``, performance and final outputs on
    ``test``.
    """
    loss = LOSSES[run.loss]
    found: list[Watched] = []

    def watch(schedule: str, dim: str, measure: observe.Measure, *further: str) -> None:
        steps = steps_at(schedule, run.steps)
        if steps:
            found.append(Watched(steps, measure, dim, further))

    watch(run.test_at, "test_step", observe.performance(test, loss))
    watch(run.outputs_at, "output_step", observe.mean_output(fixed))
    if run.kernels_at:
        measure = observe.layers(fixed, model.features, model.layers, runs)
        watch(run.kernels_at, "kernel_step", measure, "layer")
    tangent = observe.tangent(fixed.first(run.tangent_points), model.apply)
    watch(run.tangent_at, "tangent_step", tangent)
    watch(run.sharpness_at, "sharpness_step", observe.extremes(fixed, model.apply, loss))
    if run.spectrum_at:
        size = min(run.spectrum_size, sum(map(prod, model.shapes().values())))
        spectrum = observe.spectrum(fixed, model.apply, loss, size, SPECTRUM_TOLERANCE)
        watch(run.spectrum_at, "spectrum_step", spectrum, "rank")
    if run.final_outputs:
        end = (run.steps,)
        kernel = observe.last_kernel(fixed.first(run.kernel_points), model.features)
        found.append(Watched(end, observe.outputs(test), "", ("sample", "output_class"), True))
        found.append(Watched(end, kernel, "", ("kernel_sample", "kernel_other"), True))
    return found


def initial_sharpness(run: Network, model: Model, fixed: Points, runs: engine.Runs) -> np.ndarray:
    """Largest Hessian eigenvalue lambda_0 of every run (R,) at its initial weights."""
    measure = observe.extremes(fixed, model.apply, LOSSES[run.loss])
    lanes = torch.arange(len(runs.gamma), device=runs.device)
    state = engine.State(0, stacked(runs.start, runs.group), lanes, runs)
    return measure(state)["sharpness"].double().cpu().numpy()
