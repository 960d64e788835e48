"""What is measured while runs move through phase space: displacements, projections, losses.

The velocity is u = -v with the momentum buffer v of the update, so that d theta / dt = u in the
time t = eta k (section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from regimes import lanes
from regimes.ensemble.engine import Observation, Runs, State, Trained
from regimes.ensemble.losses import Loss, accuracy
from regimes.ensemble.networks import Network, Parameters
from regimes.ensemble.schedules import steps_at
from regimes.observe.curvature import flatten
from regimes.studies.limiting_dynamics import data_sets
from regimes.studies.limiting_dynamics.data_sets import Samples
from regimes.studies.limiting_dynamics.settings import FILES, Sgd

EVALUATED = 50_000  # images of a part on which losses are evaluated, spread over the part
TOGETHER = 250  # images that go through a network together, which batch norm normalizes
LONG_NAMES = {
    "diverged_at": "first update whose loss was not finite or above 1e30, -1 for none",
    "local_displacement": "squared local displacement |theta_k - theta_(k-1)|^2",
    "global_displacement": "squared global displacement |theta_k - theta_0|^2",
    "weight_norm2": "squared norm of the weights |theta_k|^2",
    "weight_overlap": "theta_k . theta_0",
    "train_batch_loss": "loss of the batch of update k, before it",
    "position": "position q . (theta_k - theta_0)",
    "velocity": "velocity q . u_k, u the negative momentum buffer",
    "control_position": "position along a random direction",
    "control_velocity": "velocity along a random direction",
    "start_position": "q . theta_0",
    "train_loss": "loss on all training data",
    "train_accuracy": "accuracy on all training data",
    "test_loss": "loss on all test data",
    "test_accuracy": "accuracy on all test data",
    "weights": "final weights",
    "eigenvalue": "eigenvalues of the Hessian, decreasing",
    "noise": "variance of single-sample gradients along the eigenvector, at the minimum",
    "noise_trace": "trace of the covariance of single-sample gradients, at the minimum",
    "residual_variance": "mean squared residual at the minimum",
    "minimum": "minimum relative to the start along the eigenvector, q . (mu - theta_0)",
}
# float32 holds what only figures and averages over many steps use.
SINGLE = {
    "position", "velocity", "control_position", "control_velocity", "train_batch_loss",
    "weight_norm2", "weight_overlap",
}  # fmt: skip


class Watched(NamedTuple):
    """An observation, the dimension of its steps, and the names of what it packs side by side."""

    observation: Observation
    dim: str
    names: tuple[str, ...]


def displacements(run: Sgd, runs: Runs) -> Watched:
    """Squared displacements and norms at `Sgd.record_at`."""
    start = flatten({name: value[runs.group] for name, value in runs.start.items()})
    rate = runs.rate

    def measure(state: State) -> dict[str, Tensor]:
        here, origin = flatten(state.params), start[state.lanes]
        moved = here - origin
        step = flatten(state.memory) * rate[state.lanes, None]
        numbers = [
            step.square().sum(1),
            moved.square().sum(1),
            here.square().sum(1),
            (here * origin).sum(1),
        ]
        return {"numbers": torch.stack(numbers, 1)}

    names = ("local_displacement", "global_displacement", "weight_norm2", "weight_overlap")
    return Watched(Observation(steps_at(run.record_at, run.length()), measure), "step", names)


def projections(run: Sgd, runs: Runs, directions: np.ndarray) -> Watched:
    """Positions and velocities along the rows of ``directions`` (M, P) at `Sgd.project_at`."""
    start = flatten({name: value[runs.group] for name, value in runs.start.items()})
    basis = torch.from_numpy(np.ascontiguousarray(directions)).to(start)
    basis = lanes.spaced(basis.expand(1, *basis.shape))

    def measure(state: State) -> dict[str, Tensor]:
        # Two rows per run in one product: (R, 2, P) times (R, P, M).
        shape = (len(state.lanes), 2, basis.shape[2])
        both = lanes.empty(*shape, dtype=start.dtype, device=start.device)
        torch.sub(flatten(state.params), start[state.lanes], out=both[:, 0])
        torch.neg(flatten(state.memory), out=both[:, 1])
        along = lanes.product(both, basis.expand(len(both), *basis.shape[1:]).transpose(1, 2))
        return {"numbers": along}

    names = ("position", "velocity")
    return Watched(
        Observation(steps_at(run.project_at, run.length()), measure), "projection_step", names
    )


def evaluations(run: Sgd, network: Network, loss: Loss, data: Samples) -> Watched:
    """Loss and, for networks, accuracy on whole data sets at `Sgd.evaluate_at`.

    Images are not augmented; at most `EVALUATED` of each part are looked at.
    """
    classified = run.model != "linear"

    def mean(state: State, params: Parameters, x: Any, targets: Any) -> list[Tensor]:
        """Mean loss and accuracy (R,) of the runs."""
        parts = [torch.arange(len(x))]
        if run.data in FILES:
            parts = data_sets.spread(len(x), EVALUATED, TOGETHER)
        totals: list[Tensor] = []
        for rows in parts:
            chosen = (each.index_select(0, rows.to(x.device)) for each in (x, targets))
            batch, wanted = (each.expand(len(state.lanes), *each.shape) for each in chosen)
            outputs = network.outputs(params, batch)
            found = [loss.batched(outputs, wanted)[0]]
            if classified:
                found.append(accuracy(outputs, wanted))
            share = len(rows) / sum(map(len, parts))
            totals = [share * each + (totals[i] if totals else 0) for i, each in enumerate(found)]
        return totals

    def measure(state: State) -> dict[str, Tensor]:
        params = network.prepare(state.params)
        train = mean(state, params, data.x, data.targets)
        test = mean(state, params, data.test_x, data.test_targets)
        return {"numbers": torch.stack([*train, *test], 1)}

    kinds = ("loss", "accuracy") if classified else ("loss",)
    names = tuple(f"{part}_{kind}" for part in ("train", "test") for kind in kinds)
    return Watched(
        Observation(steps_at(run.evaluate_at, run.length()), measure), "evaluation_step", names
    )


def final_weights(steps: int) -> Watched:
    """Weights (R, P) after the last update."""

    def measure(state: State) -> dict[str, Tensor]:
        return {"numbers": flatten(state.params)}

    return Watched(Observation((steps,), measure), "final", ("weights",))


def to_dataset(
    run: Sgd,
    trained: Trained,
    watched: Sequence[Watched],
    constants: dict[str, tuple[tuple[str, ...], np.ndarray]],
) -> xr.Dataset:
    """Dataset over ``run`` of one program.

    Parameters
    ----------
    run
        Any run of the program: they share all that decides shapes.
    trained
        Result of the engine.
    watched
        The observations of the program, in the order of ``trained.observed``.
    constants
        What does not change with the steps: name to (dimensions without run, values (R, ...)).
    """
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "diverged_at": ((), trained.diverged_at.astype("int64")),
    }
    coords = {}
    for what, observed in zip(watched, trained.observed, strict=True):
        numbers, steps = observed["numbers"], np.asarray(what.observation.steps)
        if what.dim == "final":
            variables["weights"] = (("parameter",), numbers[:, 0])
            continue
        if what.dim == "step":  # displacements belong to updates, and none came before step 0
            kept = steps > 0
            steps, numbers = steps[kept], numbers[:, kept]
            variables["train_batch_loss"] = (("step",), trained.loss[:, steps - 1])
        coords[what.dim] = (what.dim, steps, {"long_name": "updates done", "units": "1"})
        for index, name in enumerate(what.names):
            if what.dim == "projection_step":
                variables[name] = ((what.dim, "mode"), numbers[:, :, index, : run.modes])
                if run.controls:
                    controls = numbers[:, :, index, run.modes :]
                    variables[f"control_{name}"] = ((what.dim, "control"), controls)
            else:
                variables[name] = ((what.dim,), numbers[:, :, index])
    variables |= constants
    named = {
        name: (
            ("run", *dims),
            values.astype("float32") if name in SINGLE else values,
            {"long_name": LONG_NAMES[name], "units": "1"},
        )
        for name, (dims, values) in variables.items()
    }
    for dim in ("mode", "control"):
        sizes = [v.shape[d.index(dim)] for d, v, _ in named.values() if dim in d]
        if sizes:
            attributes = {"long_name": f"{dim}, counted from 1", "units": "1"}
            coords[dim] = (dim, np.arange(1, max(sizes) + 1), attributes)
    return xr.Dataset(named, coords=coords)
