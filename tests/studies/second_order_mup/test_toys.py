"""Rewritings and steps from zero output weights against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError

from regimes.data.streams import numpy_stream
from regimes.studies.second_order_mup import rewritings, theory, zero_output_step
from regimes.studies.second_order_mup.toy_experiments import TOY_TRAIN
from regimes.studies.second_order_mup.toy_settings import Exponents, ZeroOutputStep

ALGEBRA = {"width": 12, "samples": 5, "outputs": 2, "pairs": 7}
STEP = {
    "width": 24,
    "samples": 10,
    "test_samples": 12,
    "smallest_ridge": 1e-3,
    "largest_ridge": 1e-1,
    "ridges": 2,
}


@pytest.fixture(scope="module")
def steps():
    return TOY_TRAIN["nngp"]([ZeroOutputStep(seed=seed, **STEP) for seed in range(3)])


# --- Rewritings -----------------------------------------------------------------------------------


def test_rewritings_hold_to_rounding():
    runs = [Exponents(seed=0, damping=d, **ALGEBRA) for d in (1e-3, 1.0)]
    found = TOY_TRAIN["exponents"](runs)["rewriting_error"]
    assert found.dims == ("run", "rewriting")
    assert tuple(found["rewriting"].values) == rewritings.REWRITINGS
    assert float(found.max()) < 1e-10
    assert float(found.min()) >= 0


@pytest.mark.parametrize("spoilt", ["inputs", "signals"])
def test_a_wrong_operand_is_seen(spoilt, monkeypatch):
    """Errors compare two computations: one that sees other numbers is far off."""
    original = rewritings.kronecker.sample_direction

    def other(inputs, slopes, signals, *more):
        given = {"inputs": inputs, "signals": signals}
        given[spoilt] = 1.01 * given[spoilt]
        return original(given["inputs"], slopes, given["signals"], *more)

    monkeypatch.setattr(rewritings.kronecker, "sample_direction", other)
    run = [Exponents(seed=0, damping=0.1, **ALGEBRA)]
    found = TOY_TRAIN["exponents"](run)["rewriting_error"].isel(run=0)
    assert float(found.sel(rewriting="push_through")) > 1e-3
    assert float(found.sel(rewriting="thin_svd")) < 1e-10


def test_dense_gauss_newton_is_a_least_squares_solution():
    random = np.random.default_rng(0)
    jacobian, coefficients = random.standard_normal((6, 9)), random.standard_normal(6)
    given = (torch.from_numpy(array[None]) for array in (jacobian, coefficients))
    rho = torch.tensor([0.2], dtype=torch.float64)
    found = rewritings.dense_gauss_newton(*given, 3, rho)
    # Minimum of |J v - c|^2 / N + rho |v|^2, by stacking rows.
    rows = np.vstack([jacobian / np.sqrt(3), np.sqrt(0.2) * np.eye(9)])
    target = np.concatenate([coefficients / np.sqrt(3), np.zeros(9)])
    wanted = np.linalg.lstsq(rows, target, rcond=None)[0]
    np.testing.assert_allclose(found[0], wanted, rtol=1e-10)


def test_powers_depend_on_the_seed_only():
    runs = [Exponents(seed=s, damping=d, **ALGEBRA) for s in (0, 1) for d in (0.1, 1.0)]
    found = TOY_TRAIN["exponents"](runs)
    drawn = found["power_inputs"].values
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


# --- Step from zero output weights ----------------------------------------------------------------


def plain(run):
    """Residuals and gap of a run in plain numpy, from the first ridge."""
    x, y = zero_output_step.parity_digits(run)
    weights = [
        numpy_stream(run.seed, "initial", name).standard_normal(shape) / np.sqrt(shape[0])
        for name, shape in (("w1", (64, run.width)), ("w2", (run.width, run.width)))
    ]
    h = np.maximum(np.maximum(x @ weights[0], 0) @ weights[1], 0)
    n, rho = run.samples, run.smallest_ridge
    train, test, target = h[:n], h[n:], y[:n]
    factor = train.T @ train / n
    last = np.linalg.solve(factor + rho * run.width * np.eye(run.width), train.T @ target / n)
    along = train @ (train.T @ target)
    sgd = target - along * (target * along).sum() / (along**2).sum()
    wide = theory.nngp_kernel(x, x[:n])
    kernel = theory.ridge_predictor(wide[:n], wide[n:], target, n * rho, relative=False)
    size = np.linalg.norm(target)
    return {
        "kfac": np.linalg.norm(train @ last - target) / size,
        "sgd": np.linalg.norm(sgd) / size,
        "gap": np.linalg.norm(test @ last - kernel) / np.linalg.norm(kernel),
        "accuracy": np.mean(np.sign(test @ last) == np.sign(y[n:])),
    }


@pytest.mark.parametrize("seed", [0, 2])
def test_step_is_that_of_plain_numpy(steps, seed):
    wanted = plain(ZeroOutputStep(seed=seed, **STEP))
    found = steps.isel(run=seed, ridge=0)
    residual = found["train_residual"]
    assert float(residual.sel(optimizer="kfac")) == pytest.approx(wanted["kfac"], rel=1e-8)
    assert float(residual.sel(optimizer="sgd")) == pytest.approx(wanted["sgd"], rel=1e-8)
    assert float(found["nngp_gap"]) == pytest.approx(wanted["gap"], rel=1e-8)
    assert float(found["test_accuracy"].sel(optimizer="kfac")) == wanted["accuracy"]


def test_shampoo_with_one_output_goes_along_the_gradient(steps):
    residual = steps["train_residual"]
    xr.testing.assert_allclose(
        residual.sel(optimizer="shampoo", drop=True), residual.sel(optimizer="sgd", drop=True)
    )


def test_so_supp_nngp_identity(steps):
    assert float(steps["kernel_gap"].max()) < 1e-10
    assert float(steps["nngp_gap"].min()) > 0.05  # at this width the two kernels do differ


def test_so_supp_nngp_recursion(steps):
    np.testing.assert_allclose(steps["recursion_ratio"], 0.5, rtol=1e-7)
    assert steps.sizes["layer"] == 2


def test_so_supp_nngp_hidden_frozen(steps):
    assert float(steps["hidden_change"].max()) == 0
    assert bool(steps["hidden_change"].notnull().all())


def test_changes_below_the_output_layer_are_seen():
    model = zero_output_step.TapedMLP(4, 3, classes=1)
    before = {name: torch.zeros(2, *shape) for name, shape in model.shapes().items()}
    after = {name: value.clone() for name, value in before.items()}
    after["w3"] += 5  # the output layer does not count
    after["w2"][0, 1, 1] = -0.25
    after["w1"][1, 0, 0] = torch.nan
    found = zero_output_step._largest_change(model, before, after)
    np.testing.assert_array_equal(found, [0.25, np.inf])


def test_best_steps_are_best(steps):
    """Neither a longer nor a shorter step of SGD fits better."""
    runs = [ZeroOutputStep(seed=seed, **STEP) for seed in range(2)]
    of = zero_output_step.problem(runs)
    ridge = torch.full((2,), 1e-3, dtype=torch.float64)
    x, y = of.x[:, : of.samples], of.y[:, : of.samples]
    after, eta = zero_output_step._moved("sgd", of.model, of.params, x, y, ridge)
    for factor in (0.9, 1.1):
        other = after | {"w3": factor * after["w3"]}
        residual = (of.model.run(other, x)[0] - y).flatten(1).norm(dim=1)
        size = y.flatten(1).norm(dim=1)
        best = steps["train_residual"].sel(optimizer="sgd").isel(ridge=0, run=[0, 1]).values
        assert bool(((residual / size).numpy() > best).all())
    assert bool((eta > 0).all())


def test_a_run_does_not_depend_on_its_neighbours(steps):
    alone = TOY_TRAIN["nngp"]([ZeroOutputStep(seed=2, **STEP)])
    xr.testing.assert_identical(alone, steps.isel(run=[2]))


def test_seeds_take_other_samples():
    runs = [ZeroOutputStep(seed=seed, **STEP) for seed in (0, 1)]
    first, second = (zero_output_step.parity_digits(run)[0] for run in runs)
    assert first.shape == (22, 64)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"largest_ridge": 1e-4}, "largest_ridge"),
        ({"samples": 1700, "test_samples": 200}, "1797"),
        ({"depth": 1}, "depth"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(changed, match):
    with pytest.raises(ValidationError, match=match):
        ZeroOutputStep(seed=0, **STEP | changed)
