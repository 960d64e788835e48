"""Panels of the giant-step figures: intervals and projections."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from regimes.studies.giant_step import panels


def test_interval_is_the_t_interval_over_the_seeds_present():
    values = xr.DataArray([[1.0, 2.0, 4.0], [3.0, 5.0, np.nan], [2.0, np.nan, np.nan]],
                          dims=("n", "seed"))  # fmt: skip
    half = panels.interval(values).values
    assert half[0] == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem([1, 2, 4]))
    assert half[1] == pytest.approx(stats.t.ppf(0.975, 1) * stats.sem([3, 5]))
    assert half[2] == 0


def test_projection_on_the_circle_has_unit_length():
    points = panels.on_circle(np.array([[0.3, 0.4], [0.0, 0.0]]))
    assert points[0] == pytest.approx([0.6, 0.8])
    assert np.isnan(points[1]).all()


def test_signs_get_their_own_markers():
    clouds = panels.by_sign(np.eye(2), np.array([1, -1]), "red", "label")
    assert [c.marker for c in clouds] == [panels.SIGN_MARKERS[1], panels.SIGN_MARKERS[-1]]
    assert [c.label for c in clouds] == ["label", ""]
