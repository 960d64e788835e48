"""Training of the study: what is recorded, against networks trained one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regimes.config import ConfigError
from regimes.data.corpus import analogy_accuracy
from regimes.ensemble.losses import LOSSES
from regimes.studies.second_order_mup import data_sets, networks, recorder, theory
from regimes.studies.second_order_mup.experiments import WIDEST, _start, train, widest
from regimes.studies.second_order_mup.settings import Train

BASE = {
    "data": "digits", "samples": 60, "model": "mlp", "width": 24, "base_width": 8,
    "activation": "tanh", "parameterization": "mup", "optimizer": "sgd", "lr": 0.1, "steps": 3,
    "batch_size": 20, "precision": "double", "seed": 0, "probe_samples": 16,
}  # fmt: skip
LAYERS = ("dh", "h_abs", "dWh", "input_change", "w_norm", *recorder.BATCH_VARIABLES)
ONE_STEP = {"steps": 1, "layers_at": "ends", "batch_size": None}
KFAC = {"optimizer": "kfac", "damping": 0.1}
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 1e-3},
    "adam": {"optimizer": "adam", "lr": 1e-3},
    "kfac": {**KFAC, "fisher": "mc", "ema": 0.3, "interval": 2},
    "kfac samples": {**KFAC, "fisher": "ggn", "batch_size": 5},
    "foof": {"optimizer": "foof", "fisher": "empirical", "lr": 0.01},
    "shampoo": {"optimizer": "shampoo", "damping_rule": "largest", "lr": 0.01},
    "shampoo ema": {"optimizer": "shampoo", "damping_rule": "largest", "lr": 0.01, "ema": 0.5},
    "layerwise_gn": {"optimizer": "layerwise_gn", "damping": 0.1},
}


def runs(*changes, **common):
    """Settings of some runs."""
    each = [BASE | common | change for change in changes]
    return [
        Train.model_validate(one if one["model"] == "mlp" else one | {"activation": "relu"})
        for one in each
    ]


def same_bits(one, other):
    """Whether two sets of runs are equal, settings aside, bit for bit."""
    assert set(one.variables) == set(other.variables)
    for name, values in one.variables.items():
        np.testing.assert_array_equal(values, other[name].values, err_msg=name)


def start_of(run):
    """Initial weights, w1 to wL."""
    start, _ = _start([run], networks.model_of(run), {"dtype": torch.float64, "device": "cpu"})
    return {name: value[0] for name, value in start.items()}


def samples_of(run):
    """Training inputs, one-hot targets minus 1 / C for squared losses, and test inputs."""
    data = data_sets.load(run.data)
    targets = np.eye(10)[data.label] - (0.1 if run.loss == "mse" else 0)
    used = [each[: run.used()] for each in (data.x, targets)]
    return [torch.from_numpy(each).flatten(1) for each in (*used, data.test_x)]


ACTIVATION = {"tanh": torch.tanh, "relu": torch.relu, "gelu": torch.nn.functional.gelu}


def passed(run, weights, x):
    """Inputs and outputs of every layer of a perceptron."""
    inputs, outputs = [], []
    for number, weight in enumerate(weights.values()):
        inputs.append(ACTIVATION[run.activation](outputs[-1]) if number else x)
        outputs.append(inputs[-1] @ weight)
    return inputs, outputs


def gradients(run, weights, x, targets):
    """Gradients of the loss, layer by layer, from autograd."""
    leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
    loss = LOSSES[run.loss].value(passed(run, leaves, x)[1][-1], targets)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


# --- Bits -----------------------------------------------------------------------------------------


def check_bits(some):
    """Runs in reverse order, and first and last run alone, give the same bits."""
    together = train(some)
    same_bits(together.isel(run=slice(None, None, -1)), train(some[::-1]))
    for place in (0, -1):
        same_bits(together.isel(run=[place]), train([some[place]]))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("width", [16, 24])  # a whole number of vectors, and not
def test_runs_do_not_depend_on_their_neighbours_or_order(name, precision, width):
    common = BASE | OPTIMIZERS[name] | {"precision": precision, "width": width}
    common |= {"evaluate_at": "ends", "layers_at": "ends"}
    some = runs(
        {"seed": 1},
        {"seed": 0, "lr": common["lr"] / 2},
        {"seed": 1, "parameterization": "sp", "weight_decay": 1e-3},
        {"seed": 2, "base_width": 4, "output_exponent": 0.75, "damping": 0.03},
        {"seed": 3, "output_multiplier": 0.5},
        **common,
    )
    check_bits(some)


IMAGES = {"width": 2, "samples": 40, "loss": "cross_entropy", "base_width": 1}
OTHERS = {
    "cnn": {"model": "cnn", **IMAGES},
    "resnet8": {"model": "resnet8", "data": "colour_motifs", "unit": 2, **IMAGES},
    "cbow": {"data": "made_text", "model": "cbow", "loss": "cross_entropy", "width": 6},
}


@pytest.mark.parametrize("model", OTHERS)
@pytest.mark.parametrize("name", ["kfac", "shampoo ema", "sgd"])
def test_runs_of_other_networks_do_not_depend_on_their_neighbours(model, name):
    common = BASE | OPTIMIZERS[name] | {"lr": 0.01, "precision": "single"} | OTHERS[model]
    common |= {"evaluate_at": "ends", "layers_at": "ends", "interval": 1, "steps": 2}
    check_bits(runs(*({"seed": seed} for seed in range(3)), **common))


def test_programs_of_other_shapes_keep_the_order_of_the_runs():
    mixed = runs({"width": 16}, {"width": 24}, {"width": 16, "seed": 1}, {"width": 8})
    found = train([*mixed, *runs({"optimizer": "kfac"})])
    for place, run in enumerate(mixed):
        same_bits(found[["batch_loss"]].isel(run=[place]), train([run])[["batch_loss"]])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_parameterizations_agree_at_the_base_width(name):
    some = [{"parameterization": p} for p in ("sp", "mup", "up") if (name, p) != ("adam", "up")]
    common = BASE | OPTIMIZERS[name] | {"base_width": 24, "layers_at": "ends"}
    found = train(runs(*some, **common))
    for place in range(1, len(some)):
        same_bits(found.isel(run=[place]), found.isel(run=[0]))


def test_for_kfac_the_uniform_parameterization_is_the_standard_one():
    for rule in ("rescaled", "heuristic"):
        common = {**KFAC, "damping_rule": rule, "layers_at": "ends", "evaluate_at": "ends"}
        found = train(runs({"parameterization": "up"}, {"parameterization": "sp"}, **common))
        same_bits(found.isel(run=[0]), found.isel(run=[1]))
    found = train(runs({"parameterization": "up"}, {"parameterization": "sp"}))
    assert (found["batch_loss"][0] != found["batch_loss"][1]).any()  # not so for SGD


def test_looking_does_not_change_the_training():
    plain = {**KFAC, "fisher": "mc", "ema": 0.3}
    watched = {"layers_at": "every 1", "factors": "always", "evaluate_at": "every 1"}
    watched["kernel_at"] = "ends"
    both = [train(runs({}, **plain, **more)) for more in ({}, watched)]
    np.testing.assert_array_equal(*(each["batch_loss"] for each in both))


def test_equal_seeds_see_equal_weights_and_batches_whatever_trains_them():
    first = [train(runs({"seed": s}, **OPTIMIZERS[n])) for s in (0, 1) for n in ("sgd", "kfac")]
    losses = [float(each["batch_loss"][0, 0]) for each in first]
    assert losses[0] == losses[1] != losses[2] == losses[3]


def test_a_batch_of_all_samples_is_the_full_batch():
    found = [train(runs({}, **KFAC, batch_size=size)) for size in (None, 60)]
    np.testing.assert_array_equal(*(each["batch_loss"] for each in found))


# --- Layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("parameterization", ["sp", "mup"])
def test_one_step_of_gradient_descent_is_that_of_autograd(loss, activation, parameterization):
    change = {"loss": loss, "activation": activation, "parameterization": parameterization}
    (run,) = runs(change, **ONE_STEP)
    found = train([run]).isel(run=0)
    x, targets, test_x = samples_of(run)
    weights, probe = start_of(run), test_x[:16]
    gradient = gradients(run, weights, x, targets)
    rates = dict(zip(weights, found["learning_rate"].values.tolist(), strict=True))
    ratio = 3.0  # width over base width
    powers = (1, 0, -1) if parameterization == "mup" else (0, 0, 0)
    np.testing.assert_allclose(list(rates.values()), [0.1 * ratio**p for p in powers])
    stepped = {name: value - rates[name] * gradient[name] for name, value in weights.items()}
    before, after = (passed(run, each, probe) for each in (weights, stepped))
    for place, name in enumerate(weights):
        at = found.isel(layer=place)
        h, u = before[0][place], before[1][place]
        own = rates[name] * (h @ gradient[name]).abs().mean()
        expected = {
            "dWh": own,
            "dh": (after[1][place] - u).abs().mean(),
            "h_abs": after[1][place].abs().mean(),
            "input_change": (after[0][place] - h).norm() / h.norm(),
            "w_norm": stepped[name].norm(),
        }
        for variable, value in expected.items():
            assert at[variable][1] == pytest.approx(float(value), rel=1e-10), (name, variable)
        assert at["h_abs"][0] == pytest.approx(float(u.abs().mean()), rel=1e-10)
        for variable in ("dh", "dWh", "input_change"):
            assert at[variable][0] == 0
        norm = float(gradient[name].norm())
        assert at["grad_norm"][0] == pytest.approx(norm, rel=1e-10)
        assert at["precond_grad_norm"][0] == pytest.approx(norm, rel=1e-10)
        # The step has this length in weights.
        moved = float((stepped[name] - weights[name]).norm())
        assert moved == pytest.approx(rates[name] * float(at["grad_norm"][0]))
        deviation = weights[name].square().mean().sqrt()
        assert at["weight_deviation"] == pytest.approx(float(deviation))
        assert at["role"] == place
    assert found["batch_loss"][0] == pytest.approx(
        float(LOSSES[loss].value(passed(run, weights, x)[1][-1], targets)), rel=1e-6
    )


def kfac_factors(run, weights, x, fisher_columns):
    """A and B of every layer from one backward pass per column, dense (N examples)."""
    leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
    inputs, outputs = passed(run, leaves, x)
    count = len(x)
    factors = []
    for h, u in zip(inputs, outputs, strict=True):
        columns = fisher_columns(outputs[-1].detach())
        b = sum(
            s.mT @ s
            for s in (
                torch.autograd.grad((outputs[-1] * columns[:, k]).sum(), u, retain_graph=True)[0]
                for k in range(columns.shape[1])
            )
        )
        factors.append((h.detach().mT @ h.detach() / count, b / count))
    return factors


def root_of_softmax_curvature(outputs):
    """Columns (N, K, C) with sum_k c_k c_k' = diag(p) - p p', by eigendecomposition."""
    p = outputs.softmax(1)
    values, vectors = torch.linalg.eigh(torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
    return (vectors * values.clamp_min(0).sqrt()[:, None, :]).mT


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("rule", ["rescaled", "heuristic", "largest", "absolute"])
@pytest.mark.parametrize("samples", [2, 8, 60])  # fewer than the width: other forms of the update
def test_one_step_of_kfac_is_that_of_dense_factors(loss, rule, samples):
    change = {**KFAC, "loss": loss, "damping_rule": rule, "samples": samples}
    (run,) = runs(change, **ONE_STEP)
    found = train([run]).isel(run=0)
    x, targets, test_x = samples_of(run)
    weights = start_of(run)
    gradient = gradients(run, weights, x, targets)
    eye = torch.eye(10, dtype=torch.float64)
    # Hessian of a mean of squares over 10 classes: 2 / 10.
    root = {
        "mse": lambda outputs: (0.2**0.5 * eye).expand(len(outputs), 10, 10),
        "cross_entropy": root_of_softmax_curvature,
    }[loss]
    factors = kfac_factors(run, weights, x, root)
    hidden = passed(run, weights, test_x[:16])[0]
    for place, name in enumerate(weights):
        at = found.isel(layer=place)
        rho = {}
        traces = [float(each.trace()) for each in factors[place]]
        pi = ((traces[0] / len(factors[place][0])) / (traces[1] / len(factors[place][1]))) ** 0.5
        for side, factor, trace in zip("AB", factors[place], traces, strict=True):
            largest = float(torch.linalg.eigvalsh(factor)[-1])
            rho[side] = {
                "rescaled": 0.1 * trace,
                "largest": 0.1 * largest,
                "absolute": 0.1,
                "heuristic": 0.1**0.5 * (pi if side == "A" else 1 / pi),
            }[rule]
            for variable, value in (("trace", trace), ("lambda_max", largest), ("rho", rho[side])):
                assert at[f"{variable}_{side}"][0] == pytest.approx(value, rel=1e-8)
        a, b = (
            factor + rho[side] * torch.eye(len(factor), dtype=torch.float64)
            for side, factor in zip("AB", factors[place], strict=True)
        )
        direction = torch.linalg.solve(a, gradient[name]) @ torch.linalg.inv(b)
        own = 0.1 * (hidden[place] @ direction).abs().mean()
        assert at["precond_grad_norm"][0] == pytest.approx(float(direction.norm()), rel=1e-7)
        assert at["dWh"][1] == pytest.approx(float(own), rel=1e-7)


@pytest.mark.parametrize("samples", [8, 60])
def test_one_step_of_shampoo_is_that_of_dense_roots(samples):
    change = {"optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-2}
    (run,) = runs(change | {"samples": samples, "parameterization": "sp"}, **ONE_STEP)
    found = train([run]).isel(run=0)
    x, targets, test_x = samples_of(run)
    weights = start_of(run)
    hidden = passed(run, weights, test_x[:16])[0]
    for place, (name, g) in enumerate(gradients(run, weights, x, targets).items()):
        roots = []
        largest = float(torch.linalg.svdvals(g)[0]) ** 2
        for product in (g @ g.mT, g.mT @ g):
            values, vectors = torch.linalg.eigh(product)
            powers = (values.clamp_min(0) + 1e-2 * largest) ** -0.25
            roots.append(vectors * powers @ vectors.mT)
        own = 0.1 * (hidden[place] @ roots[0] @ g @ roots[1]).abs().mean()
        at = found.isel(layer=place)
        assert at["dWh"][1] == pytest.approx(float(own), rel=1e-7), name
        for side in "AB":
            assert at[f"lambda_max_{side}"][0] == pytest.approx(largest)
            assert at[f"rho_{side}"][0] == pytest.approx(1e-2 * largest)
            assert at[f"trace_{side}"][0] == pytest.approx(float(g.square().sum()))


def test_foof_divides_by_the_inputs_alone():
    (run,) = runs({"optimizer": "foof", "damping": 0.1, "parameterization": "sp"}, **ONE_STEP)
    found = train([run]).isel(run=0)
    x, targets, test_x = samples_of(run)
    weights = start_of(run)
    gradient = gradients(run, weights, x, targets)
    inputs, hidden = (passed(run, weights, each)[0] for each in (x, test_x[:16]))
    for place, name in enumerate(weights):
        a = inputs[place].mT @ inputs[place] / len(x)
        a += 0.1 * a.trace() * torch.eye(len(a), dtype=torch.float64)
        own = 0.1 * (hidden[place] @ torch.linalg.solve(a, gradient[name])).abs().mean()
        assert found["dWh"][1, place] == pytest.approx(float(own), rel=1e-7)
    assert np.isnan(found[["trace_B", "lambda_max_B", "rho_B"]].to_array()).all()


def test_layerwise_gauss_newton_solves_for_all_weights_of_a_layer_at_once():
    (run,) = runs({"optimizer": "layerwise_gn", "damping": 0.1, "samples": 6}, **ONE_STEP)
    found = train([run]).isel(run=0)
    x, targets, test_x = samples_of(run)
    weights = start_of(run)
    gradient = gradients(run, weights, x, targets)
    hidden = passed(run, weights, test_x[:16])[0]
    for place, name in enumerate(weights):

        def outputs(weight, name=name):
            return passed(run, {**weights, name: weight}, x)[1][-1]

        jacobian = torch.autograd.functional.jacobian(outputs, weights[name]).flatten(2)
        rows = jacobian.flatten(0, 1) * 0.2**0.5  # root of the loss's Hessian
        kernel = rows @ rows.mT / len(x)
        matrix = rows.mT @ rows / len(x)
        matrix += 0.1 * kernel.trace() * torch.eye(len(matrix), dtype=torch.float64)
        direction = torch.linalg.solve(matrix, gradient[name].flatten()).view_as(gradient[name])
        at = found.isel(layer=place)
        assert at["trace_A"][0] == pytest.approx(float(kernel.trace()))
        assert at["lambda_max_A"][0] == pytest.approx(float(torch.linalg.eigvalsh(kernel)[-1]))
        assert at["rho_A"][0] == pytest.approx(0.1 * float(kernel.trace()))
        own = 0.1 * (hidden[place] @ direction).abs().mean()  # all exponents are zero
        assert at["dWh"][1] == pytest.approx(float(own), rel=1e-6)


@pytest.mark.parametrize("name", ["kfac", "sgd"])
def test_factors_are_observed_before_training_or_always(name):
    common = BASE | OPTIMIZERS[name] | {"layers_at": "every 1"}
    start, always = (train(runs({}, **common, factors=when)) for when in ("start", "always"))
    for variable in recorder.BATCH_VARIABLES:
        one, all_ = start[variable].isel(run=0), always[variable].isel(run=0)
        np.testing.assert_array_equal(one[0], all_[0], err_msg=variable)
        assert one[1:].isnull().all(), variable
        known = name == "kfac" or "grad_norm" in variable
        assert all_.notnull().all() if known else all_.isnull().all(), variable
    for variable in ("dh", "h_abs", "dWh", "input_change", "w_norm", "batch_loss"):
        np.testing.assert_array_equal(start[variable], always[variable])


def test_gradients_are_observed_on_the_first_batch_in_the_order_of_the_data():
    (run,) = runs({**KFAC, "layers_at": "ends", "steps": 1})
    x, targets, _ = samples_of(run)
    found, weights = train([run]).isel(run=0, layer_step=0), start_of(run)
    norms = [float(g.norm()) for g in gradients(run, weights, x[:20], targets[:20]).values()]
    np.testing.assert_allclose(found["grad_norm"], norms)
    inputs = passed(run, weights, x[:20])[0]
    np.testing.assert_allclose(found["trace_A"], [float(h.square().sum()) / 20 for h in inputs])


# --- Losses, accuracies, kernels ------------------------------------------------------------------


def test_losses_and_accuracies_are_those_of_all_samples():
    (run,) = runs({"samples": 600, "loss": "cross_entropy", "evaluate_at": "ends", "lr": 0.5})
    found = train([run]).isel(run=0)
    np.testing.assert_array_equal(found["step"], [0, 3])
    np.testing.assert_allclose(found["epoch"], [0, 0.1])
    data, weights = data_sets.load("digits"), start_of(run)
    x, targets, test_x = samples_of(run)
    test_targets = torch.from_numpy(np.eye(10)[data.test_label])
    for part, inputs, wanted in (("train", x, targets), ("test", test_x, test_targets)):
        outputs = passed(run, weights, inputs)[1][-1]
        loss = torch.nn.functional.cross_entropy(outputs, wanted.argmax(1))
        right = (outputs.argmax(1) == wanted.argmax(1)).double().mean()
        assert found[f"{part}_loss"][0] == pytest.approx(float(loss))
        assert found[f"{part}_accuracy"][0] == pytest.approx(float(right))
    few = train(runs({"samples": 600, "loss": "cross_entropy", "lr": 0.5},
                     evaluate_at="ends", evaluation_samples=50))  # fmt: skip
    outputs = passed(run, weights, x[:50])[1][-1]
    loss = torch.nn.functional.cross_entropy(outputs, targets[:50].argmax(1))
    assert few["train_loss"][0, 0] == pytest.approx(float(loss))
    np.testing.assert_array_equal(few["test_loss"][0], found["test_loss"])


TEXT = {
    "data": "made_text", "model": "cbow", "loss": "cross_entropy", "width": 6, "samples": 200,
    "evaluate_at": "ends", "lr": 0.05,
}  # fmt: skip


@pytest.mark.parametrize("optimizer", ["sgd", "kfac", "shampoo"])
def test_words_become_one_hot_targets(optimizer):
    rule = "largest" if optimizer == "shampoo" else "rescaled"
    change = {"optimizer": optimizer, "damping_rule": rule, "fisher": "mc"}
    (run,) = runs(change, **BASE | TEXT)
    found, data, weights = train([run]).isel(run=0), data_sets.load("made_text"), start_of(run)
    assert weights["w1"].std() == pytest.approx(1, abs=0.05)
    for part, x, label in (("train", data.x[:200], data.label[:200]),
                           ("test", data.test_x, data.test_label)):  # fmt: skip
        outputs = weights["w1"][torch.from_numpy(x)].sum(1) @ weights["w2"]
        loss = torch.nn.functional.cross_entropy(outputs, torch.from_numpy(label))
        right = (outputs.argmax(1).numpy() == label).mean()
        assert found[f"{part}_loss"][0] == pytest.approx(float(loss))
        assert found[f"{part}_accuracy"][0] == pytest.approx(right)
    answered = analogy_accuracy(weights["w1"].numpy(), data.analogies)
    assert found["analogy_accuracy"][0] == pytest.approx(float(answered))
    assert np.isfinite(found["batch_loss"]).all() and np.isfinite(found["train_loss"][1])


def test_text_is_learned():
    found = train(runs({}, **BASE | TEXT | {"steps": 30, "lr": 0.5, "base_width": 6}))
    assert found["train_loss"][0, 1] < 0.8 * found["train_loss"][0, 0]


@pytest.mark.parametrize("output_exponent", [0.5, 64])
def test_kernel_regression_is_that_of_the_theory(output_exponent):
    change = {"activation": "relu", "output_exponent": output_exponent, "base_width": 1}
    common = {"kernel_at": "every 1", "steps": 2}
    some = runs(change, change | {"seed": 1}, **common, **{"parameterization": "sp"})
    found, data = train(some), data_sets.load("digits")
    np.testing.assert_array_equal(found["ridge"], [1e-4, 1e-3, 1e-2])
    for place, run in enumerate(some):
        x, targets, test_x = (each.numpy() for each in samples_of(run))
        weights = start_of(run)
        initial = passed(run, weights, torch.from_numpy(test_x))[1][-1].numpy()
        features = [passed(run, weights, torch.from_numpy(each))[0][-1].numpy()
                    for each in (x, test_x)]  # fmt: skip
        kernels = {
            "nngp": (theory.nngp_kernel(x), theory.nngp_kernel(test_x, x)),
            # The scale of a kernel does not matter: ridges are relative to its trace.
            "kernel": tuple(each @ features[0].T for each in features),
        }
        for name, (own, cross) in kernels.items():
            for at, ridge in enumerate((1e-4, 1e-3, 1e-2)):
                shift = ridge * np.trace(own) * np.eye(len(own))
                outputs = cross @ np.linalg.solve(own + shift, targets)
                right = (outputs.argmax(1) == data.test_label).mean()
                one = found.isel(run=place, ridge=at)
                assert one[f"{name}_accuracy"] == pytest.approx(right)
                gap = np.linalg.norm(initial - outputs) / np.linalg.norm(outputs)
                assert one[f"{name}_distance"][0] == pytest.approx(gap, rel=1e-6)
    assert 0.5 < found["nngp_accuracy"].min()
    if output_exponent == 64:  # nothing at first
        np.testing.assert_allclose(found["nngp_distance"].isel(kernel_step=0), 1)
        assert (found["nngp_distance"].isel(kernel_step=2) != 1).all()


def test_the_infinite_width_kernel_is_for_relu_perceptrons_only():
    common = {"kernel_at": "ends", "steps": 1, "samples": 20}
    assert "nngp_accuracy" not in train(runs({"activation": "tanh"}, **common))
    found = train(runs({"model": "cnn", "width": 2, "activation": "relu"}, **common))
    assert "nngp_accuracy" not in found and "kernel_accuracy" in found


# --- Divergence, attributes, refusals -------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "kfac"])
def test_a_divergent_run_is_flagged_and_unknown_afterwards(optimizer):
    more = {**OPTIMIZERS[optimizer], "activation": "relu", "steps": 45, "momentum": 0.0}
    more |= {"evaluate_at": "every 1", "layers_at": "every 1", "kernel_at": "every 1"}
    more |= {"factors": "always"}
    # The lost run leaves the program, which needs two at least.
    fine, lost, other = runs({"lr": 0.01}, {"lr": 1e4}, {"lr": 0.01, "damping": 0.3}, **more)
    found = train([lost, fine, other])
    at = int(found["diverged_at"][0])
    assert 0 < at < 45 and found["diverged_at"][1] == -1
    one = found.isel(run=0)
    assert np.isfinite(one["batch_loss"][:at]).all() and one["batch_loss"][at:].isnull().all()
    for name in ("train_loss", "test_accuracy"):
        assert one[name].sel(step=slice(at + 1, None)).isnull().all()
        assert np.isfinite(one[name].sel(step=0))
    for name in ("dh", "dWh", "input_change", "w_norm"):
        assert one[name].sel(layer_step=slice(at + 1, None)).isnull().all()
    assert one["nngp_distance"].sel(kernel_step=slice(at + 1, None)).isnull().all()
    assert np.isfinite(one[["kernel_accuracy", "learning_rate", "epoch"]].to_array()).all()
    for place, run in ((1, fine), (2, other)):
        same_bits(found.isel(run=[place]), train([run]))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_that_is_stored_has_a_name_and_a_unit(name):
    observed = {"evaluate_at": "ends", "layers_at": "ends", "kernel_at": "ends"}
    found = train(runs({"seed": 1}, **BASE | OPTIMIZERS[name] | observed | {"activation": "relu"}))
    assert set(found.data_vars) == set(recorder.VARIABLES) - {"analogy_accuracy"}
    for variable, values in found.variables.items():
        assert values.attrs["long_name"] and values.attrs["units"] == "1", variable
        if variable in recorder.VARIABLES:
            assert values.dims == ("run", *recorder.VARIABLES[variable][0])
    nothing = {"sgd": "AB", "adam": "AB", "foof": "B", "layerwise_gn": "B"}.get(name, "")
    for side in "AB":
        for kind in ("trace", "lambda_max", "rho"):
            values = found[f"{kind}_{side}"].isel(layer_step=0)
            assert values.isnull().all() if side in nothing else (values > 0).all()


def test_nothing_is_observed_where_nothing_is_asked_for():
    found = train(runs({}))
    constant = {"learning_rate", "weight_deviation", "role"}
    assert set(found.data_vars) == {"diverged_at", "batch_loss", *constant}


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("cnn", {"width": 2}),
        ("myrtle5", {"width": 3}),
        ("resnet8", {"width": 1, "unit": 2, "data": "colour_motifs"}),
    ],
)
@pytest.mark.parametrize("name", ["kfac", "shampoo"])
def test_images_are_learned(model, more, name):
    change = {**OPTIMIZERS[name], "loss": "cross_entropy", "lr": 0.01, "interval": 1}
    change |= {"model": model, "samples": 40, "steps": 12, "evaluate_at": "ends", **more}
    found = train(runs(change | {"batch_size": None, "base_width": 1}))
    assert found["train_loss"][0, 1] < found["train_loss"][0, 0]
    assert found.sizes["layer"] == len(networks.model_of(runs(change)[0]).layers)


def test_what_cannot_run_is_refused_in_its_job():
    with pytest.raises(ConfigError, match="data: no train images of MNIST .*smoke or laptop"):
        train(runs({"data": "mnist"}))
    with pytest.raises(ConfigError, match="model: vgg19 of width 24 on digits"):
        train(runs({"model": "vgg19"}))


def test_programs_fit_into_memory():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    small, large = runs({}, {"width": 16_384, "optimizer": "kfac", "batch_size": None})
    assert [widest(small, device) for device in (cpu, cuda)] == [WIDEST["cpu"], WIDEST["cuda"]]
    assert widest(large, cpu) == 2
    averaged, plain = runs({"optimizer": "kfac", "ema": 0.3}, {"optimizer": "sgd"}, width=1024)
    assert 2 <= widest(averaged, cpu) < widest(plain, cpu)
