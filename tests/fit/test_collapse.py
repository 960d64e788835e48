"""Collapse score on curves that collapse, that do not, and its invariances."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes.fit.collapse import cell_means, collapse_score

GAMMA = np.array([10.0, 100.0, 1000.0])
STEP = np.arange(0, 3000.0)


def curve(tau):
    """A plateau with a drop at tau = 100."""
    return 1 / (1 + (tau / 100) ** 4)


def planted(scale, noise=0.0, shape=curve, seed=0):
    """Curves that depend on scale * step alone; returns values and scales over gamma."""
    scales = xr.DataArray(scale, dims="gamma", coords={"gamma": GAMMA[: len(scale)]})
    steps = xr.DataArray(STEP, dims="step", coords={"step": STEP})
    values = shape(scales * steps)
    values = values + noise * np.random.default_rng(seed).standard_normal(values.shape)
    return values, scales * steps, steps


def score(values, times, **options):
    return float(collapse_score(values, times, "gamma", "step", **options))


def test_curves_of_one_rescaled_time_collapse():
    values, tau, raw = planted([4.0, 2.0, 0.5])
    assert score(values, tau) < 2e-3  # what is left is linear interpolation between steps
    assert score(values, raw) > 0.3


def test_equal_curves_score_zero_and_unknown_ends_do_not_matter():
    values, _, raw = planted([1.0, 1.0, 1.0])
    assert score(values, raw) == pytest.approx(0, abs=1e-12)
    cut = values.where((values["step"] > 40) | (values["gamma"] > 50))
    assert score(cut, raw) < 1e-3


def test_the_score_is_the_formula():
    # Two steps of height 1 on [1, 100], the other curve shifted by a: spread a^2/2 everywhere.
    steps = xr.DataArray(np.logspace(0, 2, 401), dims="step")
    line = np.log10(steps)
    values = xr.concat([line, line + 0.3], dim="gamma")
    cells = np.linspace(0, 2, 21)
    middle = (cells[1:] + cells[:-1]) / 2
    assert score(values, steps) == pytest.approx(np.sqrt(0.3**2 / 2 / middle.var()), rel=1e-9)


def test_differing_curves_do_not_collapse():
    values, tau, _ = planted([1.0, 1.0, 1.0])
    values = values * xr.DataArray([1.0, 2.0, 3.0], dims="gamma")
    assert score(values, tau) > 0.5


def test_noise_from_point_to_point_averages_out():
    quiet, tau, raw = planted([4.0, 2.0, 0.5])
    noisy, _, _ = planted([4.0, 2.0, 0.5], noise=0.05)
    assert score(noisy, tau) < 0.15  # pointwise the noise alone is 0.05 / 0.4
    assert score(noisy, raw) == pytest.approx(score(quiet, raw), rel=0.1)


def test_other_dimensions_are_kept():
    values, tau, _ = planted([4.0, 2.0, 0.5])
    both = xr.concat([values, values * [[1.0], [2.0], [3.0]]], dim="seed")
    found = collapse_score(both, tau, "gamma", "step")
    assert found.dims == ("seed",)
    assert found[0] < 2e-3 < 0.3 < found[1]
    assert found.attrs["units"] == "1"


def test_nothing_to_compare_gives_nan():
    values, tau, raw = planted([4.0, 2.0, 0.5])
    assert np.isnan(score(values.isel(gamma=[0]), tau))
    assert np.isnan(score(values * 0 + 1, tau))
    assert np.isnan(score(values.where(values["gamma"] < 50), raw))
    apart = xr.DataArray([1.0, 1e4, 1e8], dims="gamma", coords={"gamma": GAMMA})
    assert np.isnan(score(values, raw * apart))
    assert np.isnan(score(values.isel(step=slice(0, 2)), tau.isel(step=slice(0, 2))))


@pytest.mark.parametrize("options", [{"fewest": 1}, {"cells_per_decade": 0}])
def test_senseless_options_are_refused(options):
    values, tau, _ = planted([4.0, 2.0, 0.5])
    with pytest.raises(ValueError, match="must be"):
        score(values, tau, **options)


def test_cells_with_fewer_than_all_curves_can_be_left_out():
    values, _, raw = planted([1.0, 1.0, 1.0])
    values = values + xr.DataArray([0.0, 0.0, 1.0], dims="gamma") * (values["step"] < 100)
    cut = values.where((values["gamma"] < 500) | (values["step"] >= 100))
    assert score(cut, raw, fewest=3) == pytest.approx(0, abs=1e-12)
    assert score(values, raw, fewest=3) > 0.3


def test_cell_means_integrate_the_interpolant_exactly():
    time, values = np.array([0.0, 1.0, 4.0]), np.array([0.0, 2.0, 2.0])
    found = cell_means(time, values, np.array([0.0, 0.5, 2.0, 4.0, 5.0]))
    assert found[:3] == pytest.approx([0.5, (0.75 + 2.0) / 1.5, 2.0])
    assert np.isnan(found[3])
    assert np.isnan(cell_means(time[:1], values[:1], np.array([0.0, 1.0]))).all()


curves = st.lists(st.floats(0.2, 5.0), min_size=2, max_size=3)


@settings(max_examples=40, deadline=None)
@given(curves, st.floats(1e-3, 1e3), st.permutations(range(3)), st.integers(0, 5))
def test_relabelling_and_common_rescaling_change_nothing(scale, factor, order, seed):
    values, tau, raw = planted(scale, noise=0.02, seed=seed)
    order = [i for i in order if i < len(scale)]
    for times in (tau, raw):
        expected = score(values, times)
        assert score(values, factor * times) == pytest.approx(expected, rel=1e-6, abs=1e-12)
        shuffled = values.isel(gamma=order)
        if "gamma" in times.dims:
            times = times.isel(gamma=order)
        assert score(shuffled, times) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert score(3 * values - 7, times) == pytest.approx(expected, rel=1e-6, abs=1e-10)
