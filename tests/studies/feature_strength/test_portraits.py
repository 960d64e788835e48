"""Analyses, claims and figures of the phase portraits on made-up runs with known edges."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

from regimes import store
from regimes.claims import measure
from regimes.plot import style
from regimes.studies.feature_strength import boundaries as b
from regimes.studies.feature_strength import claims_portraits as claims
from regimes.studies.feature_strength import portrait_panels as panels
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.figures import fig1, table1
from tests.studies.feature_strength.planted_portraits import GAMMAS, planted_runs

SMOKE = {"gammas": [-2.0, 2.0], "step": 2.0, "seeds": 2, "steps": 20}
FEW = {"gammas": [-1.0, -0.5, 0.0, 0.5, 1.0], "step": 0.5, "seeds": 1, "steps": 300}
WIDTH_AND_BATCH = [(64, 16), (64, 64), (64, 256), (32, 64), (128, 64)]
REGIMES = ["lazy", "rich"]
FIGURES = [
    "fig1",
    "supp_followup_portrait",
    "table1",
    "figA1",
    "figA1_cnn",
    "figA1_resnet",
    "figA1_vit",
    "figA7",
    "figA8",
]


def analysed(name: str, **experiments) -> xr.Dataset:
    module = importlib.import_module(f"regimes.studies.feature_strength.analyses.{name}")
    return module.analyse(experiments)


def batch_and_width(shared: dict) -> xr.Dataset:
    """Runs whose edges rise by 0.25 decades per factor 4 in B and fall so per factor 2 in N."""
    gammas = shared.get("gammas", [-3.0, 0.0, 2.0])
    seeds = shared.get("seeds", 3)
    parts = []
    for width, batch in WIDTH_AND_BATCH:
        shift = 0.25 * np.log(batch / 64) / np.log(4) - 0.25 * np.log2(width / 64)
        settings = shared | {"gammas": gammas, "width": width, "batch_size": batch}
        parts.append(planted_runs(shift=[shift] * seeds, **settings))
    return xr.concat(parts, "run")


def made_up(shared: dict, few: dict, followup: dict) -> dict[str, xr.Dataset]:
    """All analyses of the group at the shape of a scale."""
    squared = xr.concat([planted_runs(depth=d, **shared) for d in (2, 3, 4)], "run")
    entropy = planted_runs("cross_entropy", **shared)
    both = {"portrait_mlp_mse": squared, "portrait_mlp_xent": entropy}
    network = {
        "portrait_cnn_mse": planted_runs(depth=4, **few),
        "portrait_cnn_xent": planted_runs("cross_entropy", 4, **few),
    }
    return {
        "portrait_mlp": analysed("portrait_mlp", **both),
        "exponents": analysed("exponents", **both),
        "portrait_cnn": analysed("portrait_cnn", **network),
        "portrait_resnet": analysed("portrait_resnet", portrait_resnet=planted_runs(**few)),
        "portrait_vit": analysed(
            "portrait_vit", portrait_vit=planted_runs("cross_entropy", 3, **few)
        ),
        "portrait_followup": analysed(
            "portrait_followup", portrait_followup=planted_runs(**followup)
        ),
        "portrait_sign": analysed(
            "portrait_sign", portrait_sign_mlp=planted_runs(optimizer="sign", **shared)
        ),
        "portrait_batch_width": analysed(
            "portrait_batch_width", portrait_batch_width=batch_and_width(shared)
        ),
    }


def toys(gammas) -> dict[str, xr.Dataset]:
    """What the figures read of the one-weight model."""
    g, eta = np.asarray(gammas, dtype=float), np.arange(-9, 4.01, 0.25)
    top = np.where(g < 0, 1, 1 / 3) * g
    low = top - 2
    inside = (eta <= top[:, None]) & (eta >= low[:, None])
    loss = np.broadcast_to(np.where(inside, 1e-2, 0.8), (3, *inside.shape))
    edge = np.broadcast_to(np.stack([top, low])[:, None], (2, 3, len(g)))
    sign = xr.Dataset(
        {
            "relative_loss": (("depth", "log10_gamma", "log10_eta"), loss),
            "edge": (("quantity", "depth", "log10_gamma"), edge),
            "slope": (("quantity", "depth", "regime"), np.full((2, 3, 2), 1 / 3)),
        },
        coords={"depth": [2, 3, 4], "log10_gamma": g, "log10_eta": eta, "regime": REGIMES}
        | {"quantity": ["opt_max", "opt_min"]},
    )
    coords = {
        "quantity": ["opt_max", "eta_crit", "opt_min", "bounded_max", "eta_star"],
        "loss": ["mse", "cross_entropy"],
        "depth": [2, 3, 4, 5],
        "regime": REGIMES,
    }
    shape = [len(v) for v in coords.values()]
    slope = xr.DataArray(np.arange(np.prod(shape)).reshape(shape) / 100, dims=coords, coords=coords)
    time = xr.DataArray(
        [[-1.0, -1.01], [-0.99, -0.98]],
        dims=("loss", "time_log10_gamma"),
        coords={"loss": coords["loss"], "time_log10_gamma": [-3.0, 3.0]},
    )
    variables = {}
    for name, values in (("slope", slope), ("time_slope", time)):
        variables |= {name: values, f"{name}_low": values - 0.01, f"{name}_high": values + 0.01}
    return {"toy_sign": sign, "toy_portrait": xr.Dataset(variables)}


@pytest.fixture(scope="module")
def laptop():
    followup = {"gammas": np.arange(-5, 5.1, 0.5), "seeds": 1, "steps": 390}
    return made_up({}, FEW, followup) | toys(np.arange(-5, 5.1, 0.5))


@pytest.fixture(scope="module")
def smoke():
    return made_up(SMOKE, SMOKE, SMOKE) | toys([-2.0, 2.0])


@pytest.fixture(scope="module")
def wide():
    """All architectures over the full plane, as at the larger scales."""
    full = {"seeds": 2}
    return made_up({}, full, full)


# --- Analyses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["smoke", "laptop"])
def test_analyses_can_be_stored(shape, request, tmp_path):
    for name, data in request.getfixturevalue(shape).items():
        if name.startswith("toy"):
            continue
        for variable in data.variables.values():
            assert {"long_name", "units"} <= set(variable.attrs)
        store.write_netcdf(tmp_path / f"{name}.nc", data, {})
        again = store.read_netcdf(tmp_path / f"{name}.nc")
        assert set(again.variables) == set(data.variables)


def test_followup_reads_the_loss_at_step_360(laptop):
    data = laptop["portrait_followup"]
    assert int(data["step_read"]) == 360
    runs = planted_runs(gammas=np.arange(-5, 5.1, 0.5), seeds=1, steps=390)
    one = runs.isel(run=(runs["log10_gamma"] == 1) & (abs(runs["log10_eta"] - 1) < 1e-6))
    found = data["step_loss"].sel(loss="mse", depth=3, log10_gamma=1, log10_eta=1)
    assert float(found) == pytest.approx(float(one["train_loss"].isel(run=0, step=360)))


def test_followup_of_a_short_run_reads_the_same_share_of_the_steps(smoke):
    assert int(smoke["portrait_followup"]["step_read"]) == 18


def test_network_exponents_are_those_of_the_portrait(laptop):
    slope = laptop["exponents"]["slope"]
    xr.testing.assert_allclose(slope, laptop["portrait_mlp"]["slope"])
    steep = slope.sel(loss="cross_entropy", depth=3, fit_window="lazy", boundary="accuracy_max")
    assert float(steep) == pytest.approx(1)


def test_few_gammas_give_exponents_without_interval_or_none(laptop):
    fit = laptop["portrait_cnn"].sel(loss="mse", depth=4, boundary="opt_max")
    assert int(fit["points"].sel(fit_window="rich")) == 2
    assert np.isinf(fit["slope_high"].sel(fit_window="rich"))
    assert np.isnan(fit["slope"].sel(fit_window="lazy"))


# --- Claims --------------------------------------------------------------------------------------

# Planted value and tolerance; edges lie on a grid of 0.25 decades, exact where it holds them.
LAPTOP = {
    "fs_fig1_initial_loss": (0, 1e-9),
    "fs_fig1_mse_optmax_lazy": (2, 1e-9),
    "fs_fig1_mse_optmax_rich": (2 / 3, 0.05),
    "fs_fig1_optmin_lazy": (2, 1e-9),
    "fs_fig1_optmin_rich": (1, 1e-9),
    "fs_fig1_mse_band_closes": (-1 / 3, 0.05),
    "fs_fig1_mse_etastar_lazy": (2, 1e-9),
    "fs_fig1_mse_etastar_rich": (2 / 3, 0.1),
    "fs_fig1_mse_level_lazy": (1.5, 1e-9),
    "fs_fig1_xent_eta_crit_lazy": (2, 1e-9),
    "fs_fig1_xent_eta_max_lazy": (1, 1e-9),
    "fs_fig1_xent_optmax_rich": (2 / 3, 0.05),
    "fs_fig1_xent_etastar_lazy": (2, 1e-9),
    "fs_fig1_xent_etastar_rich": (2 / 3, 0.1),
    "fs_fig1_loss_sets_shape": (1, 1e-9),
    "fs_figA1_optmax_lazy_depths": (0, 1e-9),
    "fs_figA1_optmax_rich_depths": (0, 1e-9),
    "fs_figA1_optmin_l2": (1, 1e-9),
    "fs_figA1_optmin_l4": (1, 1e-9),
    "fs_figA1_triangle_closes_l4": (0, 1e-9),
    "fs_figA1_etastar_l2": (1, 1e-9),
    "fs_figA1_etastar_l4": (1 / 2, 0.12),
    "fs_figA1_xent_mlp_rich": (2 / 3, 0.05),
    "fs_figA7_mlp_lazy": (0, 1e-9),
    "fs_figA7_mlp_rich": (0, 0.05),
    "fs_figA7_mlp_no_triangle": (0, 0.05),
    "fs_figA8_batch": (0.5, 1e-9),
    "fs_figA8_width_transfer": (0.5, 1e-9),
    "fs_figA8_time_opens": (np.log10(4), 0.25),
}
# At the larger scales only, read off portraits that cover the plane.
WIDE = {
    "fs_fig1_xent_optmax_rich_cnn": (1 / 2, 1e-9),
    "fs_supp_followup_portrait_level": (2.0, 1e-9),
    "fs_figA1_cnn_mse_lazy": (2, 1e-9),
    "fs_figA1_cnn_mse_rich": (1 / 2, 1e-9),
    "fs_figA1_resnet_lazy": (2, 1e-9),
    "fs_figA1_vit_lazy": (2, 1e-9),
}


def test_every_claim_of_the_group_has_a_planted_value():
    assert set(LAPTOP) | set(WIDE) == set(claims.PORTRAITS)


@pytest.mark.parametrize("claim", LAPTOP)
def test_claims_at_laptop_shape(claim, laptop):
    value, tolerance = LAPTOP[claim]
    found = measure(claims.PORTRAITS[claim], laptop)
    assert found.value == pytest.approx(value, abs=tolerance)
    assert found.low <= found.value <= found.high and np.isfinite(found.high)


@pytest.mark.parametrize("claim", [*WIDE, "fs_fig1_xent_eta_max_lazy", "fs_fig1_optmin_lazy"])
def test_claims_on_portraits_of_all_architectures(claim, wide):
    value, tolerance = {**LAPTOP, **WIDE}[claim]
    found = measure(claims.PORTRAITS[claim], wide)
    assert found.value == pytest.approx(value, abs=tolerance)
    assert found.seeds == 2


@pytest.mark.parametrize("claim", claims.PORTRAITS)
def test_measures_run_where_gammas_and_seeds_are_missing(claim, laptop):
    """The CNN, ResNet and ViT cover few gammas with one seed: inconclusive, never an error."""
    found = measure(claims.PORTRAITS[claim], laptop)
    if claim in WIDE:
        # No interval from one seed, or no exponent at all.
        assert np.isnan(found.value) or np.isinf(found.high)


def test_panel_d_claims_read_the_cnn_where_it_covers_the_plane(wide):
    shifted = dict(wide)
    shifted["portrait_cnn"] = wide["portrait_cnn"].copy(deep=True)
    edge = shifted["portrait_cnn"]["edge"]
    shifted["portrait_cnn"]["edge"] = edge + 0.1 * edge["log10_gamma"]
    name = "fs_fig1_xent_eta_max_lazy"
    assert measure(claims.PORTRAITS[name], shifted).value == pytest.approx(1.1)
    both = measure(claims.PORTRAITS["fs_fig1_optmin_lazy"], shifted)
    assert both.value == pytest.approx(2.1)  # of two panels the one farther from 2
    assert measure(claims.PORTRAITS["fs_fig1_mse_optmax_lazy"], shifted).value == pytest.approx(2)


def test_slopes_with_fewer_than_six_gammas_are_refused_where_the_claim_asks_for_six(laptop):
    data = laptop["portrait_mlp"].sel(log10_gamma=GAMMAS[GAMMAS != 2])
    rule = claims.PORTRAITS["fs_fig1_mse_optmax_rich"]
    assert np.isnan(measure(rule, {"portrait_mlp": data}).value)


def test_levels_with_a_missing_gamma_are_unknown(laptop):
    data = laptop["portrait_mlp"].copy()
    data["edge"] = data["edge"].where(data["log10_gamma"] != -3)
    found = measure(claims.PORTRAITS["fs_fig1_mse_level_lazy"], {"portrait_mlp": data})
    assert np.isnan(found.value)
    # A slope can do without one of six gammas, not without three.
    rule = claims.PORTRAITS["fs_fig1_mse_optmax_lazy"]
    assert measure(rule, {"portrait_mlp": data}).value == pytest.approx(2)
    data["edge"] = data["edge"].where(data["log10_gamma"] > -3)
    assert np.isnan(measure(rule, {"portrait_mlp": data}).value)


def closed(upper, lower, cut=0, trained=True) -> float:
    """Band at gamma = 1e4 from edges of one seed."""
    dims = ("boundary", "loss", "depth", "log10_gamma", "seed")
    coords = {"boundary": ["opt_max", "opt_min"], "loss": ["mse"], "depth": [4]}
    coords |= {"log10_gamma": [4.0], "seed": [0]}
    edge = xr.DataArray(np.reshape([upper, lower], (2, 1, 1, 1, 1)), dims=dims, coords=coords)
    high = xr.full_like(edge.isel(boundary=0, drop=True), 5.0 if trained else np.nan)
    data = xr.Dataset({"edge": edge, "cut": xr.full_like(edge, cut), "window_high": high})
    return claims.mean(claims.closed_band(data))


def test_an_empty_band_counts_as_closed_and_a_cut_or_missing_one_as_unknown():
    nan = np.nan
    assert closed(3.5, 3.25) == pytest.approx(0.25)
    assert closed(nan, nan) == 0
    assert np.isnan(closed(3.5, 3.25, cut=1))
    assert np.isnan(closed(nan, nan, trained=False))


def test_spread_between_seeds_widens_the_interval():
    runs = planted_runs(gammas=GAMMAS, seeds=3, shift=[0.0, 0.25, -0.25])
    both = {"portrait_mlp_mse": runs, "portrait_mlp_xent": planted_runs("cross_entropy")}
    found = measure(
        claims.PORTRAITS["fs_fig1_mse_level_lazy"],
        {"portrait_mlp": analysed("portrait_mlp", **both)},
    )
    assert found.value == pytest.approx(1.5)
    assert found.high - found.value == pytest.approx(4.303 * 0.25 / np.sqrt(3), rel=1e-3)


# --- Figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["smoke", "laptop"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws(name, shape, request, tmp_path):
    module = importlib.import_module(f"regimes.studies.feature_strength.figures.{name}")
    with style.applied():
        figure = module.draw(request.getfixturevalue(shape))
        style.footer(figure, shape, [[1, 3]], "0123456789")
        style.save(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    plt.close("all")


def test_fig1_says_that_panel_d_shows_the_mlp(laptop, wide):
    with style.applied():
        titles = [axes.get_title() for axes in fig1.draw(laptop).axes]
        assert any("in place of the CNN" in title for title in titles)
        titles = [axes.get_title() for axes in fig1.draw(laptop | wide).axes]
    assert any(title.startswith("CNN, cross-entropy, $L=4$") for title in titles)
    assert not any("in place of" in title for title in titles)


def test_table_has_theory_toy_and_network_side_by_side(laptop):
    table = table1.rows(laptop)
    assert list(table.columns) == table1.COLUMNS
    assert len(table) == 3 * 2 * 2 * len(table1.DEPTHS) + 2 * 2
    keyed = table.set_index(["quantity", "loss", "regime", "depth"])
    row = keyed.loc[("eta_max", "cross_entropy", "lazy", 3)]
    assert row["theory"] == 1 and row["network_boundary"] == "accuracy_max"
    assert row["network"] == pytest.approx(1)
    toy = laptop["toy_portrait"]["slope"].sel(quantity="bounded_max", loss="cross_entropy")
    assert row["toy"] == pytest.approx(float(toy.sel(depth=3, regime="lazy")))
    assert keyed.loc[("eta_max", "mse", "rich", 4), "theory"] == 0.5
    budget = keyed.loc[("eta_min_time", "cross_entropy", "rich", 3)]
    assert budget["toy"] == -0.98 and budget["theory"] == -1
    assert budget["network"] == pytest.approx(-1, abs=0.25)  # one grid step is 0.4
    assert np.isnan(keyed.loc[("eta_min", "cross_entropy", "rich", 2), "network"])


def test_schematic_lines_have_the_exponents_of_table_1():
    gamma = 10.0 ** np.array([-5.0, -4.9, 4.9, 5.0])

    def exponents(values):
        steps = np.diff(np.log10(values)) / np.diff(np.log10(gamma))
        return steps[[0, 2]]

    for loss, lazy in (("mse", 2), ("cross_entropy", 1)):
        assert exponents(fig1.largest_rate(gamma, loss)) == pytest.approx([lazy, 2 / 3], abs=1e-3)
        slow = fig1.slowest_rate(gamma, loss, 1000)
        assert exponents(slow) == pytest.approx([2, 1], abs=0.02)
        assert fig1.slowest_rate(gamma, loss, 4000) * 4 == pytest.approx(slow)
        limits = [
            theory.eta_min(gamma[i], 3, loss, 1000, r) for i, r in ((0, "lazy"), (-1, "rich"))
        ]
        assert slow[[0, -1]] == pytest.approx(limits, rel=0.1)


def test_cells_fill_the_gaps_between_centres():
    assert panels.cell_edges([0.0, 0.5, 1.5]).tolist() == [-0.25, 0.25, 1.0, 2.0]
    assert panels.cell_edges([2.0]).tolist() == [1.75, 2.25]


def test_guides_pass_through_the_measured_edges(laptop):
    data = laptop["portrait_mlp"].sel(loss="cross_entropy", depth=3)
    mean = b.measured_edges(data).mean("seed")
    levels = {
        (guide.boundary, guide.exponent): panels.guide_level(
            mean.sel(boundary=guide.boundary, drop=True), guide
        )
        for guide in panels.guides("cross_entropy", 3)
    }
    assert levels[("accuracy_max", 1)] == pytest.approx(1.5)
    assert levels[("nocat_max", 2)] == pytest.approx(1.5)
    assert levels[("opt_min", 1)] == pytest.approx(-0.5)
    assert levels[("opt_max", 2 / 3)] == pytest.approx(1.5, abs=0.15)


def test_guide_of_a_narrow_portrait_uses_its_side_of_gamma_one(laptop):
    data = laptop["portrait_cnn"].sel(loss="mse", depth=4)
    mean = b.measured_edges(data).mean("seed").sel(boundary="opt_max", drop=True)
    assert panels.guide_level(mean, panels.Guide("opt_max", "lazy", 2)) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("exponent", "text"), [(2, "2"), (2 / 3, "2/3"), (0.5, "1/2"), (1 / 3, "1/3"), (1, None)]
)
def test_powers_are_written_as_fractions(exponent, text):
    expected = r"$\gamma$" if text is None else rf"$\gamma^{{{text}}}$"
    assert panels.power_text(exponent) == expected
