"""Training that is killed again and again against undisturbed training, bit for bit."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import random
import signal
import subprocess
import sys
import time
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes import jobs, paths, store
from regimes.config import Config, ConfigError
from regimes.data import samples, tasks
from regimes.data.augmentation import compose, crop_and_flip
from regimes.data.images import ImageSet, Part
from regimes.data.samples import SampledStream, WholeSet
from regimes.data.streams import numpy_stream, stream_seed
from regimes.data.tasks import GaussianMixture, Images, OnlineStream, Samples
from regimes.ensemble import checkpoints, engine
from regimes.ensemble.losses import LOSSES
from regimes.ensemble.networks import FunctionalNetwork, LayeredNetwork
from regimes.ensemble.programs import in_programs
from regimes.ensemble.updates import UPDATES
from regimes.nn.mlp import MLP
from regimes.studies.exact_gauss_newton import experiments as exact_gauss_newton
from regimes.studies.exact_gauss_newton.settings import Train as GaussNewton
from regimes.studies.feature_strength import experiments as feature_strength
from regimes.studies.feature_strength.settings import Network
from regimes.studies.giant_step import experiments as giant_step
from regimes.studies.giant_step.settings import GiantSteps
from regimes.studies.limiting_dynamics import experiments as limiting_dynamics
from regimes.studies.limiting_dynamics.settings import Sgd
from regimes.studies.second_order_mup import experiments as second_order_mup
from regimes.studies.second_order_mup.settings import Train as SecondOrder
from regimes.studies.second_order_mup.toy_settings import Exponents

REPOSITORY = Path(__file__).resolve().parents[2]
IDENTITY = {"code": "0" * 32, "start": "", "device": "cpu"}
EVERY = 2.0  # looks at the clock between checkpoints


class Killed(Exception):
    """The job was killed."""


class Clock:
    """A clock that goes on by one at each look, and kills the job at one of them."""

    def __init__(self, last: float = np.inf) -> None:
        self.looks, self.last = 0, last

    def __call__(self) -> float:
        self.looks += 1
        if self.looks > self.last:
            raise Killed
        return float(self.looks)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Train in a job with checkpoints that is killed after so many looks at the clock."""

    def run(train, last=np.inf, seconds=EVERY, **identity):
        monkeypatch.setattr(checkpoints, "clock", clock := Clock(last))
        with checkpoints.kept(tmp_path / "batch.partial", seconds, IDENTITY | identity):
            try:
                return train(), clock.looks
            except Killed:
                return None, clock.looks

    run.folder = tmp_path / "batch.partial"
    return run


def assert_same(found: xr.Dataset, wanted: xr.Dataset) -> None:
    """Equal order, types, attributes and bits."""
    assert list(found.variables) == list(wanted.variables)
    for name, value in wanted.variables.items():
        assert found[name].dims == value.dims and found[name].dtype == value.dtype, name
        assert found[name].attrs == value.attrs, name
        assert found[name].values.tobytes() == value.values.tobytes(), name


# ------------------------------------------------------------------- every kind of training

NETWORK = {
    "architecture": "mlp", "stream": "gmm30", "depth": 3, "width": 8, "batch_size": 8, "steps": 45,
    "loss": "mse", "log10_gamma": 0.0, "test_size": 20, "points": 20, "test_at": "every 10",
    "kernels_at": "every 15", "tangent_at": "ends", "tangent_points": 6,
    "outputs_at": "1-2-5", "final_outputs": True, "kernel_points": 7,
}  # fmt: skip
REVERSIBLE = {
    "data": "mnist1d", "samples": 60, "blocks": 2, "width": 32, "batch_size": 24, "sigma": 1e-2,
    "optimizer": "gn", "inverse": "noise", "lr_code": 0.3, "epochs": 3, "then": "adam",
    "then_lr_code": 1e-3, "then_epochs": 2, "precision": "double", "judge_updates": True,
    "probe_at": "every 1", "probe_samples": 20, "kept_samples": 4, "kernel_samples": 6,
    "kernel_vectors": 2,
}  # fmt: skip
TAPED = {
    "data": "digits", "samples": 60, "model": "mlp", "width": 16, "base_width": 8, "steps": 12,
    "activation": "tanh", "parameterization": "mup", "optimizer": "kfac", "damping": 0.1,
    "batch_size": 25, "precision": "double", "probe_samples": 10, "lr": 0.1,
    "layers_at": "every 5",
}  # fmt: skip
MOMENTUM = {
    "model": "mlp", "hidden": 3, "data": "teacher_noisy", "batch_size": 8, "momentum": 0.9,
    "weight_decay": 1e-2, "stages": [[0.1, 14], [0.01, 9]], "origin": "initial",
    "keep_weights": True, "evaluate_at": "every 6", "record_at": "",
}  # fmt: skip


