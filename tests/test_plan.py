"""Grids to runs to batches; identity of runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from regimes import plan
from regimes.config import SCALES, Analysis, Config, ConfigError
from regimes.studies.giant_step.settings import GiantSteps

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = Config(REPOSITORY)
BASE = {"target": "plus", "dimension": 64, "width": 32, "seed": 0}


def settings(**changes):
    return GiantSteps.model_validate(BASE | changes)


def test_run_id_is_stable():
    """A change here orphans every results file: raise plan.FORMAT if it is meant."""
    assert plan.run_id("giant_steps", settings()) == "23a15b1528"


def test_run_id_ignores_how_a_value_is_written():
    assert plan.run_id("k", settings(batch_factor=4)) == plan.run_id(
        "k", settings(batch_factor=4.0)
    )
    assert plan.run_id("k", settings(activation="relu")) == plan.run_id("k", settings())


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.integers(0, 50), st.integers(0, 50))
def test_different_settings_have_different_ids(x, y, s, t):
    one = plan.run_id("k", settings(batch_factor=x, seed=s))
    two = plan.run_id("k", settings(batch_factor=y, seed=t))
    assert (one == two) == (x == y and s == t)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1p5"),
        (2.0, "2"),
        (-3, "m3"),
        (True, "true"),
        ("A", "a"),
        (1e-6, "1em06"),
        ("z1_z2", "z1_z2"),
    ],
)
def test_slug(value, text):
    assert plan.slug(value) == text


@given(st.lists(st.floats(1e-8, 1e8), min_size=2, max_size=2, unique=True))
def test_slugs_of_different_numbers_differ(pair):
    assert plan.slug(pair[0]) != plan.slug(pair[1])


@pytest.mark.parametrize("scale", SCALES)
def test_every_study_plans_at_every_scale(scale):
    config = Config(REPOSITORY)
    for study, entry in config.studies.items():
        for experiment, definition in entry.experiments.items():
            if definition.at(scale) is None:
                continue  # an analysis that reads it must have others, checked below
            batches = plan.batches(config, study, experiment, scale)
            runs = [run for batch in batches.values() for run in batch.runs]
            assert runs
            assert len({plan.run_id(definition.train, run) for run in runs}) == len(runs)
            for name, batch in batches.items():
                assert batch.name == name
                assert len({getattr(run, definition.split) for run in batch.runs}) == 1
        for analysis, definition in entry.analyses.items():
            found = plan.experiments_at(config, scale, study, analysis)
            assert bool(found) == bool(definition.experiments)


def test_unknown_batch_names_the_nearest():
    config = Config(REPOSITORY)
    with pytest.raises(ConfigError, match="did you mean 'batch_exponent_1'"):
        plan.find_batch(config, "giant_step", "one_step_plane_plus", "laptop", "batch_exponent_11")


def test_order_of_grid_does_not_change_ids_but_a_new_seed_changes_the_digest():
    runs = tuple(settings(seed=s) for s in range(3))
    one = plan.Batch("e", "n", "giant_steps", runs)
    more = plan.Batch("e", "n", "giant_steps", (*runs, settings(seed=3)))
    assert one.digest != more.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 31}, "even"),
        ({"dimension": 2, "target": "chain"}, "teacher directions"),
        ({"surrogate": True}, "ridge"),
        ({"ridge_data": "same", "steps": 0, "ridge_strengths": [1.0]}, "steps"),
        ({"batch_factor": -1}, "greater than 0"),
    ],
)
def test_inconsistent_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_batch_size_and_learning_rate():
    run = settings(batch_factor=4, batch_exponent=1.5, learning_rate_factor=2)
    assert run.batch_size == 4 * 64**1.5
    assert run.learning_rate == pytest.approx(2 * 32 * (run.batch_size / 64) ** 0.5)
    assert settings(learning_rate_rule="width").learning_rate == 32
    assert settings(learning_rate_rule="root").learning_rate == pytest.approx((64 * 32) ** 0.5)


def test_evenly_spaced_axis():
    """A mapping from, to, step stands for a list."""
    grid = {"a": {"from": -1, "to": 1, "step": 0.5}, "seeds": 1}
    points = plan._grid_points(CONFIG, "giant_step", (), grid)
    assert [p["a"] for p in points] == [-1, -0.5, 0, 0.5, 1]
    whole = plan._grid_points(CONFIG, "giant_step", (), {"a": {"from": 1, "to": 7, "step": 3}})
    assert [p["a"] for p in whole] == [1, 4, 7]
    tenths = plan._grid_points(CONFIG, "giant_step", (), {"a": {"from": 0, "to": 0.3, "step": 0.1}})
    assert [p["a"] for p in tenths] == [0, 0.1, 0.2, 0.3]
    for bad in ({"from": 2, "to": 1, "step": 1}, {"from": 0, "to": 1, "step": 0}):
        with pytest.raises(ConfigError, match="needs step > 0 and to >= from"):
            list(plan._grid_points(CONFIG, "giant_step", (), {"a": bad}))
    with pytest.raises(ConfigError, match="must be numbers"):
        list(plan._grid_points(CONFIG, "giant_step", (), {"a": {"from": "x", "to": 1, "step": 1}}))
    with pytest.raises(ConfigError, match="steps of 0.4 miss 1"):
        grid = {"a": {"from": 0, "to": 1, "step": 0.4}}
        list(plan._grid_points(CONFIG, "giant_step", (), grid))
    for bad in ({"from": 0, "to": float("inf"), "step": 1}, {"from": 0, "to": 1, "step": 1e-6}):
        with pytest.raises(ConfigError, match="needs step|at most"):
            list(plan._grid_points(CONFIG, "giant_step", (), {"a": bad}))


def test_an_experiment_may_be_read_at_some_scales_only():
    config = Config(REPOSITORY)
    study = "exact_gauss_newton"
    both = ["lazy_probe", "mini_batch_hard"]
    assert config.studies[study].analyses["laziness"].experiments == both
    read = {scale: plan.experiments_at(config, scale, study, "laziness") for scale in SCALES}
    assert read == {
        "smoke": both[:1], "laptop": both[:1], "gpu": both[1:], "paper": both[1:],
    }  # fmt: skip
    with pytest.raises(ValidationError, match="only: 'other' is none of the experiments"):
        Analysis(title="t", experiments=both, only={"other": ["gpu"]})
