"""Analyses, claims and figures of the theory on runs with planted answers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from regimes import claims
from regimes.plot import style
from regimes.studies.second_order_mup import theory
from regimes.studies.second_order_mup.analyses import exponents, nngp_one_step
from regimes.studies.second_order_mup.claims_theory import THEORY
from regimes.studies.second_order_mup.exponent_tables import WRONG, entry, fraction
from regimes.studies.second_order_mup.figures import supp_nngp_one_step, table1, tableA1

RIDGES = (1e-4, 1e-2)
GAP, SLOPE = 6.0, -0.45


def measured(claim, **analyses):
    return claims.measure(THEORY[claim], analyses)


def algebra(widths=(8, 16), dampings=(0.01, 1.0)):
    random = np.random.default_rng(0)
    runs = [(w, d) for w in widths for d in dampings]
    error = np.full((len(runs), 2), 1e-14)
    error[-1, 1] = 3e-9
    powers = random.random((2, 5))
    data = xr.Dataset(
        {
            "power_inputs": (("run", "pair"), np.tile(powers[0], (len(runs), 1))),
            "power_outputs": (("run", "pair"), np.tile(powers[1], (len(runs), 1))),
            "rewriting_error": (("run", "rewriting"), error),
        },
        coords={
            "pair": np.arange(5),
            "rewriting": ["push_through", "thin_svd"],
            "width": ("run", [w for w, _ in runs]),
            "damping": ("run", [d for _, d in runs]),
            "seed": ("run", [0] * len(runs)),
            "run_id": ("run", [f"r{i}" for i in range(len(runs))]),
        },
    )
    return {"exponent_algebra": data}


def one_step(widths=(256, 1024, 4096), seeds=3):
    runs = [(w, s) for w in widths for s in range(seeds)]
    width, seed = (np.array(column, dtype=float) for column in zip(*runs, strict=True))
    level = GAP * width**SLOPE * np.exp(0.02 * (seed - 1))
    gap = level[:, None] * np.array([1.0, 0.7])
    residual = np.ones((len(runs), 3, 2)) * np.array([0.1, 0.9, 0.8])[None, :, None]
    residual[:, 0, 0] *= 1 + 0.1 * seed
    shape = (len(runs), 3, 2)
    data = xr.Dataset(
        {
            "nngp_gap": (("run", "ridge"), gap),
            "kernel_gap": (("run", "ridge"), np.full((len(runs), 2), 2e-12)),
            "nngp_accuracy": (("run", "ridge"), np.full((len(runs), 2), 0.9)),
            "train_residual": (("run", "optimizer", "ridge"), residual),
            "test_accuracy": (("run", "optimizer", "ridge"), np.full(shape, 0.8)),
            "hidden_change": (("run", "optimizer", "ridge"), np.zeros(shape)),
            "recursion_ratio": (("run", "layer"), np.full((len(runs), 2), 0.5)),
        },
        coords={
            "ridge": list(RIDGES),
            "optimizer": ["kfac", "sgd", "shampoo"],
            "layer": [1, 2],
            "width": ("run", width),
            "seed": ("run", seed.astype(int)),
            "samples": ("run", [128] * len(runs)),
        },
    )
    for name, variable in data.variables.items():
        variable.attrs = {"long_name": str(name), "units": "1"}
    return {"nngp_one_step": data}


# --- Exponents ------------------------------------------------------------------------------------


def test_so_table1_formula():
    found = exponents.analyse(algebra())
    assert found["order"].sizes == {"role": 3, "seed": 1, "pair": 5}
    assert measured("so_table1_formula", exponents=found).value <= 1e-12


@pytest.mark.parametrize("name", ["leftover", "coded_difference"])
def test_a_wrong_formula_is_measured(name):
    found = exponents.analyse(algebra())
    found[name][{"role": 1, "pair": 3}] = -0.25
    assert measured("so_table1_formula", exponents=found).value == 0.25


def test_so_table1_kfac_vs_shampoo():
    found = exponents.analyse(algebra())
    assert measured("so_table1_kfac_vs_shampoo", exponents=found).value == 0.5


def test_largest_error_of_a_rewriting_is_measured_and_unknown_ones_are():
    found = exponents.analyse(algebra())
    assert measured("so_table1_exact_rewritings", exponents=found).value == 3e-9
    found["rewriting_error"][0, 0, 0, 0] = np.nan
    assert np.isnan(measured("so_table1_exact_rewritings", exponents=found).value)


def test_so_tableA1_rows():
    found = exponents.analyse(algebra())
    assert measured("so_tableA1_rows", exponents=found).value == 0
    rows = 2 * len(theory.PUBLISHED) + len(theory.PUBLISHED_DAMPING)
    assert int(found["entries"]) == 3 * rows


def test_wrong_and_missing_entries_are_counted(monkeypatch):
    row = theory.PUBLISHED["kfac", "mup"]
    wrong = {("kfac", "mup"): row._replace(rates=(0, 1, 0)), ("adam", "up"): row}
    monkeypatch.setattr(theory, "PUBLISHED", theory.PUBLISHED | wrong)
    wrong = {("shampoo", "mup", "B"): (1, 0, 1)}
    monkeypatch.setattr(theory, "PUBLISHED_DAMPING", theory.PUBLISHED_DAMPING | wrong)
    found = exponents.analyse(algebra())
    # One rate, one damping, and the six entries of a row that the code does not have.
    assert measured("so_tableA1_rows", exponents=found).value == 8
    with style.applied():
        assert _red(tableA1.draw({"exponents": found})) == 2
        assert _red(table1.draw({"exponents": planted_rewritings(found)})) == 1


def planted_rewritings(found):
    """The same analysis with all rewritings that the figure shows."""
    names = list(table1.REWRITINGS)
    errors = xr.concat([found["rewriting_error"].isel(rewriting=0, drop=True)] * len(names), "r")
    errors = errors.rename(r="rewriting").assign_coords(rewriting=names)
    return found.drop_vars(["rewriting_error", "rewriting"]).assign(rewriting_error=errors)


def _red(figure):
    """Number of entries on a red ground."""
    from matplotlib.colors import to_rgba

    patches = (patch for axes in figure.axes for patch in axes.patches)
    return sum(patch.get_facecolor() == to_rgba(WRONG) for patch in patches)


def test_texts_of_entries():
    assert [fraction(v) for v in (0, -0.5, 1, 0.123, np.nan)] == ["0", "−1/2", "1", "0.123", "–"]
    assert entry(0.5, 0.5) == ("1/2", False)
    assert entry(0.5, 1.0) == ("1/2", True)
    assert entry(0.5, np.nan) == ("(1/2)", False)
    assert entry(np.nan, 1.0) == ("–", True)


# --- One step from zero output weights ------------------------------------------------------------


def test_planted_power_law_is_found():
    found = nngp_one_step.analyse(one_step())
    np.testing.assert_allclose(found["gap_slope"], SLOPE, atol=1e-10)
    slope = measured("so_supp_nngp_gap_exponent", nngp_one_step=found)
    assert slope.value == pytest.approx(SLOPE)
    assert slope.seeds == 3
    level = measured("so_supp_nngp_gap_level", nngp_one_step=found)
    assert level.value == pytest.approx(GAP * 4096**SLOPE, rel=1e-3)
    assert level.low < level.value < level.high


def test_residuals_are_compared_with_the_better_of_both_others():
    found = nngp_one_step.analyse(one_step())
    ratio = measured("so_supp_nngp_only_kfac_fits", nngp_one_step=found)
    assert ratio.value == pytest.approx(np.mean([8, 8 / 1.1, 8 / 1.2]))


@pytest.mark.parametrize(
    ("claim", "variable", "value"),
    [
        ("so_supp_nngp_identity", "kernel_gap", 0.5),
        ("so_supp_nngp_hidden_frozen", "hidden_change", np.inf),
    ],
)
def test_one_bad_run_is_seen(claim, variable, value):
    runs = one_step()
    runs["nngp_one_step"][variable][4, ..., 1] = value
    found = nngp_one_step.analyse(runs)
    assert measured(claim, nngp_one_step=found).value == value


def test_recursion_is_the_mean_ratio():
    runs = one_step()
    runs["nngp_one_step"]["recursion_ratio"][:, 0] = 0.4
    found = nngp_one_step.analyse(runs)
    assert measured("so_supp_nngp_recursion", nngp_one_step=found).value == pytest.approx(0.45)


@pytest.mark.parametrize("widths", [(16,), (16, 64), (256, 1024)])
def test_missing_widths_are_unknown(widths):
    found = nngp_one_step.analyse(one_step(widths, seeds=2))
    for claim in ("so_supp_nngp_gap_exponent", "so_supp_nngp_gap_level"):
        assert np.isnan(measured(claim, nngp_one_step=found).value)


@pytest.mark.parametrize("widths", [(16,), (16, 64), (256, 1024, 4096)])
def test_figure_of_the_step_is_drawn(widths):
    found = nngp_one_step.analyse(one_step(widths, seeds=2))
    with style.applied():
        figure = supp_nngp_one_step.draw({"nngp_one_step": found})
        figure.canvas.draw()
        line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), found["nngp_gap"][:, :, 0].mean("seed"))
    np.testing.assert_array_equal(line.get_xdata(), widths)


def test_all_variables_are_described():
    for data in (exponents.analyse(algebra()), nngp_one_step.analyse(one_step())):
        for variable in data.variables.values():
            assert variable.attrs["units"] == "1"
            assert variable.attrs["long_name"]
