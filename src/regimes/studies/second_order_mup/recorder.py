"""What is measured of a run while it trains (section 2.9 of the specification), and its dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from regimes import store
from regimes.data.corpus import analogy_accuracy
from regimes.data.labelled import first
from regimes.ensemble.engine import Observation, State, Trained
from regimes.ensemble.losses import LOSSES, accuracy
from regimes.ensemble.networks import Parameters
from regimes.ensemble.preconditioned import Preconditioner
from regimes.ensemble.recorded import RecordedNetwork
from regimes.ensemble.schedules import steps_at
from regimes.nn.taped.layers import Tape, applied
from regimes.optim.noise import NOISE_SEED, Generators
from regimes.studies.second_order_mup import theory
from regimes.studies.second_order_mup.networks import LARGE_IMAGES, rates
from regimes.studies.second_order_mup.settings import Train

AT_ONCE = 500  # samples per forward pass of an evaluation
RIDGES = (1e-4, 1e-3, 1e-2)  # of kernel regression, relative to the trace of the kernel
ROLES = {"input": 0, "hidden": 1, "output": 2}
FACTORS = tuple(f"{what}_{side}" for what in ("trace", "lambda_max", "rho") for side in "AB")
BATCH_VARIABLES = ("grad_norm", "precond_grad_norm", *FACTORS)

# Name to (dimensions after run, long name).
VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "diverged_at": ((), "update at which the loss stopped being finite; -1: never"),
    "batch_loss": (("update",), "loss of the batch of an update, before it"),
    "epoch": (("step",), "passes over the training samples"),
    "train_loss": (("step",), "loss on training samples"),
    "train_accuracy": (("step",), "accuracy on training samples"),
    "test_loss": (("step",), "loss on all test samples"),
    "test_accuracy": (("step",), "accuracy on all test samples"),
    "analogy_accuracy": (("step",), "share of word analogies answered by the embedding"),
    "dh": (("layer_step", "layer"), "mean change of preactivations on the probe |u - u_0|"),
    "h_abs": (("layer_step", "layer"), "mean size of preactivations on the probe |u|"),
    "dWh": (("layer_step", "layer"), "mean change by the layer's own weights |(W - W_0) h_0|"),
    "input_change": (("layer_step", "layer"), "relative change of a layer's inputs on the probe"),
    "w_norm": (("layer_step", "layer"), "norm of the weights"),
    "grad_norm": (("layer_step", "layer"), "norm of the gradient of the first training batch"),
    "precond_grad_norm": (("layer_step", "layer"), "norm of the preconditioned gradient"),
    "trace_A": (("layer_step", "layer"), "trace of the input-side factor"),
    "trace_B": (("layer_step", "layer"), "trace of the output-side factor"),
    "lambda_max_A": (("layer_step", "layer"), "largest eigenvalue of the input-side factor"),
    "lambda_max_B": (("layer_step", "layer"), "largest eigenvalue of the output-side factor"),
    "rho_A": (("layer_step", "layer"), "damping of the input-side factor"),
    "rho_B": (("layer_step", "layer"), "damping of the output-side factor"),
    "learning_rate": (("layer",), "learning rate"),
    "weight_deviation": (("layer",), "standard deviation of the initial weights"),
    "role": (("layer",), "role of a layer: 0 input, 1 hidden, 2 output"),
    "kernel_accuracy": (("ridge",), "test accuracy of ridge regression with the initial features"),
    "kernel_distance": (("kernel_step", "ridge"), "distance |f - g| / |g| of test outputs to it"),
    "nngp_accuracy": (("ridge",), "test accuracy of ridge regression with the NNGP kernel"),
    "nngp_distance": (("kernel_step", "ridge"), "distance |f - g| / |g| of test outputs to it"),
}
COORDINATES = {
    "update": "updates done before",
    "step": "updates done",
    "layer_step": "updates done where layers are observed",
    "kernel_step": "updates done where outputs are compared",
    "layer": "layer, counted from 0",
    "ridge": "ridge over the trace of the kernel of the training samples",
}


class Observer:
    """Measures of the runs of a program, relative to where they started.

    Parameters
    ----------
    run : Train
        Any run of the program: they share all that decides what is measured.
    network : RecordedNetwork
    preconditioner : Preconditioner or None
    data : dict of Tensor
        ``x``, ``targets`` of the training samples used, ``test_x``, ``test_targets``.
    start, frozen, hyper : dict of Tensor (R, ...)
        Initial parameters, frozen tensors and hyperparameters of the runs.
    analogies : ndarray (Q, 4) or None
        Questions about the words of an embedding.
    """

    def __init__(
        self,
        run: Train,
        network: RecordedNetwork,
        preconditioner: Preconditioner | None,
        data: Mapping[str, Tensor],
        start: Parameters,
        frozen: Parameters,
        hyper: Mapping[str, Tensor],
        analogies: np.ndarray | None = None,
    ) -> None:
        self.run, self.network, self.preconditioner = run, network, preconditioner
        self.data, self.frozen, self.hyper = data, frozen, hyper
        self.start = {name: value.clone() for name, value in start.items()}
        self.analogies = analogies
        self.layers = network.layers
        self.probe = data["test_x"][: run.probe_samples]
        # Of large images no more at a time than training can hold.
        large = self.probe.ndim == 4 and self.probe.shape[-1] >= LARGE_IMAGES
        self.at_once = min(AT_ONCE, run.batch()) if large else AT_ONCE

    def observations(self) -> list[Observation]:
        """What the engine is to measure, and when."""
        total = self.run.steps
        scheduled = (
            (self.run.evaluate_at, self.evaluate),
            (self.run.layers_at, self.look),
            (self.run.kernel_at, self.compare),
        )
        return [Observation(steps_at(at, total), measure) for at, measure in scheduled if at]

    def evaluate(self, state: State) -> dict[str, Tensor]:
        """Loss and accuracy; word analogies where there are words."""
        found, run = {}, self.run
        for part, x, targets in (
            ("train", *(first(self.data[n], run.evaluation_samples) for n in ("x", "targets"))),
            ("test", self.data["test_x"], self.data["test_targets"]),
        ):
            found |= {f"{part}_{k}": v for k, v in self._performance(state.params, x, targets)}
        if self.analogies is not None:
            vectors = state.params["w1"].double().cpu().numpy()
            found["analogy_accuracy"] = torch.from_numpy(
                np.asarray(analogy_accuracy(vectors, self.analogies))
            )
        return found

    def _performance(self, params: Parameters, x: Tensor, targets: Tensor):
        """Loss and accuracy, means over parts of the samples."""
        totals = {"loss": 0.0, "accuracy": 0.0}
        for part, wanted in zip(x.split(self.at_once), targets.split(self.at_once), strict=True):
            outputs = self._outputs(params, part)
            wanted = self.one_hot(wanted).expand_as(outputs)
            share = len(part) / len(x)
            totals["loss"] += share * LOSSES[self.run.loss].batched(outputs, wanted)[0]
            # Targets of a squared loss are one-hot rows minus 1 / C.
            totals["accuracy"] += share * accuracy(outputs, (wanted > 0).to(outputs.dtype))
        return totals.items()

    def one_hot(self, targets: Tensor) -> Tensor:
        """Targets (n, C) as they are, or of labels (n, 1)."""
        if targets.dtype != torch.int64:
            return targets
        classes = self.network.model.classes
        shift = 1 / classes if self.run.loss == "mse" else 0.0
        rows = torch.nn.functional.one_hot(targets[..., 0], classes)
        return rows.to(self.hyper["damping"].dtype) - shift

    def _outputs(self, params: Parameters, x: Tensor) -> Tensor:
        runs = len(next(iter(params.values())))
        return self.network.outputs(params, x.expand(runs, *x.shape))

    def _tape(self, params: Parameters) -> Tape:
        runs = len(next(iter(params.values())))
        with torch.no_grad():
            return self.network.model.run(params, self.probe.expand(runs, *self.probe.shape))[1]

    @cached_property
    def _initial(self) -> Tape:
        """What every layer saw and gave before training."""
        return self._tape(self.start)

    def look(self, state: State) -> dict[str, Tensor]:
        """Observables of every layer, (R, layers)."""
        tape, lanes = self._tape(state.params), state.lanes
        found: dict[str, list[Tensor]] = {}
        if state.step == 0 or self.run.factors == "always":
            measured = self._factors(state)
        else:
            nothing = torch.full((len(lanes),), torch.nan, device=lanes.device)
            measured = dict.fromkeys(self.layers, dict.fromkeys(BATCH_VARIABLES, nothing))
        for name, layer in self.layers.items():
            now, before = tape[name], self._initial[name]
            moved = state.params[name] - self.start[name][lanes]
            seen = before.inputs[lanes]
            values = {
                "dh": _mean_size(now.outputs - before.outputs[lanes]),
                "h_abs": _mean_size(now.outputs),
                "dWh": _mean_size(applied(layer, moved, seen)),
                "input_change": _norm(now.inputs - seen) / _norm(seen),
                "w_norm": _norm(state.params[name]),
                **measured[name],
            }
            for key, value in values.items():
                found.setdefault(key, []).append(value)
        return {key: torch.stack(values, 1) for key, values in found.items()}

    def _factors(self, state: State) -> dict[str, dict[str, Tensor]]:
        """Gradients, factors and damping of the first training batch, layer by layer."""
        size = self.run.batch()
        x, targets = self.data["x"][:size], self.one_hot(self.data["targets"][:size])
        runs = len(state.lanes)
        params = {**state.params, NOISE_SEED: self.frozen[NOISE_SEED][state.lanes] ^ 1}
        # Numbers of their own: looking must not change the training.
        _, gradient = self.network.with_statistics(
            params, x.expand(runs, *x.shape), targets.expand(runs, *targets.shape), Generators()
        )
        hyper = {name: value[state.lanes] for name, value in self.hyper.items()}
        rule = self.preconditioner
        measured = {} if rule is None else rule.measured(gradient, hyper)
        found = {}
        for name in self.layers:
            norm = _norm(gradient[name])
            nothing = dict.fromkeys(FACTORS, torch.full_like(norm, torch.nan))
            first_order = {"grad_norm": norm, "precond_grad_norm": norm}
            found[name] = first_order | nothing | measured.get(name, {})
        return found

    def compare(self, state: State) -> dict[str, Tensor]:
        """Relative distances of test outputs to both kernel predictors, (R, ridges)."""
        test = self.data["test_x"].split(self.at_once)
        parts = [self._outputs(state.params, part) for part in test]
        outputs = torch.cat(parts, 1).double().cpu().numpy()
        lanes = state.lanes.cpu().numpy()
        found = {}
        for name, reference in self._references.items():
            far = theory.relative_distance(outputs[:, None], reference[lanes % len(reference)])
            found[f"{name}_distance"] = torch.from_numpy(far).to(self.hyper["damping"])
        return found

    @cached_property
    def _references(self) -> dict[str, np.ndarray]:
        """Test outputs (R or 1, ridges, n, C) of kernel ridge regression."""
        x, test_x = self.data["x"][:], self.data["test_x"][:]
        targets = self.one_hot(self.data["targets"]).double().cpu().numpy()
        train, test = (self._last_hidden(each) for each in (x, test_x))
        kernels = {"kernel": (train @ train.mT / train.shape[2], test @ train.mT / train.shape[2])}
        if self.run.model == "mlp" and self.run.activation == "relu":
            flat, test_flat = (each.flatten(1).double().cpu().numpy() for each in (x, test_x))
            infinite = theory.nngp_kernel(flat), theory.nngp_kernel(test_flat, flat)
            kernels["nngp"] = tuple(torch.from_numpy(each[None]) for each in infinite)
        return {
            name: np.stack(
                [
                    theory.ridge_predictor(own.cpu().numpy(), cross.cpu().numpy(), targets, ridge)
                    for ridge in RIDGES
                ],
                axis=1,
            )
            for name, (own, cross) in kernels.items()
        }

    def _last_hidden(self, x: Tensor) -> Tensor:
        """Inputs (R, n, M) of the output layer before training, in float64."""
        runs, last = len(next(iter(self.start.values()))), list(self.layers)[-1]
        with torch.no_grad():
            tapes = [
                self.network.model.run(self.start, part.expand(runs, *part.shape))[1]
                for part in x.split(self.at_once)
            ]
        return torch.cat([tape[last].inputs for tape in tapes], 1).double()

    def constants(self, runs: Sequence[Train]) -> dict[str, np.ndarray]:
        """What does not change while a run trains."""
        each = [rates(run, self.network.model) for run in runs]
        found = {
            "learning_rate": np.array([list(rate.values()) for rate in each]),
            "weight_deviation": np.stack(
                [_deviation(self.start[name]) for name in self.layers], axis=1
            ),
            "role": np.tile([ROLES[layer.role] for layer in self.layers.values()], (len(runs), 1)),
        }
        if self.run.kernel_at:
            label = self.one_hot(self.data["test_targets"]).argmax(1).cpu().numpy()
            for name, outputs in self._references.items():
                share = (outputs.argmax(-1) == label).mean(-1)
                found[f"{name}_accuracy"] = np.broadcast_to(share, (len(runs), len(RIDGES)))
        return found


def to_dataset(run: Train, runs: Sequence[Train], found: Trained, observer: Observer) -> xr.Dataset:
    """Dataset over ``run`` of one program."""
    with np.errstate(over="ignore"):  # losses of runs about to diverge
        values = {"diverged_at": found.diverged_at, "batch_loss": found.loss.astype("float32")}
    values |= observer.constants(runs)
    for observed in found.observed:
        values |= observed
    total = run.steps
    coords = {"update": np.arange(found.loss.shape[1]), "layer": np.arange(len(observer.layers))}
    coords["ridge"] = np.array(RIDGES)
    for name, at in (
        ("step", run.evaluate_at),
        ("layer_step", run.layers_at),
        ("kernel_step", run.kernel_at),
    ):
        coords[name] = np.array(steps_at(at, total) if at else (), dtype="int64")
    if len(coords["step"]):
        share = coords["step"] * run.batch() / run.used()
        values["epoch"] = np.broadcast_to(share, (len(runs), len(share)))
    named = {name: (("run", *VARIABLES[name][0]), value) for name, value in values.items()}
    used = {dim for dims, _ in named.values() for dim in dims}
    dataset = xr.Dataset(named, {name: axis for name, axis in coords.items() if name in used})
    texts = {name: text for name, (_, text) in VARIABLES.items()}
    return store.described(dataset, texts | COORDINATES)


def _mean_size(value: Tensor) -> Tensor:
    """Mean absolute value of each run's numbers, (R, ...) to (R,)."""
    return value.abs().flatten(1).mean(1)


def _norm(value: Tensor) -> Tensor:
    """Euclidean norm of each run's numbers, (R, ...) to (R,)."""
    return value.flatten(1).double().square().sum(1).sqrt()


def _deviation(value: Tensor) -> np.ndarray:
    return value.flatten(1).double().square().mean(1).sqrt().cpu().numpy()
