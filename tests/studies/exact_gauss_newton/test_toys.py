"""Toys against dense computations by other routes; identities of the update in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from regimes import store
from regimes.config import ConfigError
from regimes.data.streams import numpy_stream
from regimes.jobs import with_hyperparameters
from regimes.nn.revmlp import RevMLP
from regimes.optim.gauss_newton import direction
from regimes.optim.pseudo_inverse import Rule
from regimes.studies.exact_gauss_newton import data_sets, toy_experiments
from regimes.studies.exact_gauss_newton.toy_experiments import TOY_TRAIN, jacobian, singular_values
from regimes.studies.exact_gauss_newton.toy_settings import TOY_KINDS

TOY = {"inputs": 8, "blocks": 3, "width": 40, "samples": 6, "activation": "tanh"}
SMALL = {"inputs": 4, "blocks": 2, "width": 9, "samples": 3, "activation": "tanh"}
EXAMPLES = {
    "identities": SMALL | {"weight_std": 0.3, "step_sizes": 3},
    "flow": SMALL | {"weight_std": 0.3, "alpha": 0.25},
    "rank": {
        "data": "gaussian", "inputs": 6, "samples": 20, "width": 30, "activation": "linear",
        "rtol": 1e-9,
    },
    "counts": {"inputs": 6, "blocks": 2, "width": 11},
}  # fmt: skip
EXACT = Rule(rtol=0.0, atol=0.0, route="svd")


def trained(kind, *changes, seeds=None):
    seeds = seeds or [0] * len(changes)
    runs = [
        TOY_KINDS[kind].model_validate(EXAMPLES[kind] | change | {"seed": seed})
        for change, seed in zip(changes, seeds, strict=True)
    ]
    return with_hyperparameters(TOY_TRAIN[kind](runs), kind, runs)


# --- All kinds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXAMPLES)
def test_runs_can_be_stored_and_do_not_depend_on_their_neighbours(kind, tmp_path):
    other = {
        "identities": {"activation": "relu"},
        "flow": {"alpha": 0.5},
        "rank": {"samples": 12},
        "counts": {"inputs": 8},
    }[kind]
    both = trained(kind, other, {}, {}, other, seeds=[3, 4, 5, 6])
    store.write_netcdf(tmp_path / "runs.nc", both, {})
    back = store.read_netcdf(tmp_path / "runs.nc")
    assert list(back["seed"].values) == [3, 4, 5, 6]
    for place, change in ((1, {}), (3, other)):
        alone = trained(kind, change, seeds=[int(both["seed"][place])]).isel(run=0)
        for name, wanted in alone.data_vars.items():
            found = both[name].isel(run=place)
            for dim in wanted.dims:
                found = found.sel({dim: wanted[dim]})
            np.testing.assert_array_equal(found.values, wanted.values, err_msg=name)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("identities", {"inputs": 5}, "multiple of 2"),
        ("identities", {"samples": 10}, "samples <= width"),
        ("identities", {"largest_step": 1e-6}, "larger than smallest_step"),
        ("flow", {"alpha": 0.3}, "a multiple of alpha"),
        ("flow", {"activation": "linear"}, "tanh"),
        ("rank", {"inputs": None}, "needed for Gaussian data"),
        ("rank", {"data": "digits"}, "known for all others"),
    ],
)
def test_wrong_settings_are_refused(kind, change, message):
    with pytest.raises(ValidationError, match=message):
        TOY_KINDS[kind].model_validate(EXAMPLES[kind] | change | {"seed": 0})


# --- The update -----------------------------------------------------------------------------------


def toy(activation, seed, blocks=3):
    """One network of the claims, without a leading axis, drawn here rather than by the toys."""
    model = RevMLP(8, blocks, 40, None, activation, first_block_linear=False)
    random = np.random.default_rng(seed)
    weights = model.initial(lambda name: random, 0.3)
    arrays = weights | model.frozen(lambda name: random, 1.0)
    params = {name: torch.from_numpy(value) for name, value in arrays.items()}
    x, error = torch.from_numpy(random.standard_normal((2, 6, 8)))
    return model, params, x, error


def dense_jacobian(model, params, x):
    """Jacobian (n d, P) of one network in forward mode."""
    trainable = {name: params[name] for name in model.shapes()}

    def output(given):
        return model.run(params | given, x).output

    by_name = torch.func.jacfwd(output)(trainable)
    return torch.cat([by_name[name].reshape(x.numel(), -1) for name in trainable], 1).numpy()


def flat(model, update):
    return np.concatenate([update[name].numpy().ravel() for name in model.shapes()])


def updated(activation, seed, **options):
    """Jacobian, update and wanted change of one toy."""
    model, params, x, error = toy(activation, seed)
    update, _ = direction(model, params, model.run(params, x), error, EXACT, **options)
    return dense_jacobian(model, params, x), flat(model, update) / 3, error.numpy().ravel()


def relative(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


@pytest.mark.parametrize("seed", range(3))
def test_gn_supp_right_inverse_tanh(seed):
    dense, update, error = updated("tanh", seed)
    assert relative(dense @ update, error) < 1e-11


@pytest.mark.parametrize("seed", range(3))
def test_gn_supp_right_inverse_relu(seed):
    dense, update, error = updated("relu", seed)
    assert relative(dense @ update, error) < 1e-8


def test_gn_supp_block_moore_penrose():
    dense, update, error = updated("tanh", 0)
    for own, part in zip(np.split(dense, 3, 1), np.split(3 * update, 3), strict=True):
        assert relative(part, np.linalg.lstsq(own, error)[0]) < 1e-10


def test_gn_supp_not_minimum_norm():
    dense, update, error = updated("tanh", 0)
    smallest = np.linalg.lstsq(dense, error)[0]
    assert np.linalg.norm(update) > 2 * np.linalg.norm(smallest)


def test_gn_supp_uncorrected_fails():
    dense, update, error = updated("tanh", 0, cross_term=False)
    assert relative(dense @ update, error) > 1


def test_one_block_needs_no_division_and_the_stack_of_three_does():
    dense, update, error = updated("tanh", 1)
    assert relative(dense @ (3 * update), 3 * error) < 1e-11
    model, params, x, error = toy("tanh", 1, blocks=1)
    alone, _ = direction(model, params, model.run(params, x), error, EXACT)
    moved = dense_jacobian(model, params, x) @ flat(model, alone)
    assert relative(moved, error.numpy().ravel()) < 1e-11


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_batched_jacobian_is_that_of_each_network(activation):
    model, *_ = toy(activation, 0)
    drawn = [toy(activation, seed) for seed in (1, 2, 3)]
    params = {name: torch.stack([one[1][name] for one in drawn]) for name in drawn[0][1]}
    found = jacobian(model, params, torch.stack([one[2] for one in drawn])).numpy()
    for one, (_, own, x, _) in zip(found, drawn, strict=True):
        np.testing.assert_allclose(one, dense_jacobian(model, own, x), atol=1e-12, rtol=1e-9)


def test_dense_jacobian_is_that_of_finite_differences():
    model, params, x, _ = toy("tanh", 0)
    dense, start, step = dense_jacobian(model, params, x), model.run(params, x).output, 1e-6
    for column, name in ((5, "w1f"), (dense.shape[1] - 1, "b3g")):
        moved = {name: params[name].clone()}
        moved[name].view(-1)[5 if name == "w1f" else -1] += step
        slope = (model.run(params | moved, x).output - start) / step
        np.testing.assert_allclose(dense[:, column], slope.ravel(), atol=1e-4)


# --- What the toys store --------------------------------------------------------------------------


def test_identities_hold_in_every_draw():
    runs = trained("identities", *[TOY] * 4, seeds=[0, 1, 2, 3])
    assert runs["residual"].max() < 1e-11
    assert runs["minimum_norm_residual"].max() < 1e-11
    assert runs["block_error"].max() < 1e-10
    assert runs["residual_uncorrected"].min() > 0.1
    # The pseudo-inverse has the smallest norm of all right inverses.
    assert runs["norm_ratio"].min() > 1
    assert runs["round_trip"].max() < 1e-12
    assert runs["residual"].to_series().nunique() == 4


def test_stored_numbers_are_those_of_a_single_network():
    """The draw of seed 7, by numpy's least squares and a network of its own."""
    run = trained("identities", TOY, seeds=[7]).isel(run=0)
    model = RevMLP(8, 3, 40, None, "tanh", first_block_linear=False)

    def stream(name):
        return numpy_stream(7, "toy", name)

    params = {
        name: torch.from_numpy(value)
        for name, value in (model.initial(stream, 0.3) | model.frozen(stream, 1.0)).items()
    }
    x, error = (torch.from_numpy(stream(n).standard_normal((6, 8))) for n in ("x", "error"))
    dense = dense_jacobian(model, params, x)
    update, _ = direction(model, params, model.run(params, x), error, EXACT)
    smallest = np.linalg.lstsq(dense, error.numpy().ravel())[0]
    ratio = np.linalg.norm(flat(model, update) / 3) / np.linalg.norm(smallest)
    assert float(run["norm_ratio"]) == pytest.approx(ratio, rel=1e-8)

    def after(step):
        vectors = np.split(step, np.cumsum([params[n].numel() for n in model.shapes()])[:-1])
        moved = {
            name: params[name] - torch.from_numpy(part.reshape(params[name].shape))
            for name, part in zip(model.shapes(), vectors, strict=True)
        }
        return model.run(params | moved, x).output.numpy()

    gap = after(1e-3 * flat(model, update) / 3) - after(1e-3 * smallest)
    assert float(run["output_difference"].isel(alpha=-1)) == pytest.approx(
        np.linalg.norm(gap), rel=1e-6
    )
    assert run["alpha"].values[[0, -1]] == pytest.approx([1e-5, 1e-3])


