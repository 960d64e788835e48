"""Training of the networks: what comes back, learning rates, precision, bits, divergence."""

from __future__ import annotations

import shutil
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

from regimes import jobs, paths, plan, store
from regimes.config import Config, ConfigError
from regimes.data.streams import numpy_stream
from regimes.data.tasks import held_out
from regimes.ensemble.engine import LIMIT
from regimes.studies.feature_strength import experiments
from regimes.studies.feature_strength.record import LONGEST, log_binned
from regimes.studies.feature_strength.settings import STREAMS, Network

REPOSITORY = Path(__file__).resolve().parents[3]
STUDY = "feature_strength"
BASE = {"stream": "gmm30", "depth": 3, "width": 8, "batch_size": 8, "steps": 12, "loss": "mse"}
SMALL = {"test_size": 20, "points": 20}
OF = {
    "mlp": {},
    "cnn": {"stream": "templates", "depth": 4, "width": 2, "batch_size": 4, "steps": 4},
    "resnet": {"stream": "templates", "blocks": 1, "width": 2, "batch_size": 4, "steps": 3},
    "vit": {"stream": "gmm30_patches", "blocks": 1, "heads": 2, "steps": 5},
}
WATCHED = {
    "kernels_at": "every 5",
    "tangent_at": "ends",
    "tangent_points": 6,
    "sharpness_at": "1 per decade",
    "spectrum_at": "ends",
    "spectrum_size": 4,
    "outputs_at": "1-2-5",
    "final_outputs": True,
    "kernel_points": 7,
}


def run(architecture="mlp", **changes):
    settings = {"architecture": architecture, "seed": 0, "log10_gamma": 0.0, **BASE, **SMALL}
    return Network.model_validate({**settings, **OF[architecture], **changes})


def values_of(dataset, index):
    """All values of one run."""
    return {name: dataset[name].isel(run=index).values for name in dataset.data_vars}


def assert_equal_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        assert one[name].tobytes() == other[name].tobytes(), name


# --- What comes back -----------------------------------------------------------------------------

PLAIN = {
    "eta": (),
    "initial_loss": (),
    "peak_loss": (),
    "final_train_loss": (),
    "diverged_at": (),
    "train_loss": ("step",),
    "test_loss": ("test_step",),
    "test_accuracy": ("test_step",),
}
FURTHER = {
    "cka_label": ("kernel_step", "layer"),
    "cka_initial": ("kernel_step", "layer"),
    "relative_move": ("kernel_step", "layer"),
    "tangent_cka_label": ("tangent_step",),
    "sharpness": ("sharpness_step",),
    "lowest_eigenvalue": ("sharpness_step",),
    "sharpness_residual": ("sharpness_step",),
    "spectrum": ("spectrum_step", "rank"),
    "mean_output": ("output_step",),
    "outputs": ("sample", "output_class"),
    "last_kernel": ("kernel_sample", "kernel_other"),
}


@pytest.mark.parametrize("architecture", OF)
def test_a_run_holds_what_its_settings_ask_for(architecture, tmp_path):
    runs = [run(architecture, log10_gamma=g, log10_eta=-1) for g in (0.0, 1.0)]
    found = experiments.train(runs)
    assert {n: v.dims for n, v in found.data_vars.items()} == {
        name: ("run", *dims) for name, dims in PLAIN.items()
    }
    named = jobs.with_hyperparameters(found, "network", runs)
    store.write_netcdf(tmp_path / "runs.nc", named, {})