def _of(model, base, *changes):
    seeds = itertools.count()
    return [model.model_validate({"seed": next(seeds)} | base | change) for change in changes]


CASES = {
    # The third run diverges at once and leaves the program at step 20.
    "feature_strength": lambda: feature_strength.train(
        _of(Network, NETWORK, {}, {"log10_gamma": -1.0, "log10_eta": -2.0},
            {"log10_gamma": -3.0, "log10_eta": 6.0}, {"seed": 0, "log10_eta": -1.0},
            {"optimizer": "sign", "steps": 11, "log10_eta": -3.0})),
    # Two stages with memory of the first in the probes, noise in the solve, batches of two sizes.
    "exact_gauss_newton": lambda: exact_gauss_newton.train(
        _of(GaussNewton, REVERSIBLE, {}, {}, {"optimizer": "sgd", "inverse": "truncate"})),
    # Sampled Fisher, moving averages renewed at every other step.
    "second_order_mup": lambda: second_order_mup.train(
        _of(SecondOrder, TAPED, {"fisher": "mc", "ema": 0.3, "interval": 2},
            {"optimizer": "shampoo", "damping_rule": "largest", "ema": 0.5, "interval": 3},
            {"optimizer": "adam", "lr": 1e-3}, {"momentum": 0.5, "fisher": "empirical"})),
    "text": lambda: second_order_mup.train(
        _of(SecondOrder, TAPED | {"model": "cbow", "activation": "relu", "data": "made_text",
            "samples": 120, "steps": 9, "loss": "cross_entropy",
            "layers_at": "ends", "evaluate_at": ""}, {}, {})),
    "limiting_dynamics": lambda: limiting_dynamics.train(
        _of(Sgd, MOMENTUM, {}, {}, {"sampling": "epochs"},
            {"stages": (), "eta": 0.05, "steps": 9, "record_at": "every 1"})),
    "giant_step": lambda: giant_step.train(
        _of(GiantSteps, {"dimension": 16, "width": 8, "test_size": 300, "target": "minus"},
            {"steps": 2}, {"ridge_strengths": [0.1]}, {"width": 6}, {"dimension": 8})),
    "toys": lambda: second_order_mup.KINDS["exponents"](
        _of(Exponents, {"samples": 4, "outputs": 2, "damping": 0.1, "pairs": 3},
            {"width": 8}, {"width": 5}, {"width": 6}, {"width": 7}, {"width": 9})),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(CASES))
