"""Boundaries of phase portraits on made-up runs with known edges, and scan rules by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from regimes.studies.feature_strength import boundaries as b
from tests.studies.feature_strength.planted_portraits import (
    GAMMAS,
    planted_edges,
    planted_runs,
)

COARSE = np.arange(-4, 4.01, 1.0)


def column(**settings) -> dict:
    return {"loss": "mse", "depth": 3} | settings


# --- Scan rules ----------------------------------------------------------------------------------


def scanned(codes: str, stops: bool = True, dead: str = "", step: float = 1.0) -> str:
    """Status of a column written from the smallest eta up.

    o finite, x NaN, blank not run; the same for the result, with . skipped and ^ diverged above.
    """
    eta = xr.DataArray(step * np.arange(len(codes)), dims="log10_eta")
    letters = np.array(list(codes))
    coords = {"log10_eta": eta.values}
    trained = xr.DataArray(letters != " ", dims="log10_eta", coords=coords)
    nan = xr.DataArray(letters == "x", dims="log10_eta", coords=coords)
    alive = np.array(list(dead or " " * len(codes))) != "d"
    top = trained & ~nan & xr.DataArray(alive, dims="log10_eta", coords=coords)
    status = b.scan(trained, nan, top, xr.DataArray(stops))
    return "".join(np.array(list(" o.x^"))[status.values])


def test_the_scan_stops_three_decades_below_the_first_finite_run():
    assert scanned("oooooooxx") == "...ooooxx"
    assert scanned("oooooooooo", step=0.5) == "...ooooooo"


def test_a_nan_inside_the_window_discards_larger_rates_and_restarts_the_window():
    assert scanned("ooooooxoxx") == "..oooox^xx"
    assert scanned("oooooooxoo", step=0.5) == "ooooooox^^"


def test_a_nan_below_the_stop_is_not_seen():
    assert scanned("oxoooooooo") == "......oooo"


def test_no_early_stop_scans_everything():
    assert scanned("oooooooxx", stops=False) == "oooooooxx"
    assert scanned("oxoooooooo", stops=False) == "ox^^^^^^^^"


def test_cells_that_were_not_trained_stay_outside_the_window():
    assert scanned("  oooo x ") == "  oooo x "


def test_dead_networks_are_no_top_under_the_corrected_rule():
    assert scanned("oooooooo", dead="    dddd") == "oooooooo"
    assert scanned("oooooooo") == "....oooo"
    # Where every network is dead the scan never finds a top and goes on to the bottom.
    assert scanned("oooooooo", dead="dddddddd") == "oooooooo"


def test_scan_treats_columns_independently_and_keeps_the_order_of_dimensions():
    eta = np.arange(8.0)
    finite = np.array([[True] * 8, [True] * 5 + [False] * 3])
    dims, coords = ("log10_gamma", "log10_eta"), {"log10_gamma": [0.0, 1.0], "log10_eta": eta}
    nan = ~xr.DataArray(finite, dims=dims, coords=coords)
    stops = xr.DataArray([True, False], dims="log10_gamma", coords={"log10_gamma": [0.0, 1.0]})
    status = b.scan(xr.ones_like(nan), nan, ~nan, stops)
    assert status.dims == dims
    assert status.values.tolist() == [[2] * 4 + [1] * 4, [1] * 5 + [3] * 3]


def test_only_cross_entropy_below_gamma_one_is_scanned_to_the_bottom():
    found = b.portrait(
        [
            planted_runs("mse", gammas=[-2.0], bottom=-4, seeds=1),
            planted_runs("cross_entropy", gammas=[-2.0, 2.0], bottom=-4, seeds=1),
        ],
        ["loss", "depth"],
    )
    skipped = (found["status"].sel(rule="corrected") == b.SKIPPED_LOW).sum("log10_eta").squeeze()
    assert int(skipped.sel(loss="mse", log10_gamma=-2)) > 0
    assert int(skipped.sel(loss="cross_entropy", log10_gamma=-2)) == 0
    assert int(skipped.sel(loss="cross_entropy", log10_gamma=2)) > 0


def test_the_official_rule_finds_dead_networks_only_where_the_corrected_one_finds_the_band():
    runs = planted_runs("mse", gammas=[2.0], top=6.0, bottom=-3, seeds=1)
    runs["diverged_at"][:] = -1  # a window of dead networks up to the largest rate, no NaN
    runs["final_train_loss"] = runs["final_train_loss"].fillna(0.09)
    runs["test_accuracy"] = runs["test_accuracy"].fillna(0.1)
    status = b.portrait([runs], ["depth"])["status"].squeeze()
    edge = float(planted_edges(2.0, "mse", 3)["opt_max"])
    kept = status.where(status == b.RUN).dropna("log10_eta", how="all")
    lowest = {r: kept.sel(rule=r).dropna("log10_eta")["log10_eta"].min() for r in b.RULES}
    assert lowest["official"] > edge
    assert lowest["corrected"] < edge - 2.5


def test_status_carries_its_flags():
    status = b.portrait([planted_runs(gammas=[0.0])], ["depth"])["status"]
    assert status.dtype == np.int8
    assert status.attrs["flag_meanings"].split() == b.STATUS
    assert list(status.attrs["flag_values"]) == [0, 1, 2, 3, 4]


# --- Boundaries ----------------------------------------------------------------------------------


def down(values, step=0.25):
    return np.floor(values / step + 1e-6) * step


def up(values, step=0.25):
    return np.ceil(values / step - 1e-6) * step


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("depth", [2, 4])
def test_all_boundaries_lie_on_the_grid_cell_next_to_the_planted_edge(loss, depth):
    runs = planted_runs(loss, depth, COARSE, seeds=2, shuffle=True, top=4.5)
    grid = b.cells([runs], ["loss", "depth"])
    found = b.boundaries(grid)["edge"].sel(column(loss=loss, depth=depth, seed=1))
    planted = planted_edges(COARSE, loss, depth)
    expected = {
        "opt_max": down(planted["opt_max"]),
        "opt_min": up(planted["opt_min"]),
        "nocat_max": down(planted["opt_max"]),
        "accuracy_max": down(planted["accurate"]),
        "finite_max": down(planted["finite"]),
    }
    for name, values in expected.items():
        assert found.sel(boundary=name).values == pytest.approx(values), name
    star = found.sel(boundary="eta_star").values
    assert (star <= expected["opt_max"]).all() and (star >= expected["opt_min"]).all()
    assert star[:4] == pytest.approx(expected["opt_max"][:4] - 0.25)


def test_exponents_and_their_windows_are_recovered():
    found = b.portrait([planted_runs(step=0.05, seeds=2, steps=100)], ["loss", "depth"])
    slope = found["slope"].sel(column())
    planted = {"opt_max": (2, 2 / 3), "opt_min": (2, 1), "accuracy_max": (2, 2 / 3)}
    for name, (lazy, rich) in planted.items():
        assert float(slope.sel(boundary=name, fit_window="lazy")) == pytest.approx(lazy, abs=0.01)
        for window in ("rich", "rich_long", "ultra_rich", "rich_all"):
            at = {"boundary": name, "fit_window": window}
            assert float(slope.sel(at)) == pytest.approx(rich, abs=0.02)
            assert found["slope_low"].sel(column(**at)) <= slope.sel(at)
    assert found["window"].sel(fit_window="rich").values.tolist() == [0.5, 3.0]
    assert int(found["points"].sel(column(boundary="opt_max", fit_window="rich"))) == 6


def test_peaks_separate_catapults_from_trainable_runs():
    runs = planted_runs(gammas=[-2.0], seeds=1)
    catapult = runs["log10_eta"].values > -3.2
    runs["peak_loss"] = runs["initial_loss"] * np.where(catapult, 5.0, 1.0)
    edge = b.boundaries(b.cells([runs], ["depth"]))["edge"].squeeze()
    assert float(edge.sel(boundary="opt_max")) == -2.5
    assert float(edge.sel(boundary="nocat_max")) == -3.25


def test_every_rate_above_a_divergent_one_counts_as_divergent():
    runs = planted_runs(gammas=[0.0], seeds=2)
    here = (runs["log10_eta"].values == 0.5) & (runs["seed"].values == 1)
    for name in ("final_train_loss", "test_accuracy"):
        runs[name] = runs[name].where(xr.DataArray(~here, dims="run"))
    runs["diverged_at"] = xr.where(xr.DataArray(here, dims="run"), 400, runs["diverged_at"])
    found = b.boundaries(b.cells([runs], ["depth"])).squeeze()
    for name in ("opt_max", "accuracy_max", "finite_max"):
        edge = found["edge"].sel(boundary=name).values
        assert edge[1] == 0.25 and edge[0] >= 1.5
    # It still trained when a quarter of the steps was done.
    assert found["edge_early"].sel(boundary="opt_max").values.tolist() == [1.5, 1.5]


def test_a_quarter_of_the_steps_raises_the_lower_edge_fourfold():
    runs = planted_runs(gammas=[-2.0, 0.0, 2.0], step=0.02, seeds=1)
    found = b.boundaries(b.cells([runs], ["depth"]))
    gap = (found["edge_early"] - found["edge"]).sel(boundary="opt_min").values
    # The means cover discrete steps, 450..499 and 113..124.
    assert gap == pytest.approx(np.log10(4), abs=0.025)


def test_without_the_loss_of_every_step_there_is_no_early_edge():
    runs = planted_runs(gammas=[0.0], seeds=1).drop_vars("train_loss")
    found = b.boundaries(b.cells([runs], ["depth"]))
    assert found["edge_early"].isnull().all()
    assert found["edge"].notnull().any()


def test_edges_at_the_end_of_the_window_are_bounds_and_not_fitted():
    runs = planted_runs(gammas=GAMMAS, seeds=1, top=1.0, bottom=0.5)
    found = b.boundaries(b.cells([runs], ["loss", "depth"]))
    cut = found["cut"].sel(column(seed=0))
    assert cut.sel(boundary=["opt_max", "opt_min", "accuracy_max", "finite_max"]).all()
    assert b.fits(found)["slope"].sel(boundary=["opt_max", "opt_min"]).isnull().all()
    wide = b.boundaries(b.cells([planted_runs(gammas=GAMMAS, seeds=1)], ["loss", "depth"]))
    assert not wide["cut"].sel(boundary=["opt_max", "opt_min", "eta_star"]).any()


def test_order_of_runs_does_not_matter_and_missing_seeds_leave_the_others():
    runs = planted_runs(gammas=COARSE, seeds=3)
    straight = b.portrait([runs], ["loss", "depth"])
    shuffled = b.portrait([planted_runs(gammas=COARSE, seeds=3, shuffle=True)], ["loss", "depth"])
    xr.testing.assert_identical(straight, shuffled)
    gone = (runs["seed"].values == 2) & (runs["log10_gamma"].values == 1.0)
    partial = b.portrait([runs.isel(run=~gone)], ["loss", "depth"])
    edge = partial["edge"].sel(column(log10_gamma=1.0, boundary="opt_max"))
    assert edge.notnull().values.tolist() == [True, True, False]
    xr.testing.assert_allclose(partial["slope"], straight["slope"])
    assert (partial["status"].sel(column(log10_gamma=1.0, seed=2)) == b.NOT_IN_WINDOW).all()


def test_edges_are_averaged_over_seeds_before_the_fit():
    runs = planted_runs(gammas=COARSE, seeds=2, shift=[0.0, 0.5])
    found = b.portrait([runs], ["loss", "depth"])
    at = column(boundary="opt_max", fit_window="lazy")
    assert float(found["intercept"].sel(at)) == pytest.approx(1.75)
    assert float(found["slope"].sel(at)) == pytest.approx(2)


def test_maps_leave_out_divergent_seeds_and_are_empty_where_half_diverged():
    runs = planted_runs(gammas=[-2.0], seeds=3, shift=[0.0, 0.0, 1.0], top=4.0)
    found = b.portrait([runs], ["loss", "depth"])
    accuracy = found["accuracy"].sel(column(log10_gamma=-2))
    finite = float(planted_edges(-2.0, "mse", 3)["finite"])
    assert np.isfinite(accuracy.sel(log10_eta=finite))
    assert np.isnan(accuracy.sel(log10_eta=finite + 0.5))  # two of three seeds diverged
    assert np.isnan(accuracy.sel(log10_eta=finite + 1.25))


def test_accuracy_is_read_at_the_last_step_of_the_run_itself():
    short = planted_runs(gammas=[0.0], seeds=1, steps=100)
    long = planted_runs(gammas=[0.0], seeds=1, steps=200)
    for part, level in ((short, 0.4), (long, 0.6)):
        part["test_accuracy"] = xr.full_like(part["test_accuracy"], level)
        part["test_accuracy"][:, 0] = 0.1
    joined = xr.concat([short, long], "run", join="outer")
    assert sorted(set(b.summary(joined)["accuracy"].dropna("run").values)) == [0.4, 0.6]


def test_dead_and_living_networks_are_told_apart_by_guessing():
    runs = planted_runs("cross_entropy", gammas=[2.0], seeds=1)
    alive = b.summary(runs)["alive"].values == 1
    planted = planted_edges(2.0, "cross_entropy", 3)
    assert (alive == (runs["log10_eta"].values <= planted["accurate"] + 1e-6)).all()
    assert alive.any() and not alive.all()


def test_deviation_of_the_first_loss():
    runs = planted_runs("cross_entropy", gammas=[0.0], seeds=2)
    runs["initial_loss"][runs["seed"].values == 1] *= 1.01
    found = b.portrait([runs], ["loss"])["initial_deviation"].squeeze()
    assert found.values == pytest.approx([0, 0.01])


def test_guessing_is_that_of_the_streams_classes():
    runs = planted_runs("cross_entropy", gammas=[0.0], seeds=1)
    many = runs.assign_coords(stream=("run", ["tinyimagenet_augmented"] * runs.sizes["run"]))
    many["initial_loss"] = xr.full_like(runs["initial_loss"], np.log(200))
    many["test_accuracy"] = xr.full_like(runs["test_accuracy"], 0.05)  # ten times guessing
    found = b.summary(many)
    assert float(found["initial_deviation"].max()) < 1e-12
    assert (found["alive"] == 1 - found["diverged"]).all()
    few = b.summary(many.assign_coords(stream=runs["stream"]))
    assert not few["alive"].any()


def test_two_runs_in_one_cell_are_an_error():
    runs = planted_runs(gammas=[0.0], seeds=1)
    other = runs.assign_coords(width=("run", np.full(runs.sizes["run"], 32)))
    with pytest.raises(ValueError, match="share the cell"):
        b.portrait([xr.concat([runs, other], "run")], ["loss", "depth"])


# --- Reading -------------------------------------------------------------------------------------


def test_panel_d_shows_the_cnn_only_where_it_covers_four_decades():
    mlp = b.portrait([planted_runs("cross_entropy", gammas=COARSE, seeds=1)], ["loss", "depth"])

    def panel(gammas):
        runs = planted_runs("cross_entropy", 4, gammas, seeds=1)
        network = b.portrait([runs], ["loss", "depth"])
        name, data = b.cross_entropy_panel({"portrait_mlp": mlp, "portrait_cnn": network})
        return name, int(data["depth"])

    assert panel([-1.0, 0.0, 1.0]) == ("MLP", 3)
    assert panel([-2.0, 0.0, 2.0]) == ("CNN", 4)


def test_a_label_that_a_scale_lacks_reads_as_nan():
    found = b.portrait([planted_runs(gammas=[0.0], seeds=1)], ["loss", "depth"])
    assert b.pick(found["edge"], loss="mse", depth=[2, 3]).notnull().any("boundary").values.any()
    assert b.pick(found["edge"], loss="cross_entropy", depth=3).isnull().all()
