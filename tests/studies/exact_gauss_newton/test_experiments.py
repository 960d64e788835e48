"""Training of the study: what is recorded, against the networks trained one by one."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from regimes.config import ConfigError
from regimes.ensemble.losses import LOSSES
from regimes.nn.revmlp import RevMLP
from regimes.observe.kernels import centred_alignment
from regimes.studies.exact_gauss_newton import data_sets
from regimes.studies.exact_gauss_newton.experiments import _start, model_of, train, widest
from regimes.studies.exact_gauss_newton.settings import DATA, Train

BASE = {
    "data": "mnist1d", "samples": 100, "blocks": 2, "width": 32, "batch_size": 48, "sigma": 1e-2,
    "optimizer": "sgd", "lr_code": 0.3, "epochs": 3, "precision": "double", "seed": 0,
}  # fmt: skip
PROBES = {
    "probe_at": "every 1", "probe_samples": 30, "kept_samples": 8, "kernel_samples": 12,
    "kernel_vectors": 3,
}  # fmt: skip


def runs(*changes, **common):
    """Settings of some runs."""
    return [Train.model_validate(BASE | common | change) for change in changes]


def parameters(run, device="cpu"):
    """Initial trained and frozen tensors of a run."""
    start, frozen = _start([run], model_of(run), {"dtype": torch.float64, "device": device})
    frozen.pop("noise_seed")
    return ({name: value[0] for name, value in each.items()} for each in (start, frozen))


@pytest.mark.parametrize("name", ["digits", "mnist1d", "mnist1d_embedded", "wine", "diabetes"])
def test_data_sets_are_standardized_and_as_large_as_stated(name):
    data, stated = data_sets.load(name), DATA[name]
    assert data.x.shape == (stated.samples, stated.features)
    assert data.targets.shape == (stated.samples, stated.outputs)
    assert data.test_x.shape[1:] == data.x.shape[1:] and len(data.test_x) > 0.2 * len(data.x) - 5
    if name in ("wine", "diabetes"):
        real = data.x[:, : 13 if name == "wine" else 10]
        np.testing.assert_allclose(real.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(real.std(0), 1)
        assert not data.x[:, real.shape[1] :].any()
        np.testing.assert_allclose([data.targets.mean(), data.targets.std()], [0, 1], atol=1e-9)
    else:
        wide = 1.3 if name == "mnist1d_embedded" else 1.05
        assert abs(data.x.mean()) < 0.02 and 0.95 < data.x.std() < wide
        np.testing.assert_array_equal(data.targets.sum(1), 1)
    # No sample is in both parts.
    both = np.concatenate([data.x, data.test_x])
    assert len(np.unique(both.round(9), axis=0)) >= len(both) - 1  # diabetes has no twins either


def test_the_embedding_keeps_inner_products_up_to_its_noise():
    plain, wide = data_sets.load("mnist1d"), data_sets.load("mnist1d_embedded")
    factor = 512 / 40
    inner = plain.x[:200] @ plain.x[:200].T * factor
    off = ~np.eye(200, dtype=bool)
    found = (wide.x[:200] @ wide.x[:200].T)[off]
    # Noise of variance .09 per dimension: its products with signals have deviation ~ .3 |x|.
    assert np.corrcoef(found, inner[off])[0, 1] > 0.99
    extra = np.square(wide.x[:200]).sum(1) - np.diag(inner)
    assert extra.mean() == pytest.approx(0.09 * 512, rel=0.1)


def test_trajectories_are_those_of_a_plain_loop():
    (run,) = runs({})
    found = train(runs({}, {"seed": 1}, judge_updates=True)).isel(run=0)
    (params, frozen), model = parameters(run), model_of(run)
    params = {name: value.requires_grad_() for name, value in params.items()}
    data = {k: torch.from_numpy(v) for k, v in data_sets.load("mnist1d")._asdict().items()}
    start = {name: value.detach().clone() for name, value in params.items()}
    loss = LOSSES["cross_entropy"].value

    def value(part, count):
        out = model.apply({**params, **frozen}, data["x" if part == "train" else "test_x"][:count])
        return float(
            loss(out.detach(), data["targets" if part == "train" else "test_targets"][:count])
        )

    assert found["train_loss"][0] == pytest.approx(value("train", 100))
    assert found["running_loss"][0] == found["train_loss"][0]
    from regimes.data.samples import EPOCHS, SampledStream
    from regimes.data.streams import stream_seed

    seeds = [stream_seed(0, "batches", "stage 0", 48)]
    stream = SampledStream(data["x"][:100], data["targets"][:100], seeds, 48, 9, EPOCHS,
                           keep_last=True)  # fmt: skip
    before, after = [], []
    for x, targets in stream:
        out = loss(model.apply({**params, **frozen}, x[0]), targets[0])
        gradient = torch.autograd.grad(out, list(params.values()))
        with torch.no_grad():
            for name, slope in zip(params, gradient, strict=True):
                params[name] -= 0.3 * slope
            again = loss(model.apply({**params, **frozen}, x[0]), targets[0])
        before.append(float(out.detach()))
        after.append(float(again))
    np.testing.assert_allclose(found["batch_loss"], before, rtol=1e-6)
    np.testing.assert_allclose(found["batch_loss_after"], after, rtol=1e-6)
    by_epoch = np.array(before).reshape(3, 3)
    np.testing.assert_allclose(found["running_loss"][1:], by_epoch.mean(1))
    change = 100 * (np.array(after).reshape(3, 3) / by_epoch - 1)
    np.testing.assert_allclose(found["pct_change_mean"][1:], change.mean(1))
    np.testing.assert_allclose(found["pct_change_std"][1:], change.std(1))
    assert np.isnan(found["pct_change_mean"][0])
    assert found["train_loss"][3] == pytest.approx(value("train", 100))
    assert found["test_loss"][3] == pytest.approx(value("test", 1000))
    for index, half in enumerate(model.halves):
        now, first = params[f"w{half}"].detach(), start[f"w{half}"]
        last = found.isel(epoch=3, half=index)
        assert last["weight_norm"] == pytest.approx(float(now.norm()))
        assert last["weight_change"] == pytest.approx(float((now - first).norm()))
        cosine = (now * first).sum() / (now.norm() * first.norm())
        assert last["weight_cosine"] == pytest.approx(float(cosine))
    assert found["inversion_error"][3] < 1e-10 and np.isnan(found["inversion_error"][0])


def test_probes_measure_the_trained_network():
    found = train(runs({}, {"seed": 1}, **PROBES))
    np.testing.assert_allclose(found["cka_initial"].isel(epoch=0), 1)
    np.testing.assert_allclose(found["ntk_similarity"].isel(epoch=0), 1)
    assert np.isnan(found["ntk_velocity"].isel(epoch=0)).all()
    assert (found["ntk_velocity"].isel(epoch=slice(1, None)) > 0).all()
    np.testing.assert_allclose(
        found["ntk_velocity"].isel(epoch=1), 1 - found["ntk_similarity"].isel(epoch=1)
    )
    gram = torch.from_numpy(found["probe_gram"].values).double()
    assert gram.shape == (2, 4, 2, 8, 8)
    # The stored products give the CKA of the same few points.
    few = train(runs({}, {"seed": 1}, **PROBES | {"probe_samples": 8}))
    for block in range(2):
        cka = centred_alignment(gram[:, 3, block], gram[:, 0, block])
        np.testing.assert_allclose(cka, few["cka_initial"].isel(epoch=3, block=block), atol=1e-5)
    (run, _), data = runs({}, {"seed": 1}), data_sets.load("mnist1d")
    params, frozen = parameters(run)
    state = RevMLP(40, 1, 32, None).run({**params, **frozen}, torch.from_numpy(data.x[:8])).output
    np.testing.assert_allclose(gram[0, 0, 0], state @ state.T, rtol=1e-5)


def test_a_switch_goes_on_from_the_weights_with_fresh_batches_and_memory():
    switched = {"then": "adam", "then_lr_code": 1e-3, "then_epochs": 2, **PROBES}
    found = train(runs({}, {"seed": 1}, **switched))
    plain = train(runs({}, {"seed": 1}, **PROBES))
    assert found.sizes["epoch"] == 6 and found.sizes["update"] == 15
    for name in ("train_loss", "weight_cosine", "cka_initial", "ntk_similarity", "batch_loss"):
        dim = "update" if name == "batch_loss" else "epoch"
        first = found[name].isel({dim: slice(plain.sizes[dim])})
        np.testing.assert_array_equal(first, plain[name])
    for name in ("train_loss", "weight_cosine", "cka_initial", "ntk_similarity", "ntk_velocity"):
        assert np.isfinite(found[name].isel(epoch=slice(1, None))).all(), name
    assert (found["weight_change"].isel(epoch=5) > found["weight_change"].isel(epoch=3)).all()
    # Batches after the switch are new ones: not those that the first optimizer saw.
    longer = train(runs({}, {"seed": 1}, **PROBES | {"epochs": 5}))
    assert not np.allclose(found["batch_loss"].isel(update=9), longer["batch_loss"].isel(update=9))


def test_gauss_newton_runs_carry_their_diagnostics_and_full_batches_their_logits():
    gn = {"optimizer": "gn", "lr_code": 0.1}
    found = train(runs(gn, gn | {"seed": 1}, batch_size=None, samples=48))
    assert (found["rank_kept"].isel(half=[0, 1]) <= 21).all()  # h + 1
    assert (found["rank_kept"].isel(half=[2, 3]) <= 33).all()
    assert (found["s_min_kept"] >= 0.01 * found["s_max"]).all()
    assert ((found["residual_fraction"] > 0.3) & (found["residual_fraction"] < 1)).all()
    (run,) = runs({}, batch_size=None, samples=48)
    params, frozen = parameters(run)
    data = data_sets.load("mnist1d")
    # The first layer reads the second half of the inputs, through a linear expansion.
    features = np.c_[data.x[:48, 20:] @ frozen["c1f"].numpy(), np.ones(48)]
    values = np.linalg.svd(features, compute_uv=False)
    first = found.isel(run=0, epoch=0, half=0)
    assert first["s_max"] == pytest.approx(values[0])
    assert first["rank_kept"] == (values >= 0.01 * values[0]).sum()
    logits = model_of(run).apply({**params, **frozen}, torch.from_numpy(data.x[:48]))
    np.testing.assert_allclose(found["initial_logits"][0], logits)
    np.testing.assert_array_equal(found["label"][0], data.targets[:48].argmax(1))
    assert "rank_kept" not in train(runs({}, {"seed": 1}))


def test_optimizers_of_a_seed_share_start_and_frozen_tensors():
    gn = {"optimizer": "gn", "lr_code": 0.1}
    found = train(runs({}, gn, {"optimizer": "adam", "lr_code": 1e-3}, **PROBES))
    start = found.isel(epoch=0)
    for name in ("train_loss", "probe_gram"):
        np.testing.assert_allclose(start[name], start[name].isel(run=[0, 0, 0]), rtol=1e-6)


def test_a_divergent_learning_rate_is_recorded_and_stays_with_its_run(capsys):
    gn = {"optimizer": "gn", "epochs": 20}
    found = train(runs(gn | {"lr_code": 0.1}, gn | {"lr_code": 1e7}, width=60))
    alone = train(runs(gn | {"lr_code": 0.1}, width=60))
    assert found["diverged_at"][0] == -1 and found["diverged_at"][1] >= 0
    assert np.isnan(found["train_loss"][1, -1]) and np.isnan(found["rank_kept"][1, -1]).all()
    np.testing.assert_array_equal(found["batch_loss"][0], alone["batch_loss"][0])
    assert "rank at most 21, less than the 48 samples" in capsys.readouterr().out


def test_results_do_not_depend_on_which_runs_train_together():
    some = runs({"lr_code": 0.3}, {"lr_code": 0.5, "seed": 1}, {"lr_code": 0.1}, precision="single")
    together, last = train(some), train(some[2:])
    for name in ("batch_loss", "train_loss", "weight_norm"):
        np.testing.assert_array_equal(together[name][2], last[name][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 5000}, "samples: 5000 is more than the 4000 training samples of mnist1d"),
        ({"batch_size": 101}, "batch_size: 101 is more than the 100 training samples"),
        ({"then": "adam"}, "then, then_lr_code and then_epochs belong together"),
        ({"augment": True}, "mnist1d has no images to crop"),
        ({"probe_at": "often"}, "probe_at: 'often' is no schedule"),
        ({"kept_samples": 2000}, "kept_samples: 2000 is more than probe_samples 1024"),
        ({"optimizer": "newton"}, "gn"),
        ({"lr_code": 0}, "greater than 0"),
    ],
)
def test_impossible_settings_name_the_key(change, message):
    with pytest.raises(ValidationError, match=message):
        Train.model_validate(BASE | change)


def test_a_full_batch_is_evaluated_whole_and_programs_fit_into_memory():
    (mini,) = runs({}, samples=2000)
    (full,) = runs({}, samples=2000, batch_size=None)
    assert (mini.evaluated(), full.evaluated()) == (1000, 2000)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert (widest(mini, cpu), widest(mini, cuda)) == (16, 4)
    large = {"data": "cifar10", "blocks": 6, "width": 8000, "samples": None, "batch_size": 1024}
    (run,) = runs(large, precision="single")
    assert (widest(run, cpu), widest(run, cuda)) == (2, 4)


def test_missing_images_are_named_in_their_job():
    with pytest.raises(ConfigError, match="data: no train images of CIFAR-10 .*smoke or laptop"):
        train(runs({}, {"seed": 1}, data="cifar10", samples=100))


def test_the_step_size_of_the_paper_is_the_rate_times_the_blocks():
    (run,) = runs({"optimizer": "gn", "lr_code": 0.1})
    assert run.alpha_eff == pytest.approx(0.2)
    assert np.isnan(runs({})[0].alpha_eff)
