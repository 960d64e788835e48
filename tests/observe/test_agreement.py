from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes.observe import agreement


def make(values, dims):
    runs = len(values)
    coords = {"log10_gamma": ("run", np.arange(runs) - 1.0), "seed": ("run", np.arange(runs))}
    return xr.DataArray(values, dims=dims, coords=coords)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_outputs_against_the_formulas(seed):
    values = np.random.default_rng(seed).normal(size=(4, 6, 3))
    values[1] = 0.5 * values[0] + 0.2  # a line, not that of equality
    found = agreement.output_agreement(make(values, ("run", "sample", "output_class")))
    flat = values.reshape(4, -1)
    assert found.pearson.values == pytest.approx(np.corrcoef(flat))
    assert found.pearson.values[0, 1] == pytest.approx(1)
    for one in range(4):
        for other in range(4):
            expected = 1 - ((flat[one] - flat[other]) ** 2).mean() / flat[one].var()
            assert found.explained.values[one, other] == pytest.approx(expected, abs=1e-12)


def test_dimensions_may_come_in_any_order_and_settings_are_kept():
    values = np.random.default_rng(0).normal(size=(3, 6, 2))
    array = make(values, ("run", "sample", "output_class"))
    found = agreement.output_agreement(array.transpose("output_class", "sample", "run"))
    assert found.pearson.values == pytest.approx(agreement.output_agreement(array).pearson.values)
    pair = found.pearson.where((found.log10_gamma == -1) & (found.other_seed == 2), drop=True)
    assert pair.item() == found.pearson.values[0, 2]
    for variable in found.values():
        assert variable.dims == ("run", "other_run")
        assert variable.attrs["long_name"] and variable.attrs["units"] == "1"


@pytest.mark.filterwarnings("error")
def test_runs_without_values_have_no_agreement():
    values = np.random.default_rng(0).normal(size=(5, 6, 6))
    expected = agreement.output_agreement(make(values[[0, 4]], ("run", "sample", "output_class")))
    aligned = agreement.kernel_agreement(make(values[[0, 4]], ("run", "a", "b")))
    values[1] = 0.1
    values[2, 3, 1] = np.nan
    values[3, 0, 0] = np.inf
    found = agreement.output_agreement(make(values, ("run", "sample", "output_class")))
    again = agreement.kernel_agreement(make(values, ("run", "a", "b")))
    pairs = [
        (found.pearson, expected.pearson),
        (found.explained, expected.explained),
        (again, aligned),
    ]
    for mine, reference in pairs:
        assert mine.values[np.ix_([0, 4], [0, 4])] == pytest.approx(reference.values)
        assert np.isnan(mine.values[1:4]).all() and np.isnan(mine.values[:, 1:4]).all()


def test_kernels_against_the_formula():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(3, 8, 5)) + 2
    values = features @ features.transpose(0, 2, 1)
    found = agreement.kernel_agreement(make(values, ("run", "sample", "other")))
    centre = np.eye(8) - 1 / 8
    centred = centre @ values @ centre
    for one in range(3):
        for other in range(3):
            expected = np.trace(centred[one] @ centred[other]) / (
                np.linalg.norm(centred[one]) * np.linalg.norm(centred[other])
            )
            assert found.values[one, other] == pytest.approx(expected)
    assert np.diag(found.values) == pytest.approx(1)
    with pytest.raises(ValueError, match="square"):
        agreement.kernel_agreement(make(values[:, :, :4], ("run", "sample", "other")))