def test_observations_and_their_coordinates(tmp_path):
    runs = [run(seed=s, log10_eta=0.5, **WATCHED) for s in range(2)]
    found = experiments.train(runs)
    expected = {name: ("run", *dims) for name, dims in {**PLAIN, **FURTHER}.items()}
    assert {n: v.dims for n, v in found.data_vars.items()} == expected
    steps = {name: found[name].values.tolist() for name in found.coords}
    assert steps == {
        "step": list(range(12)),
        "test_step": [0, 1, 2, 5, 10, 12],
        "kernel_step": [0, 5, 10, 12],
        "tangent_step": [0, 12],
        "sharpness_step": [0, 1, 10, 12],
        "spectrum_step": [0, 12],
        "output_step": [0, 1, 2, 5, 10, 12],
        "layer": [1, 2],
        "rank": [1, 2, 3, 4],
    }
    assert found.sizes["sample"] == 20 and found.sizes["output_class"] == 10
    assert found.sizes["kernel_sample"] == found.sizes["kernel_other"] == 7
    assert found["train_loss"].dtype == np.float32 and found["sharpness"].dtype == np.float64
    for name in expected:
        assert np.isfinite(found[name].values).all(), name
    # The same quantities, measured on different ways.
    start = found.isel(run=0)
    np.testing.assert_allclose(start["cka_initial"].sel(kernel_step=0), 1, rtol=1e-5)
    np.testing.assert_allclose(start["relative_move"].sel(kernel_step=0), 0, atol=1e-7)
    np.testing.assert_allclose(start["mean_output"].sel(output_step=0), 0, atol=1e-7)
    np.testing.assert_allclose(
        found["spectrum"].sel(rank=1), found["sharpness"].sel(sharpness_step=[0, 12]), rtol=1e-2
    )
    task = experiments.TASKS["gmm30"]()
    _, targets = held_out(task, "test", 20, dtype=torch.float64, device="cpu")
    squared = ((found["outputs"].values - targets.numpy()) ** 2).mean((1, 2))
    np.testing.assert_allclose(found["test_loss"].sel(test_step=12), squared, rtol=1e-5)
    jobs_dataset = jobs.with_hyperparameters(found, "network", runs)
    store.write_netcdf(tmp_path / "runs.nc", jobs_dataset, {})
    assert store.read_netcdf(tmp_path / "runs.nc").sizes["run"] == 2


@pytest.mark.parametrize(("loss", "initial"), [("mse", 0.1), ("cross_entropy", log(10))])
@pytest.mark.parametrize("log10_gamma", [-4.0, 0.0, 4.0])
def test_the_loss_starts_at_that_of_no_output(loss, initial, log10_gamma):
    runs = [run(loss=loss, log10_gamma=log10_gamma, seed=s, log10_eta=-9.0) for s in range(2)]
    found = experiments.train(runs)
    np.testing.assert_allclose(found["initial_loss"], initial, rtol=1e-6)
    np.testing.assert_allclose(found["train_loss"].isel(step=0), initial, rtol=1e-6)


def test_summaries_are_those_of_the_recorded_losses():
    runs = [run(steps=60, log10_eta=e, seed=s) for e in (0.0, 1.0) for s in range(2)]
    found = experiments.train(runs)
    loss = found["train_loss"].values.astype(float)
    np.testing.assert_allclose(found["final_train_loss"], loss[:, 54:].mean(1), rtol=1e-6)
    np.testing.assert_allclose(found["peak_loss"], loss.max(1), rtol=1e-6)
    assert (found["diverged_at"] == -1).all()


def test_runs_come_back_in_the_order_asked_for():
    """Shapes, seeds and precisions that make several programs, in mixed order."""
    runs = [
        run(
            seed=seed,
            width=width,
            log10_gamma=g,
            eta_rule="power",
            eta_factor=1 + seed,
            steps=steps,
        )
        for g in (1.0, -3.0)
        for width, steps in ((8, 4), (12, 3))
        for seed in (1, 0)
    ]
    mixed = [runs[i] for i in np.random.default_rng(0).permutation(len(runs))]
    found = experiments.train(mixed)
    np.testing.assert_array_equal(found["eta"], [each.eta() for each in mixed])
    lengths = found["train_loss"].notnull().sum("step")
    assert lengths.values.tolist() == [each.steps for each in mixed]
    alone = experiments.train(runs)
    for index, each in enumerate(mixed):
        other = runs.index(each)
        assert_equal_bits(values_of(found, index), values_of(alone, other))