def test_gn_supp_same_first_order():
    runs = trained("identities", *[TOY | {"step_sizes": 9}] * 3, seeds=[0, 1, 2])
    slopes = np.polyfit(np.log(runs["alpha"]), np.log(runs["output_difference"].values.T), 1)[0]
    assert np.abs(slopes - 2).max() < 0.05


def test_without_the_cross_term_outputs_would_differ_at_first_order(monkeypatch):
    """The slope tells a right inverse from another update."""
    right = toy_experiments.direction
    monkeypatch.setattr(
        toy_experiments, "direction", lambda *args, **_: right(*args, cross_term=False)
    )
    run = trained("identities", TOY, seeds=[0]).isel(run=0)
    slope = np.polyfit(np.log(run["alpha"]), np.log(run["output_difference"].values), 1)[0]
    assert slope == pytest.approx(1, abs=0.1)
    assert run["residual"] > 0.1


def test_squared_loss_follows_the_flow():
    rates = (0.1, 0.01)
    runs = trained("flow", *[TOY | {"weight_std": 1e-3, "alpha": a} for a in rates for _ in "123"],
                   seeds=[0, 1, 2] * 2)  # fmt: skip
    ratio = runs["loss"] / runs["loss"].isel(step=0)
    coarse, fine = (
        np.median(np.abs(ratio.isel(run=part, step=last) - math.exp(-2)))
        for part, last in ((slice(0, 3), 10), (slice(3, 6), 100))
    )
    assert fine < 0.01
    assert fine < coarse / 3
    assert np.isnan(runs["loss"].isel(run=0, step=11))
    # At the start the network is nearly the identity: the loss is mean (x - y)^2.
    x, target = (numpy_stream(1, "toy", n).standard_normal((6, 8)) for n in ("x", "target"))
    assert float(runs["loss"][1, 0]) == pytest.approx(((x - target) ** 2).mean(), rel=0.01)


