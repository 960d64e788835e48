"""What is measured of a run while it trains (section 2.5 of the specification), and its dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from regimes.data.streams import numpy_stream
from regimes.ensemble.engine import Observation, State, Trained
from regimes.ensemble.losses import Loss, accuracy
from regimes.ensemble.networks import Parameters
from regimes.ensemble.schedules import steps_at
from regimes.nn.revmlp import RevMLP
from regimes.observe.kernels import feature_alignment, layer_kernel
from regimes.observe.tangent_vectors import kernel_similarity, tangent_products
from regimes.studies.exact_gauss_newton.networks import network_of
from regimes.studies.exact_gauss_newton.settings import REGRESSION, Train

AT_ONCE = 1000  # samples per forward pass of an evaluation
INVERTED = 256  # training samples whose inversion is checked
GRADIENT_BUDGET = 2**30  # bytes of the gradients that kernel probes hold at a time

# Name to (dimensions after run, long name).
VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "diverged_at": ((), "update at which the loss stopped being finite; -1: never"),
    "batch_loss": (("update",), "loss of the batch of an update, before it"),
    "batch_loss_after": (("update",), "loss of the batch of an update, after it"),
    "running_loss": (
        ("epoch",),
        "mean loss of the batches of an epoch, each before its update; at epoch 0 the train loss",
    ),
    "pct_change_mean": (("epoch",), "change of a batch's loss by its update, percent, mean"),
    "pct_change_std": (("epoch",), "change of a batch's loss by its update, percent, deviation"),
    "train_loss": (("epoch",), "loss on training samples"),
    "train_accuracy": (("epoch",), "accuracy on training samples"),
    "test_loss": (("epoch",), "loss on all test samples"),
    "test_accuracy": (("epoch",), "accuracy on all test samples"),
    "weight_norm": (("epoch", "half"), "norm of the weights |W|"),
    "weight_cosine": (("epoch", "half"), "cosine between the weights and their start"),
    "weight_change": (("epoch", "half"), "distance of the weights from their start |W - W_0|"),
    "inversion_error": (("epoch",), "|inverse(forward(x)) - x| / |x|"),
    "rank_kept": (("epoch", "half"), "singular values of the features that are kept"),
    "s_max": (("epoch", "half"), "largest singular value of the features"),
    "s_min_kept": (("epoch", "half"), "smallest singular value that is kept"),
    "residual_fraction": (("epoch", "half"), "share of the wanted change that is not made"),
    "update_norm": (("epoch", "half"), "norm of the Gauss-Newton direction"),
    "cka_initial": (("epoch", "block"), "linear CKA of block outputs to their start"),
    "ntk_similarity": (("epoch",), "similarity of the tangent kernel of x_L to its start"),
    "ntk_velocity": (("epoch",), "1 - similarity of the tangent kernels of successive epochs"),
    "probe_gram": (
        ("epoch", "block", "probe", "probe_other"),
        "inner products of block outputs of fixed training samples",
    ),
    "initial_logits": (("sample", "class"), "logits before training"),
    "label": (("sample",), "class of a training sample"),
}
SINGLE = {"probe_gram", "batch_loss", "batch_loss_after"}


class Observer:
    """Measures of the runs of a program, relative to where they started.

    Parameters
    ----------
    run : Train
        Any run of the program: they share all that decides what is measured.
    model : RevMLP
    loss : Loss
    data : dict of Tensor
        ``x``, ``targets`` of the training samples used, ``test_x``, ``test_targets``.
    start, frozen : dict of Tensor (R, ...)
        Initial parameters and frozen tensors.
    """

    def __init__(
        self,
        run: Train,
        model: RevMLP,
        loss: Loss,
        data: Mapping[str, Tensor],
        start: Parameters,
        frozen: Parameters,
    ) -> None:
        self.run, self.model, self.loss, self.data = run, model, loss, data
        self.start = {name: value.clone() for name, value in start.items()}
        self.frozen = frozen
        self.probe = data["x"][: run.probe_samples]
        self.kernel_points = data["x"][: run.kernel_samples]
        self._initial_states: list[Tensor] | None = None
        self._initial_products: Tensor | None = None
        self._last_products: Tensor | None = None

    def observations(self, done: int, epochs: int, *, keep_weights: bool) -> list[Observation]:
        """Observations of a stage that begins after so many epochs.

        The first stage measures its start, later ones begin where the one before was measured.
        """
        per_epoch = self.run.updates_per_epoch()
        first = 0 if done == 0 else 1

        def of(epoch_list: Sequence[int], measure) -> Observation:
            here = [e - done for e in epoch_list if done + first <= e <= done + epochs]
            return Observation(tuple(e * per_epoch for e in here), measure, remembers=self)

        every = range(done, done + epochs + 1)
        tested = steps_at(self.run.test_at, self.run.total_epochs())
        found = [of(every, self.training), of(tested, self.testing), of(every, self.weights)]
        if self.run.uses_gauss_newton():
            found.append(of(tested, self.pseudo_inverse))
        found.append(of([done + epochs], self.inversion))
        if self.run.probe_at:
            due = steps_at(self.run.probe_at, self.run.total_epochs())
            found += [of(due, self.representations), of(due, self.tangent_kernel)]
        if keep_weights:
            found.append(Observation((epochs * per_epoch,), lambda state: dict(state.params)))
        return found

    def state(self) -> dict[str, Any]:
        """What later steps are compared with, for a checkpoint."""
        return {
            "initial_states": self._initial_states,
            "initial_products": self._initial_products,
            "last_products": self._last_products,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._initial_states = state["initial_states"]
        self._initial_products = state["initial_products"]
        self._last_products = state["last_products"]

    def training(self, state: State) -> dict[str, Tensor]:
        """Loss and accuracy on training samples."""
        limit = self.run.evaluated()
        return self._performance(
            state, "train", self.data["x"][:limit], self.data["targets"][:limit]
        )

    def testing(self, state: State) -> dict[str, Tensor]:
        """Loss and accuracy on test samples."""
        return self._performance(state, "test", self.data["test_x"], self.data["test_targets"])

    def _performance(
        self, state: State, part: str, x: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        outputs = self._outputs(state, x)
        targets = targets.expand_as(outputs)
        found = {f"{part}_loss": self.loss.batched(outputs, targets)[0]}
        if self.run.data not in REGRESSION:
            found[f"{part}_accuracy"] = accuracy(outputs, targets)
        return found

    def _outputs(self, state: State, x: Tensor) -> Tensor:
        runs, params = len(state.lanes), state.everything
        parts = [self.model.apply(params, _shared(part, runs)) for part in x.split(AT_ONCE)]
        return torch.cat(parts, 1)

    def weights(self, state: State) -> dict[str, Tensor]:
        """Norm, cosine with the start and distance from it, of each half-coupled layer."""
        norms, cosines, changes = [], [], []
        for half in self.model.halves:
            now, before = state.params[f"w{half}"], self.start[f"w{half}"][state.lanes]
            size, reference = _norm(now), _norm(before)
            norms.append(size)
            cosines.append((now * before).flatten(1).sum(1) / (size * reference))
            changes.append(_norm(now - before))
        values = (norms, cosines, changes)
        names = ("weight_norm", "weight_cosine", "weight_change")
        return {name: torch.stack(each, 1) for name, each in zip(names, values, strict=True)}

    def pseudo_inverse(self, state: State) -> dict[str, Tensor]:
        """Diagnostics of the Gauss-Newton solve on the first training samples, a batch of them."""
        run, runs = self.run, len(state.lanes)
        network = network_of(run, "gn", self.model, self.loss)
        x, targets = (_shared(self.data[n][: run.batch()], runs) for n in ("x", "targets"))
        found = network.diagnostics(state.everything, x, targets)
        return {
            "rank_kept": found.rank_kept,
            "s_max": found.largest,
            "s_min_kept": found.smallest_kept,
            "residual_fraction": found.residual_fraction,
            "update_norm": found.update_norm,
        }

    def inversion(self, state: State) -> dict[str, Tensor]:
        """Relative error of the inputs rebuilt from the outputs."""
        x, params = _shared(self.data["x"][:INVERTED], len(state.lanes)), state.everything
        rebuilt = self.model.inverse(params, self.model.run(params, x).output)
        return {"inversion_error": _norm(rebuilt - x) / _norm(x)}

    def representations(self, state: State) -> dict[str, Tensor]:
        """CKA of every block's output with its start, and inner products of the first samples."""
        states = self._states(state.everything, len(state.lanes))
        if self._initial_states is None:  # at step 0, where all runs are there
            self._initial_states = states
        pairs = zip(states, self._initial_states, strict=True)
        found = {
            "cka_initial": torch.stack(
                [feature_alignment(now, before[state.lanes]) for now, before in pairs], 1
            )
        }
        if self.run.kept_samples:
            kept = [each[:, : self.run.kept_samples].contiguous() for each in states]
            found["probe_gram"] = torch.stack([layer_kernel(each) for each in kept], 1)
        return found

    def _states(self, params: Parameters, runs: int) -> list[Tensor]:
        return self.model.states(self.model.run(params, _shared(self.probe, runs)))

    def tangent_kernel(self, state: State) -> dict[str, Tensor]:
        """Similarity of the tangent kernel to its start and to the last one that was measured."""
        products = self._tangent_products(state)
        if self._initial_products is None:
            self._initial_products = products
        similarity = kernel_similarity(self._initial_products[state.lanes], products)
        velocity = torch.full_like(similarity, torch.nan)
        if self._last_products is None:
            self._last_products = products.clone()
        else:
            velocity = 1 - kernel_similarity(self._last_products[state.lanes], products)
            self._last_products[state.lanes] = products
        return {"ntk_similarity": similarity, "ntk_velocity": velocity}

    def _tangent_products(self, state: State) -> Tensor:
        x, model = self.kernel_points, self.model
        shape = (self.run.kernel_vectors, *x.shape)
        drawn = numpy_stream(0, "kernel vectors").standard_normal(shape)
        vectors = torch.from_numpy(drawn).to(x)
        size = sum(value.numel() * value.element_size() for value in state.params.values())
        at_once = max(1, min(len(vectors), int(GRADIENT_BUDGET // size)))

        def apply(params: Parameters, frozen: Parameters, points: Tensor) -> Tensor:
            return model.run({**params, **frozen}, points).output

        frozen = {name: state.frozen[name] for name in state.frozen if name.startswith("c")}
        return tangent_products(apply, state.params, frozen, x, vectors, at_once=at_once)

    def constants(self) -> dict[str, np.ndarray]:
        """Logits before training and labels, for full-batch classification."""
        if self.run.data in REGRESSION or self.run.batch() < self.run.used():
            return {}
        runs = len(self.start[f"w{self.model.halves[0]}"])
        logits = self.model.apply({**self.start, **self.frozen}, _shared(self.data["x"][:], runs))
        labels = self.data["targets"].argmax(1).double().expand(runs, -1)
        return {"initial_logits": logits.double().cpu().numpy(), "label": labels.cpu().numpy()}


Stage = tuple[Trained, Sequence[Observation]]


def to_dataset(run: Train, passed: Sequence[Stage], observer: Observer) -> xr.Dataset:
    """Dataset over ``run`` of one program.

    Parameters
    ----------
    run
        Any run of the program.
    passed
        Result of the engine and what was observed, stage after stage.
    observer
        Of the program.
    """
    values = _joined(run, passed) | observer.constants()
    values["batch_loss"] = before = np.concatenate([found.loss for found, _ in passed], 1)
    by_epoch = (len(before), run.total_epochs(), run.updates_per_epoch())
    values["running_loss"] = _after_epoch_zero(before.reshape(by_epoch).mean(2))
    values["running_loss"][:, 0] = values["train_loss"][:, 0]
    if run.judge_updates:
        after = np.concatenate([found.loss_after for found, _ in passed], 1)
        change = (100 * (after / before - 1)).reshape(by_epoch)
        values["batch_loss_after"] = after
        values["pct_change_mean"] = _after_epoch_zero(change.mean(2))
        values["pct_change_std"] = _after_epoch_zero(change.std(2))
    values["diverged_at"] = _diverged_at(passed)
    coords = {"epoch": np.arange(run.total_epochs() + 1), "update": np.arange(before.shape[1])}
    coords |= {"block": np.arange(1, run.blocks + 1), "half": np.arange(1, 2 * run.blocks + 1)}
    texts = {
        "epoch": "passes over the training samples",
        "update": "updates done before",
        "block": "block, counted from 1",
        "half": "half-coupled layer, counted from 1: F and G of each block",
    }
    named = {}
    for name, value in values.items():
        dims, text = VARIABLES[name]
        if name in SINGLE:
            with np.errstate(over="ignore"):  # losses of runs about to diverge
                value = value.astype("float32")
        named[name] = (("run", *dims), value, {"long_name": text, "units": "1"})
    used = {dim for dims, *_ in named.values() for dim in dims}
    return xr.Dataset(
        named,
        coords={
            name: (name, axis, {"long_name": texts[name], "units": "1"})
            for name, axis in coords.items()
            if name in used
        },
    )


def _joined(run: Train, passed: Sequence[Stage]) -> dict[str, np.ndarray]:
    """Observations of all stages on the axis of epochs, NaN where nothing was measured."""
    joined: dict[str, np.ndarray] = {}
    done = 0
    for (_, _, length), (found, watched) in zip(run.stages(), passed, strict=True):
        for observation, observed in zip(watched, found.observed, strict=True):
            at = done + np.asarray(observation.steps, dtype=int) // run.updates_per_epoch()
            for name, values in observed.items():
                if name not in joined:
                    shape = (len(values), run.total_epochs() + 1, *values.shape[2:])
                    joined[name] = np.full(shape, np.nan)
                joined[name][:, at] = values
        done += length
    return joined


def _after_epoch_zero(values: np.ndarray) -> np.ndarray:
    """Values of epochs 1 to E (R, E) with NaN for epoch 0 before them: (R, E + 1)."""
    return np.concatenate([np.full((len(values), 1), np.nan), values], 1)


def _diverged_at(passed: Sequence[Stage]) -> np.ndarray:
    """First update of all stages at which a run diverged (R,); -1 for none."""
    result = np.full(len(passed[0][0].loss), -1, dtype="int64")
    done = 0
    for found, _ in passed:
        here = np.where(found.diverged_at < 0, -1, done + found.diverged_at)
        result = np.where(result < 0, here, result)
        done += found.loss.shape[1]
    return result


def _shared(x: Tensor, runs: int) -> Tensor:
    return x.expand(runs, *x.shape)


def _norm(value: Tensor) -> Tensor:
    """Euclidean norm of each run's numbers (R, ...): (R,)."""
    return value.flatten(1).square().sum(1).sqrt()
