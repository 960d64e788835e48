"""Forecasts: what they count, what they extrapolate, that they leave no trace."""

from __future__ import annotations

import csv
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from regimes import forecast, plan
from regimes.config import Config, ConfigError
from regimes.data import images
from regimes.data.streams import numpy_stream, stream_seed
from regimes.data.tasks import GaussianMixture, OnlineStream
from regimes.ensemble import engine, probing
from regimes.ensemble.losses import LOSSES
from regimes.ensemble.networks import FunctionalNetwork, LayeredNetwork
from regimes.ensemble.programs import in_programs
from regimes.ensemble.updates import UPDATES
from regimes.flops import Counter
from regimes.nn.mlp import MLP
from regimes.probe import QUICK, Effort, Probe, TooLarge, _without_data, spread

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = Config(REPOSITORY)
RATES = {torch.float32: 1e11, torch.float64: 5e10}
MACHINE = forecast.Machine("cpu", "a test", 1.0, {"float32": 1e11, "float64": 5e10})
WIDTHS = (64, 16, 16, 10)
BATCH, STEPS = 24, 300


def probe(effort=QUICK):
    return Probe(torch.device("cpu"), effort, RATES)


def program(gamma=(1.0, 2.0, 5.0), rate=1.0, steps=STEPS):
    model = MLP(64, 16, 3)
    drawn = [model.initial(lambda n, s=s: numpy_stream(s, "w", n)) for s in range(len(gamma))]
    start = {n: torch.from_numpy(np.stack([d[n] for d in drawn])).float() for n in drawn[0]}
    each, gamma = torch.arange(len(gamma)), torch.tensor(gamma)
    runs = engine.Runs(start, each, each, gamma, rate * gamma, centred=False)
    seeds = [stream_seed(s, "batches") for s in range(len(gamma))]
    return runs, OnlineStream(GaussianMixture(), seeds, BATCH, steps), model


def closed_form(samples):
    """Forward and two backward products per layer; inputs need no gradient."""
    layers = [n * m for n, m in zip(WIDTHS[:-1], WIDTHS[1:], strict=True)]
    return samples * (6 * sum(layers) - 2 * layers[0])


@pytest.mark.parametrize("by_hand", [True, False])
def test_operations_of_a_step_of_a_multilayer_perceptron(by_hand):
    runs, stream, model = program()
    network = LayeredNetwork(3, LOSSES["mse"])
    if not by_hand:
        network = FunctionalNetwork(model.apply, LOSSES["mse"])
    x, targets = next(iter(stream))
    trained = engine._Program(network, UPDATES["sgd"], runs)
    with Counter() as counter:
        trained.step(x, targets)
    assert counter.flops == closed_form(3 * BATCH)
    flops, peak = _without_data(network, UPDATES["sgd"], runs, x, targets)
    assert flops == closed_form(3 * BATCH)
    assert peak >= 3 * sum(4 * n * m for n, m in zip(WIDTHS[:-1], WIDTHS[1:], strict=True))


def test_operations_of_decompositions():
    matrix = torch.eye(30, dtype=torch.float64).expand(2, 30, 30).contiguous()
    for function, operations in [
        (torch.linalg.eigh, 9 * 30**3),
        (torch.linalg.cholesky, 30**3 / 3),
        (lambda m: torch.cholesky_solve(m[:, :, :7].contiguous(), m), 2 * 30**2 * 7),
        (lambda m: torch.linalg.svd(m, full_matrices=False), 26 * 30**3),
    ]:
        with Counter() as counter:
            function(matrix)
        assert counter.flops == pytest.approx(2 * operations)


class Clock(Probe):
    """A probe whose seconds are told, not measured."""

    seconds = 0.0

    def now(self):
        return self.seconds


@pytest.mark.parametrize(("period", "expected"), [(1, 1000 * 0.1), (10, 100 * 2.0 + 900 * 0.1)])
def test_the_rest_of_equal_iterations_is_extrapolated(period, expected):
    made = Clock(torch.device("cpu"), Effort(loop=1.0), RATES)
    start, done = made.clock(), []
    for item in made.loop(range(1000), 1000, period=period):
        made.seconds += 2.0 if period > 1 and item % period == 0 else 0.1
        done.append(item)
    assert made.clock() - start == pytest.approx(expected, rel=1e-6)
    assert len(done) < 100


def test_a_slow_beginning_is_not_extrapolated_and_inner_iterations_are_whole():
    made, inner = Clock(torch.device("cpu"), Effort(loop=1.0), RATES), 0
    start = made.clock()
    for item in made.loop(range(500), 500):
        made.seconds += 5.0 if item == 0 else 0.0
        for _ in made.loop(range(20), 20):
            made.seconds += 0.05
            inner += 1
    assert inner % 20 == 0
    assert made.clock() - start == pytest.approx(500.0)


def test_few_iterations_are_all_run():
    made = probe()
    assert list(made.loop([3, 1, 2], 3)) == [3, 1, 2]
    assert list(made.loop(iter(()), 0)) == []


