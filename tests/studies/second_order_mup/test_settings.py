"""Settings, data sets and networks of the study, against numbers counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from regimes.config import ConfigError
from regimes.data import corpus, tables
from regimes.data.catalog import CATALOG
from regimes.studies.second_order_mup import data_sets, networks, theory
from regimes.studies.second_order_mup.settings import CONTEXT, DATA, IMAGES, MODELS, TEXTS, Train

BASE = {
    "data": "digits", "samples": 100, "model": "mlp", "width": 32, "base_width": 8,
    "parameterization": "mup", "optimizer": "kfac", "lr": 0.1, "steps": 3, "batch_size": 20,
    "seed": 0,
}  # fmt: skip
WHOLE = {"samples": None, "batch_size": None}


def settings(**change):
    given = BASE if "epochs" not in change else {k: v for k, v in BASE.items() if k != "steps"}
    return Train.model_validate(given | change)


# --- Settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 1438}, "samples: 1438 is more than the 1437 training samples of digits"),
        ({"batch_size": 101}, "batch_size: 101 is more than the 100 training samples"),
        ({"model": "cbow"}, "model: cbow does not read digits; cbow reads made_text, wikitext2"),
        ({"data": "made_text"}, "model: mlp does not read made_text"),
        ({"data": "mnist1d", "model": "cnn"}, "mnist1d has signals, no images; mlp reads them"),
        ({"model": "cnn", "activation": "tanh"}, "activation: cnn has relu units, only mlp has"),
        ({"data": "made_text", "model": "cbow"}, "loss: cbow predicts words; take cross_entropy"),
        ({"kernel_at": "ends", "loss": "cross_entropy"}, "kernel_at: kernel regression is"),
        ({"factors": "always"}, "factors: they are observed with the layers; give layers_at"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum: adam has its own; leave it out"),
        ({"optimizer": "sgd", "ema": 0.5}, "ema, interval: sgd has no factors"),
        ({"optimizer": "adam", "interval": 2}, "ema, interval: adam has no factors"),
        ({"optimizer": "adam", "parameterization": "up"}, "there are no up exponents for adam"),
        ({"optimizer": "foof", "damping_rule": "heuristic"}, "damping_rule: foof has rescaled"),
        ({"optimizer": "shampoo", "damping_rule": "heuristic"}, "shampoo has rescaled, largest"),
        ({"optimizer": "shampoo", "damping_rule": "scaled"}, "absolute, not scaled"),
        ({"optimizer": "layerwise_gn", "damping_rule": "heuristic"}, "layerwise_gn has rescaled"),
        ({"optimizer": "layerwise_gn", "model": "cnn"}, "layerwise_gn is for the mlp"),
        ({"optimizer": "layerwise_gn", "ema": 0.5}, "layerwise_gn is for the mlp, with ema 1"),
        ({"optimizer": "layerwise_gn", "interval": 2}, "layerwise_gn is for the mlp, with ema 1"),
        ({"optimizer": "layerwise_gn", "fisher": "mc"}, "layerwise_gn is for the mlp, with ema 1"),
        ({"evaluate_at": "often"}, "evaluate_at: 'often' is no schedule"),
        ({"layers_at": "every 0"}, "layers_at: 'every 0' is no schedule"),
        ({"kernel_at": "sometimes"}, "kernel_at: 'sometimes' is no schedule"),
        ({"steps": 7, "epochs": 2}, "steps: 2 epochs have 10 updates; give one of the two"),
        ({"steps": None}, "steps"),
        ({"epochs": 0}, "epochs\n  Input should be greater than or equal to 1"),
        ({"epochs": 2, "data": "letters"}, "data\n  Input should be 'digits'"),
        ({"epochs": 2, "samples": 2000}, "samples: 2000 is more than"),
        ({"epochs": 2, "batch_size": 200}, "batch_size: 200 is more than"),
        ({"optimizer": "newton"}, "optimizer\n  Input should be 'sgd', 'adam', 'kfac'"),
        ({"model": "vit"}, "model\n  Input should be 'mlp'"),
        ({"parameterization": "ntk"}, "Input should be 'sp', 'up' or 'mup'"),
        ({"output_exponent": 129}, "less than or equal to 128"),
        ({"width": 0}, "greater than or equal to 1"),
        ({"lr": 0}, "greater than 0"),
        ({"damping": 0}, "greater than 0"),
        ({"ema": 0}, "greater than 0"),
        ({"ema": 1.5}, "less than or equal to 1"),
        ({"momentum": 1}, "less than 1"),
        ({"weight_decay": -1e-3}, "greater than or equal to 0"),
        ({"learning_rate": 0.1}, "Extra inputs are not permitted"),
    ],
)
def test_impossible_settings_name_the_key(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({"epochs": 2}, 10),
        ({"epochs": 2, "batch_size": 30}, 6),  # samples that fill no batch are left out
        ({"epochs": 4, "batch_size": None}, 4),
        ({"epochs": 1, "samples": None, "batch_size": 128}, 11),
        ({"epochs": 3, "data": "mnist1d", "samples": 1024, "batch_size": 128}, 24),
        ({"epochs": 2, "steps": 10}, 10),
    ],
)
def test_epochs_become_updates(change, steps):
    assert settings(**change).steps == steps


def test_equal_runs_have_equal_settings_whether_given_by_epochs_or_updates():
    run = settings(steps=10, epochs=2)
    assert run == settings(epochs=2) and Train.model_validate(run.model_dump()) == run
    assert settings(**WHOLE).used() == settings(**WHOLE).batch() == 1437
    assert (settings().used(), settings().batch(), settings().ratio()) == (100, 20, 4)


# --- Data sets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "mnist1d", "colour_motifs"])
def test_images_are_standardized_and_as_large_as_stated(name):
    data, stated = data_sets.load(name), DATA[name]
    assert data.x.shape == (stated.samples, *stated.shape)
    assert data.test_x.shape[1:] == stated.shape and len(data.test_x) >= 360
    assert data.x.dtype == data.test_x.dtype == np.float64
    assert data.label.dtype == data.test_label.dtype == np.int64
    assert (len(data.label), len(data.test_label)) == (len(data.x), len(data.test_x))
    if name == "mnist1d":  # by its package, dimension by dimension before noise is added
        assert abs(data.x.mean()) < 0.02 and 0.9 < data.x.std() < 1.1
    else:
        assert data.x.mean() == pytest.approx(0, abs=1e-12)
        assert data.x.std() == pytest.approx(1)
    for label in (data.label, data.test_label):
        shares = np.bincount(label, minlength=stated.classes) / len(label)
        assert len(shares) == stated.classes and 0.05 < shares.min() and shares.max() < 0.15
    # No sample is in both parts.
    both = np.concatenate([data.x, data.test_x]).reshape(len(data.x) + len(data.test_x), -1)
    assert len(np.unique(both.round(9), axis=0)) == len(both)
    assert data.analogies is None


def test_digits_are_those_of_the_table_with_their_labels():
    data, table = data_sets.load("digits"), tables.digits()
    by_pixels = {tuple(x): int(y) for x, y in zip(table.x, table.target, strict=True)}
    scale = np.ptp(table.x) / np.ptp(data.x)
    pixels = np.rint((data.test_x - data.x.min()) * scale).reshape(len(data.test_x), -1)
    assert [by_pixels[tuple(each)] for each in pixels] == data.test_label.tolist()


def test_text_is_cut_into_windows_and_the_test_text_follows():
    data, stated = data_sets.load("made_text"), DATA["made_text"]
    assert data.x.shape == (stated.samples, *stated.shape) == (30_000, 8)
    assert data.x.dtype == data.label.dtype == data.test_label.dtype == np.int64
    contexts = np.concatenate([data.x, data.test_x])
    centre = np.concatenate([data.label, data.test_label])
    np.testing.assert_array_equal(contexts[1:, CONTEXT - 1], centre[:-1])
    np.testing.assert_array_equal(contexts[:-1, CONTEXT], centre[1:])
    assert {*contexts.ravel(), *centre} == set(range(stated.classes))
    assert data.analogies.shape[1] == 4 and data.analogies.max() < stated.classes
    # Questions that one-hot vectors cannot answer: no word is its own answer.
    assert corpus.analogy_accuracy(np.eye(stated.classes), data.analogies) < 0.05


@pytest.mark.parametrize("name", ["digits", "mnist1d", "colour_motifs", "made_text"])
def test_data_are_always_the_same(name):
    first = data_sets.load(name)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    again = data_sets.load.__wrapped__(name)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(np.random.get_state()[1], state[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), state[1])


def test_data_are_images_or_have_a_loader():
    assert {*IMAGES, *data_sets._LOADERS} == set(DATA)
    assert not {*IMAGES} & {*data_sets._LOADERS}
    assert all(CATALOG[name].shape == DATA[name].shape for name in IMAGES)
    assert all(CATALOG[name].classes == DATA[name].classes for name in IMAGES)
    assert all(CATALOG[name].samples[0] == DATA[name].samples for name in IMAGES)


def test_data_of_another_size_are_refused(monkeypatch):
    short = data_sets.load("digits")._replace(x=data_sets.load("digits").x[:-1])
    monkeypatch.setitem(data_sets._LOADERS, "digits", lambda: short)
    with pytest.raises(ConfigError, match=r"data: 'digits' has training samples of shape \(1436,"):
        data_sets.load.__wrapped__("digits")


# --- Networks -------------------------------------------------------------------------------------

# Weights without biases, scales and shifts of batch norms; n = unit times width.
COUNTS = [
    ("mlp", "digits", 32, {}, 64 * 32 + 32**2 + 320),
    ("mlp", "mnist1d", 16, {}, 40 * 16 + 16**2 + 160),
    ("mlp", "colour_motifs", 16, {}, 432 * 16 + 16**2 + 160),
    ("cnn", "digits", 4, {}, 25 * 4 + 25 * 4 * 8 + 8 * 4 * 10),
    ("cnn", "mnist", 8, {}, 25 * 8 + 25 * 8 * 16 + 16 * 49 * 10),
    ("cnn", "colour_motifs", 4, {}, 25 * 3 * 4 + 25 * 4 * 8 + 8 * 9 * 10),
    ("myrtle5", "digits", 4, {}, 9 * 4 + 3 * 9 * 16 + 40),
    ("myrtle5", "cifar10", 16, {}, 9 * 3 * 16 + 3 * 9 * 256 + 160),
    # VGG19 as published (20 018 880 weights of convolutions, 5504 channels), without biases.
    ("vgg19", "cifar100", 4, {}, 20_018_880 + 2 * 5504 + 51_200),
    # ResNet-18 for CIFAR-100 has 11 220 132 parameters, ResNet-50 25 557 032, with output biases.
    ("resnet18", "cifar100", 4, {}, 11_220_132 - 100),
    ("resnet50", "imagenet", 4, {}, 25_557_032 - 1000),
    # Stem 108 + 8; stages of one block: 304, 944, 3680, 14 528; read-out 320.
    ("resnet8", "colour_motifs", 1, {"unit": 4}, 19_892),
    ("resnet8", "colour_motifs", 4, {"unit": 1}, 19_892),
    ("cbow", "made_text", 8, {}, 2 * 296 * 8),
    ("cbow", "wikitext2", 8, {}, 2 * 2000 * 8),
]


@pytest.mark.parametrize(("model", "data", "width", "more", "count"), COUNTS)
def test_networks_have_their_number_of_parameters(model, data, width, more, count):
    loss = "cross_entropy" if model == "cbow" else "mse"
    run = settings(model=model, data=data, width=width, loss=loss, **WHOLE, **more)
    shapes = networks.model_of(run).shapes()
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == count


def test_every_network_is_counted():
    assert {model for model, *_ in COUNTS} == set(MODELS)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("myrtle5", "mnist", "images are square, of a side 4, 8, 16, 32"),
        ("myrtle5", "colour_motifs", "images are square, of a side 4, 8, 16, 32"),
        ("vgg19", "digits", "5 pools need image sides divisible by 32"),
    ],
)
def test_networks_that_do_not_fit_the_images_are_refused(model, data, message):
    run = settings(model=model, data=data, width=4, **WHOLE)
    with pytest.raises(ConfigError, match=f"model: {model} of width 4 on {data}: {message}"):
        networks.model_of(run)


@pytest.mark.parametrize("data", sorted(set(DATA) - set(TEXTS) - {"imagenet"}))
def test_networks_read_the_data_they_are_made_for(data):
    """Outputs of two images of the stated shape."""
    run = settings(model="mlp" if data == "mnist1d" else "resnet8", data=data, width=1, unit=1)
    model = networks.model_of(run)
    params = {name: torch.ones(2, *shape) for name, shape in model.shapes().items()}
    outputs, tape = model.run(params, torch.ones(2, 3, *DATA[data].shape))
    assert outputs.shape == (2, 3, DATA[data].classes)
    assert list(tape) == list(model.layers)


# --- Parameterization -----------------------------------------------------------------------------

ROLES = ("input", "hidden", "output")


@pytest.mark.parametrize(("optimizer", "parameterization"), theory.PUBLISHED)
@pytest.mark.parametrize("model", ["mlp", "resnet8"])
def test_rates_and_initial_weights_follow_the_published_table(optimizer, parameterization, model):
    """At four times the base width; row by row as published, not computed from a formula."""
    if optimizer == "layerwise_gn" and model != "mlp":
        return
    run = settings(optimizer=optimizer, parameterization=parameterization, model=model)
    network = networks.model_of(run)
    row = theory.PUBLISHED[optimizer, parameterization]
    rates, factors = networks.rates(run, network), networks.weight_factors(run, network)
    assert list(rates) == list(factors) == list(network.layers)
    for name, layer in network.layers.items():
        place = ROLES.index(layer.role)
        assert rates[name] == pytest.approx(0.1 * 4 ** -float(row.rates[place]))
        # Deviation M^-b; the fan-in of hidden and output layers brings M^-1/2 of it.
        brought = 0 if layer.role == "input" else 0.5
        assert factors[name] == pytest.approx(4 ** (brought - float(row.initial[place])))
    assert {layer.role for layer in network.layers.values()} == set(ROLES)


def test_output_layers_can_be_scaled():
    model = networks.model_of(settings())
    plain = networks.weight_factors(settings(), model)
    assert plain == {"w1": 1, "w2": 1, "w3": 0.5}
    found = networks.weight_factors(settings(output_multiplier=0.25), model)
    assert found == plain | {"w3": 0.125}
    found = networks.weight_factors(settings(output_exponent=2.5), model)
    assert found == plain | {"w3": 1 / 16}
    practically_zero = networks.weight_factors(settings(output_exponent=64, base_width=1), model)
    assert 0 < practically_zero["w3"] < 1e-90


def test_hyperparameters_are_those_of_each_run():
    where = {"dtype": torch.float64, "device": "cpu"}
    runs = [settings(momentum=0.5, damping=0.2), settings(parameterization="sp", lr=0.3)]
    model = networks.model_of(runs[0])
    found = networks.hyperparameters(runs, model, where)
    assert found["momentum"].tolist() == [0.5, 0] and found["damping"].tolist() == [0.2, 0.01]
    assert found["rate.w1"].tolist() == [0.1, 0.3]
    # FOOF under muP: M and M and 1.
    runs = [run.model_copy(update={"optimizer": "foof", "parameterization": "mup"}) for run in runs]
    found = networks.hyperparameters(runs, model, where)
    assert [found[f"rate.w{n}"][0].item() for n in (1, 2, 3)] == pytest.approx([0.4, 0.4, 0.1])
    # Parameters of no layer, of a batch norm for instance, have the base learning rate.
    resnet = networks.model_of(settings(model="resnet8"))
    named = networks.hyperparameters([settings(model="resnet8")] * 2, resnet, where)
    assert not any("scale" in name or "shift" in name for name in named)


def test_dampings_scaled_by_hand_know_the_output_exponent_that_is_given():
    common = {"optimizer": "kfac", "damping_rule": "scaled", "width": 32}
    runs = [
        settings(parameterization="mup", output_exponent=0.5, **common),
        settings(parameterization="sp", output_exponent=1.0, **common),
    ]
    where = {"dtype": torch.float64, "device": "cpu"}
    found = networks.hyperparameters(runs, networks.model_of(runs[0]), where)
    assert found["damping.w1.B"].tolist() == pytest.approx([1.0, 1 / runs[1].ratio()])


@pytest.mark.parametrize(
    ("optimizer", "parameterization"),
    sorted({key[:2] for key in theory.PUBLISHED_DAMPING if key[0] != "shampoo"}),
)
def test_dampings_scaled_by_hand_follow_the_published_table(optimizer, parameterization):
    run = settings(
        optimizer=optimizer, parameterization=parameterization, damping_rule="scaled", width=32
    )
    model = networks.model_of(run)
    found = networks.hyperparameters([run, run], model, {"dtype": torch.float64, "device": "cpu"})
    for side in "AB":
        row = theory.PUBLISHED_DAMPING.get((optimizer, parameterization, side))
        expected = [0.0] * 3 if row is None else [4 ** -float(power) for power in row]
        given = [found[f"damping.w{n}.{side}"][0].item() for n in (1, 2, 3)]
        assert given == pytest.approx(expected)
