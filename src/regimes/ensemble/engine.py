"""Online training of many runs of one architecture as one batched program.

The runs of a program share shapes, steps, batch size, loss and precision; each has its own initial
weights, data, feature strength and learning rate. A run that diverges (loss not finite, or above
`LIMIT`) is marked; on a CPU it leaves the program at the next compaction, on a GPU, where shapes
must stay, it runs on unseen. Either way the other runs go on unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from regimes import journal
from regimes.ensemble import checkpoints, probing
from regimes.ensemble.batches import SMALLEST_WIDTH
from regimes.ensemble.capture import captured
from regimes.ensemble.losses import Loss
from regimes.ensemble.networks import Network, Parameters, stacked
from regimes.ensemble.updates import Update

LIMIT = 1e30  # a larger loss counts as divergence
COMPACTION = 20  # steps between looks at which runs diverged


class Stream(Protocol):
    """Batches of a training: `regimes.data.tasks.OnlineStream` or `regimes.data.samples`.

    Iterating yields, ``steps`` times, inputs (S, B, ...) and targets (S, B, C) of S data seeds. A
    stream that is `regimes.ensemble.checkpoints.Resumable` tells where its last iteration stands,
    and after ``resume`` the next one goes on there; any other is gone through from its beginning
    to where a checkpoint was written.
    """

    steps: int

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of every step."""


