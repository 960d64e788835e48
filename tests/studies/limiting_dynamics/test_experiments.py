"""Recorded training against a plain loop, curvature against autograd, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError

from regimes import store
from regimes.config import ConfigError
from regimes.data.samples import SampledStream
from regimes.data.streams import numpy_stream, stream_seed
from regimes.studies.limiting_dynamics import curvature, data_sets, experiments, geometry
from regimes.studies.limiting_dynamics.least_squares import solve
from regimes.studies.limiting_dynamics.networks import initial_weights, model_of
from regimes.studies.limiting_dynamics.settings import Geometry, Sgd

NETWORK = {"model": "mlp", "hidden": 3, "data": "teacher_noisy", "batch_size": 8}
BASE = NETWORK | {"eta": 0.05, "momentum": 0.9, "steps": 25, "weight_decay": 1e-2, "seed": 0}
LINEAR = {
    "model": "linear", "data": "regression_harmonic", "origin": "initial", "batch_size": 16,
    "eta": 1e-2, "momentum": 0.9, "steps": 40, "seed": 0, "residual_sd": 1.0,
}  # fmt: skip


def sgd(base=BASE, **changes):
    return Sgd.model_validate(base | changes)


@pytest.fixture(scope="module")
def point():
    """Start point: a little trained network, its Hessian spectrum."""
    stages = ((0.1, 400), (0.01, 100))
    run = sgd(
        eta=None, steps=None, stages=stages, batch_size=64, origin="initial", record_at="",
        keep_weights=True, evaluate_at="every 100", weight_decay=1e-3,
    )  # fmt: skip
    trained = with_settings(experiments.train([run, sgd(**run.model_dump() | {"seed": 1})]), [run])
    measured = geometry.measure([GEOMETRY], start=trained)
    return trained, with_settings(measured, [GEOMETRY])


GEOMETRY = Geometry(
    model="mlp", hidden=3, data="teacher_noisy", weight_decay=1e-3, modes=5, grid_size=3,
    grid_half_width=0.1, rise_radius=0.05, seed=0,
)  # fmt: skip


def with_settings(dataset: xr.Dataset, runs) -> xr.Dataset:
    names = ("model", "hidden", "activation", "width", "data")
    kept = dataset.isel(run=slice(len(runs)))
    return kept.assign_coords({n: ("run", [getattr(r, n) for r in runs]) for n in names})


def plain_loop(run, start, steps=None, stage=0):
    """Weights (K + 1, P) and buffers of one run by torch.optim.SGD and modules of torch."""
    data = data_sets.load(run.data, run.residual_sd)
    x, targets = torch.from_numpy(data.x), torch.from_numpy(data.targets)
    shapes = model_of(run).shapes()
    parts = torch.from_numpy(start).split([int(np.prod(s)) for s in shapes.values()])
    shaped = zip(parts, shapes.values(), strict=True)
    params = [part.view(shape).clone().requires_grad_() for part, shape in shaped]
    eta, steps = run.schedule()[stage]
    decay = run.weight_decay
    optimizer = torch.optim.SGD(params, lr=eta, momentum=run.momentum, weight_decay=decay)
    phase = f"stage {stage}" if run.stages else "run"
    seed = stream_seed(run.seed, "batches", phase, run.batch_size)
    path, buffers = [start], [np.zeros_like(start)]
    for rows, labels in SampledStream(x, targets, [seed], run.batch_size, steps, run.sampling):
        if run.model == "linear":
            loss = (rows[0] @ params[0] - labels[0]).square().sum(1).mean() / 2
        else:
            w1, b1, w2, b2 = params
            outputs = torch.tanh(rows[0] @ w1 + b1) @ w2 + b2
            loss = torch.nn.functional.cross_entropy(outputs, labels[0].argmax(1))
        before = [p.detach().clone() for p in params]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        path.append(torch.cat([p.detach().flatten() for p in params]).numpy())
        held = [optimizer.state[p].get("momentum_buffer") for p in params]
        if run.momentum == 0:  # torch keeps no buffer then
            held = [p.grad + decay * b for p, b in zip(params, before, strict=True)]
        buffers.append(torch.cat([h.flatten() for h in held]).numpy().copy())
    return np.array(path), np.array(buffers)


@pytest.mark.parametrize("sampling", ["with_replacement", "epochs"])
def test_a_recorded_run_is_that_of_a_plain_loop(point, sampling):
    _, start = point
    runs = [
        sgd(seed=s, momentum=m, sampling=sampling, modes=3, controls=2, project_at="every 1",
            evaluate_at="ends")
        for s, m in ((0, 0.9), (1, 0.0), (2, 0.99))
    ]  # fmt: skip
    found = experiments.train(runs, start=start)
    origin = start["weights"].values[0]
    vectors = start["eigenvector"].values[0, :3]
    for index, run in enumerate(runs):
        path, buffers = plain_loop(run, origin)
        here = found.isel(run=index)
        close = {"rtol": 1e-7, "atol": 1e-12}
        moved = path - origin
        np.testing.assert_allclose(here["global_displacement"], (moved[1:] ** 2).sum(1), **close)
        np.testing.assert_allclose(
            here["local_displacement"], (np.diff(path, axis=0) ** 2).sum(1), **close
        )
        np.testing.assert_allclose(here["position"], moved @ vectors.T, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(here["velocity"], -buffers @ vectors.T, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(here["weight_norm2"], (path[1:] ** 2).sum(1), rtol=1e-6)
        np.testing.assert_allclose(here["weight_overlap"], path[1:] @ origin, rtol=1e-6)
        np.testing.assert_allclose(here["start_position"], vectors @ origin)
        controls = numpy_stream(0, "controls").standard_normal((2, path.shape[1]))
        controls /= np.linalg.norm(controls, axis=1, keepdims=True)
        np.testing.assert_allclose(
            here["control_position"], moved @ controls.T, rtol=1e-4, atol=1e-7
        )
        np.testing.assert_allclose(
            here["control_velocity"], -buffers @ controls.T, rtol=1e-4, atol=1e-6
        )
        data = data_sets.load(run.data, 0)
        last = curvature.Point(
            model_of(run), "cross_entropy", *map(torch.from_numpy, (path[-1], data.x, data.targets))
        )
        loss, accuracy = curvature.loss_and_accuracy(last)
        assert float(here["train_loss"][-1]) == pytest.approx(loss, rel=1e-9)
        assert float(here["train_accuracy"][-1]) == pytest.approx(accuracy, abs=1e-12)


def test_a_step_moves_by_eta_times_the_velocity():
    run = sgd(LINEAR, modes=32, project_at="every 1", weight_decay=0.1)
    found = experiments.train([run, sgd(LINEAR, seed=1, modes=32, project_at="every 1")])
    moved = found["position"].diff("projection_step")
    expected = run.eta * found["velocity"].isel(projection_step=slice(1, None))
    np.testing.assert_allclose(moved, expected, atol=3e-7 * float(abs(found["position"]).max()))
    # All modes of the linear model: projections carry the whole displacement.
    np.testing.assert_allclose(
        (found["position"].isel(projection_step=slice(1, None)) ** 2).sum("mode"),
        found["global_displacement"], rtol=1e-5,
    )  # fmt: skip


def test_a_linear_run_is_that_of_a_plain_loop_and_starts_equally_for_all_seeds():
    runs = [sgd(LINEAR, seed=s, weight_decay=0.01) for s in (0, 1)]
    found = experiments.train(runs)
    start = initial_weights(runs[0], model_of(runs[0]))
    assert np.array_equal(start, initial_weights(runs[1], model_of(runs[1])))
    for index, run in enumerate(runs):
        path, _ = plain_loop(run, start)
        np.testing.assert_allclose(
            found["global_displacement"][index], ((path[1:] - start) ** 2).sum(1), rtol=1e-9
        )


def test_least_squares_against_a_solver_and_single_sample_gradients():
    data = data_sets.load("regression_harmonic", 1.0)
    found = solve(data.x, data.targets, 0.05)
    hessian = data.x.T @ data.x / len(data.x)
    expected = np.linalg.lstsq(
        np.vstack([data.x, np.sqrt(0.05 * len(data.x)) * np.eye(32)]),
        np.concatenate([data.targets[:, 0], np.zeros(32)]), rcond=None,
    )[0]  # fmt: skip
    np.testing.assert_allclose(found.minimum, expected, rtol=1e-10)
    rebuilt = (found.eigenvector.T * found.eigenvalue) @ found.eigenvector
    np.testing.assert_allclose(rebuilt, hessian, atol=1e-12)
    gradients = data.x * (data.x @ expected - data.targets[:, 0])[:, None]
    covariance = np.cov(gradients.T, bias=True)
    np.testing.assert_allclose(
        found.noise, np.diag(found.eigenvector @ covariance @ found.eigenvector.T), rtol=1e-9
    )


def test_runs_do_not_depend_on_their_neighbours():
    many = [sgd(LINEAR, seed=s, eta=e) for s in (0, 1, 2) for e in (1e-2, 3e-3)]
    few = [many[3], many[1]]
    found, alone = experiments.train(many), experiments.train(few)
    for there, here in ((3, 0), (1, 1)):
        one, other = found.isel(run=[there]), alone.isel(run=[here])
        assert store.variables_digest(one) == store.variables_digest(other)


def test_stages_follow_each_other_with_an_empty_buffer(point):
    trained, _ = point
    run = sgd(
        eta=None, steps=None, stages=((0.1, 400), (0.01, 100)), batch_size=64, origin="initial",
        record_at="", weight_decay=1e-3,
    )  # fmt: skip
    path, _ = plain_loop(run, initial_weights(run, model_of(run)))
    path, _ = plain_loop(run, path[-1], stage=1)
    np.testing.assert_allclose(trained["weights"][0], path[-1], rtol=1e-7, atol=1e-9)
    assert trained["evaluation_step"].values.tolist() == [0, 100, 200, 300, 400, 500]
    assert float(trained["train_loss"][0, -1]) < float(trained["train_loss"][0, 0])


def test_curvature_against_autograd(point):
    trained, start = point
    data = data_sets.load("teacher_noisy", 0)
    model = model_of(GEOMETRY)
    x, labels = torch.from_numpy(data.x), torch.from_numpy(data.targets).argmax(1)
    weights = torch.from_numpy(trained["weights"].values[0])

    def loss(flat, x=x, labels=labels):
        parts = zip(flat.split([60, 3, 30, 10]), model.shapes().values(), strict=True)
        w1, b1, w2, b2 = (part.view(shape) for part, shape in parts)
        return torch.nn.functional.cross_entropy(torch.tanh(x @ w1 + b1) @ w2 + b2, labels)

    hessian = torch.autograd.functional.hessian(loss, weights).numpy()
    here = start.isel(run=0)
    values, vectors = np.linalg.eigh(hessian)
    np.testing.assert_allclose(here["eigenvalue"], values[::-1], atol=1e-10)
    kept = here["eigenvector"].values
    np.testing.assert_allclose(kept @ hessian @ kept.T, np.diag(values[::-1][:5]), atol=1e-10)
    assert float(here["eigen_residual"].max()) < 1e-10
    assert float(here["hessian_trace"]) == pytest.approx(np.trace(hessian))

    slope = torch.autograd.functional.jacobian(loss, weights).numpy()
    gradients = np.stack([
        torch.autograd.functional.jacobian(lambda w, i=i: loss(w, x[i:i+1], labels[i:i+1]), weights)
        for i in range(40)
    ])  # fmt: skip
    part = curvature.Point(
        model, "cross_entropy", weights, x[:40], torch.from_numpy(data.targets[:40])
    )
    noise = curvature.gradient_noise(part, kept)
    covariance = np.cov(gradients.T, bias=True)
    np.testing.assert_allclose(noise.variance, np.diag(kept @ covariance @ kept.T), rtol=1e-8)
    assert noise.trace == pytest.approx(np.trace(covariance))
    np.testing.assert_allclose(noise.mean, gradients.mean(0), atol=1e-12)
    assert not here["noise_error"].any() and not here["bias_error"].any()  # of all samples
    total = slope + 1e-3 * weights.numpy()
    np.testing.assert_allclose(
        here["bias"][:5], kept @ total / (values[::-1][:5] + 1e-3), rtol=1e-6, atol=1e-10
    )
    # Loss maps and rises at a few points.
    offset = here["grid_offset"].values
    moved = weights + offset[2] * torch.from_numpy(kept[0]) + offset[0] * torch.from_numpy(kept[4])
    assert float(here["train_loss_grid"][2, 0]) == pytest.approx(float(loss(moved)), rel=1e-9)
    rise = loss(weights - 0.05 * torch.from_numpy(kept[4])) - loss(weights)
    assert float(here["loss_rise"][1, 0]) == pytest.approx(float(rise), rel=1e-7)


def test_matrix_free_spectrum_is_the_top_of_the_full_one(point):
    trained, start = point
    top = GEOMETRY.model_copy(update={"spectrum": "top", "tolerance": 1e-4})
    found = geometry.measure([top], start=trained).isel(run=0)
    whole = start.isel(run=0)
    np.testing.assert_allclose(found["eigenvalue"], whole["eigenvalue"][:5], rtol=1e-6)
    overlap = found["eigenvector"].values @ whole["eigenvector"].values.T
    np.testing.assert_allclose(overlap, np.eye(5), atol=1e-3)
    np.testing.assert_allclose(found["noise"], whole["noise"][:5], rtol=1e-3)
    assert float(found["noise_trace"]) == pytest.approx(float(whole["noise_trace"]))
    assert float(found["eigen_residual"].max()) < 1e-4


def test_beyond_the_stability_limit_is_refused_before_training(point):
    _, start = point
    limit = 2 * 1.9 / (float(start["eigenvalue"].max()) + 1e-2)
    with pytest.raises(ConfigError, match=f"beyond the stability limit {limit:.4g}"):
        experiments.train([sgd(eta=limit * 1.01)], start=start)
    experiments.train([sgd(eta=limit * 0.99, steps=2)], start=start)
    with pytest.raises(ConfigError, match="beyond the stability limit"):
        experiments.train([sgd(LINEAR, eta=0.5)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"momentum": 1.0}, "less than 1"),
        ({"momentum": -0.1}, "greater than or equal to 0"),
        ({"sampling": "epochs", "batch_size": 5000}, "at most 4096 with sampling: epochs"),
        ({"eta": None}, "eta and steps, or stages"),
        ({"modes": 3}, "project_at and modes belong together"),
        ({"record_at": "sometimes"}, "record_at: 'sometimes' is no schedule"),
        ({"data": "regression_harmonic"}, "a model mlp takes data teacher_noisy"),
        ({"origin": "minimum"}, "linear model only"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        sgd(**changes)


def test_a_run_that_diverges_stays_in_the_file():
    # Stable on average, but the noise of single samples is multiplicative and wins.
    runs = [
        sgd(LINEAR, data="regression_cascade", batch_size=1, eta=e, steps=400) for e in (1e-3, 1e-8)
    ]
    found = experiments.train(runs)
    assert int(found["diverged_at"][0]) > 0 and int(found["diverged_at"][1]) == -1
    after = found["step"].values > int(found["diverged_at"][0])
    assert np.isnan(found["global_displacement"][0].values[after]).all()
    assert np.isfinite(found["global_displacement"][1]).all()


def test_missing_start_points_have_clear_messages(point):
    _, start = point
    with pytest.raises(ConfigError, match="needs a start point"):
        experiments.train([sgd()])
    with pytest.raises(ConfigError, match="holds 0 runs with model = mlp, hidden = 4"):
        experiments.train([sgd(hidden=4)], start=start)
    with pytest.raises(ConfigError, match="10 are wanted, the start point has 5"):
        experiments.train([sgd(modes=10, project_at="ends")], start=start)


def test_a_resumed_run_sees_other_batches_than_the_training_before_it(point):
    """Equal batches would make the first steps of a run depend on how its start came about."""
    _, start = point
    seen = {}
    for name, run in {
        "run": sgd(eta=0.01, steps=3, batch_size=64),
        "stage": sgd(eta=None, steps=None, stages=((0.01, 3),), batch_size=64, record_at="",
                     keep_weights=True),
    }.items():  # fmt: skip
        found = experiments.train([run, sgd(**run.model_dump() | {"seed": 1})], start=start)
        seen[name] = found
    moved = seen["stage"]["weights"].values[0] - start["weights"].values[0]
    own = float(seen["run"]["global_displacement"][0, -1])
    assert own != pytest.approx(float(moved @ moved), rel=1e-3)


def test_training_that_diverges_in_an_early_stage_keeps_its_shape():
    later = ((1e-9, 20), (1e-9, 10))
    base = LINEAR | {"eta": None, "steps": None, "data": "regression_cascade", "batch_size": 1}
    runs = [
        sgd(base, stages=((eta, 400), *later), record_at="", evaluate_at="ends",
            keep_weights=True)
        for eta in (3e-3, 2e-3)
    ]  # fmt: skip
    found = experiments.train(runs)
    assert (found["diverged_at"] >= 0).all() and (found["diverged_at"] < 400).all()
    assert found["evaluation_step"].values.tolist() == [0, 430]
    assert np.isnan(found["train_loss"][:, -1]).all()
    assert np.isnan(found["weights"]).all()


def test_a_start_that_diverged_is_refused(point):
    trained, _ = point
    broken = trained.copy(deep=True)
    broken["weights"][:] = np.nan
    with pytest.raises(ConfigError, match="the run that left it diverged"):
        experiments.train([sgd()], start=broken)
    with pytest.raises(ConfigError, match="the run that left it diverged"):
        geometry.measure([GEOMETRY], start=broken)


def test_curvature_that_cannot_be_had_is_refused(point):
    trained, _ = point
    for change, message in (
        ({"modes": 103}, "103 are wanted of a network with 103 weights"),
        ({"modes": 60, "spectrum": "top", "tolerance": 1e-15}, "spectrum: "),
    ):
        with pytest.raises(ConfigError, match=message):
            geometry.measure([GEOMETRY.model_copy(update=change)], start=trained)


def test_epochs_stand_for_steps_at_each_batch_size():
    point = {"data": "imagenet", "model": "resnet18", "momentum": 0.9, "eta": 1e-4, "seed": 0}
    for size, steps in ((256, 10_010), (32, 80_074)):
        (found,) = Sgd.expand({**point, "batch_size": size, "epochs": 2})
        assert found["steps"] == steps and "epochs" not in found
    for wrong, message in (
        ({"epochs": 0}, "whole number"),
        ({"epochs": 1, "steps": 3}, "drop steps"),
    ):
        with pytest.raises(ValueError, match=message):
            list(Sgd.expand({**point, "batch_size": 8, **wrong}))
