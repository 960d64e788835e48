"""Second-order updates in the engine against a plain numpy loop over steps and layers."""

import numpy as np
import pytest
import torch

from regimes.data.samples import WholeSet
from regimes.ensemble import engine
from regimes.ensemble.preconditioned import METHODS, Preconditioner, preconditioned
from regimes.ensemble.recorded import RecordedNetwork, statistic
from regimes.ensemble.updates import UPDATES
from regimes.nn.taped.layers import Layer
from regimes.optim.noise import NOISE_SEED
from tests.ensemble.test_recorded import batch as drawn_batch
from tests.ensemble.test_recorded import begun, models
from tests.optim.test_shampoo import fourth_root

F64 = torch.float64
STEPS = 4


class Problem:
    """A model, its batch, and how it is trained."""

    def __init__(self, name="mlp", runs=2, method="kfac", kind="ggn", steps=STEPS, **how):
        self.model = models()[name]
        self.params, self.frozen = begun(self.model, runs)
        self.x, self.targets = (each[0] for each in drawn_batch(self.model))
        self.method, self.kind, self.steps, self.runs = method, kind, steps, runs
        self.preconditioner = Preconditioner(self.model.layers, method, **how)

    def network(self):
        """Network with the statistics that the method needs."""
        kind = None if self.method == "shampoo" else self.kind
        thin = self.method == "shampoo" and not self.preconditioner.remembers
        return RecordedNetwork(self.model, "mse", kind, thin, self.preconditioner.interval)

    def hyper(self, damping=0.05, rate=0.1, **more):
        """Hyperparameters of all runs."""
        values = {"damping": damping, "weight_decay": 0.0, "momentum": 0.0, **more}
        return rate, {n: torch.full((self.runs,), v, dtype=F64) for n, v in values.items()}

    def trained(self, step="sgd", dtype=F64, params=None, frozen=None, **hyper):
        """Parameters after the steps, (R, ...) per name, and the losses."""
        params = self.params if params is None else params
        frozen = self.frozen if frozen is None else frozen
        params = {n: v.to(dtype) for n, v in params.items()}
        runs = len(frozen[NOISE_SEED])
        rate, more = self.hyper(**hyper)
        more = {n: v[:1].expand(runs).to(dtype) for n, v in more.items()}
        each, one = torch.arange(runs), torch.ones(runs, dtype=dtype)
        given = engine.Runs(params, each, each, one, rate * one, more, False, frozen)
        look = engine.Observation((self.steps,), lambda state: dict(state.params))
        x = self.x if self.x.dtype == torch.int64 else self.x.to(dtype)
        found = engine.train(
            self.network(),
            preconditioned(self.preconditioner, UPDATES[step]),
            WholeSet(x, self.targets.to(dtype), self.steps),
            given,
            [look],
        )
        return {n: v[:, 0] for n, v in found.observed[0].items()}, found.loss

    def statistics(self, params, network, run=0):
        """Gradient and statistics of one run at given parameters, numpy."""
        given = {n: torch.from_numpy(v)[None] for n, v in params.items()}
        given[NOISE_SEED] = self.frozen[NOISE_SEED][run : run + 1]
        found = network.loss_and_gradient(given, self.x[None], self.targets[None], None, None)[1]
        return {n: v[0].numpy() for n, v in found.items()}


