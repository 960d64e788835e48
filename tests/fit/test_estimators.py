"""Estimators on planted data, and the grid they work on."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from regimes.fit.estimators import (
    crossing,
    distance_from_line,
    largest_deviation,
    largest_relative_deviation,
    loglog_slope,
    slope_through_origin,
)
from regimes.fit.grids import by_setting


def curve(x, y, dim="x"):
    return xr.DataArray(np.asarray(y, dtype=float), dims=dim, coords={dim: x})


@given(st.floats(-3, 3), st.floats(0.01, 100))
def test_slope_of_a_power_law_is_its_exponent(exponent, factor):
    x = np.array([64, 128, 256, 1000])
    assert loglog_slope(curve(x, factor * x**exponent), "x") == pytest.approx(exponent, abs=1e-9)


def test_slope_is_the_least_squares_one_and_skips_missing_points():
    x = np.array([1.0, 2.0, 4.0, 8.0])
    y = np.array([1.0, 3.0, np.nan, 9.0])
    fitted = np.polyfit(np.log(x[[0, 1, 3]]), np.log(y[[0, 1, 3]]), 1)[0]
    assert loglog_slope(curve(x, y), "x") == pytest.approx(fitted)
    assert np.isnan(loglog_slope(curve([1.0, 2.0], [1.0, np.nan]), "x"))


def test_largest_deviation_finds_the_worst_entry():
    measured = curve([1, 2, 3], [1.0, 2.5, np.nan])
    assert largest_deviation(measured, [1.1, 2.0, 7.0]) == pytest.approx(0.5)
    assert largest_relative_deviation(measured, [2.0, 2.0, 1.0]) == pytest.approx(0.5)
    assert largest_deviation(measured, 2.0) == pytest.approx(1.0)


def test_deviation_from_a_labelled_reference_aligns_by_label_not_by_place():
    measured = xr.DataArray([[1.0, 2.0]], dims=("a", "x"), coords={"a": [0], "x": [1, 2]})
    reference = measured.transpose("x", "a")
    assert largest_deviation(measured, reference) == 0


def test_deviation_refuses_a_reference_that_does_not_cover_the_data():
    with pytest.raises(ValueError):
        largest_deviation(curve([1, 2], [1, 2]), curve([1, 3], [1, 2]))
    with pytest.raises(ValueError, match="shape"):
        largest_deviation(curve([1, 2], [1, 2]), [1.0, 2.0, 3.0])


@given(st.floats(-1.9, 1.9), st.floats(0.1, 5))
def test_crossing_of_two_lines(where, slope):
    x = np.array([-2.0, 0.0, 0.5, 2.0])
    first, second = curve(x, slope * (x - where) + 1), curve(x, np.ones(4))
    assert crossing(first, second, "x") == pytest.approx(where, abs=1e-9)


def test_crossing_outside_is_not_a_number_unless_extrapolated():
    gap = curve([1.65, 2.0], [2.0, 1.0])
    assert np.isnan(crossing(gap, 0.0, "x"))
    assert crossing(gap, 0.0, "x", extrapolate=True) == pytest.approx(2.35)
    assert np.isnan(crossing(gap, gap + 1, "x", extrapolate=True))


def test_crossing_takes_the_first_one_and_skips_missing_points():
    y = curve([0.0, 1.0, 2.0, 3.0], [2.0, np.nan, -2.0, 2.0])
    assert crossing(y, 0.0, "x") == pytest.approx(1.0)


def test_points_on_a_line_have_its_slope_and_no_distance():
    x = np.linspace(-1, 1, 7)
    points = xr.DataArray(np.stack([x, 0.25 * x], -1), dims=("neuron", "direction"))
    assert float(slope_through_origin(points, "direction", "neuron")) == pytest.approx(0.25)
    assert float(distance_from_line(points, 0.25, "direction").max()) < 1e-15
    off = points + xr.DataArray([-0.25, 1.0], dims="direction") * 0.1 / np.sqrt(1 + 0.25**2)
    assert distance_from_line(off, 0.25, "direction").values == pytest.approx(0.1)


def runs(**settings):
    count = len(next(iter(settings.values())))
    data = xr.Dataset(
        {"error": (("run", "step"), np.arange(2.0 * count).reshape(count, 2), {"units": "1"})},
        coords={name: ("run", values) for name, values in settings.items()},
    )
    return data.assign_coords(step=[0, 1])


def test_runs_become_a_grid_with_gaps_as_nan():
    data = runs(target=["b", "a", "b"], width=[20, 10, 10], seed=[0, 0, 1])
    dense = by_setting(data, ["target", "width", "seed"])["error"]
    assert dense.dims == ("target", "width", "seed", "step")
    assert list(dense["target"].values) == ["b", "a"]  # order of appearance
    assert list(dense["width"].values) == [10, 20]
    assert dense.sel(target="b", width=20, seed=0).values.tolist() == [0, 1]
    assert dense.sel(target="b", width=10, seed=1).values.tolist() == [4, 5]
    assert int(dense.notnull().sum()) == 6
    assert dense.attrs == {"units": "1"}


def test_grid_makes_whole_numbers_float_and_keeps_what_has_no_runs():
    data = runs(seed=[3, 1]).assign(diverged=("run", [-1, 4]), constant=7.0)
    dense = by_setting(data, ["seed"])
    assert dense["diverged"].values.tolist() == [4, -1]
    assert dense["diverged"].dtype.kind == "f"
    assert float(dense["constant"]) == 7


def test_two_runs_in_one_cell_are_refused():
    with pytest.raises(ValueError, match="seed=0"):
        by_setting(runs(seed=[0, 0]), ["seed"])


def test_an_unknown_setting_is_named():
    with pytest.raises(KeyError, match="depth"):
        by_setting(runs(seed=[0]), ["depth"])