def test_many_runs_are_split_into_several_programs(monkeypatch):
    runs = [run(seed=s, log10_gamma=g, steps=4) for g in (0.0, 0.5, 1.0) for s in range(3)]
    whole = experiments.train(runs)
    monkeypatch.setitem(experiments.WIDEST, "cpu", {"mlp": 2})
    parts = experiments.train(runs)
    for index in range(len(runs)):
        assert_equal_bits(values_of(whole, index), values_of(parts, index))


# --- Learning rates ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "eta"),
    [
        ({"log10_gamma": 3.0, "log10_eta": 1.5}, 10**1.5),
        ({"log10_gamma": -2.0, "eta_rule": "power", "eta_factor": 5}, 5e-4),
        ({"log10_gamma": 3.0, "eta_rule": "power", "eta_factor": 10}, 1000.0),
        ({"log10_gamma": 3.0, "depth": 2, "eta_rule": "power"}, 1000.0),
        ({"log10_gamma": 2.0, "depth": 4, "eta_rule": "power", "log10_eta": 1}, 100.0),
        ({"log10_gamma": -1.0, "eta_rule": "gamma", "eta_factor": 2}, 0.2),
        ({"log10_gamma": 2.0, "eta_rule": "gamma"}, 100.0),
    ],
)
def test_learning_rate_of_each_rule(settings, eta):
    found = experiments.train([run(steps=1, **settings)])
    assert float(found["eta"][0]) == pytest.approx(eta, rel=1e-12)


def dense_hessian(each):
    """Hessian of the loss on the fixed points at the initial weights, all parameters."""
    model = experiments.model_of(each)
    drawn = model.initial(lambda name: numpy_stream(each.seed, "weights", name))
    start = {name: torch.from_numpy(value).double() for name, value in drawn.items()}
    task = experiments.TASKS[each.stream]()
    x, targets = held_out(task, "points", each.points, dtype=torch.float64, device="cpu")
    sizes = [value.numel() for value in start.values()]

    def loss(vector):
        parts = zip(start.items(), vector.split(sizes), strict=True)
        params = {name: part.view(value.shape) for (name, value), part in parts}
        outputs = (model.apply(params, x) - model.apply(start, x)) / each.gamma
        if each.loss == "mse":
            return (outputs - targets).square().mean()
        return torch.nn.functional.cross_entropy(outputs, targets.argmax(1))

    vector = torch.cat([value.flatten() for value in start.values()])
    return torch.func.hessian(loss)(vector)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("log10_gamma", [-3.0, -1.0])
def test_sharpness_rule_is_a_multiple_of_the_critical_rate(loss, log10_gamma):
    multiples = (0.8, 2.0)
    runs = [
        run(
            seed=seed, width=3, depth=2, steps=1, loss=loss, log10_gamma=log10_gamma,
            eta_rule="sharpness", eta_factor=m, sharpness_at="ends",
        )
        for m in multiples
        for seed in range(2)
    ]  # fmt: skip
    found = experiments.train(runs)
    for index, each in enumerate(runs):
        largest = float(torch.linalg.eigvalsh(dense_hessian(each))[-1])
        rate = each.width * float(found["eta"][index])
        assert rate == pytest.approx(2 * each.eta_factor / largest, rel=2e-3)
        assert float(found["sharpness"][index, 0]) == pytest.approx(largest, rel=2e-3)


@pytest.mark.parametrize(("optimizer", "eta"), [("sgd", 3.0), ("sign", 0.1)])
def test_sgd_moves_at_width_times_eta_and_sign_sgd_at_eta(optimizer, eta):
    """The second loss is that after one step of autograd at this rate."""
    each = run(steps=2, optimizer=optimizer, eta_factor=eta, log10_gamma=0.3, precision="float64")
    found = experiments.train([each])
    model = experiments.model_of(each)
    drawn = model.initial(lambda name: numpy_stream(0, "weights", name))
    start = {n: torch.from_numpy(v).double().requires_grad_() for n, v in drawn.items()}
    first, second = batches_of(each)
    outputs = model.apply(start, first[0])
    loss = ((outputs - outputs.detach()) / each.gamma - first[1]).square().mean()
    slopes = torch.autograd.grad(loss, list(start.values()))
    rate = eta * (each.width if optimizer == "sgd" else 1)
    move = {"sgd": lambda g: g, "sign": torch.sign}[optimizer]
    later = {n: p - rate * move(g) for (n, p), g in zip(start.items(), slopes, strict=True)}
    outputs = (model.apply(later, second[0]) - model.apply(start, second[0])) / each.gamma
    expected = float((outputs - second[1]).square().mean().detach())
    assert float(found["train_loss"][0, 1]) == pytest.approx(expected, rel=1e-6)
    assert abs(expected / 0.1 - 1) > 0.01  # the step shows


