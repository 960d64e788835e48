"""Intervals and verdicts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from regimes import claims
from regimes.config import Config

REPOSITORY = Path(__file__).resolve().parents[1]


def seeds(values):
    return xr.DataArray(np.asarray(values, float), dims="seed")


def mean(array):
    return float(array.mean("seed"))


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=12))
def test_jackknife_of_a_mean_is_the_t_interval(values):
    found = claims.jackknife(mean, seeds(values))
    error = stats.sem(values)
    half = stats.t.ppf(0.975, len(values) - 1) * error
    assert found.value == pytest.approx(np.mean(values), abs=1e-9)
    assert found.high - found.value == pytest.approx(half, rel=1e-6, abs=1e-9)
    assert found.seeds == len(values)


def test_jackknife_of_a_ratio_agrees_with_the_delta_method():
    rng = np.random.default_rng(0)
    data = xr.Dataset(
        {"a": ("seed", rng.normal(10, 1, 400)), "b": ("seed", rng.normal(5, 0.5, 400))}
    )
    found = claims.jackknife(lambda d: float(d.a.mean("seed") / d.b.mean("seed")), data)
    expected = 2 * math.sqrt(0.1**2 / 400 + 0.1**2 / 400)
    assert (found.high - found.low) / 2 / 1.966 == pytest.approx(expected, rel=0.15)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        found = claims.jackknife(mean, seeds(rng.normal(3, 1, 5)))
        hits += found.low <= 3 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_cells_with_fewer_seeds_set_the_degrees_of_freedom():
    data = xr.DataArray([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, np.nan, np.nan]], dims=("n", "seed"))
    assert claims.fewest_seeds(data) == 2
    data[1] = np.nan
    assert claims.fewest_seeds(data) == 4


def test_one_seed_gives_no_interval():
    found = claims.jackknife(mean, seeds([1.0]))
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert claims.verdict((0, 2), found.low, found.high) == claims.INCONCLUSIVE


def test_interval_is_clipped_to_what_is_possible():
    rule = claims.Measure("a", lambda d: d["x"], mean, (0, 1))
    data = xr.Dataset({"x": seeds([0.0, 0.1, 0.0])})
    found = claims.measure(rule, {"a": data})
    assert found.low == 0


def test_exact_measure_has_no_interval():
    rule = claims.Measure(("a", "b"), lambda d: d["a"]["x"], float, exact=True)
    found = claims.measure(rule, {"a": xr.Dataset({"x": 2.0}), "b": xr.Dataset()})
    assert (found.value, found.low, found.high) == (2, 2, 2)


@pytest.mark.parametrize(
    ("expected", "low", "high", "outcome"),
    [
        ((0, 1), 0.2, 0.8, claims.REPRODUCED),
        ((0, 1), 0.0, 1.0, claims.REPRODUCED),
        ((0, 1), 1.1, 1.2, claims.CONTRADICTED),
        ((0, 1), -2.0, -0.1, claims.CONTRADICTED),
        ((0, 1), 0.9, 1.1, claims.INCONCLUSIVE),
        ((0, 1), -5.0, 5.0, claims.INCONCLUSIVE),
        ((0, math.inf), 0.5, 9e9, claims.REPRODUCED),
        ((0, 1), math.nan, math.nan, claims.INCONCLUSIVE),
    ],
)
def test_verdict(expected, low, high, outcome):
    assert claims.verdict(expected, low, high) == outcome


@given(st.tuples(*[st.floats(-10, 10)] * 4))
def test_verdict_is_one_of_three_and_monotone(numbers):
    a, b = sorted(numbers[:2])
    low, high = sorted(numbers[2:])
    outcome = claims.verdict((a, b), low, high)
    wider = claims.verdict((a, b), low - 1, high + 1)
    assert outcome in (claims.REPRODUCED, claims.CONTRADICTED, claims.INCONCLUSIVE)
    if outcome == claims.INCONCLUSIVE:
        assert wider == claims.INCONCLUSIVE


def test_table_has_the_contract_columns_and_smoke_is_not_testable():
    config = Config(REPOSITORY)
    study = config.studies["giant_step"]
    frame = claims.table(study, {}, {}, "smoke")
    assert list(frame.columns) == claims.COLUMNS
    assert set(frame["verdict"]) == {claims.NOT_TESTABLE}
    assert frame["note"].str.contains("needs scale").all()
    assert len(frame) == len(study.claims)
    assert "inf]" in frame["expected"].str.cat()


def test_bootstrap_of_a_median_covers_it():
    """The percentile interval holds the true median about as often as it says."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        data = xr.DataArray(rng.exponential(size=21), dims="seed")
        found = claims.bootstrap(lambda d: float(np.median(d)), data, resamples=200)
        assert found.low <= found.value <= found.high and found.seeds == 21
        covered += found.low <= np.log(2) <= found.high
    assert covered >= 50


def test_bootstrap_is_repeatable_and_needs_three_seeds():
    data = xr.DataArray([6.0, 6.0, 8.0, 4.0, 6.0], dims="seed")
    rule = claims.Measure(
        "a", lambda d: d["x"], lambda v: float(v.median("seed")), interval="bootstrap"
    )
    analyses = {"a": xr.Dataset({"x": data})}
    first, second = claims.measure(rule, analyses), claims.measure(rule, analyses)
    assert first == second and 4 <= first.low <= 6 <= first.high <= 8
    two = claims.bootstrap(lambda v: float(v.median("seed")), data[:2])
    assert two.low == -np.inf and two.high == np.inf


def test_share_of_seeds_has_the_exact_binomial_interval():
    data = xr.DataArray([0.0, 0.0, 0.0, 0.0, 0.0], dims="seed")
    rule = claims.Measure(
        "a", lambda d: d["x"], lambda v: float(v.mean("seed")), (0, 1), interval="binomial"
    )
    found = claims.measure(rule, {"a": xr.Dataset({"x": data})})
    # Clopper-Pearson with no success of five: 1 - 0.025^(1/5).
    assert found.value == 0 and found.low == 0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 5))


def test_a_number_without_value_has_no_interval_whatever_its_range():
    data = xr.DataArray([1.0, np.nan, 2.0], dims="seed")
    rule = claims.Measure(
        "a", lambda a: a["x"], lambda d: float(d.mean(skipna=False)), range=(0, 1)
    )
    found = claims.measure(rule, {"a": xr.Dataset({"x": data})})
    assert np.isnan([found.value, found.low, found.high]).all()
    assert claims.verdict((0, 1), found.low, found.high) == claims.INCONCLUSIVE


@pytest.mark.parametrize(
    ("infinite", "low", "high"), [(0, 1, 1), (2, 1, np.inf), (5, np.inf, np.inf)]
)
@pytest.mark.filterwarnings("error")
def test_medians_and_means_may_be_infinite(infinite, low, high):
    data = xr.DataArray([np.inf] * infinite + [1.0] * (5 - infinite), dims="seed")
    found = claims.bootstrap(lambda d: float(d.median("seed")), data)
    assert found.value == (1 if infinite < 3 else np.inf)
    assert (found.low, found.high) == (low, high)
    average = claims.jackknife(mean, seeds([1, np.inf, 2]))
    assert (average.value, average.low, average.high) == (np.inf, -np.inf, np.inf)
