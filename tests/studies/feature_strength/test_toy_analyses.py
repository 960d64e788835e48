"""Analyses, claims and figures of the toy models on planted portraits and on small simulations."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from regimes.claims import measure
from regimes.fit.estimators import largest_deviation
from regimes.jobs import with_hyperparameters
from regimes.plot import style
from regimes.store import read_netcdf, write_netcdf
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.analyses import (
    toy_catapult,
    toy_portrait,
    toy_sign,
    toy_staircase,
)
from regimes.studies.feature_strength.claims_toys import TOYS, farthest
from regimes.studies.feature_strength.figures import fig6, figA6
from regimes.studies.feature_strength.toy_experiments import TOY_TRAIN
from regimes.studies.feature_strength.toy_settings import TOY_KINDS

LOSSES = ["mse", "cross_entropy"]


def trained(kind: str, grids: list[dict]) -> xr.Dataset:
    runs = [TOY_KINDS[kind](seed=0, **grid) for grid in grids]
    return with_hyperparameters(TOY_TRAIN[kind](runs), kind, runs)


# --- Small and full simulations -------------------------------------------------------------------

FULL = {"steps": 1000, "log10_gamma_range": (-5, 5, 0.5), "log10_eta_range": (-15, 6, 0.05)}
TIMES = {"depth": 3, "log10_gamma_range": (-3, 3, 6), "log10_eta_range": (-12, 6, 0.02)}
PAIR = {
    "shown_log10_gamma": -2,
    "shown_multiples": (0.8, 1.5, 4.0),
    "duration_log10_gamma": -3,
}


@pytest.fixture(scope="module")
def full() -> dict[str, xr.Dataset]:
    """Analyses of the grids that the claims are stated for, gamma in half decades."""
    portraits = [{**FULL, "loss": loss, "depth": d} for loss in LOSSES for d in (2, 3, 4, 5)]
    times = [{**TIMES, "loss": loss, "steps": t} for loss in LOSSES for t in (250, 1000, 4000)]
    pair = {
        "steps": 1000, "log10_gamma_range": (-3, -1, 0.5), "log10_eta_range": (-8, 1, 0.02),
        "shown_steps": 200, "duration_range": (-1.0, -0.4, 0.1), "duration_steps": 6000,
    }  # fmt: skip
    sign = {**FULL, "log10_eta_range": (-10, 4, 0.05), "grid_shifts": 4, "optimizer": "sign"}
    stairs = {"depth": 3, "targets": (1, 0.3, 0.1), "edge_share": 0.02, "steps": 8000}
    return {
        "toy_portrait": toy_portrait.analyse(
            {
                "toy_portrait": trained("one_weight", portraits),
                "toy_portrait_time": trained("one_weight", times),
            }
        ),
        "toy_catapult": toy_catapult.analyse(
            {"toy_catapult": trained("two_weights", [{**PAIR, **pair, "loss": n} for n in LOSSES])}
        ),
        "toy_sign": toy_sign.analyse(
            {
                "toy_sign": trained(
                    "one_weight", [{**sign, "loss": "mse", "depth": d} for d in (2, 3, 4)]
                )
            }
        ),
        "toy_staircase": toy_staircase.analyse(
            {"toy_staircase": trained("staircase_toy", [{**stairs, "log10_gamma": 3}])}
        ),
    }


@pytest.fixture(scope="module")
def tiny() -> dict[str, xr.Dataset]:
    """Analyses of grids so coarse that many boundaries are missing."""
    few = {"log10_gamma_range": (-4, 4, 2), "log10_eta_range": (-9, 4, 1)}
    portraits = [{**few, "loss": loss, "depth": 2, "steps": 10} for loss in LOSSES]
    times = [{**few, "loss": loss, "depth": 3, "steps": t} for loss in LOSSES for t in (3, 9)]
    pair = {
        "steps": 10, "log10_gamma_range": (-3, -1, 2), "log10_eta_range": (-6, -2, 1),
        "shown_steps": 8, "duration_range": (-1.0, -0.5, 0.5), "duration_steps": 10,
    }  # fmt: skip
    return {
        "toy_portrait": toy_portrait.analyse(
            {
                "toy_portrait": trained("one_weight", portraits),
                "toy_portrait_time": trained("one_weight", times),
            }
        ),
        "toy_catapult": toy_catapult.analyse(
            {"toy_catapult": trained("two_weights", [{**PAIR, **pair, "loss": n} for n in LOSSES])}
        ),
    }


# Section 6.2: fitted exponents at T = 1000, lazy and rich, per loss and depth.
TABLE = {
    ("mse", 2): {"opt_max": (2.000, 0.996), "eta_crit": (2.000, 1.030), "opt_min": (2.000, 1.150)},
    ("mse", 3): {"opt_max": (2.000, 0.649), "eta_crit": (2.000, 0.655), "opt_min": (2.000, 1.046)},
    ("mse", 4): {"opt_max": (2.000, 0.487), "eta_crit": (2.000, 0.498), "opt_min": (2.000, 1.011)},
    ("mse", 5): {"opt_max": (1.988, 0.391), "eta_crit": (1.988, 0.407)},
    ("cross_entropy", 2): {"eta_crit": (2.000, 1.034), "opt_min": (2.000, 1.150)},
    ("cross_entropy", 3): {"eta_crit": (2.000, 0.669), "opt_min": (2.000, 1.029)},
    ("cross_entropy", 4): {"eta_crit": (2.000, 0.509), "opt_min": (2.000, 1.018)},
}


@pytest.mark.parametrize(("loss", "depth"), list(TABLE))
def test_exponents_are_those_of_the_prototype(full, loss, depth):
    """Acceptance 9 of section 6.5: within 0.05 of table 6.2."""
    slope = full["toy_portrait"]["slope"].sel(loss=loss, depth=depth)
    for quantity, expected in TABLE[loss, depth].items():
        found = slope.sel(quantity=quantity, regime=["lazy", "rich"]).values
        np.testing.assert_allclose(found, expected, atol=0.05, err_msg=quantity)


def test_every_toy_claim_gives_one_number(full):
    for name, rule in TOYS.items():
        found = measure(rule, full)
        assert found.low == found.value == found.high, name
        assert np.isfinite(found.value), name


def test_identities_hold_on_the_whole_grids(full):
    assert measure(TOYS["fs_fig6_curvature_identity"], full).value < 1e-6
    assert measure(TOYS["fs_figA6_tail_identity"], full).value < 1e-8


def test_half_steps_follow_the_flow(full):
    stairs = full["toy_staircase"].sel(log10_gamma=3)
    lag = stairs["half_step"] - stairs["half_step_theory"]
    assert (lag > 0).all()
    assert (lag < 4).all()
    np.testing.assert_allclose(stairs["half_tau"], [0.292, 0.899, 2.408], rtol=2e-3)


@pytest.mark.parametrize("which", ["full", "tiny"])
def test_results_can_be_stored_and_drawn(which, request, tmp_path):
    analyses = request.getfixturevalue(which)
    stored = {}
    for name, data in analyses.items():
        write_netcdf(tmp_path / f"{name}.nc", data, {"title": name})
        stored[name] = read_netcdf(tmp_path / f"{name}.nc")
    with style.applied():
        for module in (fig6, figA6):
            figure = module.draw(stored)
            figure.canvas.draw()
            for axes in filter(lambda a: a.axison and a.get_label() != "<colorbar>", figure.axes):
                assert axes.get_xlabel() and axes.get_title()


# --- Planted portraits ----------------------------------------------------------------------------


def planted(upper, lower, catapult, bounded) -> xr.Dataset:
    """Portraits whose boundaries follow given functions of log10 gamma; depth 3, MSE."""
    log10_gamma, log10_eta = np.arange(-5, 5.25, 0.25), np.round(np.arange(-16, 8, 0.05), 6)
    gamma, eta = xr.broadcast(
        xr.DataArray(log10_gamma, dims="log10_gamma"), xr.DataArray(log10_eta, dims="log10_eta")
    )
    inside = (eta <= upper(gamma) + 1e-9) & (eta >= lower(gamma) - 1e-9)
    left = xr.where(inside, 1e-3 * (1 + abs(eta - lower(gamma) - 1)), 0.4)
    data = xr.Dataset(
        {
            "initial_loss": xr.DataArray(0.5),
            "final_loss": left.where(eta <= bounded(gamma) + 1e-9),
            "mean_loss": left,
            "peak_loss": xr.where(eta <= catapult(gamma) + 1e-9, 0.5, 0.7),
            "final_weight": xr.where(eta <= bounded(gamma) + 1e-9, 1.0, 1e4),
        },
        coords={"log10_gamma": log10_gamma, "log10_eta": log10_eta},
    )
    return data.expand_dims(loss=["mse"], depth=[3.0])


def test_planted_boundaries_and_exponents_are_found():
    grid = planted(lambda x: x, lambda x: 0.8 * x - 4, lambda x: x - 0.5, lambda x: x + 0.5)
    edge = toy_portrait.edges(grid).isel(loss=0, depth=0)
    x = edge["log10_gamma"]
    expected = {"opt_max": x, "eta_crit": x - 0.5, "bounded_max": x + 0.5, "opt_min": 0.8 * x - 4}
    for name, values in expected.items():
        assert largest_deviation(edge.sel(quantity=name, drop=True), values) < 0.051, name
    # The loss planted is lowest one decade above the lower boundary.
    assert largest_deviation(edge.sel(quantity="eta_star", drop=True), 0.8 * x - 3) < 0.051
    slope = toy_portrait.exponents(edge)["slope"]
    for regime in theory.REGIMES:
        np.testing.assert_allclose(
            slope.sel(regime=regime, quantity=["opt_max", "opt_min"]), [1.0, 0.8], atol=0.01
        )


def test_boundaries_at_the_ends_of_the_grid_are_left_out():
    grid = planted(lambda x: 0 * x + 9, lambda x: 0 * x - 20, lambda x: x, lambda x: 0 * x + 9)
    edge = toy_portrait.edges(grid).isel(loss=0, depth=0)
    assert np.isnan(edge.sel(quantity=["opt_max", "opt_min", "bounded_max"])).all()
    assert np.isfinite(edge.sel(quantity="eta_crit")).all()


def test_untrained_columns_have_no_optimum():
    grid = planted(lambda x: x - 99, lambda x: x, lambda x: x, lambda x: x)
    edge = toy_portrait.edges(grid)
    assert np.isnan(edge.sel(quantity=["opt_max", "opt_min", "eta_crit", "eta_star"])).all()


def test_ties_of_vanishing_losses_go_to_the_fastest():
    """Losses made of rounding errors do not decide; the mean over the steps does."""
    grid = planted(lambda x: x, lambda x: x - 4, lambda x: x, lambda x: x)
    rounding = 1e-20 * (1 + np.arange(grid.sizes["log10_eta"])[::-1])
    grid["final_loss"] = grid["final_loss"].where(grid["final_loss"] > 0.1, 0 * grid["final_loss"])
    grid["final_loss"] = grid["final_loss"] + xr.DataArray(rounding, dims="log10_eta")
    eta, gamma = grid["log10_eta"], grid["log10_gamma"]
    grid["mean_loss"] = (abs(eta - gamma + 2) + 0 * grid["mean_loss"]).transpose(
        *grid["mean_loss"].dims
    )
    star = toy_portrait.edges(grid).sel(quantity="eta_star", drop=True).isel(loss=0, depth=0)
    assert largest_deviation(star, gamma - 2) < 0.051


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("depth", [2, 5])
def test_jets_agree_with_finite_differences(loss, depth):
    gamma, h = np.array([0.1, 1.0, 30.0]), 1e-4
    w = (1 + gamma) ** (1 / depth)
    p1 = np.e / (1 + np.e)

    def value(at):
        f = (at**depth - 1) / gamma
        if loss == "mse":
            return (f - 1) ** 2 / 2
        return p1 * np.logaddexp(0, -f) + (1 - p1) * np.logaddexp(0, f)

    # Fourth order: the neglected derivative is the sixth.
    outer, inner = value(w + 2 * h) + value(w - 2 * h), value(w + h) + value(w - h)
    second = (-outer + 16 * inner - 30 * value(w)) / (12 * h**2)
    np.testing.assert_allclose(
        toy_portrait.curvature_by_jets(gamma, depth, loss), second, rtol=1e-4
    )


def test_lower_edge_moves_inversely_with_the_budget(full):
    """Section 2.2: opt_min ~ 1/T, in both regimes and for both losses."""
    slope = full["toy_portrait"]["time_slope"]
    assert slope.sizes == {"time_log10_gamma": 2, "loss": 2}
    assert largest_deviation(slope, -1.0) < 0.05


def test_shifts_count_as_learning_rates():
    """A band whose edges lie between two grid values is located better with shifts."""
    step, shifts = 0.5, 5
    eta_shift = np.arange(shifts) * step / shifts
    log10_eta = np.arange(-4, 4, step)
    at = xr.DataArray(log10_eta, dims="log10_eta") + xr.DataArray(eta_shift, dims="shift")
    loss = xr.where((at > -1.01) & (at < 1.29), 0.0, 0.5)
    grid = xr.Dataset(
        {"late_loss": loss, "initial_loss": 0.5, "eta_shift": ("shift", eta_shift)},
        coords={"log10_eta": log10_eta},
    )
    edge = toy_sign.edges(grid).mean("shift")
    # Upper edges found: -1 + shift ... the largest value of each shifted grid below 1.29.
    largest = [max(v for v in log10_eta + s if v < 1.29) for s in eta_shift]
    smallest = [min(v for v in log10_eta + s if v > -1.01) for s in eta_shift]
    assert float(edge.sel(quantity="opt_max")) == pytest.approx(np.mean(largest))
    assert float(edge.sel(quantity="opt_min")) == pytest.approx(np.mean(smallest))


def test_half_step_is_the_first_at_half_the_error():
    error = xr.DataArray(
        [[1.0, 4.0, 1.0], [0.6, 2.0, 1.0], [0.5, 3.0, 1.0], [0.4, 1.0, 1.0]],
        dims=("step", "mode"),
        coords={"step": [0, 1, 2, 3]},
    )
    np.testing.assert_array_equal(toy_staircase.half_step(error), [2, 1, np.nan])


def test_thresholds_of_the_catapult_model_follow_theory(full):
    data = full["toy_catapult"]
    lazy = data["log10_gamma"] <= -2
    gap = (data["edge"] - data["edge_theory"]).where(lazy, drop=True)
    assert largest_deviation(gap.sel(loss="mse"), 0.0) < 0.021
    # Cross-entropy: no overshoot is stricter than stability, by the ratio of the closed forms.
    strict = np.log10(theory.pair_overshoot("cross_entropy") / theory.pair_threshold(1, LOSSES[1]))
    assert largest_deviation(gap.sel(loss=LOSSES[1], quantity="eta_crit"), strict) < 0.021
    assert (gap.sel(loss=LOSSES[1], quantity="eta_max") <= 0).all()


@pytest.mark.parametrize(
    ("values", "goal", "expected"),
    [([1.0, 1.3, 0.8], 1.0, 1.3), ([0.5, np.nan, 1.2], 1.0, np.nan), ([np.nan], 1.0, np.nan)],
)
def test_farthest_entry(values, goal, expected):
    found = farthest(xr.DataArray(values, dims="x"), goal)
    np.testing.assert_equal(found, expected)