def batches_of(each):
    """Inputs and targets of the run's steps."""
    seeds = [experiments.stream_seed(each.seed, "batches", each.stream, each.batch_size)]
    task = experiments.TASKS[each.stream]()
    stream = experiments.OnlineStream(task, seeds, each.batch_size, each.steps, dtype=torch.float64)
    return [(x[0], targets[0]) for x, targets in stream]


# --- Precision -----------------------------------------------------------------------------------


def test_precision_follows_gamma():
    assert [run(log10_gamma=g).double for g in (-3.0, -2.5, -2.0, 0.0, 4.0)] == [
        True, True, False, False, False,
    ]  # fmt: skip
    settings = {"log10_gamma": -3.0, "eta_rule": "power", "eta_factor": 5, "steps": 20}
    auto, single, double = (
        experiments.train([run(precision=p, **settings)])["final_train_loss"].values[0]
        for p in ("auto", "float32", "float64")
    )
    assert auto == double
    assert single != double and single == pytest.approx(double, rel=0.05)


# --- Bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", OF)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_bits_of_a_run_do_not_depend_on_the_other_runs(architecture, loss):
    watched = {"kernels_at": "ends", "sharpness_at": "ends"} if architecture == "mlp" else {}
    settings = {"loss": loss, **watched}
    chosen = run(architecture, seed=1, log10_gamma=0.5, log10_eta=0.25, **settings)
    others = [
        run(architecture, seed=s, log10_gamma=g, log10_eta=e, **settings)
        for s in (0, 1, 2)
        for g, e in ((0.5, 0.5), (0.0, -1.0), (2.0, 9.0))
    ]
    alone = experiments.train([chosen])
    among = experiments.train([*others[:4], chosen, *others[4:]])
    assert_equal_bits(values_of(alone, 0), values_of(among, 4))


# --- Divergence ----------------------------------------------------------------------------------


def test_a_run_that_diverged_has_no_values_afterwards():
    settings = {"log10_gamma": -1.0, "steps": 60, "kernels_at": "every 5", "final_outputs": True}
    runs = [run(log10_eta=e, seed=s, **settings) for e in (-2.0, 6.0) for s in range(2)]
    found = experiments.train(runs)
    kept, gone = found.isel(run=[0, 1]), found.isel(run=[2, 3])
    assert (kept["diverged_at"] == -1).all()
    assert np.isfinite(kept["train_loss"]).all() and (kept["peak_loss"] < 100).all()
    for index in range(2):
        each = gone.isel(run=index)
        at = int(each["diverged_at"])
        assert 0 < at < 60
        assert np.isfinite(each["train_loss"][:at]).all() and each["train_loss"][at:].isnull().all()
        assert (each["train_loss"][:at] <= LIMIT).all()
        assert float(each["peak_loss"]) == LIMIT
        assert each["final_train_loss"].isnull()
        for name in ("test_loss", "cka_label"):
            step = "test_step" if name == "test_loss" else "kernel_step"
            later = each[name].where(each[step] > at, drop=True)
            assert later.size and later.isnull().all(), name
        assert each["outputs"].isnull().all()
        assert np.isfinite(each["test_loss"].sel(test_step=0))


# --- Streams that need files ---------------------------------------------------------------------


def test_every_stream_has_a_task_of_its_shape():
    assert set(STREAMS) == set(experiments.TASKS)


