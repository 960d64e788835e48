from __future__ import annotations

import numpy as np
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from regimes.fit.power_laws import fit_power_law


def curve(slope, intercept, noise=0.0, seed=0):
    x = np.arange(-4, 4.5, 0.5)
    rng = np.random.default_rng(seed)
    y = intercept + slope * x + noise * rng.standard_normal(x.size)
    return xr.DataArray(y, dims="log10_gamma", coords={"log10_gamma": x})


@given(st.floats(-3, 3), st.floats(-5, 5))
def test_exact_lines_are_recovered(slope, intercept):
    fit = fit_power_law(curve(slope, intercept), "log10_gamma", -4, 0)
    np.testing.assert_allclose(fit["slope"], slope, atol=1e-9)
    np.testing.assert_allclose(fit["intercept"], intercept, atol=1e-9)
    assert fit["points"] == 9 and fit["window"].values.tolist() == [-4, 0]


def test_interval_is_that_of_linear_regression():
    values = curve(0.7, 1.0, noise=0.1)
    fit = fit_power_law(values, "log10_gamma", -1.0, 3.0)
    part = values.sel(log10_gamma=slice(-1, 3))
    line = stats.linregress(part["log10_gamma"], part)
    half = stats.t.ppf(0.975, part.size - 2) * line.stderr
    np.testing.assert_allclose(fit["slope"], line.slope)
    np.testing.assert_allclose(fit["intercept"], line.intercept)
    np.testing.assert_allclose(fit["slope_low"], line.slope - half)
    np.testing.assert_allclose(fit["slope_high"], line.slope + half)


def test_missing_points_other_dimensions_and_too_few_points():
    values = xr.concat([curve(2, 0), curve(1, 3)], xr.DataArray([2, 3], dims="depth", name="depth"))
    values[0, 2] = np.nan
    values[1, 2:] = np.nan
    fit = fit_power_law(values, "log10_gamma", -4, 4)
    np.testing.assert_allclose(fit["slope"], [2, 1])
    assert np.isinf(fit["slope_high"][1]) and np.isinf(-fit["slope_low"][1])
    lonely = fit_power_law(values.isel(depth=1), "log10_gamma", -4, -4)
    assert np.isnan(lonely["slope"]) and np.isnan(lonely["slope_low"])


def test_window_ends_survive_rounding():
    values = curve(1, 0).assign_coords(log10_gamma=np.arange(-4, 4.5, 0.5) + 1e-12)
    assert fit_power_law(values, "log10_gamma", -4, -1.5)["points"] == 6
