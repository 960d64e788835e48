"""Laziness on made-up runs with known answers; kernel alignment against other definitions."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import xarray as xr

from regimes import store
from regimes.claims import measure
from regimes.plot import style
from regimes.studies.exact_gauss_newton import probes
from regimes.studies.exact_gauss_newton.analyses import (
    cross_cka,
    laziness,
    lazy_controls,
    weights,
)
from regimes.studies.exact_gauss_newton.claims_laziness import LAZINESS
from regimes.studies.exact_gauss_newton.figures import fig4, fig9, fig10, fig11, supp_lazy_controls
from tests.studies.exact_gauss_newton import planted_laziness as planted

ANALYSES = {
    "laziness": laziness,
    "weights": weights,
    "cross_cka": cross_cka,
    "lazy_controls": lazy_controls,
}
FIGURES = [fig4, fig9, fig10, fig11, supp_lazy_controls]
DEBIASED = functools.partial(probes.alignment, debiased=True)
SCALE = np.array([1.0, 1.1, 1.2])  # of the three seeds


def analysed(data: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    return {name: module.analyse(data) for name, module in ANALYSES.items()}


@pytest.fixture(scope="module")
def results() -> dict[str, xr.Dataset]:
    return analysed(planted.experiments())


# --- Kernel alignment ----------------------------------------------------------------------------


def kernels(seed: int, n: int = 9, d: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((2, n, d)) + rng.standard_normal((2, 1, d))
    features[1] += 0.7 * features[0]
    return features, *(f @ f.T for f in features)


def test_biased_alignment_equals_its_form_in_features() -> None:
    (a, b), first, second = kernels(0)
    a, b = a - a.mean(0), b - b.mean(0)
    expected = np.sum((a.T @ b) ** 2) / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)
    assert probes.alignment(first, second) == pytest.approx(expected, rel=1e-12)


def test_debiased_alignment_equals_the_average_over_distinct_points() -> None:
    _, first, second = kernels(1, n=7)

    def inner(k: np.ndarray, m: np.ndarray) -> float:
        # The definition of the unbiased estimate: all ordered quadruples of distinct points.
        i, j, q, r = np.array(list(itertools.permutations(range(7), 4))).T
        return float(np.mean(k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])))

    expected = inner(first, second) / np.sqrt(inner(first, first) * inner(second, second))
    assert DEBIASED(first, second) == pytest.approx(expected, rel=1e-10)


def test_many_independent_features_look_alike_only_with_bias() -> None:
    features = np.random.default_rng(2).standard_normal((20, 2, 30, 400))
    first, second = (features[:, i] @ features[:, i].swapaxes(-1, -2) for i in (0, 1))
    assert probes.alignment(first, second).min() > 0.8
    assert abs(DEBIASED(first, second)).mean() < 0.1


def test_alignment_does_not_depend_on_shift_rotation_or_scale() -> None:
    (a, _), first, second = kernels(3)
    turn = np.linalg.qr(np.random.default_rng(4).standard_normal((4, 4)))[0]
    moved = 3 * (a + 2) @ turn
    for align in (probes.alignment, DEBIASED):
        assert align(first, moved @ moved.T) == pytest.approx(1, abs=1e-9)
        assert align(moved @ moved.T, second) == pytest.approx(align(first, second), abs=1e-9)
        assert align(first, second) < 0.95


def test_alignment_of_dead_or_diverged_blocks_is_unknown() -> None:
    _, first, _ = kernels(5)
    for align in (probes.alignment, DEBIASED):
        for bad in (0 * first, np.nan * first):
            assert np.isnan(align(first, bad))
    assert np.isnan(DEBIASED(first[:3, :3], first[:3, :3]))


@pytest.mark.parametrize(
    ("count", "shown"), [(1, (1, 1, 1)), (2, (1, 1, 2)), (3, (1, 2, 3)), (6, (1, 3, 6))]
)
def test_shown_blocks(count: int, shown: tuple[int, ...]) -> None:
    assert probes.shown_blocks(count) == shown


# --- Choice of runs ------------------------------------------------------------------------------


def test_the_largest_rate_counts_and_switches_do_not() -> None:
    cases = [
        {"optimizer": "gn", "lr_code": 0.1, "epochs": 6},
        {"optimizer": "adam", "lr_code": 1e-4},
        {"optimizer": "adam", "lr_code": 1e-3},
        {"optimizer": "adam", "lr_code": 1e-2, "then": "gn", "then_epochs": 3},
    ]
    found = probes.by_optimizer({"x": planted.runs(cases)}, "x", ["ntk_similarity"])
    assert found["lr_code"].values == pytest.approx([0.1, 1e-3, np.nan], nan_ok=True)
    assert found["epoch"].values.tolist() == [0, 1, 2, 3, 4]  # as far as Adam goes
    adam = found["ntk_similarity"].sel(optimizer="adam", epoch=4).transpose("seed")
    assert adam.values == pytest.approx(1 - 4 * 0.04 * SCALE)
    assert found["ntk_similarity"].sel(optimizer="sgd").isnull().all()


def test_inner_products_belong_to_their_optimizer_and_seed() -> None:
    data = planted.experiments()["lazy_probe"]
    ran, parts = probes.grams(data)
    seeds = ran["seed"].values
    assert seeds.tolist() == [0, 1, 2]
    assert (ran == 1).all()
    epochs = dict(parts)
    assert list(epochs) == [0, 1, 2, 3, 4]
    rates = {"gn": 0.1, "adam": 1e-3, "sgd": 0.1}
    for (i, name), (j, seed) in itertools.product(enumerate(probes.OPTIMIZERS), enumerate(seeds)):
        out = planted.outputs(name, rates[name], int(seed), 4, 3)[3]
        assert epochs[3][i, j] == pytest.approx(out @ out.swapaxes(1, 2), rel=1e-5, abs=1e-4)


def test_alignment_between_optimizers(results) -> None:
    data = results["cross_cka"]
    assert data["cka"].sel(epoch=0).values == pytest.approx(1, abs=1e-6)
    gn = planted.outputs("gn", 0.1, 2, 4, 3)[4, 1]
    adam = planted.outputs("adam", 1e-3, 2, 4, 3)[4, 1]
    a, b = gn - gn.mean(0), adam - adam.mean(0)
    expected = np.sum((a.T @ b) ** 2) / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)
    found = data["cka"].sel(pair="gn-adam", seed=2, epoch=4, block=2)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert expected < 0.9
    start = data["cka_initial_debiased"]
    assert start.sel(epoch=0).values == pytest.approx(1, abs=1e-6)
    assert (start.sel(optimizer="adam", epoch=4) < start.sel(optimizer="gn", epoch=4)).all()


# --- Claims --------------------------------------------------------------------------------------


def value(results: dict[str, xr.Dataset], claim: str) -> float:
    return measure(LAZINESS[claim], results).value


MEAN = SCALE.mean()
EXPECTED = {
    "gn_fig4_ntk_gn": 1 - 4 * 0.001 * MEAN,
    "gn_fig4_ntk_adam": 1 - 4 * 0.04 * MEAN,
    "gn_fig4_ntk_near_one": 1 - 4 * 0.004 * MEAN,
    "gn_fig4_ntk_gap": 4 * (0.04 - 0.004) * MEAN,
    "gn_fig4_velocity_ratio": 10.0,
    "gn_fig4_velocity_decay": 4.0,
    "gn_fig4_cka_adam_last": 1 - 0.04 * 4 * 3 / 2 * MEAN,
    "gn_fig4_cka_gap": (0.04 - 0.001) * 4 * 3 / 2 * MEAN,
    "gn_fig4_cka_gn_sgd": (0.004 - 0.001) * 4 * (1 + 2 + 3) / 3 / 2 * MEAN,
    "gn_fig9_sgd_double": (0.6 - 2 * 0.1) * MEAN,
    "gn_fig9_sgd_highest": float(np.mean((0.6 * SCALE) ** 6 - (0.1 * SCALE) ** 6)),
    "gn_fig9_gn_adam_similar": (0.1 - 0.05) * MEAN,
    "gn_fig10_gn_all_blocks": 1 - 0.001 * 4 * 3 / 2 * MEAN,
    "gn_fig10_gn_sgd_near_one": 1 - 0.004 * 4 * 3 / 2 * MEAN,
    "gn_fig10_adam_depth": 0.04 * 4 * 2 / 2 * MEAN,
    "gn_supp_low_dim_gn": 1 - 10 * 0.001 * MEAN,
    "gn_supp_slow_adam_lazy": 1 - 4 * 0.002 * MEAN,
    "gn_supp_lazy_but_learning": 0.5 * MEAN,
}


@pytest.mark.parametrize("claim", EXPECTED)
def test_claims_read_the_planted_numbers(results, claim: str) -> None:
    found = measure(LAZINESS[claim], results)
    assert found.value == pytest.approx(EXPECTED[claim], rel=1e-9)
    assert found.seeds == 3


def test_claims_on_alignment_between_optimizers(results) -> None:
    cka = results["cross_cka"]["cka"].mean("seed")
    adam, sgd = (
        cka.sel(pair=f"gn-{name}").transpose("epoch", "block").values for name in ("adam", "sgd")
    )
    assert value(results, "gn_fig11_sgd_closer") == pytest.approx(sgd[-1, 2] - adam[-1, 2])
    assert value(results, "gn_fig11_gn_adam_depth") == pytest.approx(adam[-1, 0] - adam[-1, 2])
    assert value(results, "gn_fig11_gn_adam_falls") == pytest.approx(adam[1, 2] - adam[-1, 2])
    low = results["cross_cka"]["cka"].sel(pair="gn-sgd", epoch=4).min("block").mean()
    assert value(results, "gn_fig11_gn_sgd_near_one") == pytest.approx(float(low))
    assert value(results, "gn_fig11_sgd_closer") > 0.05


def test_all_claims_have_numbers(results) -> None:
    tested = {*EXPECTED} | {claim for claim in LAZINESS if claim.startswith("gn_fig11")}
    assert tested == set(LAZINESS)


def test_the_middle_block_and_quarters_of_long_runs() -> None:
    found = analysed(planted.experiments(epochs=100, blocks=6))
    # Blocks 1, 3 and 6; epochs 1-25 and 76-100 of a velocity that falls as 1/epoch.
    apart = 0.003 * 100 * (1 + 3 + 6) / 3 / 2 * MEAN
    assert value(found, "gn_fig4_cka_gn_sgd") == pytest.approx(apart)
    decay = np.sum(1 / np.arange(1, 26)) / np.sum(1 / np.arange(76, 101))
    assert value(found, "gn_fig4_velocity_decay") == pytest.approx(decay)


def test_cosines_of_long_runs_are_compared_at_epoch_100() -> None:
    rates = {"gn": 0.1, "adam": 1e-3, "sgd": 0.1}
    cases = [{"optimizer": o, "lr_code": r, "epochs": 100} for o, r in rates.items()]
    found = {"weights": weights.analyse({"mini_batch_hard": planted.runs(cases, 2)})}
    expected = np.mean((0.1 * SCALE) ** 10 - (0.05 * SCALE) ** 10)
    assert value(found, "gn_fig9_gn_adam_similar") == pytest.approx(expected, rel=1e-6)


def lost(data: xr.Dataset, optimizer: str, after: int = 2) -> xr.Dataset:
    """Data in which the run with seed 1 diverged after some epochs."""
    gone = (data["optimizer"] == optimizer) & (data["seed"] == 1) & (data["epoch"] > after)
    return data.assign({n: v.where(~gone) for n, v in data.data_vars.items() if "epoch" in v.dims})


def test_a_diverged_run_makes_numbers_unknown() -> None:
    data = planted.experiments()
    found = analysed({name: lost(part, "sgd") for name, part in data.items()})
    hit = {
        claim: value(found, claim)
        for claim in LAZINESS
        if claim.startswith(("gn_fig4_ntk", "gn_fig10", "gn_fig11", "gn_supp", "gn_fig9"))
    }
    unknown = {claim for claim, number in hit.items() if np.isnan(number)}
    assert unknown == {
        "gn_fig4_ntk_near_one",
        "gn_fig4_ntk_gap",
        "gn_fig9_sgd_double",
        "gn_fig9_sgd_highest",
        "gn_fig10_gn_sgd_near_one",
        "gn_fig11_sgd_closer",
        "gn_fig11_gn_sgd_near_one",
        "gn_supp_lazy_but_learning",
    }


@pytest.mark.parametrize("after", [0, -1])
def test_a_run_that_left_no_value_counts_as_run(after: int) -> None:
    """The velocity has no value at epoch 0: a run lost in epoch 1 leaves none at all."""
    data = planted.experiments()
    found = analysed({name: lost(part, "adam", after) for name, part in data.items()})
    assert found["laziness"]["ntk_velocity"].sel(optimizer="adam", seed=1).isnull().all()
    unknown = {claim for claim in LAZINESS if np.isnan(value(found, claim))}
    assert unknown == {
        "gn_fig4_ntk_adam",
        "gn_fig4_ntk_gap",
        "gn_fig4_velocity_ratio",
        "gn_fig4_velocity_decay",
        "gn_fig4_cka_adam_last",
        "gn_fig4_cka_gap",
        "gn_fig9_sgd_double",
        "gn_fig9_sgd_highest",
        "gn_fig9_gn_adam_similar",
        "gn_fig10_adam_depth",
        "gn_fig11_sgd_closer",
        "gn_fig11_gn_adam_depth",
        "gn_fig11_gn_adam_falls",
        "gn_supp_slow_adam_lazy",
    }


def test_a_pair_exists_with_the_seeds_of_both_optimizers() -> None:
    data = planted.experiments()["lazy_probe"]
    fewer = data.isel(run=~((data["optimizer"] == "sgd") & (data["seed"] == 2)))
    found = cross_cka.analyse({"lazy_probe": fewer})
    assert found["ran"].sel(optimizer="sgd").values.tolist() == [1, 1, 0]
    assert found["both_ran"].sel(pair="gn-adam").values.tolist() == [1, 1, 1]
    assert found["both_ran"].sel(pair="gn-sgd").values.tolist() == [1, 1, 0]
    assert measure(LAZINESS["gn_fig11_sgd_closer"], {"cross_cka": found}).seeds == 2


def test_a_seed_that_one_optimizer_lacks_is_left_out() -> None:
    data = planted.experiments()
    part = data["lazy_probe"]
    data["lazy_probe"] = part.isel(run=~((part["optimizer"] == "sgd") & (part["seed"] == 2)))
    found = measure(LAZINESS["gn_fig4_ntk_gap"], analysed(data))
    assert found.value == pytest.approx(4 * 0.036 * SCALE[:2].mean())
    assert found.seeds == 2
    assert measure(LAZINESS["gn_fig4_ntk_gn"], analysed(data)).seeds == 3


# --- Scales without runs, storage, figures -------------------------------------------------------


def drawn(results: dict[str, xr.Dataset], folder) -> None:
    for module in FIGURES:
        name = module.__name__.rsplit(".", 1)[-1]
        with style.applied():
            style.save(module.draw(results), folder / f"{name}.png")
        assert (folder / f"{name}.png").stat().st_size > 3000


def test_without_runs_all_is_unknown(tmp_path) -> None:
    found = analysed({})
    assert all(np.isnan(value(found, claim)) for claim in LAZINESS)
    drawn(found, tmp_path)


def test_short_runs_without_some_variables(tmp_path) -> None:
    data = planted.experiments(epochs=1, blocks=1, seeds=(0,))
    data["lazy_probe"] = data["lazy_probe"].drop_vars(["probe_gram", "ntk_velocity"])
    data["mini_batch_hard"] = data["mini_batch_hard"].drop_vars("weight_cosine")
    found = analysed(data)
    assert np.isnan(value(found, "gn_fig4_velocity_ratio"))
    assert np.isnan(value(found, "gn_fig9_sgd_double"))
    assert value(found, "gn_fig4_ntk_gn") == pytest.approx(1 - 0.001)
    drawn(found, tmp_path)


def test_results_are_stored_and_described(results, tmp_path) -> None:
    for name, data in results.items():
        for variable in data.variables.values():
            assert variable.attrs["long_name"]
            assert variable.attrs["units"] == "1"
        store.write_netcdf(tmp_path / f"{name}.nc", data, {"seeds": "[1, 1]"})
        xr.testing.assert_equal(store.read_netcdf(tmp_path / f"{name}.nc"), data)


def test_figures_show_every_optimizer(results, tmp_path) -> None:
    with style.applied():
        figure = fig4.draw(results)
        panels = [axes for axes in figure.axes if axes.get_title()]
        assert [len(axes.lines) for axes in panels] == [3] * 5
        last = panels[-1].lines[1]  # Adam
        assert last.get_ydata()[-1] == pytest.approx(EXPECTED["gn_fig4_cka_adam_last"])
    drawn(results, tmp_path)
