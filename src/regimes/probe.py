"""A training as it would be, run only as far as needed to tell its cost.

While a `Probe` is active (`regimes.ensemble.probing`), the code of a study runs for real with four
exceptions. Of equal iterations (training steps, chunks of a batch) the first is a warm-up in which
operations are counted, and after a few more the rest is taken to cost the same. Observations are
measured at the first and at the latest step that was reached. Of the programs of one shape a few
are trained. A program whose single step would take too long is replaced by a narrower one. What is
left out is added to a clock, so that times of everything around it come out right by themselves.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from regimes.config import ConfigError
from regimes.data import files
from regimes.data.catalog import PARTS, Source
from regimes.ensemble import checkpoints, engine
from regimes.flops import Counter

# Settings that are made smaller in a program too large to try, one after the other.
NARROWED = ("width", "unit", "blocks", "batch_size")
NARROWING = 4  # divisor of one attempt


UNKNOWN_SAMPLES = 8_000_000  # assumed where only the files say how many
LARGEST_RANDOM = 2e9  # bytes of random pixels


@dataclass(frozen=True)
class Effort:
    """How much is run for a forecast.

    Attributes
    ----------
    loop : float
        Seconds after which equal iterations stop.
    programs : int
        Programs trained out of those of one shape.
    program : float
        Seconds after which no further program of a shape is trained.
    step : float
        Longest single training step in seconds; programs beyond it are narrowed.
    attempt : float
        Longest attempt at a program in seconds; programs beyond it are narrowed.
    shapes : float
        Seconds after which no further shape of a job is tried.
    """

    loop: float = 0.2
    programs: int = 3
    program: float = 1.0
    step: float = 4.0
    attempt: float = 20.0
    shapes: float = 30.0


QUICK = Effort(loop=0.05, programs=1, program=0.5, step=0.3, attempt=4.0, shapes=5.0)


Further = Callable[[int, float], bool]


class TooLarge(Exception):
    """To try a program takes longer than a forecast may."""


@contextlib.contextmanager
def limited(seconds: float, error: type[Exception], message: str) -> Iterator[None]:
    """Raise an error inside the block once the process has worked for so many seconds.

    Blocks may lie inside each other; the inner one comes first.
    """

    def interrupt(*_: object) -> None:
        raise error(message)

    begun, before = time.process_time(), signal.signal(signal.SIGPROF, interrupt)
    # Repeated, as an error is lost where a destructor is interrupted.
    left, repeat = signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        if left:
            left -= time.process_time() - begun
            signal.setitimer(signal.ITIMER_PROF, max(left, 1e-3), repeat)


def spread(count: int) -> list[int]:
    """0 to ``count`` - 1, in an order whose beginning is spread over all of them."""
    bits = max(count - 1, 1).bit_length()
    reverse = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits))
    return [i for i in reverse if i < count]


@dataclass(frozen=True)
class _Loop:
    """Items that can be gone through more than once, each time shortened."""

    probe: Probe
    items: Iterable[Any]
    count: float
    further: Further | None
    period: int

    def __iter__(self) -> Iterator[Any]:
        own: list[Iterator[Any]] = []
        own.append(self.probe._iterate(self, own))
        return own[0]


def _usual(times: Sequence[float], period: int) -> tuple[float, float]:
    """Times of the first of a period and of the others; without the slower beginning."""
    first = times[period::period] or times[:1]
    other = [t for i, t in enumerate(times) if i > 1 and (period == 1 or i % period)]
    other = other[len(other) // 2 :] or list(times[1:]) or list(times)
    return sum(first) / len(first), sum(other) / len(other)


@dataclass
class Probe:
    """What a forecast of one job has found so far.

    Attributes
    ----------
    device : torch.device
    effort : Effort
    rates : dict of float
        Operations per second of large matrix products, by precision.
    skipped : float
        Seconds of what was left out.
    flops : float
        Operations of all iterations, whether run or left out.
    steps : set of int
        Training steps of the programs.
    narrowed : bool
        Whether a program was replaced by a narrower one, or shapes were left out.
    bytes_beyond : float
        Memory that narrowed programs would have taken at their full width.
    missing : set of str
        Data sets that are needed and not in the data folder.
    """

    device: torch.device
    effort: Effort
    rates: dict[torch.dtype, float]
    skipped: float = 0.0
    flops: float = 0.0
    steps: set[int] = field(default_factory=set)
    narrowed: bool = False
    bytes_beyond: float = 0.0
    missing: set[str] = field(default_factory=set)
    _of_program: int = 0
    _size: Callable[[], tuple[float, int]] | None = None
    _running: Iterator[Any] | None = None
    _counter: Counter | None = None

    def now(self) -> float:
        """Seconds: on a CPU of this process, so that other programs on the machine do not count."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def clock(self) -> float:
        """Seconds, those of what was left out included."""
        return self.now() + self.skipped

    # ------------------------------------------------------------------------ equal iterations

    def loop(
        self,
        items: Iterable[Any],
        count: float,
        further: Further | None = None,
        period: int = 1,
    ) -> _Loop:
        """Return the first of ``count`` equal items; see `regimes.ensemble.probing.loop`.

        ``further(number, seconds)`` says whether to go on beyond the effort. With a period, the
        first of so many items costs more than the others. An iteration inside another one is part
        of it and not shortened.
        """
        return _Loop(self, items, count, further, period)

    def _iterate(self, loop: _Loop, own: list[Iterator[Any]]) -> Iterator[Any]:
        if self._running is not None:
            yield from loop.items
            return
        (self._running,) = own
        times: list[float] = []
        operations: list[float] = []
        iterator, begun = iter(loop.items), self.now()
        counted = 1 if loop.period == 1 else 2
        try:
            while True:
                start = self.clock()
                with self._counted(len(times) < counted) as counter:
                    try:
                        item = next(iterator)
                    except StopIteration:
                        return
                    yield item
                if counter is not None:
                    operations.append(counter.flops)
                self.flops += operations[0 if len(times) % loop.period == 0 else -1]
                times.append(self.clock() - start)
                spent = self.now() - begun
                enough = len(times) > (counted + 1 if spent < 5 * self.effort.loop else counted)
                more = loop.further is not None and loop.further(len(times), spent)
                if 1 < loop.period >= len(times):  # the first of the first period was the warm-up
                    more = more or spent < 5 * self.effort.loop
                if spent > self.effort.loop and enough and not more:
                    break
            first, other = _usual(times, loop.period)
            firsts = -(-loop.count // loop.period) if loop.period > 1 else 0
            expected = firsts * first + (loop.count - firsts) * other
            if self.device.type == "cuda" and loop.period == 1:
                expected += times[0] - other  # the step is captured in the first
            self.skipped += max(expected, 0.0) - sum(times)
            left = max(0.0, loop.count - len(times))
            self.flops += left * operations[-1]
            begun_periods = -(-len(times) // loop.period)
            self.flops += max(0, firsts - begun_periods) * (operations[0] - operations[-1])
        finally:
            self._running = None

    def close(self) -> None:
        """Leave the iteration that an interrupted program was in."""
        if self._running is not None:
            self._running.close()

    @contextlib.contextmanager
    def _counted(self, wanted: bool) -> Iterator[Counter | None]:
        if not wanted:
            yield None
            return
        try:
            with Counter() as self._counter:
                yield self._counter
        finally:
            self._counter = None

    @contextlib.contextmanager
    def uncounted(self) -> Iterator[None]:
        """See `regimes.ensemble.probing.uncounted`."""
        if self._counter is None:
            yield
            return
        self._counter.paused = True
        try:
            yield
        finally:
            self._counter.paused = False

    # --------------------------------------------------------------------------- equal programs

    def alike(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield a few of the batches, evenly spread; see `regimes.ensemble.probing.alike`."""
        batches = list(batches)
        chosen = min(len(batches), self.effort.programs)
        places = [int((i + 0.5) * len(batches) / chosen) for i in range(chosen)]
        found: list[tuple[int, float, float]] = []
        begun = self.now()
        for place in places:
            self._of_program = 0
            start, flops = self.clock(), self.flops
            yield batches[place]
            found.append((len(batches[place].lanes), self.clock() - start, self.flops - flops))
            self.steps.add(self._of_program)
            # The first may be slow because of what is done once.
            if self.now() - begun > self.effort.program * (5 if len(found) == 1 else 1):
                break
        # What is done once, such as reading data, is done in the first.
        usual = found[1:] or found
        lanes = sum(each[0] for each in usual)
        left = sum(len(batch.lanes) for batch in batches) - sum(each[0] for each in found)
        self.skipped += left * sum(each[1] for each in usual) / lanes
        self.flops += left * sum(each[2] for each in usual) / lanes

    def shapes(self, groups: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        """Yield groups of runs, spread over all, while time lasts.

        Those left out are taken to cost, run for run, the mean of the others.
        """
        groups = list(groups)
        begun, start, flops, done = self.now(), self.clock(), self.flops, 0
        for number, place in enumerate(spread(len(groups)), start=1):
            yield groups[place]
            done += len(groups[place])
            if number < len(groups) and self.now() - begun > self.effort.shapes:
                self.narrowed = True
                break
        share = sum(map(len, groups)) / done - 1 if done else 0.0
        self.skipped += share * (self.clock() - start)
        self.flops += share * (self.flops - flops)

    def guarded(self, train: Callable[[list], Any]) -> Callable[[list], Any]:
        """Return a function that trains narrower networks in place of those too large to try."""

        def run(settings: list) -> Any:
            full: tuple[float, int] | None = None
            problem: Exception | None = None
            for factor, attempt in ((1, settings), *_narrower(settings)):
                before = self.skipped, self.flops, self._of_program, self.now()
                self._size = None
                try:
                    with limited(self.effort.attempt, TooLarge, "a program took too long to try"):
                        result = train(attempt)
                except (TooLarge, ConfigError) as error:
                    if factor == 1 and isinstance(error, ConfigError):
                        raise
                    self.close()
                    problem = problem or error.with_traceback(None)  # free what its frames hold
                    if factor == 1:
                        full = self._size() if self._size else None
                    # None of that belongs to the training.
                    self.skipped, self.flops, self._of_program, started = before
                    self.skipped -= self.now() - started
                    continue
                if factor > 1:
                    self._scale(factor, full, before)
                return result
            raise problem

        return run

    def _scale(self, factor: int, full: tuple[float, int] | None, before: tuple) -> None:
        """Turn what a narrower program has cost into the cost of the one it stands for.

        By operations of a step where both are known, else by the square of the factor.
        """
        skipped, flops, _, started = before
        seconds = self.now() - started + self.skipped - skipped
        begun, ratio = self.now(), float(factor**2)
        if full is not None and self._size is not None:
            ratio = full[0] / self._size()[0]
            self.bytes_beyond = max(self.bytes_beyond, full[1])
        self.skipped += (ratio - 1) * seconds - (self.now() - begun)
        self.flops += (ratio - 1) * (self.flops - flops)
        self.narrowed = True

    # ----------------------------------------------------------------------------- made-up data

    def images(self, source: Source, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Random pixels and labels of the shapes of a data set: nothing is fetched or decoded."""
        with contextlib.suppress(ConfigError):
            if files.present(source, part):
                return _random_images(source, part)
        size = f" ({source.download / 1e6:.0f} MB)" if source.download else ""
        self.missing.add(f"{source.title}{size}")
        return _random_images(source, part)

    def table(self, rows: int, columns: int, title: str) -> tuple[np.ndarray, np.ndarray]:
        """Random features and targets in place of a table that is missing."""
        self.missing.add(title)
        numbers = np.random.default_rng(0).standard_normal((rows, columns + 1))
        return numbers[:, :-1], numbers[:, -1]

    def windows(self, count: int, words: int, radius: int) -> tuple[np.ndarray, np.ndarray]:
        """Random contexts and words in place of a text that is missing."""
        self.missing.add("WikiText-2 (7 MB) with word analogies")
        numbers = np.random.default_rng(0).integers(words, size=(count, 2 * radius + 1))
        return numbers[:, 1:], numbers[:, 0]

    # ------------------------------------------------------------------------------- the engine

    def train(
        self,
        network,
        update,
        stream,
        runs: engine.Runs,
        observations: Sequence[engine.Observation] = (),
        after=None,
    ) -> engine.Trained:
        """Train for a few steps in place of `regimes.ensemble.engine.train`, with its result.

        Losses and observations of steps that were left out repeat the last ones.

        Raises
        ------
        TooLarge
            If a single step would take too long.
        """
        count, steps = len(runs.gamma), stream.steps
        self._of_program += steps
        self._check_size(network, update, stream, runs)
        program = engine._Program(network, update, runs, after)
        record = engine._Record(count, steps, observations, runs.gamma, after is not None)
        watched = [_Watched(record, index, program) for index in range(len(observations))]
        for each in watched:
            start = self.clock()
            each.measure(0)
            each.first = self.clock() - start
        done = 0

        def further(number: int, spent: float) -> bool:
            """Go on until runs that diverge at once have left the program, if that is soon."""
            compacted = number > 2 * engine.COMPACTION or runs.device.type != "cpu"
            return not compacted and spent < 5 * self.effort.loop

        for x, targets in self.loop(stream, steps, further, getattr(network, "interval", 1)):
            record.note(done, program.lanes, *program.step(x, targets))
            done += 1
            if done % engine.COMPACTION == 0:
                record.mark(done - engine.COMPACTION, done)
                if runs.device.type == "cpu":
                    program.compact(record.alive)
                if not record.alive.any():
                    break
        for kept in (record.loss, record.after):
            if kept is not None and 0 < done < steps:
                kept[done:] = kept[done - 1]
        alive = bool(record.alive.any())
        for each in watched:
            self._observe_rest(each, alive)
        return record.result()

    def _observe_rest(self, watched: _Watched, alive: bool) -> None:
        """Measure an observation at the state reached, for all steps at which it is still due."""
        due = len(watched.steps) - watched.done
        if not due:
            return
        if not alive:  # the engine measures only what was never due before
            if not watched.done:
                watched.measure(watched.steps[-1])
            return
        if watched.first > self.effort.program:  # once is enough
            self.skipped += due * watched.first
            watched.fill(at=0)
            return
        times: list[float] = []
        begun = self.now()
        while len(times) < due and (not times or self.now() - begun < 0.02):
            start = self.clock()
            watched.measure(watched.steps[-1 - len(times)])
            times.append(self.clock() - start)
        usual = times[1:] or times
        self.skipped += (due - len(times)) * sum(usual) / len(usual)
        watched.fill(at=-1)

    def _check_size(self, network, update, stream, runs: engine.Runs) -> None:
        """Count the operations of a step on tensors without data, and refuse too many."""
        begun = self.now()
        x, targets = next(iter(stream))
        self._size = functools.cache(lambda: _without_data(network, update, runs, x, targets))
        rate = self.rates.get(runs.gamma.dtype, min(self.rates.values()))
        # No layer sees more positions than the input has numbers; no factor has longer sides.
        weights = len(runs.gamma) * sum(value[0].numel() for value in runs.start.values())
        most = 6.0 * weights * x[0].numel() + 20.0 * weights**1.5
        flops = self._size()[0] if most / rate > self.effort.step else 0.0
        self.skipped -= self.now() - begun
        if flops / rate > self.effort.step:
            raise TooLarge(f"a step of a program has {flops:.1e} operations")


@functools.cache
def _random_images(source: Source, part: str) -> tuple[np.ndarray, np.ndarray]:
    count = source.samples[PARTS.index(part)] or UNKNOWN_SAMPLES
    shape, stream = (count, *source.stored), np.random.default_rng(0)
    if np.prod(shape, dtype=float) <= LARGEST_RANDOM:
        pixels = stream.integers(256, size=shape, dtype=np.uint8)
    else:  # one image in place of all: it takes no memory
        one = stream.integers(256, size=source.stored, dtype=np.uint8)
        pixels = np.broadcast_to(one, shape)
    return pixels, np.arange(count) % source.classes


class _Watched:
    """One observation of a program, measured apart from the others."""

    def __init__(self, record, index: int, program) -> None:
        self.program = program
        self.steps = record.observations[index].steps
        like, count = record.loss[:0].sum(), len(record.diverged_at)
        self.record = engine._Record(count, 0, [record.observations[index]], like)
        self.record.observed = [record.observed[index]]
        self.done, self.first = 0, 0.0

    def measure(self, step: int) -> None:
        """Measure it as if at ``step``, if it is due there."""
        if step in self.record.position[0]:
            self.record.observe(step, self.program.state(step))
            self.done += 1

    def fill(self, at: int) -> None:
        """Put what was measured at one of its steps in place of what was not measured."""
        for values in self.record.observed[0].values():
            first = 1 if self.steps[0] == 0 else 0
            values[first : len(self.steps) - (self.done - first)] = values[at].clone()


def _without_data(network, update, runs: engine.Runs, x, targets) -> tuple[float, int]:
    """Operations and largest memory (bytes) of a step, from shapes alone.

    Where an update looks at numbers, three forward passes stand for a step.
    """
    count = len(runs.gamma)

    def bare(value: torch.Tensor) -> torch.Tensor:
        return torch.empty((count, *value.shape[1:]), dtype=value.dtype, device="meta")

    start = {name: bare(value) for name, value in runs.start.items()}
    frozen = {name: bare(value) for name, value in runs.frozen.items()}
    gamma, state = bare(runs.gamma), checkpoints.state_of(network)
    try:
        with Counter(track_memory=True) as counter:
            params = network.prepare(start)
            memory = update.memory(params)
            hyper = {"rate": bare(runs.rate), **{n: bare(v) for n, v in runs.more.items()}}
            _, gradient = network.loss_and_gradient(
                {**params, **frozen}, bare(x), bare(targets), gamma.new_zeros(count, 1, 1), gamma
            )
            update.apply(params, gradient, memory, hyper)
        flops = counter.flops
    except (NotImplementedError, RuntimeError):
        with Counter(track_memory=True) as counter:
            network.outputs({**network.prepare(start), **frozen}, bare(x))
        flops = 3 * counter.flops
    finally:
        network.release()
        if state is not None:
            network.resume(state)
    return flops, counter.peak + 2 * sum(value.nbytes for value in start.values())


def _narrower(settings: list) -> Iterator[tuple[int, list]]:
    """Runs like these with fewer neurons, blocks or samples, and by what factor fewer.

    Networks that begin at a start point keep their size.
    """
    factor = 1
    for name in NARROWED:
        size = getattr(settings[0], name, None) or 1
        if getattr(settings[0], "START", "never") != "never" and name != "batch_size":
            continue
        while size > 1:
            smaller = max(1, size // NARROWING)
            try:
                values = [s.model_dump() | {name: smaller} for s in settings]
                settings = [
                    type(s).model_validate(v) for s, v in zip(settings, values, strict=True)
                ]
            except ValidationError:
                break
            factor, size = factor * max(1, size // smaller), smaller
            yield factor, settings