def test_killed_again_and_again_it_gives_the_bits_of_undisturbed_training(case, job, capsys):
    torch.set_num_threads(1)
    train = CASES[case]
    wanted = train()
    undisturbed, looks = job(train)
    assert_same(undisturbed, wanted)
    checkpoints.discard(job.folder)
    draw = random.Random(case)
    found, kills = None, -1
    while found is None:
        found, _ = job(train, last=draw.randint(max(5, looks // 4), max(6, looks // 2)))
        kills += 1
    assert_same(found, wanted)
    assert kills >= 1
    printed = capsys.readouterr().out
    assert "starting anew" not in printed and "damaged" not in printed
    assert ("resuming at step" in printed) == (case not in ("giant_step", "toys"))
    # A last start reads back what is finished, and trains no more than the rest.
    again, fewer = job(train)
    assert_same(again, wanted)
    assert fewer < looks


# ------------------------------------------------------------------- when files are not used

MODEL = MLP(64, 8, 3)


class Discarded:
    """A stream without a state."""

    def __init__(self, stream):
        self.stream, self.steps = stream, stream.steps

    def __iter__(self):
        return iter(self.stream)


RUNS = [(0, 1), (0, 2), (0, 3), (5, 1), (5, 2)]


def small(stream=lambda each: each, settings=RUNS, calls=1):
    """Training of a program of three runs and one of two by the engine itself, 30 steps a call."""

    def program(runs):
        found = [call(runs, number) for number in range(calls)]
        named = {"long_name": "loss", "units": "1"}
        losses = np.concatenate(found, axis=1) + runs[0][0]
        return xr.Dataset({"loss": (("run", "step"), losses, named)})

    def call(runs, number):
        drawn = [MODEL.initial(lambda n, s=s: numpy_stream(s, "w", n)) for s in range(len(runs))]
        start = {n: torch.from_numpy(np.stack([d[n] for d in drawn])) for n in drawn[0]}
        each, one = torch.arange(len(runs)), torch.ones(len(runs), dtype=torch.float64)
        named = [stream_seed(s + 10 * number, "batches") for s in range(len(runs))]
        given = OnlineStream(GaussianMixture(), named, 4, 30, dtype=torch.float64)
        return engine.train(
            LayeredNetwork(3, LOSSES["mse"]),
            UPDATES["adam"],
            stream(given),
            engine.Runs(start, each, each, one, 0.01 * one, {"weight_decay": 0 * one}),
        ).loss

    return lambda: in_programs(settings, lambda run: run[0], program, 3)


def test_a_stream_without_a_state_is_gone_through_again(job, capsys):
    wanted = small()()
    train = small(stream=Discarded)
    assert job(train, 20)[0] is None
    found, _ = job(train)
    assert_same(found, wanted)
    assert "resuming at step" in capsys.readouterr().out


def test_without_a_job_or_before_the_interval_nothing_is_written(job, monkeypatch):
    monkeypatch.chdir(job.folder.parent)
    small()()
    job(small(), seconds=1e6)
    assert list(job.folder.parent.iterdir()) == []


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "tensors": ("*.pt", flip),
    "gone": ("*.pt", Path.unlink),
    "pointer": ("*_1.json", lambda path: path.write_text("{")),
    "pointer to nothing": ("*_1.json", lambda path: path.write_text("{}")),
    "other pointer": ("*_1.json", lambda path: path.write_text("[1]")),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_checkpoint_is_ignored(damage, job, capsys):
    wanted = small()()
    assert job(small(), 20)[0] is None
    pattern, change = DAMAGES[damage]
    (path,) = job.folder.glob(pattern)
    change(path)
    found, _ = job(small())
    assert_same(found, wanted)
    printed = capsys.readouterr().out
    assert "resuming" not in printed
    assert ("is damaged" in printed) == (damage != "pointer")


def test_a_damaged_dataset_is_trained_anew(job, capsys):
    wanted = small()()
    assert job(small(), 60)[0] is None
    (path,) = job.folder.glob("*.nc")
    content, number = bytearray(path.read_bytes()), wanted["loss"].values[0, 7].tobytes()
    content[content.index(number)] ^= 1
    path.write_bytes(content)
    found, _ = job(small())
    assert_same(found, wanted)
    assert "is damaged: training its runs anew" in capsys.readouterr().out


def test_results_of_finished_calls_are_written_once(job, monkeypatch):
    written, write = [], checkpoints._Job._write

    def noting(self, file, content):
        written.append((file, set(content)))
        return write(self, file, content)

    monkeypatch.setattr(checkpoints._Job, "_write", noting)
    train = small(calls=3)
    assert_same(job(train)[0], train())
    counts = Counter(file for file, _ in written if ".result_" in file)
    # One for each call but the last, of both programs, and nothing of them in other files.
    assert sorted(counts.values()) == [1] * 4
    assert len(written) > 4 + 2 * 10
    assert {"loss", "diverged_at"} <= set.intersection(*(keys for _, keys in written))
    assert not any("results" in keys for _, keys in written)


@pytest.mark.parametrize("change", [flip, Path.unlink])
def test_a_damaged_result_of_a_call_is_trained_anew(change, job, capsys):
    wanted = small(calls=3)()
    assert job(small(calls=3), 110)[0] is None
    first, second = sorted(job.folder.glob("*.result_*.pt"))
    change(second)
    assert_same(job(small(calls=3))[0], wanted)
    printed = capsys.readouterr().out
    assert "is damaged" in printed and "resuming" not in printed


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_too_little_memory_for_a_checkpoint_is_no_damage(error, job, capsys, monkeypatch):
    """Its program is trained in halves, as any other for which there is too little."""
    assert job(small(), 20)[0] is None

    def load(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", load)
    found, _ = job(small())
    assert found["loss"][0].equals(small()()["loss"][0])
    printed = capsys.readouterr().out
    assert "damaged" not in printed
    assert "out of memory with 3 runs in a program: going on with 2" in printed


def test_without_an_interval_nothing_is_held_for_checkpoints(tmp_path):
    kept = []

    def train(runs):
        call = checkpoints.call()
        result = np.zeros(3)
        kept.append(weakref.ref(result))
        call.finish({"loss": result})
        del result
        kept.append(weakref.ref(dataset := xr.Dataset()))
        assert kept[0]() is None
        return dataset

    with checkpoints.kept(tmp_path / "batch.partial", np.inf, IDENTITY):
        checkpoints.program([1], train)
        assert kept[1]() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["code", "data", "start", "device", "processor", "torch"])
def test_checkpoints_of_another_identity_are_removed(what, job, capsys, monkeypatch):
    assert job(small(), 60)[0] is None
    if what == "torch":
        monkeypatch.setattr(torch, "__version__", "0.0")
        found, looks = job(small())
    else:
        found, looks = job(small(), **{what: "other"})
    printed = capsys.readouterr().out
    assert f"have another {what}: starting anew" in printed
    assert "resuming" not in printed
    assert_same(found, small()())
    assert looks > 60  # all steps of both programs


def test_a_folder_of_another_identity_that_stays_is_not_used(job, capsys, monkeypatch):
    assert job(small(), 60)[0] is None
    before = {path.name: path.read_bytes() for path in job.folder.iterdir()}

    def rename(*_):
        raise PermissionError

    monkeypatch.setattr(os, "rename", rename)
    found, looks = job(small(), code="other")
    assert_same(found, small()())
    printed = capsys.readouterr().out.splitlines()
    assert "resuming" not in " ".join(printed) and looks > 60
    assert len([line for line in printed if line.endswith("training without checkpoints")]) == 1
    assert {path.name: path.read_bytes() for path in job.folder.iterdir()} == before


def test_what_cannot_be_removed_of_another_identity_is_not_mixed_with_this_one(job, monkeypatch):
    assert job(small(), 60)[0] is None
    before = {path.name for path in job.folder.glob("*.*_*")} | {
        path.name for path in job.folder.glob("*.nc")
    }
    assert before
    monkeypatch.setattr(checkpoints.shutil, "rmtree", lambda *_, **__: None)
    assert job(small(settings=[(7, 1), (7, 2)]), 20, code="other")[0] is None
    assert before.isdisjoint(path.name for path in job.folder.iterdir())
    assert store.read_json(job.folder / "identity.json")["code"] == "other"
    (aside,) = set(job.folder.parent.iterdir()) - {job.folder}
    assert before <= {path.name for path in aside.iterdir()}
    assert aside.suffix == ".partial" and "." in aside.stem  # the name of no batch: cleared later


def test_programs_of_other_settings_do_not_meet(job, capsys):
    assert job(small(), 60)[0] is None
    assert len(list(job.folder.glob("*.nc"))) == len(list(job.folder.glob("*.pt"))) == 1
    other = [*RUNS[:3], (6, 1), (6, 2)]
    wanted, counted = small(settings=other)(), []
    found, _ = job(small(settings=other, stream=lambda each: counted.append(each) or each))
    assert_same(found, wanted)
    assert len(counted) == 1  # the first program was read back
    assert "resuming" not in capsys.readouterr().out


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(job, capsys, monkeypatch):
    @contextlib.contextmanager
    def atomic(path, durable=True):
        raise OSError(28, "No space left on device")
        yield path

    with monkeypatch.context() as patch:
        patch.setattr(store, "atomic", atomic)
        found, _ = job(small())
    assert_same(found, small()())
    assert "no checkpoint could be written" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["soon", "-1", "nan"])
def test_a_wrong_interval_is_refused(text, monkeypatch):
    monkeypatch.setenv(checkpoints.VARIABLE, text)
    with pytest.raises(ConfigError, match=f"REGIMES_CHECKPOINT_SECONDS: got '{text}'"):
        checkpoints.interval()


def test_the_interval_is_that_of_the_environment(monkeypatch):
    monkeypatch.delenv(checkpoints.VARIABLE, raising=False)
    assert checkpoints.interval() == 600
    monkeypatch.setenv(checkpoints.VARIABLE, "2.5")
    assert checkpoints.interval() == 2.5


# ------------------------------------------------------------------- streams

X = torch.arange(11 * 2 * 3 * 3, dtype=torch.float64).view(11, 2, 3, 3)
EYE = torch.eye(11, dtype=torch.float64)
CHANGE = compose(crop_and_flip(1), crop_and_flip(1))


def _images():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 1, 4, 4), dtype=np.uint8)
    part = Part(pixels, np.arange(9) % 3)
    found = ImageSet("made", 3, (1, 4, 4), part, part, (0.5,), (0.2,))
    return Images(found, CHANGE)