@pytest.mark.parametrize("kind", ["ggn", "mc", "empirical"])
@pytest.mark.parametrize("method", ["kfac", "foof"])
@pytest.mark.parametrize(("ema", "interval"), [(1.0, 1), (0.3, 1), (0.3, 2), (1.0, 3)])
def test_kfac_and_foof_are_the_algorithm(method, kind, ema, interval):
    problem = Problem(method=method, kind=kind, ema=ema, interval=interval)
    found, _ = problem.trained(damping=0.05, rate=0.1)
    params = {n: v[0].numpy().copy() for n, v in problem.params.items()}
    every = problem.network()
    kept = {}
    for step in range(STEPS):
        here = problem.statistics(params, every)
        for name in problem.model.layers:
            if step % interval == 0:
                rows, signals = here[f"{name}/inputs"], here[f"{name}/signals"]
                new = [rows.T @ rows / len(rows), signals.T @ signals / len(rows)]
                old = kept.get(name, (None, new))[1]
                mean = [(1 - ema) * o + ema * n for o, n in zip(old, new, strict=True)]
                inverse = [np.linalg.inv(f + 0.05 * np.trace(f) * np.eye(len(f))) for f in mean]
                kept[name] = (inverse, mean)
            direction = kept[name][0][0] @ here[name]
            if method == "kfac":
                direction = direction @ kept[name][0][1]
            params[name] -= 0.1 * direction
    for name, value in params.items():
        np.testing.assert_allclose(found[name][0], value, rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(("ema", "interval"), [(1.0, 1), (0.3, 1), (0.5, 3)])
def test_shampoo_is_the_algorithm(ema, interval):
    problem = Problem(method="shampoo", rule="largest", ema=ema, interval=interval)
    found, _ = problem.trained(damping=1e-2, rate=0.05)
    params = {n: v[0].numpy().copy() for n, v in problem.params.items()}
    every, kept = problem.network(), {}
    for step in range(STEPS):
        here = problem.statistics(params, every)
        for name in problem.model.layers:
            gradient = here[name]
            if step % interval == 0:
                new = [gradient @ gradient.T, gradient.T @ gradient]
                old = kept.get(name, (None, new))[1]
                mean = [(1 - ema) * o + ema * n for o, n in zip(old, new, strict=True)]
                roots = [fourth_root(f, 1e-2 * np.linalg.eigvalsh(f)[-1]) for f in mean]
                kept[name] = (roots, mean)
            left, right = kept[name][0]
            params[name] -= 0.05 * left @ gradient @ right
    for name, value in params.items():
        np.testing.assert_allclose(found[name][0], value, rtol=1e-6, atol=1e-8, err_msg=name)


def test_momentum_weight_decay_and_rates_of_layers_act_on_the_direction():
    problem = Problem(steps=2)
    hyper = {"momentum": 0.9, "weight_decay": 0.01, "rate.w2": 0.3}
    found, _ = problem.trained("heavy_ball", **hyper)
    params = {n: v[0].numpy().copy() for n, v in problem.params.items()}
    network, velocity = problem.network(), dict.fromkeys(params, 0.0)
    for _ in range(2):
        here = problem.statistics(params, network)
        given = {n: torch.from_numpy(v)[None] for n, v in here.items()}
        strength = {"damping": torch.tensor([0.05], dtype=F64)}
        directions = problem.preconditioner.directions(given, {}, strength)
        for name, value in params.items():
            step = directions[name][0].numpy() + 0.01 * value
            velocity[name] = 0.9 * velocity[name] + step
            value -= (0.3 if name == "w2" else 0.1) * velocity[name]
    for name, value in params.items():
        np.testing.assert_allclose(found[name][0], value, atol=1e-10)


CASES = [
    ("mlp", "kfac", {"ema": 0.3}),
    ("mlp", "shampoo", {"rule": "largest"}),
    ("mlp", "layerwise_gn", {}),
    ("cnn", "kfac", {"ema": 0.3, "interval": 2}),
    ("resnet", "kfac", {"ema": 0.3}),
    ("resnet", "shampoo", {"rule": "largest", "ema": 0.3}),
    ("cbow", "kfac", {"rule": "heuristic", "ema": 0.1}),
    ("cbow", "shampoo", {"rule": "largest"}),
]


@pytest.mark.parametrize(("name", "method", "how"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_bits_of_a_run_do_not_depend_on_its_neighbours(name, method, how, dtype):
    problem = Problem(name, runs=5, method=method, kind="ggn" if "gn" in method else "mc", **how)
    together, losses = problem.trained(dtype=dtype)
    picked = torch.tensor([3, 1])
    alone, fewer = problem.trained(
        dtype=dtype,
        params={n: v[picked] for n, v in problem.params.items()},
        frozen={n: v[picked] for n, v in problem.frozen.items()},
    )
    assert np.isfinite(losses).all()
    np.testing.assert_array_equal(losses[[3, 1]], fewer)
    for key, value in together.items():
        np.testing.assert_array_equal(value[[3, 1]], alone[key], err_msg=key)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_diverges_leaves_the_others_alone(method):
    how = {"rule": "largest"} if method == "shampoo" else {}
    problem = Problem(method=method, **how)
    expected, _ = problem.trained()
    spoilt = {n: v.clone() for n, v in problem.params.items()}
    spoilt["w2"][0, 0, 0] = torch.nan
    found, losses = problem.trained(params=spoilt)
    assert np.isnan(losses[0, 0]) and np.isfinite(losses[1]).all()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name][1], value[1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rule", ["rescaled", "heuristic", "absolute"])
def test_an_output_layer_of_zeros_moves_alone(method, rule):
    if rule == "heuristic" and method != "kfac":
        return
    problem = Problem(method=method, rule=rule, steps=1)
    start = {n: v.clone() for n, v in problem.params.items()}
    start["w3"].zero_()
    found, losses = problem.trained(params=start)
    assert np.isfinite(losses).all()
    np.testing.assert_array_equal(found["w1"], start["w1"])
    np.testing.assert_array_equal(found["w2"], start["w2"])
    assert np.isfinite(found["w3"]).all() and (found["w3"] != 0).any()


def test_parameters_of_batch_norms_follow_their_gradient():
    problem = Problem("resnet", method="kfac", kind="mc", steps=1)
    found, _ = problem.trained(rate=0.1)
    here = problem.statistics(
        {n: v[0].numpy() for n, v in problem.params.items()}, problem.network()
    )
    for name in problem.params:
        if name not in problem.model.layers:
            expected = problem.params[name][0].numpy() - 0.1 * here[name]
            np.testing.assert_allclose(found[name][0], expected, atol=1e-12)


def test_scaled_damping_is_that_of_each_layer_and_side():
    problem = Problem(rule="scaled", steps=1)
    sides = {f"damping.w{n}.{side}": s for n in (1, 2, 3) for side, s in (("A", 2.0), ("B", 0.5))}
    found, _ = problem.trained(**sides)
    params = {n: v[0].numpy() for n, v in problem.params.items()}
    here = problem.statistics(params, problem.network())
    for name in problem.model.layers:
        rows, signals = here[f"{name}/inputs"], here[f"{name}/signals"]
        a, b = rows.T @ rows / len(rows), signals.T @ signals / len(rows)
        left = np.linalg.inv(a + 0.05 * 2.0 * np.eye(len(a)))
        right = np.linalg.inv(b + 0.05 * 0.5 * np.eye(len(b)))
        expected = params[name] - 0.1 * left @ here[name] @ right
        np.testing.assert_allclose(found[name][0], expected, atol=1e-10)


def test_measured_factors():
    for method, kind in (("kfac", "ggn"), ("shampoo", None), ("layerwise_gn", "ggn")):
        problem = Problem(method=method, kind=kind, rule="largest")
        params = {n: v[0].numpy() for n, v in problem.params.items()}
        here = problem.statistics(params, problem.network())
        given = {n: torch.from_numpy(v)[None] for n, v in here.items()}
        hyper = {"damping": torch.tensor([0.05], dtype=F64)}
        found = problem.preconditioner.measured(given, hyper)
        for name in problem.model.layers:
            rows = here[f"{name}/inputs"]
            if method == "kfac":
                signals = here[f"{name}/signals"]
                sides = {"A": rows.T @ rows / len(rows), "B": signals.T @ signals / len(rows)}
            elif method == "shampoo":
                sides = {"A": here[name] @ here[name].T, "B": here[name].T @ here[name]}
            else:
                signals = here[f"{name}/signals"].reshape(len(rows), 3, -1)
                jacobian = np.einsum("ni,nko->nkio", rows, signals).reshape(len(rows) * 3, -1)
                sides = {"A": jacobian @ jacobian.T / len(rows)}
            assert ("rho_B" in found[name]) == ("B" in sides)
            for side, factor in sides.items():
                largest = np.linalg.eigvalsh(factor)[-1]
                assert found[name][f"trace_{side}"].item() == pytest.approx(np.trace(factor))
                assert found[name][f"lambda_max_{side}"].item() == pytest.approx(largest)
                assert found[name][f"rho_{side}"].item() == pytest.approx(0.05 * largest)
            direction = problem.preconditioner.directions(given, {}, hyper)[name]
            assert found[name]["precond_grad_norm"].item() == pytest.approx(direction.norm().item())


def test_sides_beyond_the_largest_have_diagonal_factors():
    problem = Problem(steps=1, ema=0.3, largest=6)
    found, _ = problem.trained()
    params = {n: v[0].numpy() for n, v in problem.params.items()}
    here = problem.statistics(params, problem.network())
    rows, signals = here["w2/inputs"], here["w2/signals"]  # both sides of 7
    a, b = ((each**2).sum(0) / len(rows) for each in (rows, signals))
    scale = (a + 0.05 * a.sum())[:, None] * (b + 0.05 * b.sum())
    np.testing.assert_allclose(found["w2"][0], params["w2"] - 0.1 * here["w2"] / scale, atol=1e-10)


def test_errors():
    layers = models()["mlp"].layers
    with pytest.raises(ValueError, match="preconditioners are kfac"):
        Preconditioner(layers, "newton")
    with pytest.raises(ValueError, match="ema lies in"):
        Preconditioner(layers, "kfac", ema=0.0)
    with pytest.raises(ValueError, match="linear layers"):
        Preconditioner(layers, "layerwise_gn", ema=0.5)
    with pytest.raises(ValueError, match="other layers"):
        Preconditioner({"w1": Layer((3, 3, 1, 2), "input", "convolution")}, "layerwise_gn")
    assert statistic("w1", "A") == "w1/A"