def test_a_few_programs_stand_for_all():
    made = Clock(torch.device("cpu"), Effort(programs=2, program=100.0), RATES)

    class Batch:
        lanes = (0,) * 4

    start, seen = made.clock(), 0
    for _ in made.alike([Batch()] * 25):
        made.seconds += 3.0 if seen else 8.0  # data are read once
        seen += 1
    assert seen == 2
    assert made.clock() - start == pytest.approx(8 + 24 * 3.0)


def watched():
    late = engine.Observation((STEPS,), lambda s: {"norm": s.params["w1"].norm(dim=(1, 2))})
    often = engine.Observation(range(0, STEPS + 1, 3), lambda s: {"gamma": s.gamma})
    return [late, often]


def trained(runs, stream, observations=()):
    return engine.train(
        LayeredNetwork(3, LOSSES["mse"]), UPDATES["sgd"], stream, runs, observations
    )


def test_a_forecast_has_the_shapes_of_the_training_and_leaves_no_trace():
    runs, stream, _ = program()
    real = trained(runs, stream, watched())
    state, made = torch.get_rng_state(), probe()
    before = {name: value.clone() for name, value in runs.start.items()}
    with probing.active(made):
        found = trained(runs, stream, watched())
    assert probing.current() is None
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], runs.start[name]) for name in before)
    assert found.loss.shape == real.loss.shape
    for one, other in zip(found.observed, real.observed, strict=True):
        assert {n: v.shape for n, v in one.items()} == {n: v.shape for n, v in other.items()}
        assert all(np.isfinite(v).all() for v in one.values())
    assert made.flops == STEPS * closed_form(3 * BATCH)
    again = trained(runs, stream, watched())
    assert np.array_equal(again.loss, real.loss)
    for one, other in zip(again.observed, real.observed, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_seconds_of_a_training_are_foretold():
    """Within a factor of two and a few hundredths of a second."""
    runs, stream, _ = program(steps=4000)
    trained(*program(steps=50)[:2])
    started = time.process_time()
    trained(runs, stream)
    real = time.process_time() - started
    made = probe(Effort())
    start = made.clock()
    with probing.active(made):
        trained(runs, stream)
    assert real / 2 - 0.05 < made.clock() - start < 2 * real + 0.05


def test_runs_that_diverge_at_once_do_not_count_to_the_end():
    runs, stream, _ = program(gamma=(1e-3, 1e-3), rate=1e9, steps=10**6)
    made = probe(Effort())
    with probing.active(made):
        found = trained(runs, stream)
    assert (found.diverged_at >= 0).all()
    assert made.flops < 200 * closed_form(2 * BATCH)


def test_a_program_too_large_to_try_is_narrowed_and_scaled():
    from regimes.studies.feature_strength.experiments import train

    config = plan.batches(CONFIG, "feature_strength", "loss_curves", "smoke")
    run = next(iter(config.values())).runs[0].model_copy(update={"width": 512, "steps": 50})
    runs = [run, run.model_copy(update={"seed": run.seed + 1})]
    found = {}
    for name, rate in (("whole", 1e11), ("narrowed", 1e8)):  # a step of 1e-3 s and of 1 s
        made = Probe(torch.device("cpu"), Effort(step=0.3), {torch.float32: rate})
        with probing.active(made):
            result = train(runs)
        assert made.narrowed == (name == "narrowed")
        assert result.sizes["run"] == 2
        found[name] = made.flops
    assert found["narrowed"] == pytest.approx(found["whole"], rel=0.3)


def test_what_cannot_be_narrowed_says_so():
    def train(settings):
        raise TooLarge("too many operations")

    made = probe()
    with probing.active(made), pytest.raises(TooLarge, match="too many"):
        in_programs([object(), object()], lambda run: 0, train, 2)


def kinds():
    """For every kind of run of every study the smallest experiment, at scale smoke."""
    for study, entry in CONFIG.studies.items():
        smallest = {}
        for name, experiment in entry.experiments.items():
            if experiment.at("smoke") is not None and experiment.start is None:
                size = sum(len(b.runs) for b in plan.batches(CONFIG, study, name, "smoke").values())
                smallest[experiment.train] = min(
                    smallest.get(experiment.train, (size, name)), (size, name)
                )
        for kind, (_, name) in smallest.items():
            yield pytest.param(study, name, id=f"{study}-{kind}")


@pytest.mark.parametrize(("study", "experiment"), list(kinds()))
def test_every_kind_of_run_can_be_tried(study, experiment, tmp_path):
    task = forecast.Task(str(REPOSITORY), "smoke", study, experiment, MACHINE, True, str(tmp_path))
    found = forecast.try_experiment(task)
    batches = plan.batches(CONFIG, study, experiment, "smoke")
    assert not found.problem
    assert [job.batch for job in found.jobs] == list(batches)
    assert found.runs == sum(len(batch.runs) for batch in batches.values())
    assert all(job.seconds >= 0 and job.disk > 1000 for job in found.jobs)
    assert found.memory > 5e7


def test_every_experiment_is_in_the_plan():
    for scale in ("smoke", "laptop", "gpu", "paper"):
        pairs = forecast.chosen(CONFIG, scale)
        assert pairs == [
            (study, name)
            for study, entry in CONFIG.studies.items()
            for name, experiment in entry.experiments.items()
            if experiment.at(scale) is not None
        ]


def test_start_points_are_handed_on_between_processes():
    wanted = [("limiting_dynamics", "start_geometry")]
    (found,) = forecast.forecast(CONFIG, "smoke", wanted, MACHINE, quick=True)
    assert not found.problem
    assert len(found.jobs) == found.planned == 1


def die(task, there):
    os._exit(9)


def test_an_attempt_that_is_killed_is_reported(monkeypatch):
    monkeypatch.setattr(forecast, "_work", die)
    (found,) = forecast.forecast(CONFIG, "smoke", [("giant_step", "step2_projection")], MACHINE)
    assert "killed" in found.problem
    assert (found.planned, found.runs, found.jobs) == (1, 2, ())


def made_forecasts():
    jobs = (forecast.Job("a", 2, 30.0, 1e12, 1e6), forecast.Job("b", 2, 3600.0, 1e15, 2e6, True))
    return [
        forecast.Forecast("giant_step", "first", 2, 4, jobs, (10, 20), 5e8),
        forecast.Forecast(
            "giant_step", "second", 1, 3, problem="went wrong", missing=("CIFAR-10 (144 MB)",)
        ),
    ]


def test_table_of_numbers(tmp_path):
    path = tmp_path / "numbers.csv"
    forecast.to_csv(path, forecast.rows(made_forecasts(), start_up=2.0))
    first, second = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    assert tuple(first) == forecast.COLUMNS
    assert float(first["seconds"]) == 3634.0
    assert float(first["longest_job_seconds"]) == 3602.0
    assert (first["steps_min"], first["steps_max"], first["rough"]) == ("10", "20", "True")
    assert second["seconds"] == ""
    assert second["problem"] == "went wrong"


def test_what_is_shown():
    from rich.console import Console

    console = Console(width=140, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    forecast.show(console, "gpu", made_forecasts(), MACHINE, cores=2)
    text = console.export_text()
    assert "~61 min" in text and "~60 min" in text and "10-20" in text
    assert "second: went wrong" in text
    assert "CIFAR-10 (144 MB)" in text
    assert "3 jobs, 7 runs" in text and "not in these sums" in text


def test_wall_time_is_that_of_jobs_side_by_side():
    assert forecast.wall_seconds([3, 1, 1, 1], cores=2) == 3
    assert forecast.wall_seconds([1, 1, 1, 3], cores=2) == 4
    assert forecast.wall_seconds([5.0], cores=8) == 5
    assert forecast.wall_seconds([1, 2, 3], cores=1) == 6


def test_jobs_that_were_not_tried_lie_between_their_neighbours():
    assert spread(5) == [0, 4, 2, 1, 3]
    assert sorted(spread(94)) == list(range(94))
    found = {0: forecast.Job("a", 2, 2.0, 2.0, 2.0), 2: forecast.Job("c", 1, 100.0, 100.0, 1.0)}
    jobs = forecast._completed([("a", 2), ("b", 3), ("c", 1)], found)
    assert jobs[1].seconds == pytest.approx(3 * 10)
    assert [job.rough for job in jobs] == [False, True, False]


def test_numbers_are_short():
    assert [forecast.duration(s) for s in (0.1, 90, 600, 36000, 1e6)] == [
        "0.1 s", "90 s", "10 min", "10 h", "12 d",
    ]  # fmt: skip
    assert [forecast.amount(n, "B") for n in (0, 12, 3.2e9, 4.1e14)] == [
        "-", "12 B", "3.2 GB", "410 TB",
    ]  # fmt: skip


def test_missing_images_are_named_and_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("REGIMES_DATA", str(tmp_path))
    monkeypatch.setenv("REGIMES_CACHE", str(tmp_path / "decoded"))
    made = probe()
    with probing.active(made):
        found = images.load("mnist")
    assert found.train.pixels.shape == (60_000, 1, 28, 28)
    assert found.test.label.shape == (10_000,)
    assert set(found.train.label) == set(range(10))
    assert made.missing == {"MNIST (18 MB)"}
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("REGIMES_OFFLINE", "1")
    with pytest.raises(ConfigError, match="no train images of MNIST"):
        images.load("mnist")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["papr"], "did you mean 'paper'"),
        (["smoke", "--study", "giant_stp"], "did you mean 'giant_step'"),
        (["smoke", "--experiment", "toy_sgn"], "did you mean 'toy_sign'"),
        (["smoke", "--cores", "0"], "must be 1 or more"),
    ],
)
def test_mistakes_give_one_message(arguments, message):
    command = [sys.executable, "-m", "regimes", "--root", str(REPOSITORY), "plan", *arguments]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 1
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_the_command_regimes_is_the_module():
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["scripts"]["regimes"].split(":")
    assert callable(getattr(importlib.import_module(module), function))
