"""Analyses and measures of the giant-step study on planted gradients."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from regimes.claims import measure
from regimes.studies.giant_step import plane, theory
from regimes.studies.giant_step.analyses import (
    batch_exponent,
    leap_scaling,
    one_step,
    six_steps,
    spike_spectrum,
    theory_constants,
    two_steps,
)
from regimes.studies.giant_step.claims import MEASURES
from regimes.studies.giant_step.reading import seed_mean
from regimes.studies.giant_step.second_stage import second_stage

CONFIG = Path(__file__).parents[3] / "config" / "studies" / "giant_step.yaml"


@pytest.fixture(scope="module")
def config():
    return yaml.safe_load(CONFIG.read_text(encoding="utf-8"))


# --- Planted data -------------------------------------------------------------------------------


def planted(cosine, readout, **settings) -> xr.Dataset:
    """Runs whose gradient cosines (run, step >= 1, neuron, direction) and read-out are given."""
    cosine = np.asarray(cosine, dtype=float)
    count, steps, neurons, _ = cosine.shape
    norm = np.full((count, steps + 1, neurons), 0.3)
    norm[:, 0] = np.nan
    dot = np.full((count, steps + 1, *cosine.shape[2:]), np.nan)
    dot[:, 1:] = 0.3 * cosine
    w = np.zeros_like(dot)
    data = xr.Dataset(
        {
            "g_dot_teacher": (("run", "step", "neuron", "direction"), dot),
            "g_norm": (("run", "step", "neuron"), norm),
            "w_dot_teacher": (("run", "step", "neuron", "direction"), w),
            "w_norm": (("run", "step", "neuron"), np.full_like(norm, 4.0)),
            "readout_weight": (("run", "neuron"), np.broadcast_to(readout, (count, neurons))),
        },
        coords={"step": np.arange(steps + 1)},
    )
    filled = {"width": neurons, "symmetric": False, "dimension": 64, "batch_factor": 1.0}
    filled |= {"batch_exponent": 1.0, "learning_rate": 2.0 * neurons, "seed": np.arange(count)}
    filled |= settings
    filled.setdefault("batch_size", 64)
    return data.assign_coords(
        {name: ("run", np.broadcast_to(value, count)) for name, value in filled.items()}
    )


def on_line(signs, angle, length=0.6):
    """Cosines of neurons at +- one angle, shape (neuron, 2)."""
    return np.asarray(signs)[:, None] * length * np.array([np.cos(angle), np.sin(angle)])


SIGNS = np.array([1.0] * 20 + [-1.0] * 20)


# --- Statistics in the plane ---------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 2, 2.5])
def test_gradients_on_one_line_have_concentration_one(angle):
    data = planted(on_line(SIGNS, angle)[None, None], SIGNS)
    cosine = plane.gradient_cosine(data).sel(step=1)
    assert float(plane.concentration(plane.in_plane_angle(cosine))[0]) == pytest.approx(1)
    assert plane.plane_cosine_squared(cosine).values == pytest.approx(0.36)


def test_uniform_angles_have_the_concentration_of_a_random_walk():
    rng = np.random.default_rng(0)
    angles = xr.DataArray(rng.uniform(0, 2 * np.pi, (400, 64)), dims=("draw", "neuron"))
    mean = float(plane.concentration(angles).mean())
    assert mean == pytest.approx(np.sqrt(np.pi / (4 * 64)), rel=0.05)


def test_regular_polygon_has_no_concentration():
    angles = xr.DataArray(2 * np.pi * np.arange(12) / 12, dims="neuron")
    assert float(plane.concentration(angles)) < 1e-12


def test_a_zero_gradient_has_no_angle():
    data = planted(on_line(SIGNS, 0.3)[None, None], SIGNS)
    data["g_norm"][0, 1, 3] = 0
    data["g_dot_teacher"][0, 1, 3] = 0
    cosine = plane.gradient_cosine(data).sel(step=1)
    assert int(cosine.isnull().sum()) == 2
    assert float(plane.concentration(plane.in_plane_angle(cosine))[0]) == pytest.approx(1)


def test_axes_are_a_rotation_by_45_degrees():
    cosine = xr.DataArray([[1.0, 1.0], [1.0, -1.0], [0.3, -0.8]], dims=("neuron", "direction"))
    axes = plane.teacher_axes(cosine)
    assert axes.sel(axis="u").values == pytest.approx([np.sqrt(2), 0, -0.5 / np.sqrt(2)])
    assert axes.sel(axis="s").values == pytest.approx([0, np.sqrt(2), 1.1 / np.sqrt(2)])


def test_only_the_first_half_of_symmetric_rows_counts():
    cosine = np.concatenate([on_line(SIGNS[:4], 0.2), on_line(SIGNS[:4], 1.7)])
    both = planted(np.stack([cosine[None]] * 2), np.ones(8), symmetric=[True, False])
    kept = plane.gradient_cosine(plane.first_of_pairs(both)).sel(step=1)
    known = kept.notnull().all("direction").sum("neuron")
    assert known.values.tolist() == [4, 8]
    alone = plane.first_of_pairs(both.isel(run=[0]))
    assert alone.sizes["neuron"] == 4
    r = plane.concentration(plane.in_plane_angle(kept))
    assert float(r[0]) == pytest.approx(1) and float(r[1]) < 0.99


def test_clusters_go_by_the_sign_of_the_readout():
    values = xr.DataArray([1.0, 3.0, -5.0, -7.0], dims="neuron")
    readout = xr.DataArray([0.5, 2.0, -0.1, -3.0], dims="neuron")
    assert plane.cluster_mean(values, readout).sel(cluster=[1, -1]).values.tolist() == [2, -6]
    assert plane.cluster_spread(values, readout).values == pytest.approx(np.sqrt([2, 2]))


def test_settings_that_should_agree_are_checked():
    data = planted(np.zeros((2, 1, 4, 2)), np.ones(4), dimension=[64, 128])
    with pytest.raises(ValueError, match="dimension"):
        plane.common(data, "dimension")


# --- Analyses ------------------------------------------------------------------------------------


def test_one_step_labels_batches_and_takes_theory_from_the_settings():
    cosine = np.stack([on_line(SIGNS, np.pi / 4)[None]] * 2)
    plus = planted(cosine, SIGNS, target="plus", batch_factor=4.0, batch_size=256)
    pair = planted(
        cosine, SIGNS, target="he2_pair", batch_factor=1.0, batch_exponent=2.0, batch_size=4096
    )
    found = one_step.analyse({"one_step_plane_plus": plus, "one_step_plane_he2": pair})
    assert list(found["batch"].values) == ["4d", "d^2"]
    where = {"target": "plus", "batch": "4d", "dimension": 64}
    assert found["concentration"].sel(where).values == pytest.approx([1, 1])
    assert float(found["plane_cos2_theory"].sel(where)) == pytest.approx(0.4)
    quadratic = found["plane_cos2_theory"].sel(target="he2_pair", batch="d^2", dimension=64)
    assert float(quadratic) == pytest.approx(float(theory.alignment_leap2(64, 4096, 2, True)))
    claim = measure(MEASURES["gs_fig1_plus_linear_cos2"], {"one_step": found})
    assert claim.value == pytest.approx(0.36) and claim.seeds == 2


def test_two_steps_measures_recover_planted_clusters():
    u, s = 0.5, 0.2

    def clusters(s):
        axes = np.stack([u * SIGNS, np.full(40, s)], axis=-1)
        return np.stack([axes[:, 0] + axes[:, 1], axes[:, 0] - axes[:, 1]], -1) / np.sqrt(2)

    def steps(second):
        return np.stack([np.stack([clusters(0.0), clusters(second)])] * 3)

    parts = [
        planted(steps(second), SIGNS, target=target, dimension=16, batch_size=64)
        for target, second in (("he124", 0.0), ("minus", s))
    ]
    found = two_steps.analyse({"plane_two_steps": xr.concat(parts, "run")})
    minus = found["cluster_cosine"].sel(target="minus", step=2)
    assert minus.sel(axis="u", cluster=-1).values == pytest.approx(-u)
    assert minus.sel(axis="s", cluster=-1).values == pytest.approx(s)
    slope = measure(MEASURES["gs_figA1_bottom_minus_published"], {"two_steps": found})
    assert slope.value == pytest.approx((u - s) / (u + s))
    predicted = float(theory.second_step_slopes("minus", 4.0, 2.0)[0])
    assert float(found["second_step_slope"].sel(model="output")) == pytest.approx(predicted)
    gap = measure(MEASURES["gs_figA1_bottom_minus_theory"], {"two_steps": found})
    assert gap.value == pytest.approx((u - s) / (u + s) - predicted)
    angle = measure(MEASURES["gs_figA1_bottom_he124_line"], {"two_steps": found})
    assert angle.value == pytest.approx(0, abs=1e-9)


def test_six_steps_measures_recover_a_planted_line():
    line = on_line(SIGNS, np.arctan(0.25), 0.5)
    shifted = line + 0.05 * np.array([-0.25, 1]) / np.sqrt(1 + 0.25**2)
    cosine = np.stack([np.stack([line] + [shifted] * 5)] * 3)
    readout = SIGNS / np.sqrt(40)
    parts = {
        f"plane_six_steps_example{i}": planted(cosine, readout, target=target)
        for i, target in ((1, "example1"), (2, "minus"))
    }
    found = {"six_steps": six_steps.analyse(parts)}
    expected = {
        "gs_figA3_t1_cos": 0.5,
        "gs_figA3_t1_slope": 0.25,
        "gs_figA3_t1_tight": 0.0,
        "gs_figA3_stays_on_line": 0.05,
        "gs_figA3_norm_growth": 4.0,
        "gs_figA3_shrinks": 0.5 / np.sqrt(1 + 0.25**2) - 0.0125 / np.sqrt(1 + 0.25**2),
        # Both clusters are shifted by the same vector, across the diagonal.
        "gs_figA4_t2_opposite_u": 0.5 * np.cos(np.arctan(0.25) - np.pi / 4),
    }
    for claim, value in expected.items():
        assert measure(MEASURES[claim], found).value == pytest.approx(value, abs=1e-6), claim
    assert found["six_steps"]["linear_slope"].values == pytest.approx([0.25, 1.0])


def test_leap_scaling_slope_of_planted_alignment():
    dimensions, count = [64, 128, 256], 4

    def each(d, target, activation, exponent, alignment):
        cosine = np.full((count, 1, 8, 1), np.sqrt(alignment))
        n = round(d**exponent)
        return planted(
            cosine,
            np.ones(8),
            target=target,
            activation=activation,
            dimension=d,
            batch_exponent=float(exponent),
            batch_size=n,
        )

    relu = [each(d, "he2", "relu", 1, 5 / d) for d in dimensions]
    found = leap_scaling.analyse(
        {
            "leap_scaling_relu": xr.concat(relu, "run"),
            "leap_scaling_polynomial": each(64, "he3", "cubic", 3, 0.25),
            "leap1_unit_check": each(64, "he1", "relu", 1, 1 / 3),
        }
    )
    slope = measure(MEASURES["gs_table1_below_leap_exponent"], {"leap_scaling": found})
    assert slope.value == pytest.approx(-1, abs=1e-6)
    poly = measure(MEASURES["gs_supp_leap_scaling_l3_poly_x30"], {"leap_scaling": found})
    assert poly.value == pytest.approx(0.25)
    unit = measure(MEASURES["gs_supp_leap_scaling_l1_unit"], {"leap_scaling": found})
    assert unit.value == pytest.approx(1 / 3)
    assert float(found["alignment_unit_theory"]) == pytest.approx(1 / 3)


def test_spike_values_are_rescaled_to_the_formula():
    parts = []
    for ratio, d, p in ((1.0, 512, 256), (4.0, 1024, 512), (16.0, 512, 256)):
        first = float(theory.spike_singular_value("minus", ratio)) * np.sqrt(p // 2) / p
        values = np.full((2, 5), first / 20)
        values[:, 0] = first
        right = np.full((2, 2), float(theory.spike_overlap("minus", ratio)) / np.sqrt(2))
        data = xr.Dataset(
            {
                "g_singular_values": (("run", "singular_value"), values),
                "right_dot_teacher": (("run", "direction"), -right),
                "spike_right_cosine": ("run", [0.995, 0.997]),
            }
        )
        settings = {"target": "minus", "batch_factor": ratio, "dimension": d, "width": p}
        settings |= {"batch_size": int(ratio * d), "seed": np.arange(2)}
        parts.append(
            data.assign_coords({k: ("run", np.broadcast_to(v, 2)) for k, v in settings.items()})
        )
    found = {"spike_spectrum": spike_spectrum.analyse({"spike_spectrum": xr.concat(parts, "run")})}
    name = "gs_supp_spike_spectrum_"
    assert measure(MEASURES[name + "s1_formula"], found).value == pytest.approx(0, abs=1e-9)
    assert measure(MEASURES[name + "overlap_formula"], found).value == pytest.approx(0, abs=1e-9)
    assert measure(MEASURES[name + "gap"], found).value == pytest.approx(20 / 12)
    assert measure(MEASURES[name + "right_is_chat"], found).value == pytest.approx(0.996)


def errors(target, exponents, values, factor=1.0, seeds=2) -> xr.Dataset:
    """Runs with second-stage errors values(exponent) of shape (7,)."""
    grid = [(x, seed) for x in exponents for seed in range(seeds)]
    data = np.stack([values(x) for x, _ in grid])[:, :, None, None]
    settings = {
        "batch_exponent": [x for x, _ in grid],
        "seed": [seed for _, seed in grid],
        "batch_size": [round(128**x) for x, _ in grid],
        "target": [target] * len(grid),
        "dimension": [128] * len(grid),
        "width": [64] * len(grid),
        "learning_rate_factor": [factor] * len(grid),
        # As in result files: settings with the name of a dimension.
        "ridge_strengths": ["[1.0]"] * len(grid),
        "ridge_data": ["fresh"] * len(grid),
    }
    return xr.Dataset(
        {
            "test_error": (("run", "step", "ridge_batch", "ridge"), data),
            "ridge_strength": (("run", "ridge"), np.ones((len(grid), 1))),
            "ridge_batch_size": (("run", "ridge_batch"), np.ones((len(grid), 1))),
        },
        coords={"step": np.arange(7)},
    ).assign_coords({name: ("run", value) for name, value in settings.items()})


def test_batch_exponent_draws_minus_at_the_rate_for_its_batch_and_finds_the_crossing():
    exponents = [1.0, 1.25, 1.5, 1.75, 2.0, 2.25]

    def falling(x):
        return np.full(7, 13 / 48 + 0.5 * (1.4 - x))

    experiments = {
        "error_vs_batch_he124": errors("he124", exponents, falling, 0.5),
        "error_vs_batch_minus": xr.concat(
            [
                errors("minus", [1.0, 1.25, 1.5, 2.0], lambda x: np.full(7, x), 1.0),
                errors("minus", [1.5, 1.75, 2.0, 2.25], lambda x: np.full(7, 10 + x), 0.3),
            ],
            "run",
        ),
        "constant_lr_divergence": errors(
            "he124", [0.5, 0.75], lambda x: np.array([1, 20, 30, 5, np.nan, np.nan, np.nan]), 6.0
        ),
    }
    found = batch_exponent.analyse(experiments)
    assert found["drawn_factor"].values.tolist() == [1, 1, 1, 0.3, 0.3, 0.3]
    drawn = found["error"].sel(target="minus", seed=0, step=1).values
    assert drawn.tolist() == [1, 1.25, 1.5, 11.75, 12, 12.25]
    assert found["error_constant"].sel(step=6).values == pytest.approx(5)
    values = {"batch_exponent": found}
    assert measure(MEASURES["gs_figA1_he124_crossing"], values).value == pytest.approx(1.4)
    assert measure(MEASURES["gs_figA1_constant_lr"], values).value == pytest.approx(30)
    worst = measure(MEASURES["gs_figA1_below_floor_laptop"], values).value
    assert worst == pytest.approx(12.25)


def test_second_stage_names_strengths_and_refuses_unequal_ones():
    data = errors("he124", [1.0], lambda x: np.ones(7))
    assert second_stage(data, ["test_error"])["test_error"].dims == ("run", "step", "ridge")
    assert second_stage(data, ["test_error"])["ridge"].values.tolist() == [1.0]
    absent = second_stage(data, ["test_error_leak"])["test_error_leak"]
    assert bool(absent.isnull().all())
    data["ridge_strength"][0, 0] = 2.0
    with pytest.raises(ValueError, match="differ"):
        second_stage(data, ["test_error"])


def test_seeds_of_other_variables_do_not_count():
    values = xr.DataArray([1.0, 2.0, 4.0, np.nan, np.nan], dims="seed")
    alone = measure(seed_mean("a", lambda d: d["x"][:3]), {"a": xr.Dataset({"x": values})})
    padded = measure(seed_mean("a", lambda d: d["x"]), {"a": xr.Dataset({"x": values})})
    assert alone == padded and padded.seeds == 3


# --- Configuration -------------------------------------------------------------------------------


def test_every_claim_has_a_measure_and_vice_versa(config):
    assert {claim["id"] for claim in config["claims"]} == set(MEASURES)


def test_measures_read_analyses_that_exist(config):
    read = {name for rule in MEASURES.values() for name in rule.analyses}
    assert read == set(config["analyses"])
    for name in config["analyses"]:
        module = importlib.import_module(f"regimes.studies.giant_step.analyses.{name}")
        assert callable(module.analyse)


def test_closed_form_claims_hold(config):
    constants = {"theory_constants": theory_constants.analyse({})}
    exact = {name: rule for name, rule in MEASURES.items() if rule.exact}
    assert len(exact) == 5
    expected = {claim["id"]: claim["expected"] for claim in config["claims"]}
    for name, rule in exact.items():
        low, high = expected[name]
        assert low <= measure(rule, constants).value <= high, name


def test_every_variable_of_an_analysis_is_labelled():
    found = theory_constants.analyse({})
    for name, variable in found.variables.items():
        assert {"long_name", "units"} <= set(variable.attrs), name
