"""Grids to runs to batches; identity of runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from regimes import fingerprint, plan
from regimes.config import SCALES, WHOLE_SCALES, Analysis, Config, ConfigError
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
        for analysis in plan.analyses_at(config, scale, study):
            definition = entry.analyses[analysis]
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
    read = {scale: plan.experiments_at(config, scale, study, "laziness") for scale in WHOLE_SCALES}
    assert read == {
        "smoke": both[:1], "laptop": both[:1], "gpu": both[1:], "paper": both[1:],
    }  # fmt: skip
    with pytest.raises(ValidationError, match="only: 'other' is none of the experiments"):
        Analysis(title="t", experiments=both, only={"other": ["gpu"]})


# --- Scales of some experiments only -------------------------------------------------------------


@pytest.mark.parametrize("study", CONFIG.studies)
def test_whole_scales_have_every_figure_and_partial_ones_what_can_be_read(study):
    entry = CONFIG.studies[study]
    for scale in WHOLE_SCALES:
        assert list(plan.figures_at(CONFIG, scale, study)) == list(entry.figures)
        assert plan.analyses_at(CONFIG, scale, study) == list(entry.analyses)
    for name in plan.figures_at(CONFIG, "images", study):
        for analysis in entry.figures[name].analyses:
            needed = set(entry.analyses[analysis].experiments)
            found = set(plan.experiments_at(CONFIG, "images", study, analysis))
            needed -= {
                each for each in needed if not entry.analyses[analysis].reads(each, "images")
            }
            assert found == needed != set()


def test_studies_without_runs_at_a_partial_scale_are_left_out():
    assert plan.studies_at(CONFIG, "laptop") == list(CONFIG.studies)
    assert "giant_step" not in plan.studies_at(CONFIG, "images")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cifar10", "cifar10_jpeg"),
        ("cifar10_augmented", "cifar10_jpeg_augmented"),
        ("cifar10_jpeg", "cifar10_jpeg"),
        ("cifar10_jpeg_augmented", "cifar10_jpeg_augmented"),
        ("cifar100", "cifar100"),
        ("mnist", "mnist"),
    ],
)
def test_data_sets_are_replaced_by_those_the_user_has(value, expected):
    found = plan._substituted({"cifar10": "cifar10_jpeg"}, {"data": value, "model": "cifar10"})
    assert found == {"data": expected, "model": "cifar10"}


def with_substitutes(folder, substitutes):
    """Configuration of this repository with other data sets in place of some."""
    shutil.copytree(REPOSITORY / "config", folder / "config")
    main = folder / "config" / "config.yaml"
    assert "substitutes: {}" in main.read_text()
    main.write_text(main.read_text().replace("substitutes: {}", f"substitutes: {substitutes}"))
    return Config(folder)


def test_a_replaced_data_set_makes_other_runs(tmp_path):
    config = with_substitutes(tmp_path, "{cifar10: cifar10_jpeg}")
    place = ("exact_gauss_newton", "mini_batch_hard", "gpu")
    own, other = (plan.batches(each, *place) for each in (CONFIG, config))
    assert list(own) == list(other)
    for name in own:
        assert {run.data for run in own[name].runs} == {"cifar10"}
        assert {run.data for run in other[name].runs} == {"cifar10_jpeg"}
        assert own[name].digest != other[name].digest


@pytest.mark.parametrize(
    ("substitutes", "place", "reasons"),
    [
        (
            "{cifar10: mnist}",
            ("limiting_dynamics", "cifar_pretrain", "gpu"),
            ["got 'mnist'", "limiting_dynamics", "'mnist_augmented"],
        ),
        (
            "{mnist: cifar100}",
            ("exact_gauss_newton", "mini_batch_easy", "gpu"),
            ["got 'cifar100'", "did you mean", "data"],
        ),
    ],
)
def test_a_substitute_that_does_not_fit_is_to_blame_itself(substitutes, place, reasons, tmp_path):
    config = with_substitutes(tmp_path, substitutes)
    with pytest.raises(ConfigError) as caught:
        plan.batches(config, *place)
    message, key = str(caught.value), substitutes[1:].split(":")[0]
    line = (tmp_path / "config/config.yaml").read_text().splitlines().index(
        f"substitutes: {substitutes}"
    )  # fmt: skip
    assert message.startswith(f"{tmp_path}/config/config.yaml:{line + 1}: substitutes.{key} got")
    assert f"config/studies/{place[0]}.yaml" not in message
    for reason in reasons:
        assert reason in message


def test_mistakes_beside_a_substitute_are_the_studys_own(tmp_path):
    config = with_substitutes(tmp_path, "{cifar10: cifar10_jpeg}")
    file = tmp_path / "config/studies/exact_gauss_newton.yaml"
    head, tail = file.read_text().split("  mini_batch_hard:", 1)
    assert "data: cifar10," in tail
    tail = tail.replace("data: cifar10,", "data: cifar10, depht: 3,", 1)
    file.write_text(f"{head}  mini_batch_hard:{tail}")
    with pytest.raises(ConfigError, match=r"exact_gauss_newton.yaml:\d+: .*depht"):
        plan.batches(Config(config.root), "exact_gauss_newton", "mini_batch_hard", "images")


# --- What a fingerprint of training is about ------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("device.py", '"highest"', '"high"', True),
        ("ensemble/programs.py", "width // 2", "width // 3", True),
        ("provenance.py", "one of {os.cpu_count()} cores", "{os.cpu_count()} cores", False),
        ("jobs.py", "TF32 off", "without TF32", False),
    ],
)
def test_numeric_policy_is_part_of_what_results_depend_on(
    file, old, new, changes, tmp_path, monkeypatch
):
    def forget():
        caches = (
            fingerprint._tree,
            fingerprint.imports,
            fingerprint._module_digest,
            plan._fingerprint,
        )
        for cached in caches:
            cached.cache_clear()

    batch = plan.Batch("e", "n", "giant_steps", (settings(),))
    before = plan.train_fingerprint("giant_step", batch)
    source = tmp_path / "regimes"
    shutil.copytree(fingerprint.SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    text = (source / file).read_text()
    assert old in text
    (source / file).write_text(text.replace(old, new))
    monkeypatch.setattr(fingerprint, "SOURCE", source)
    forget()
    try:
        assert (plan.train_fingerprint("giant_step", batch) != before) == changes
    finally:
        forget()
