"""Stationary clouds with and without replacement: moments and displacements that are known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from regimes.claims import measure
from regimes.studies.limiting_dynamics import sampling_ratios
from regimes.studies.limiting_dynamics.analyses import sampling
from regimes.studies.limiting_dynamics.claims_regression import REGRESSION
from regimes.studies.limiting_dynamics.figures import supp_sampling
from regimes.studies.limiting_dynamics.start_points import start_of
from tests.studies.limiting_dynamics.planted_regression import drawn, geometry_of, runs_of

LINEAR = {"eta": 1e-2, "batch_size": 32, "weight_decay": 1e-3}
NETWORK = {"eta": 0.05, "batch_size": 64, "weight_decay": 1e-4, "model": "mlp"}


def cloud(base: dict, rho: np.ndarray, epoch: int | None, steps: int, seeds: int = 2) -> xr.Dataset:
    kind = {"sampling": "epochs" if epoch else "with_replacement"}
    settings = [base | kind | {"seed": s} for s in range(seeds)]
    # Networks start off their minimum: variances must not see it.
    return runs_of(settings, rho, 0.8 * rho, 0.02 * np.ones(rho.size), steps, epoch)


def clouds(steps: int, seeds: int = 2) -> dict[str, xr.Dataset]:
    linear, network = 10 / np.arange(1.0, 17), np.linspace(2.0, 0.3, 60)
    bare = ["eigenvalue", "noise", "noise_trace", "residual_variance", "minimum"]
    found = {
        f"linreg_stationary_{name}": cloud(LINEAR, linear, epoch, steps, seeds)
        for name, epoch in (("iid", None), ("epochs", 12))
    }
    for name, epoch in (("", None), ("_epochs", 8)):
        runs = cloud(NETWORK, network, epoch, steps, seeds)
        found[f"stationary_cloud_resume{name}"] = runs.drop_vars(bare)
    return {**found, "start_geometry": geometry_of(network, 0.8 * network)}


@pytest.fixture(scope="module")
def experiments() -> dict[str, xr.Dataset]:
    return clouds(33_000)


@pytest.fixture(scope="module")
def sampled(experiments) -> xr.Dataset:
    return sampling.analyse(experiments)


@pytest.mark.parametrize("system", ["regression", "network"])
def test_white_noise_gives_the_variances_and_displacements_of_theory(sampled, system):
    one = sampled.sel(system=system, sampling="with_replacement")
    for kind, tolerance in (("position", 0.15), ("velocity", 0.12)):
        ratio = sampling_ratios.variance_ratio(one, kind).dropna("mode")
        assert ratio.values == pytest.approx(np.ones(ratio.size), abs=tolerance)
        assert float(ratio.mean()) == pytest.approx(1, abs=0.04)
    assert float(one["local_displacement"].mean()) == pytest.approx(1, abs=0.03)
    moved = one["squared_displacement"].mean(["seed", "block"])
    assert moved.values == pytest.approx(np.ones(moved.size), abs=0.08)


def test_noise_that_cancels_within_epochs_stills_soft_modes(sampled):
    epochs = sampled.sel(sampling="epochs")
    for system, modes in (("regression", 16), ("network", 60)):
        ratio = sampling_ratios.variance_ratio(epochs.sel(system=system), "position")
        assert float(ratio.sel(mode=modes)) < 0.5 * float(ratio.sel(mode=1))
        late = epochs["squared_displacement"].sel(system=system, lag=1000).mean()
        assert float(late) < 0.6


def test_variances_are_those_of_the_whole_runs(experiments, sampled):
    runs = experiments["linreg_stationary_iid"]
    one = sampled.sel(system="regression", sampling="with_replacement")
    # 16 blocks of 1959 steps remain of 33,001 without the first 5 %.
    tail = runs["position"].isel(projection_step=slice(-16 * 1959, None)).astype(float)
    known = (
        sampling_ratios.variance_ratio(one, "position") * one["position_theory"].mean("seed") ** 2
    )
    expected = tail.var(["run", "projection_step"])
    assert known.sel(mode=expected["mode"]).values == pytest.approx(expected.values, rel=1e-6)
    assert one.sizes["block"] == 16
    split = sampling_ratios.spread_ratio(one, 1, 16)
    assert float(split.mean()) == pytest.approx(float(np.sqrt(expected[0] / expected[15])))


def test_equipartition_from_variances(experiments, sampled):
    runs = experiments["stationary_cloud_resume_epochs"].isel(
        projection_step=slice(-16 * 1959, None)
    )
    x, u = (runs[n].astype(float).var(["run", "projection_step"]) for n in ("position", "velocity"))
    omega2 = 2 * (np.linspace(2.0, 0.3, 60) + 1e-4) / (0.05 * 1.9)
    one = sampled.sel(system="network", sampling="epochs")
    assert sampling_ratios.equipartition(one).values == pytest.approx(
        (omega2 * x / u).values, rel=1e-5
    )


def test_squared_displacements_of_a_known_path():
    rng = np.random.default_rng(3)
    path = rng.standard_normal((1, 41, 2)).cumsum(axis=1)
    data = xr.DataArray(path, dims=("seed", "projection_step", "mode"), coords={"seed": [0]})
    found = sampling.squared_displacements(data, np.array([1, 9]), 4)
    assert found.sizes == {"lag": 2, "seed": 1, "block": 4}
    for lag in (1, 9):
        pairs = [np.sum((path[0, k + lag] - path[0, k]) ** 2) for k in range(41 - lag)]
        pairs = pairs[len(pairs) % 4 :]
        expected = np.reshape(pairs, (4, -1)).mean(axis=1)
        assert found.sel(lag=lag)[0].values == pytest.approx(expected)


def test_start_point_is_that_of_the_network():
    both = [geometry_of([r, 1.0], [1.0, 1.0], name) for r, name in ((3.0, "mlp"), (2.0, "vgg16"))]
    runs = xr.Dataset(coords={"model": ("run", ["vgg16"]), "hidden": ("run", [24])})
    found = start_of(xr.concat(both, dim="run"), runs)
    assert float(found["eigenvalue"][0]) == 2
    with pytest.raises(ValueError, match="no geometry of network 'vgg16 24'"):
        start_of(both[0], runs)


def test_modes_without_restoring_force_or_geometry_are_left_out():
    rho = np.array([2.0, 1.0, 0.5])
    runs = cloud(NETWORK, rho, None, 500, seeds=1)
    geometry = geometry_of([2.0, -0.3], [1.6, 0.8])
    found = sampling.over_theory(runs, geometry)
    assert found["mode"].values.tolist() == [1]
    assert np.isfinite(found["squared_displacement"]).all()
    assert np.isfinite(found["local_displacement"]).all()


def test_lags_hold_the_marked_ones():
    long = sampling.lags(57_000)
    assert set([1, 10, 100, 1000, 5000]) <= set(long) and long.max() <= 9500
    assert (np.diff(long) > 0).all()
    assert sampling.lags(4).tolist() == [1]


def test_claims_on_sampling_have_blocks_in_place_of_seeds(experiments, sampled):
    analyses = {"sampling": sampled}
    names = [n for n in REGRESSION if n.startswith("ld_sampling")]
    found = {name: measure(REGRESSION[name], analyses) for name in names}
    assert {m.seeds for m in found.values()} == {32}
    for name in ("position", "velocity", "delta"):
        ours = found[f"ld_sampling_{name}_iid"]
        assert ours.low < ours.value < ours.high and ours.high - ours.low < 0.2
        assert ours.value == pytest.approx(1, abs=0.05)
    assert found["ld_sampling_msd_iid"].value == pytest.approx(1, abs=0.08)
    # Expected from the planted trajectories: variances of all steps of both runs that make up the
    # 16 blocks, over closed forms.
    linear, network = (
        {n: late(experiments[f"{name}_epochs"][n]) for n in ("position", "velocity")}
        for name in ("linreg_stationary", "stationary_cloud_resume")
    )
    for name, variance, other in (
        ("mlp_isotropy", network["position"], 29),
        ("isotropy", linear["position"], 15),
    ):
        spread = np.sqrt(variance[0] / variance[other])
        assert found[f"ld_sampling_{name}_epochs"].value == pytest.approx(spread, rel=1e-4)
    omega2 = 2 * (0.3 + NETWORK["weight_decay"]) / (NETWORK["eta"] * 1.9)
    soft = omega2 * network["position"][59] / network["velocity"][59]
    assert found["ld_sampling_mlp_equipartition_q60"].value == pytest.approx(soft, rel=1e-4)
    # eta q (1 + beta)/(2 h) over S (1 - beta^2): noise q = .8 rho, curvature rho = 10/16.
    rho, eta = 10 / 16, LINEAR["eta"]
    theory = eta * 0.8 * rho / (2 * LINEAR["batch_size"] * 0.1 * (rho + LINEAR["weight_decay"]))
    ratio = linear["position"][15] / theory
    assert found["ld_sampling_position_epochs"].value == pytest.approx(ratio, rel=1e-4)
    assert np.isnan(
        measure(REGRESSION["ld_sampling_msd_epochs"], missing(analyses, lag=5000)).value
    )


def late(paths: xr.DataArray) -> np.ndarray:
    """Variance of each mode over the last 16 x 1959 of 33,001 steps, of all runs together."""
    values = paths.transpose("run", "projection_step", "mode").values[:, -16 * 1959 :]
    return np.var(values.astype(float), axis=(0, 1))


def missing(analyses: dict[str, xr.Dataset], **cells) -> dict[str, xr.Dataset]:
    """The analyses without some cells."""
    return {name: data.drop_sel(cells) for name, data in analyses.items()}


def test_sampling_figure_at_every_size(tmp_path):
    for steps in (40, 300):
        tiny = clouds(steps, seeds=1)
        network = {n: d for n, d in tiny.items() if "iid" not in n and "linreg" not in n}
        for chosen, curves in ((tiny, 4), (network, 2)):
            found = sampling.analyse(chosen)
            figure = drawn(supp_sampling, {"sampling": found}, tmp_path)
            assert [len(axes.containers) for axes in figure.axes] == [curves] * 3