STREAMS = {
    "with replacement": lambda size, steps: SampledStream(X, EYE, [1, 2], size, steps),
    "epochs": lambda size, steps: SampledStream(X, EYE, [1, 2], size, steps, samples.EPOCHS),
    "whole epochs": lambda size, steps: SampledStream(
        X, EYE, [3, 4, 3], size, steps, samples.EPOCHS, keep_last=True
    ),
    "augmented": lambda size, steps: SampledStream(
        X, EYE, [1, 2], size, steps, samples.EPOCHS, augment=CHANGE
    ),
    "whole set": lambda size, steps: WholeSet(X, EYE, steps),
    "online": lambda size, steps: OnlineStream(GaussianMixture(), [5, 6], size, steps),
    "finite": lambda size, steps: OnlineStream(
        Samples(torch.arange(200.0).view(100, 2), torch.arange(100) % 3, 3), [5, 6], size, steps
    ),
    "images": lambda size, steps: OnlineStream(_images(), [5, 6], size, steps),
}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(STREAMS)),
    st.integers(1, 5),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=5),
)
def test_streams_go_on_where_they_stood(name, size, steps, pieces):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "CHUNK", 12)  # several chunks, several steps in each
        patch.setattr(tasks, "CHUNK", 500)
        wanted = list(STREAMS[name](size, steps))
        stream, found = STREAMS[name](size, steps), []
        for count, look in [*pieces, (steps, False)]:
            given_out = itertools.islice(stream, count)
            found += [tuple(part.clone() for part in batch) for batch in given_out]
            state = stream.state()
            stream = STREAMS[name](size, steps)
            if look:  # an iteration of its own in between
                next(iter(stream))
            stream.resume(state)
        assert list(stream) == []
        again = list(stream)
    assert len(found) == len(again) == steps
    for one, other, third in zip(wanted, found, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(one, third, strict=True))