def test_flow_takes_steps_of_alpha_over_the_number_of_blocks():
    """A small step lowers the loss by the factor (1 - alpha)^2."""
    run = trained("flow", TOY | {"alpha": 1e-4, "end": 1e-4, "weight_std": 1e-3}, seeds=[5])
    before, after = run["loss"].values[0]
    assert after / before == pytest.approx((1 - 1e-4) ** 2, abs=1e-7)


# --- Ranks and sizes ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 30), (12, 12), (9, 4)])
def test_singular_values_are_those_of_numpy(shape):
    matrix = np.random.default_rng(0).normal(size=shape) * np.geomspace(1, 1e-9, shape[1])
    found = singular_values(torch.from_numpy(matrix))
    wanted = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-15)


def test_gn_supp_linear_block_rank():
    runs = trained("rank", {}, {"samples": 40, "inputs": 20, "width": 50}, seeds=[0, 1])
    assert runs["rank"].values.tolist() == [4, 11]
    assert runs["half_inputs"].values.tolist() == [3, 10]


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_features_of_digits_are_those_of_a_plain_computation(activation):
    change = {"data": "digits", "inputs": None, "samples": 50, "width": 80, "rtol": 1e-2}
    run = trained("rank", change | {"activation": activation}, seeds=[2]).isel(run=0)
    second = data_sets.load("digits").x[:50, 32:]
    features = second @ numpy_stream(2, "c1f").standard_normal((32, 80)) / math.sqrt(80)
    if activation == "relu":
        features = np.maximum(features, 0)
    wanted = np.linalg.svd(np.column_stack([features, np.ones(50)]), compute_uv=False)
    np.testing.assert_allclose(run["singular_value"], wanted, rtol=1e-9, atol=1e-12)
    assert run["rank"] == (wanted >= 0.01 * wanted[0]).sum()
    assert run["half_inputs"] == 32


def test_missing_images_are_named():
    with pytest.raises(ConfigError, match="data: no train images of MNIST .*smoke or laptop"):
        trained("rank", {"data": "mnist", "inputs": None})


def test_more_samples_than_there_are_is_an_error():
    with pytest.raises(ConfigError, match="1437 training samples"):
        trained("rank", {"data": "digits", "inputs": None, "samples": 1438})


def test_gn_supp_parameters_are_counted_from_shapes_alone():
    mnist = {"inputs": 784, "blocks": 2, "width": 8000}
    cifar = {"inputs": 3072, "blocks": 6, "width": 8000}
    found = trained("counts", mnist, cifar, {"width": None})["parameters"]
    assert found.values.tolist() == [12_545_568, 147_474_432, 2 * 2 * (3 * 3 + 3)]
