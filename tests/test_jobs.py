"""Jobs: hyperparameters as coordinates, refusal of what changed."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from regimes import jobs
from regimes.studies.giant_step.settings import GiantSteps

NAMED = {"long_name": "something", "units": "1"}


def runs(**changes):
    base = {"target": "plus", "dimension": 16, "width": 8}
    return [GiantSteps.model_validate({**base, "seed": s, **changes}) for s in range(2)]


def test_hyperparameters_become_described_coordinates():
    found = jobs.hyperparameters("giant_steps", runs(ridge_strengths=[1.0, 0.1]))
    data = xr.Dataset(coords=found)
    assert list(data["seed"].values) == [0, 1]
    assert data["ridge_strengths"].values[0] == "[1.0, 0.1]"
    assert data["batch_size"].values[0] == 16
    assert np.isnan(data["start_seed"].values).all()
    assert len(set(data["run_id"].values)) == 2
    assert all({"long_name", "units"} <= set(c.attrs) for c in data.coords.values())


@pytest.mark.parametrize("name", ["seed", "batch_size"])
def test_names_shared_by_settings_and_results_are_refused(name):
    trained = xr.Dataset({name: ("run", np.zeros(2), NAMED)})
    with pytest.raises(ValueError, match=name):
        jobs.with_hyperparameters(trained, "giant_steps", runs())
    with pytest.raises(ValueError, match="width"):
        jobs.with_hyperparameters(
            xr.Dataset({"x": (("run", "width"), np.zeros((2, 3)), NAMED)}), "giant_steps", runs()
        )


def test_unplanned_calls_are_allowed_and_changed_ones_refused():
    jobs.check_unchanged("code", "", "abc")
    jobs.check_unchanged("code", "abc", "abc")
    with pytest.raises(jobs.Changed, match="code changed"):
        jobs.check_unchanged("code", "abd", "abc")