# ------------------------------------------------------------------- too little memory

ERRORS = {
    "numpy": MemoryError,
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "torch": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"
    ),
}


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("error", sorted(ERRORS))
def test_out_of_memory_halves_the_program(error, fixed, capsys):
    widths = []

    def train(runs):
        widths.append(len(runs))
        if len(runs) > 3:
            raise ERRORS[error]()
        return xr.Dataset({"value": ("run", [run[1] for run in runs])})

    given = [(0, i) for i in range(12)] + [(1, 0), (1, 1)]
    found = in_programs(given, lambda run: run[0], train, 6, fixed=fixed)
    assert found["value"].values.tolist() == [value for _, value in given]
    # Later programs of these runs are as large; those of others are not, and are tried again since
    # something may be left of those before them.
    assert widths == ([6, 3, 3, 3, 3, 6, 6, 3] if fixed else [6, 3, 3, 3, 3, 2])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "out of memory with 6 runs in a program: going on with 3"
    again = ["out of memory with 6 runs in a program: trying it again", printed[0]]
    assert printed[1:] == again * fixed


class Left:
    """Something large in a circle of references."""

    def __init__(self):
        self.itself = self


@pytest.fixture
def no_collector():
    """Nothing in circles is collected unless somebody asks for it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_what_programs_before_have_left_is_freed_before_a_program_is_halved(
    no_collector, tmp_path, capsys
):
    left, widths = [], []

    def train(runs):
        widths.append(len(runs))
        if any(each() is not None for each in left):
            raise MemoryError
        left.append(weakref.ref(Left()))
        named = {"long_name": "value", "units": "1"}
        return xr.Dataset({"value": ("run", [run[0] for run in runs], named)})

    given = [(shape, seed) for shape in range(3) for seed in range(2)]
    with checkpoints.kept(tmp_path / "batch.partial", 0, IDENTITY):
        found = in_programs(given, lambda run: run[0], train, 2)
    assert found["value"].values.tolist() == [0, 0, 1, 1, 2, 2]
    assert widths == [2] * 5
    printed = capsys.readouterr().out
    assert printed == 2 * "out of memory with 2 runs in a program: trying it again\n"
    # By these names the next start of the job finds what was trained at the second attempt.
    assert {path.stem[-2:] for path in tmp_path.glob("*/*.nc")} == {"_1"}


@pytest.mark.parametrize("kind", ["layered", "functional"])
def test_a_program_leaves_nothing_behind(kind, no_collector):
    seen = []

    def measure(state):
        seen.extend(map(weakref.ref, state.params.values()))
        return {}

    drawn = [MODEL.initial(lambda n, s=s: numpy_stream(s, "w", n)) for s in range(2)]
    start = {n: torch.from_numpy(np.stack([d[n] for d in drawn])) for n in drawn[0]}
    network = LayeredNetwork(3, LOSSES["mse"])
    if kind == "functional":
        network = FunctionalNetwork(MODEL.apply, LOSSES["mse"])
    each, one = torch.arange(2), torch.ones(2, dtype=torch.float64)
    engine.train(
        network,
        UPDATES["sgd"],
        OnlineStream(GaussianMixture(), [1, 2], 4, 30, dtype=torch.float64),
        engine.Runs(start, each, each, one, 0.01 * one, {"weight_decay": 0 * one}),
        [engine.Observation([0, 30], measure)],
    )
    assert seen and all(each() is None for each in seen)


@pytest.mark.parametrize("width", [2, 8])
def test_too_little_memory_for_half_a_program_is_a_users_mistake(width):
    def train(runs):
        raise MemoryError

    runs = _of(Sgd, MOMENTUM, *[{}] * width)
    with pytest.raises(ConfigError, match=r"batch_size: 8.*hidden: 3"):
        in_programs(runs, lambda run: 0, train, 8)


def test_other_errors_are_not_taken_for_it():
    def train(runs):
        raise RuntimeError("expected a matrix")

    with pytest.raises(RuntimeError, match="matrix"):
        in_programs([1, 2], lambda run: 0, train, 8)


# ------------------------------------------------------------------- a job that is killed

BATCH = ("smoke", "exact_gauss_newton", "optimizer_switch", "optimizer_gn")


def start(folder, seconds):
    """Train the batch by the command line."""
    environment = os.environ | {
        checkpoints.VARIABLE: str(seconds),
        "PYTHONPATH": str(REPOSITORY / "src"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "regimes", "--root", str(REPOSITORY), "train", *BATCH],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_job_resumes_to_the_same_file(tmp_path, monkeypatch):
    """SIGKILL at a random moment after the first checkpoint, in one of two stages."""
    moment = random.Random().random()
    print(f"killed {moment} s after the first checkpoint")
    there, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for folder in (there, undisturbed):
        folder.mkdir()
    job = start(there, 0)
    kept = there / paths.checkpoints(*BATCH)
    end = time.monotonic() + 60
    while not list(kept.glob("*.json")) and time.monotonic() < end and job.poll() is None:
        time.sleep(0.01)
    time.sleep(moment)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    finished = (there / paths.batch(*BATCH)).exists()
    assert finished or (kept / "identity.json").exists()
    job = start(there, 600)
    monkeypatch.chdir(undisturbed)
    jobs.train_batch(Config(REPOSITORY), *BATCH)
    printed = job.communicate(timeout=120)[0]
    assert job.returncode == 0, printed
    assert finished or "checkpoints of this batch hold" in printed
    one, other = (folder / paths.batch(*BATCH) for folder in (there, undisturbed))
    assert one.read_bytes() == other.read_bytes()
    assert not kept.exists() and not (undisturbed / paths.checkpoints(*BATCH)).exists()