@dataclass(frozen=True)
class Runs:
    """The R runs of a program and what they share.

    Attributes
    ----------
    start : dict of Tensor
        Initial parameters, (G, ...): runs that start equally and see equal data form one of G
        groups, whose frozen copy is evaluated once.
    group : Tensor (R,)
        Group of each run.
    stream : Tensor (G,)
        Index, along the first axis of the stream's batches, of the data of each group.
    gamma, rate : Tensor (R,)
        Feature strength, and learning rate of every parameter.
    more : dict of Tensor (R,)
        Other hyperparameters of the update rule.
    centred : bool
        Whether the outputs of the frozen copy are subtracted from those of the network.
    frozen : dict of Tensor (G, ...)
        Tensors per group that the network reads beside its parameters and nothing updates.
    """

    start: Parameters
    group: torch.Tensor
    stream: torch.Tensor
    gamma: torch.Tensor
    rate: torch.Tensor
    more: Mapping[str, torch.Tensor] = field(default_factory=dict)
    centred: bool = True
    frozen: Parameters = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the runs are trained."""
        return self.gamma.device


class State(NamedTuple):
    """What an observation sees: the runs still in the program, R' of them.

    Attributes
    ----------
    step : int
        Updates done.
    params, memory, frozen : dict of Tensor (R', ...)
        Parameters, what the update rule remembers, and `Runs.frozen` of each run.
    lanes : Tensor (R',)
        Index of each among all runs.
    runs : Runs
        All runs.
    """

    step: int
    params: Parameters
    lanes: torch.Tensor
    runs: Runs
    memory: Parameters = {}  # noqa: RUF012 - never changed
    frozen: Parameters = {}  # noqa: RUF012 - never changed

    @property
    def everything(self) -> Parameters:
        """Parameters and what is frozen beside them, (R', ...)."""
        return {**self.params, **self.frozen}

    @property
    def gamma(self) -> torch.Tensor:
        """Feature strengths (R',)."""
        return self.runs.gamma[self.lanes]

    @property
    def group(self) -> torch.Tensor:
        """Groups (R',)."""
        return self.runs.group[self.lanes]


@dataclass(frozen=True)
class Observation:
    """Something measured at some steps.

    Attributes
    ----------
    steps : sequence of int
        Updates done when it is measured, increasing.
    measure : callable
        From a `State` to named tensors (R', ...).
    remembers : Resumable or None
        What ``measure`` remembers from one step to another.
    """

    steps: Sequence[int]
    measure: Callable[[State], dict[str, torch.Tensor]]
    remembers: checkpoints.Resumable | None = field(default=None, kw_only=True)


class Trained(NamedTuple):
    """Result of `train`.

    Attributes
    ----------
    loss : ndarray (R, T)
        Loss of the batch of every step before its update; NaN from divergence on.
    diverged_at : ndarray (R,)
        First step whose loss was not finite or above `LIMIT`; -1 for none.
    observed : list of dict of ndarray (R, steps, ...)
        One per observation; NaN where a run had diverged.
    loss_after : ndarray (R, T) or None
        Loss of the batch of every step after its update, where asked for.
    """

    loss: np.ndarray
    diverged_at: np.ndarray
    observed: list[dict[str, np.ndarray]]
    loss_after: np.ndarray | None = None


def train(
    network: Network,
    update: Update,
    stream: Stream,
    runs: Runs,
    observations: Sequence[Observation] = (),
    after: Loss | None = None,
) -> Trained:
    """Train R runs on a stream, one update per batch.

    Within `regimes.ensemble.checkpoints.kept`, checkpoints are written and used.

    Parameters
    ----------
    network
        Model and loss.
    update
        Update rule, in place on the parameters.
    stream
        Batches; its steps are the number of updates.
    runs
        Start points, feature strengths, learning rates; at least two runs.
    observations
        What else to measure, and when.
    after
        Loss by which each batch is judged again after its update; one more forward pass a step.

    Raises
    ------
    ValueError
        If there are fewer than two runs: a batch of one gives other bits (`batches`).
    """
    count = len(runs.gamma)
    if count < SMALLEST_WIDTH:
        raise ValueError(f"a program has at least {SMALLEST_WIDTH} runs, not {count}")
    if (probe := probing.current()) is not None:
        return probe.train(network, update, stream, runs, observations, after)
    call = checkpoints.call()
    if call.result is not None:
        journal.training(stream.steps, count, stream.steps)
        return Trained(**call.result)
    beside = _beside(network, observations)
    program = _Program(network, update, runs, after, call.state)
    record = _Record(count, stream.steps, observations, runs.gamma, after is not None, call.state)
    begun, batches = _begin(stream, beside, call.state)
    call.state = None
    told = journal.training(stream.steps, count, begun)
    for step, (x, targets) in enumerate(batches, begun):
        told.step = step
        record.observe(step, program.state(step))
        record.note(step, program.lanes, *program.step(x, targets))
        if (step + 1) % COMPACTION == 0 or step + 1 == stream.steps:
            record.mark(step + 1 - COMPACTION, step + 1)
            told.alive = int(record.alive.sum())
            if runs.device.type == "cpu":
                program.compact(record.alive)
            if not told.alive:
                record.observe_rest(program)
                break
        if call.due():
            here = {
                "step": step + 1,
                "stream": checkpoints.state_of(stream),
                "beside": [each.state() for each in beside],
            }
            call.save(here | program.kept() | record.kept())
    else:
        record.observe(stream.steps, program.state(stream.steps))
    trained = record.result()
    call.finish(trained._asdict())
    return trained


def _beside(network: Network, observations: Sequence[Observation]) -> list[checkpoints.Resumable]:
    """What changes in training beside parameters, their memory and the record, each once."""
    found = [network, *(observation.remembers for observation in observations)]
    return [each for each in dict.fromkeys(found) if isinstance(each, checkpoints.Resumable)]


def _begin(
    stream: Stream, beside: Sequence[checkpoints.Resumable], state: Mapping[str, Any] | None
) -> tuple[int, Iterable[tuple[torch.Tensor, torch.Tensor]]]:
    """Steps that are done, and the batches of the others."""
    if state is None:
        return 0, stream
    for each, known in zip(beside, state["beside"], strict=True):
        each.resume(known)
    done = state["step"]
    print(f"resuming at step {done} of {stream.steps}", flush=True)
    if state["stream"] is None:
        return done, islice(stream, done, None)
    stream.resume(state["stream"])
    return done, stream


class _Program:
    """Parameters of the runs in training and the step that updates them."""

    def __init__(
        self,
        network: Network,
        update: Update,
        runs: Runs,
        after: Loss | None = None,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        self.network, self.update, self.runs, self.after = network, update, runs, after
        self.start = network.prepare(runs.start) if runs.centred else {}
        if kept is not None:
            self.lanes = kept["lanes"]
            self._set(kept["params"], kept["memory"])
            return
        self.lanes = torch.arange(len(runs.gamma), device=runs.device)
        params = network.prepare(stacked(runs.start, runs.group))
        self._set(params, update.memory(params))

    def _set(self, params: Parameters, memory: Parameters) -> None:
        """Go on with these parameters: what the step reads is fixed until the next call.

        The step does not refer to this program: in a circle of references, its tensors and the
        memory of its graph would stay until Python happens to look for circles.
        """
        self.params, self.memory = params, memory
        network, update, runs, after, start = (
            self.network, self.update, self.runs, self.after, self.start
        )  # fmt: skip
        group = runs.group[self.lanes]
        data = runs.stream[group]
        gamma = runs.gamma[self.lanes]
        hyper = {"rate": runs.rate, **runs.more}
        hyper = {name: value[self.lanes] for name, value in hyper.items()}
        zero = gamma.new_zeros(len(gamma), 1, 1)
        own = torch.equal(data, torch.arange(len(data), device=data.device))
        self.frozen = stacked(runs.frozen, group)
        given = {**params, **self.frozen}

        def step(x: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
            reference = zero
            if runs.centred:
                # Frozen copies: one forward pass per group, not per run.
                begun = {**start, **runs.frozen}
                frozen = network.outputs(begun, _lanes_of(x, runs.stream))
                reference = frozen.index_select(0, group)
            x, targets = _lanes_of(x, data, own), _lanes_of(targets, data, own)
            loss, gradient = network.loss_and_gradient(given, x, targets, reference, gamma)
            update.apply(params, gradient, memory, hyper)
            if after is None:
                return (loss,)
            outputs = (network.outputs(given, x) - reference) / gamma.view(-1, 1, 1)
            return loss, after.batched(outputs, targets)[0]

        if runs.device.type == "cuda" and getattr(network, "capturable", True):
            step = captured(step, [*params.values(), *memory.values()])
        self.step = step

    def kept(self) -> dict[str, Any]:
        """What a checkpoint holds of the program; tensors keep their strides in it."""
        return {"lanes": self.lanes, "params": self.params, "memory": self.memory}

    def state(self, step: int) -> State:
        return State(step, self.params, self.lanes, self.runs, self.memory, self.frozen)

    def compact(self, alive: torch.Tensor) -> None:
        """Drop runs that diverged, once that makes the program smaller."""
        left = alive[self.lanes].nonzero().flatten()
        if len(left) == len(self.lanes) or not len(left):
            return
        if len(left) < SMALLEST_WIDTH:  # keep a neighbour, dead or alive
            left = torch.arange(len(self.lanes))[: int(left[0]) + 2][-SMALLEST_WIDTH:]
            if len(left) == len(self.lanes):
                return
        params = self.network.prepare(stacked(self.params, left))
        memory = stacked(self.memory, left)
        self.network.release()
        self.lanes = self.lanes[left]
        self._set(params, memory)


def _lanes_of(batch: torch.Tensor, index: torch.Tensor, own: bool = False) -> torch.Tensor:
    """Data of each run: the one stream seen by all, or the stream of each.

    Where every run has a stream of its own, in their order, nothing is copied.
    """
    if len(batch) == 1:
        return batch.expand(len(index), *batch.shape[1:])
    if own and len(batch) == len(index):
        return batch
    return batch.index_select(0, index)


class _Record:
    """Losses, divergence and observations of all runs, in their original order."""

    def __init__(
        self,
        count: int,
        steps: int,
        observations: Sequence[Observation],
        like: torch.Tensor,
        after: bool = False,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        self.loss = torch.full((steps, count), torch.nan, dtype=like.dtype, device=like.device)
        self.after = torch.full_like(self.loss, torch.nan) if after else None
        self.diverged_at = torch.full((count,), -1, device=like.device)
        self.observations = list(observations)
        self.position = [{step: i for i, step in enumerate(o.steps)} for o in self.observations]
        self.observed: list[dict[str, torch.Tensor]] = [{} for _ in self.observations]
        if kept is not None:
            self.loss, self.after, self.diverged_at, self.observed = (
                kept[name] for name in ("loss", "loss_after", "diverged_at", "observed")
            )

    def kept(self) -> dict[str, Any]:
        """What a checkpoint holds of the record."""
        return {
            "loss": self.loss,
            "loss_after": self.after,
            "diverged_at": self.diverged_at,
            "observed": self.observed,
        }

    @property
    def alive(self) -> torch.Tensor:
        """Runs that have not diverged (R,)."""
        return self.diverged_at < 0

    def note(self, step: int, lanes: torch.Tensor, *losses: torch.Tensor) -> None:
        """Keep the losses of a step, before the update and, where asked for, after it."""
        for kept, loss in zip((self.loss, self.after), losses, strict=False):
            if len(lanes) == kept.shape[1]:  # always so on a GPU, where indexing is slow
                kept[step] = loss
            else:
                kept[step, lanes] = loss

    def mark(self, start: int, stop: int) -> None:
        """Note which runs diverged at steps ``start`` to ``stop``."""
        start = max(start, 0)
        bad = ~(self.loss[start:stop] <= LIMIT)  # NaN compares false
        first = torch.where(bad.any(0), start + bad.int().argmax(0), -1)
        self.diverged_at = torch.where(self.alive, first, self.diverged_at)

    def observe(self, step: int, state: State) -> None:
        """Measure what is due at this step."""
        count = len(self.diverged_at)
        for observation, position, observed in zip(
            self.observations, self.position, self.observed, strict=True
        ):
            if step not in position:
                continue
            for name, values in observation.measure(state).items():
                if name not in observed:
                    # Steps first: what is measured at every step lies side by side.
                    shape = (len(position), count, *values.shape[1:])
                    observed[name] = values.new_full(shape, torch.nan, dtype=torch.float64)
                if len(values) == count:
                    observed[name][position[step]] = values
                else:
                    observed[name][position[step], state.lanes] = values.double()

    def observe_rest(self, program: _Program) -> None:
        """Measure once what was never due while runs were alive: all of it becomes NaN."""
        for observation, observed in zip(self.observations, self.observed, strict=True):
            if not observed and observation.steps:
                self.observe(observation.steps[-1], program.state(observation.steps[-1]))

    def result(self) -> Trained:
        """Arrays of all runs, NaN after divergence."""
        diverged_at = self.diverged_at.cpu().numpy()
        steps = len(self.loss)
        end = np.where(diverged_at < 0, steps, diverged_at)
        passed = np.arange(steps) < end[:, None]
        loss = np.where(passed, self.loss.double().cpu().numpy().T, np.nan)
        after = None
        if self.after is not None:
            after = np.where(passed, self.after.double().cpu().numpy().T, np.nan)
        found: list[dict[str, np.ndarray]] = []
        for observation, observed in zip(self.observations, self.observed, strict=True):
            # The update of step t - 1 made the loss of step t; the last one is not checked by it.
            seen = np.asarray(observation.steps)[:, None] <= np.where(diverged_at < 0, steps, end)
            found.append({})
            for name, values in observed.items():
                values = values.cpu().numpy()
                values[~seen] = np.nan
                found[-1][name] = values.swapaxes(0, 1)
        return Trained(loss, diverged_at, found, after)