@pytest.mark.parametrize("stream", ["mnist_augmented", "cifar5m", "mnist1m"])
def test_streams_of_missing_files_say_what_to_do(stream, tmp_path, monkeypatch):
    monkeypatch.setenv("REGIMES_DATA", str(tmp_path))
    monkeypatch.setenv("REGIMES_CACHE", str(tmp_path / "decoded"))
    monkeypatch.setenv("REGIMES_OFFLINE", "1")
    with pytest.raises(ConfigError) as error:
        experiments.train([run(stream=stream, steps=2)])
    for word in (stream.split("_")[0], str(tmp_path), "smoke", "laptop"):
        assert word in str(error.value)


# --- Bins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "bins"), [(1, 4), (7, 5), (30, 200), (1000, 20), (25_000, 200)])
def test_bins_against_a_plain_loop(steps, bins):
    rng = np.random.default_rng(steps)
    loss = rng.uniform(0.1, 1, (2, steps))
    loss[1, steps // 2 :] = np.nan
    step, binned = log_binned(loss, bins)
    edges = sorted({round((steps + 1) ** (i / bins)) for i in range(bins + 1)})
    assert len(step) == len(edges) - 1 and edges[0] == 1 and edges[-1] == steps + 1
    for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        members = range(low - 1, high - 1)
        assert len(members) >= 1
        assert step[i] == pytest.approx(np.mean(members))
        assert binned[0, i] == pytest.approx(sum(loss[0, t] for t in members) / len(members))
        if members[-1] >= steps // 2:
            assert np.isnan(binned[1, i])
        else:
            assert binned[1, i] == pytest.approx(np.mean(loss[1, list(members)]))


def test_long_runs_keep_bins_only():
    each = run(width=2, depth=2, batch_size=1, steps=LONGEST + 1, log10_eta=-2.0, test_at="ends")
    found = experiments.train([each])
    assert "train_loss" not in found
    assert found["train_loss_binned"].dims == found["bin_step"].dims == ("run", "bin")
    assert float(found["bin_step"][0, 0]) == 0
    assert float(found["train_loss_binned"][0, 0]) == pytest.approx(0.1)
    assert found["bin_step"].diff("bin").min() > 0


# --- New runs in an existing batch ---------------------------------------------------------------


def test_a_new_gamma_trains_only_its_runs_and_keeps_the_old_bits(tmp_path, monkeypatch):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config/studies/feature_strength.yaml"
    place = ("smoke", STUDY, "portrait_vit")

    def train():
        config = Config(tmp_path)
        (name,) = plan.batches(config, STUDY, "portrait_vit", "smoke")
        jobs.train_batch(config, *place, name)
        path = paths.batch(*place, name)
        sessions = store.read_json(Path(path).with_suffix(".json"))["sessions"]
        runs = plan.batches(config, STUDY, "portrait_vit", "smoke")[name].runs
        return store.read_netcdf(path), [s["trained"] for s in sessions], runs

    old, trained, before = train()
    assert trained == [len(before)]
    head, tail = file.read_text().split("  portrait_vit:", 1)
    assert "log10_gamma: [-2, 0, 2]" in tail.split("laptop:")[0]
    file.write_text(
        f"{head}  portrait_vit:"
        + tail.replace("log10_gamma: [-2, 0, 2]", "log10_gamma: [-2, 0, 1, 2]", 1)
    )
    new, trained, after = train()
    assert len(after) > len(before)
    assert trained == [len(before), len(after) - len(before)]
    assert new["log10_gamma"].values.tolist() == [each.log10_gamma for each in after]
    kept = store.select_runs(new, old["run_id"].values)
    assert set(kept.variables) == set(old.variables)
    for name in old.variables:
        assert kept[name].values.tolist() == old[name].values.tolist() or (
            kept[name].values.tobytes() == old[name].values.tobytes()
        ), name
    again, trained, _ = train()
    assert trained[-1] == 0
    assert store.variables_digest(again) == store.variables_digest(new)
