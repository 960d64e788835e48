"""Image data and networks: samples, recorded training, curvature, regression with ten outputs."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError
from torch.func import grad, jvp

from regimes import jobs, store
from regimes.config import ConfigError
from regimes.data import files, images
from regimes.data.samples import SampledStream
from regimes.data.streams import stream_seed
from regimes.ensemble.losses import LOSSES
from regimes.nn.image_networks import from_torchvision
from regimes.observe.subspace import Subspace
from regimes.studies.limiting_dynamics import (
    data_sets,
    experiments,
    geometry,
    image_curvature,
    least_squares,
    linear_paths,
    networks,
    recorder,
    theory,
)
from regimes.studies.limiting_dynamics.mixed_precision import MixedPrecisionNetwork, held_numbers
from regimes.studies.limiting_dynamics.networks import initial_weights, model_of
from regimes.studies.limiting_dynamics.settings import FILES, SAMPLES, Geometry, Sgd
from tests.data.made_images import expect, make, use
from tests.nn.test_image_networks import plain

NETWORK = {"model": "resnet18", "width": 2, "data": "cifar10_augmented", "weight_decay": 1e-3}
RESUMED = NETWORK | {"batch_size": 8, "eta": 0.02, "momentum": 0.9, "steps": 4, "seed": 0}
LINEAR = {
    "model": "linear", "data": "cifar10_jpeg_regression", "origin": "initial", "batch_size": 32,
    "eta": 1e-3, "momentum": 0.9, "steps": 60, "seed": 0, "project_at": "every 1", "modes": 4,
}  # fmt: skip
POINT = Geometry(
    **NETWORK, spectrum="top", modes=3, tolerance=0.02, grid_size=2, grid_half_width=0.02,
    rise_radius=0.01, curvature_samples=24, noise_batch=8, noise_batches=30, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def made(tmp_path_factory):
    """Sets of files: CIFAR-10, its copy with small images, and photographs of three channels."""
    with pytest.MonkeyPatch.context() as patch:
        folder = use(patch, tmp_path_factory.mktemp("images"))
        sizes = {"cifar10": (60, 20), "cifar10_jpeg": (400, 20), "imagenet": (24, 8)}
        expect(patch, "cifar10", sizes["cifar10"])
        expect(patch, "cifar10_jpeg", sizes["cifar10_jpeg"], shape=(3, 5, 4))
        expect(patch, "imagenet", sizes["imagenet"], shape=(3, 64, 64), resized=70, classes=12)
        yield {name: make(folder, name, sizes[name]) for name in sizes}
        experiments._moments_of_images.cache_clear()


def sgd(base=RESUMED, **changes):
    return Sgd.model_validate(base | changes)


def with_settings(dataset: xr.Dataset, runs) -> xr.Dataset:
    names = ("model", "hidden", "activation", "width", "data")
    kept = dataset.isel(run=slice(len(runs)))
    return kept.assign_coords({n: ("run", [getattr(r, n) for r in runs]) for n in names})


@pytest.fixture(scope="module")
def start():
    """Weights after a little training of a network and of a wider one beside it."""
    runs = [
        sgd(eta=None, steps=None, stages=((0.1, 6), (0.01, 3)), origin="initial", record_at="",
            keep_weights=True, evaluate_at="ends", width=width)
        for width in (2, 3)
    ]  # fmt: skip
    return with_settings(experiments.train(runs), runs)


@pytest.fixture(scope="module")
def point(start):
    """Curvature of both networks."""
    other = {"width": 3, "noise_batches": 2, "modes": 1, "tolerance": 0.1, "curvature_samples": 4}
    runs = [POINT, POINT.model_copy(update=other)]
    return with_settings(geometry.measure(runs, start=start), runs)


# --- Samples -------------------------------------------------------------------------------------


def test_samples_of_image_sets(made):
    pixels, label = made["cifar10"]["train"]
    one_hot = np.eye(10)
    mean = np.reshape(images.load("cifar10").mean, (3, 1, 1))
    deviation = np.reshape(images.load("cifar10").deviation, (3, 1, 1))
    expected = (pixels / 255 - mean) / deviation
    for name in ("cifar10", "cifar10_augmented", "cifar10_augmented_noisy", "cifar10_regression"):
        found = data_sets.on_device(name, 0.0, "cpu")
        flat = name == "cifar10_regression"
        x = found.x[:]
        assert x.dtype == (torch.float64 if flat else torch.float32)
        shape = (60, 3072) if flat else (60, 3, 32, 32)
        assert tuple(x.shape) == found.x.shape == shape
        np.testing.assert_allclose(x.view(60, 3, 32, 32), expected, atol=1e-5)
        assert (found.augment is None) == (name in ("cifar10", "cifar10_regression"))
        rows = torch.tensor([7, 3, 3])
        assert torch.equal(found.targets.index_select(0, rows), found.targets[:][rows])
        np.testing.assert_array_equal(found.test_targets[:], one_hot[made["cifar10"]["test"][1]])
        changed = (found.targets[:].numpy() != one_hot[label]).any(1).mean()
        assert changed == 0 if name != "cifar10_augmented_noisy" else 0.02 < changed < 0.4


def test_label_noise_is_fixed_and_of_its_share():
    label = np.arange(20_000) % 10
    one, other = (data_sets.noisy(label, 10, np.random.default_rng(0)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    # A tenth of the replaced labels stays the same.
    assert np.mean(one != label) == pytest.approx(0.9 * data_sets.NOISE, abs=0.01)
    assert np.bincount(one, minlength=10) == pytest.approx(2000, abs=150)


def test_large_images_are_cropped(made):
    found = data_sets.on_device("imagenet", 0.0, "cpu")
    pixels = made["imagenet"]["test"][0]
    assert found.x.shape == (24, 3, 64, 64) and found.test_x.shape == (8, 3, 64, 64)
    assert (
        pixels.shape[2:] == (64, 64) and images.load("imagenet").test.pixels.shape[2:] == (70,) * 2
    )
    stream = SampledStream(found.x, found.targets, [1, 2], 4, 1, augment=found.augment)
    ((x, targets),) = list(stream)
    assert x.shape == (2, 4, 3, 64, 64) and targets.shape == (2, 4, 12)
    assert (targets.sum(2) == 1).all()


def test_every_image_set_is_one_of_the_catalog():
    assert set(FILES.values()) == {"cifar10", "cifar10_jpeg", "imagenet"}
    assert {name for name in SAMPLES if "cifar" in name or "image" in name} == set(FILES)


@pytest.mark.parametrize("count, wanted", [(60, None), (60, 100), (1000, 24), (7, 3)])
def test_parts_are_spread_over_a_data_set(count, wanted):
    parts = data_sets.spread(count, wanted, 10)
    together = torch.cat(parts).sort().values
    assert len(together) == min(wanted or count, count) == len(together.unique())
    gaps = together.diff()
    assert together[0] == 0 and together[-1] < count and gaps.max() - gaps.min() <= 1
    for part in parts:  # each from one end to the other
        assert part[-1] - part[0] >= count * (len(part) - 1.5) / len(part) - 1
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


# --- Training ------------------------------------------------------------------------------------


def loss_of(run, flat: torch.Tensor, x, targets, masks=None):
    """Cross-entropy of a network at flat weights, in their type."""
    shapes = model_of(run).shapes()
    parts = flat.split([int(np.prod(shape)) for shape in shapes.values()])
    named = {n: p.view(s) for p, (n, s) in zip(parts, shapes.items(), strict=True)}
    named |= masks or {}
    outputs = model_of(run).apply(named, x.to(flat.dtype)).double()
    return torch.nn.functional.cross_entropy(outputs, targets.argmax(1))


def plain_loop(run, origin):
    """Weights and buffers (K + 1, P) of one run: float64 weights, gradients of float32 ones.

    Groups of a batch are networks of their own, whose losses are averaged.
    """
    data = data_sets.on_device(run.data, 0.0, "cpu")
    seed = stream_seed(run.seed, "batches", "run", run.batch_size)
    stream = SampledStream(
        data.x, data.targets, [seed], run.batch_size, run.steps, run.sampling, keep_last=True,
        augment=data.augment,
    )  # fmt: skip
    weights, buffer = torch.from_numpy(origin), torch.zeros(len(origin), dtype=torch.float64)
    path, buffers = [weights], [buffer]
    for x, targets in stream:
        leaf = weights.float().requires_grad_()
        parts = (each[0].tensor_split(run.norm_groups) for each in (x, targets))
        groups = [(a, b) for a, b in zip(*parts, strict=True) if len(a)]
        loss = sum(len(a) * loss_of(run, leaf, a, b) for a, b in groups) / x.shape[1]
        (slope,) = torch.autograd.grad(loss, leaf)
        buffer = run.momentum * buffer + slope + run.weight_decay * weights
        weights = weights - run.eta * buffer
        path.append(weights)
        buffers.append(buffer)
    return torch.stack(path).numpy(), torch.stack(buffers).numpy()


def test_a_recorded_run_is_that_of_a_plain_loop(point):
    runs = [
        sgd(seed=s, momentum=m, modes=3, controls=1, project_at="every 1", evaluate_at="ends")
        for s, m in ((0, 0.9), (1, 0.0), (0, 0.99))
    ]
    found = experiments.train(runs, start=point)
    size = networks.size_of(model_of(runs[0]))
    origin = point["weights"].values[0, :size]
    vectors = point["eigenvector"].values[0, :3, :size].astype(float)
    for index, run in enumerate(runs):
        path, buffers = plain_loop(run, origin)
        here, moved = found.isel(run=index), path - origin
        close = {"rtol": 1e-4}
        np.testing.assert_allclose(here["global_displacement"], (moved[1:] ** 2).sum(1), **close)
        steps = (np.diff(path, axis=0) ** 2).sum(1)
        np.testing.assert_allclose(here["local_displacement"], steps, **close)
        np.testing.assert_allclose(here["position"], moved @ vectors.T, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(here["velocity"], -buffers @ vectors.T, rtol=1e-3, atol=1e-4)
    data = data_sets.on_device(runs[0].data, 0.0, "cpu")
    path, _ = plain_loop(runs[0], origin)
    for part in ("train", "test"):
        x, targets = (data.x, data.targets) if part == "train" else (data.test_x, data.test_targets)
        # Sixty images are normalized together: fewer than the images of a part.
        loss = loss_of(runs[0], torch.from_numpy(path[-1]).float(), x[:], targets[:])
        assert float(found[f"{part}_loss"][0, -1]) == pytest.approx(float(loss), rel=1e-4)
        assert 0 <= float(found[f"{part}_accuracy"][0, -1]) <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_groups": 4},
        {"norm_groups": 3},  # of unequal sizes
        {"norm_groups": 3, "sampling": "epochs", "batch_size": 29},  # 60 images: 29, 29, 2
    ],
)
def test_groups_of_a_batch_are_normalized_by_themselves(point, changes):
    runs = [sgd(seed=s, momentum=0.5, **changes) for s in (0, 1)]
    found = experiments.train(runs, start=point)
    origin = point["weights"].values[0, : networks.size_of(model_of(runs[0]))]
    for index, run in enumerate(runs):
        path, _ = plain_loop(run, origin)
        moved = ((path[1:] - origin) ** 2).sum(1)
        np.testing.assert_allclose(found["global_displacement"][index], moved, rtol=1e-4)
    path, _ = plain_loop(runs[0].model_copy(update={"norm_groups": 1}), origin)
    other = ((path[1:] - origin) ** 2).sum(1)
    assert abs(found["global_displacement"].values[0] / other - 1).max() > 0.01


def test_epochs_use_every_image_once(monkeypatch, point):
    """With the last batch as small as it may be: steps of whole epochs are what epochs says."""
    seen = []
    select = images.Pixels.changed
    monkeypatch.setattr(
        images.Pixels, "changed", lambda s, rows, how: seen.append(rows) or select(s, rows, how)
    )
    monkeypatch.setitem(SAMPLES, "cifar10_augmented", 60)
    given = RESUMED | {"batch_size": 25, "epochs": 2, "sampling": "epochs"}
    (drawn,) = Sgd.expand({name: value for name, value in given.items() if name != "steps"})
    run = sgd(drawn)
    assert run.steps == 6
    experiments.train([run], start=point)
    assert [len(rows) for rows in seen] == 2 * [25, 25, 10]
    for epoch in (seen[:3], seen[3:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(60))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_groups": 9}, "9 are more than the 8 samples of a batch; at most 8"),
        ({"norm_groups": 0}, "greater than or equal to 1"),
        (LINEAR | {"norm_groups": 2}, "got 2 for a model linear; image networks alone"),
    ],
)
def test_groups_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        sgd(**changes)


def test_runs_do_not_depend_on_their_neighbours(point):
    many = [sgd(seed=s, eta=e, norm_groups=3) for s in (0, 1) for e in (0.02, 0.01)]
    found = experiments.train(many, start=point)
    alone = experiments.train([many[2], many[1]], start=point)
    for there, here in ((2, 0), (1, 1)):
        one, other = found.isel(run=[there]), alone.isel(run=[here])
        assert store.variables_digest(one) == store.variables_digest(other)
    # Equal seeds see equal batches: the first loss is the same at every learning rate.
    first = found["train_batch_loss"].values[:, 0]
    assert first[0] == first[1] and first[2] == first[3] and first[0] != first[2]


def test_a_small_step_is_not_lost_to_rounding(point):
    """Steps of 1e-9 of the weights: float32 weights would stay where they are."""
    run = sgd(eta=1e-10, steps=2, momentum=0.0)
    found = experiments.train([run], start=point)
    origin = point["weights"].values[0, : networks.size_of(model_of(run))]
    path, _ = plain_loop(run, origin)
    expected = ((path[1:] - origin) ** 2).sum(1)
    assert (np.abs((path[1] - origin) / origin.std()) < 1e-8).all()
    np.testing.assert_allclose(found["global_displacement"][0], expected, rtol=1e-3)


def test_pretraining_learns(start):
    assert np.isfinite(start["weights"].values[1]).all()
    size = networks.size_of(model_of(POINT))
    assert np.isnan(start["weights"].values[0, size:]).all()
    # Sixty images and noise for pixels: the loss is that of guessing, or below it.
    assert (start["train_loss"].values[:, -1] < start["train_loss"].values[:, 0] + 0.3).all()


def test_evaluation_in_parts(monkeypatch, start):
    """The mean over parts of 250 images, each normalized by itself."""
    monkeypatch.setattr(recorder, "TOGETHER", 20)
    run = sgd(eta=1e-12, steps=1, momentum=0.0, weight_decay=0.0, evaluate_at="ends")
    found = experiments.train([run], start=start)
    data = data_sets.on_device(run.data, 0.0, "cpu")
    weights = torch.from_numpy(
        start["weights"].values[0, : networks.size_of(model_of(run))]
    ).float()
    losses = []
    for first in range(3):
        rows = torch.arange(first, 60, 3)
        x, targets = (each.index_select(0, rows) for each in (data.x, data.targets))
        losses.append(float(loss_of(run, weights, x, targets)))
    assert float(found["train_loss"][0, 0]) == pytest.approx(np.mean(losses), rel=1e-5)


VGG = {"model": "vgg16", "width": 1, "data": "imagenet", "origin": "initial"}


def test_dropout_belongs_to_the_run():
    """Networks for large images: dropout in training, drawn from the seed of the run."""
    runs = [sgd(RESUMED | VGG, seed=s, steps=2, evaluate_at="ends") for s in (0, 1, 0)]
    found = experiments.train(runs)
    assert model_of(runs[0]).dropout
    digests = [store.variables_digest(found.isel(run=[index])) for index in range(3)]
    assert digests[0] == digests[2] != digests[1]
    alone = experiments.train([runs[1]])
    assert store.variables_digest(alone) == digests[1]

    network = MixedPrecisionNetwork(model_of(runs[0]), LOSSES["cross_entropy"])
    start = torch.from_numpy(initial_weights(runs[0], network.model))
    shapes = network.model.shapes()
    parts = start.split([int(np.prod(shape)) for shape in shapes.values()])
    params = {n: p.view(1, *s) for p, (n, s) in zip(parts, shapes.items(), strict=True)}
    params[experiments.NOISE_SEED] = torch.tensor([5])
    x, targets = torch.randn(1, 3, 3, 64, 64), torch.eye(12)[None, :3].double()
    step = partial(
        network.loss_and_gradient, params, x, targets, torch.zeros(1, 1, 1), torch.ones(1)
    )
    known = network.state()
    (first, _), (second, _) = step(), step()
    assert first != second
    assert torch.equal(network.outputs(params, x), network.outputs(params, x))
    fresh = MixedPrecisionNetwork(network.model, network.loss)
    fresh.resume(known)
    assert torch.equal(fresh.loss_and_gradient(*step.args)[0], first)


def test_memory_of_a_run_limits_programs():
    run = sgd()
    cpu = torch.device("cpu")
    numbers = held_numbers(model_of(run), (3, 32, 32), 8)
    assert held_numbers(model_of(run), (3, 32, 32), 16) == 2 * numbers
    # At the least the inputs of the convolutions: two stages of w maps of 32 x 32 and 16 x 16.
    assert numbers > 8 * (5 * 2 * 1024 + 5 * 4 * 256)
    assert experiments.widest(run, cpu) == 8
    assert experiments.widest(sgd(width=64, batch_size=512), cpu) == 2
    assert experiments.widest(sgd(), torch.device("cuda")) == 2
    assert experiments.widest(sgd(LINEAR), cpu) == 64
    # What is kept for the backward pass is that of one group.
    crowded = {"width": 16, "batch_size": 512}
    assert experiments.widest(sgd(**crowded), cpu) == 2
    assert experiments.widest(sgd(**crowded, norm_groups=32), cpu) > 4


# --- Curvature -----------------------------------------------------------------------------------


def sample(point_of):
    """All images of the parts, as the geometry sees them."""
    return [(share, x.double(), targets) for share, x, targets in point_of.parts()]


@pytest.fixture(scope="module")
def seen(start):
    weights = networks.start_weights(POINT, start)
    return geometry._points(POINT, weights, torch.device("cpu"))[0]


def test_curvature_of_an_image_network(point, seen):
    here = point.isel(run=0)
    size = len(seen.weights)
    assert here["eigenvector"].dtype == np.float32
    vectors = torch.from_numpy(here["eigenvector"].values[:, :size]).double()
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=1e-5)
    parts = sample(seen)

    def loss(flat):
        return sum(s * loss_of(POINT, flat, x, targets) for s, x, targets in parts)

    for vector, value in zip(vectors, here["eigenvalue"].values[:3], strict=True):
        # Forward over reverse and in float64, where the study takes reverse over reverse.
        image = jvp(grad(loss), (seen.weights,), (vector,))[1]
        assert (image - value * vector).norm() / abs(value) < 2 * POINT.tolerance
        found = image_curvature.hessian_product(seen, vector.numpy())
        np.testing.assert_allclose(found, image, atol=1e-3 * abs(value))
    assert float(here["eigen_residual"].max()) < POINT.tolerance
    assert np.isnan(here["hessian_trace"])


def test_loss_maps_of_an_image_network(point, seen):
    here, size = point.isel(run=0), len(seen.weights)
    first, last = torch.from_numpy(here["eigenvector"].values[[0, 2], :size]).double()

    def loss(weights):
        return sum(s * float(loss_of(POINT, weights, x, y)) for s, x, y in sample(seen))

    grid = here["grid_offset"].values
    moved = seen.weights + grid[1] * first + grid[0] * last
    assert float(here["train_loss_grid"][1, 0]) == pytest.approx(loss(moved), rel=1e-5)
    assert float(here["train_loss"]) == pytest.approx(loss(seen.weights), rel=1e-5)
    rise = loss(seen.weights + 0.01 * last) - loss(seen.weights)
    assert float(here["loss_rise"][1, 1]) == pytest.approx(rise, rel=1e-2, abs=1e-5)
    assert np.isfinite(here["test_loss_grid"].values).all()


def batch_gradients(seen, run, masks=lambda count: {}):
    """Gradients (n, P) in float64 of the batches of the noise, group by group."""
    seed = stream_seed(0, "curvature", "noise", run.noise_batch)
    stream = SampledStream(
        seen.x, seen.targets, [seed], run.noise_batch, run.noise_batches, augment=seen.augment
    )
    slopes = []
    for x, targets in stream:
        leaf, dropped = seen.weights.clone().requires_grad_(), masks(run.noise_batch)
        loss = 0.0
        for rows in np.array_split(np.arange(run.noise_batch), run.norm_groups):
            here = {name: mask[rows] for name, mask in dropped.items()}
            loss += loss_of(run, leaf, x[0, rows], targets[0, rows], here) * len(rows)
        loss = loss / run.noise_batch
        slopes.append(torch.autograd.grad(loss, leaf)[0].numpy())
    return np.array(slopes)


@pytest.mark.parametrize("groups", [1, 3])
def test_noise_of_batch_gradients(point, start, seen, groups):
    """Against the covariance of gradients in float64, batch by batch."""
    run = POINT.model_copy(update={"norm_groups": groups})
    here, size = point.isel(run=0), len(seen.weights)
    if groups > 1:
        with pytest.MonkeyPatch.context() as patch:
            vectors = here["eigenvector"].values[:, :size].astype(float)
            top = Subspace(here["eigenvalue"].values[:3], vectors, np.zeros(3))
            patch.setattr(image_curvature, "top_spectrum", lambda *_: top)
            here = geometry.measure([run], start=start).isel(run=0)
    vectors = here["eigenvector"].values[:, :size].astype(float)
    slopes, batches = batch_gradients(seen, run), run.noise_batches
    centred = slopes - slopes.mean(0)
    scale = run.noise_batch / (batches - 1)
    squares = (centred @ vectors.T) ** 2
    np.testing.assert_allclose(here["noise"][:3], scale * squares.sum(0), rtol=1e-3)
    assert float(here["noise_trace"]) == pytest.approx(scale * (centred**2).sum(), rel=1e-4)
    # Standard errors of two means over batches: of squares, and of gradients.
    error = run.noise_batch * squares.std(0, ddof=1) / np.sqrt(batches)
    np.testing.assert_allclose(here["noise_error"][:3], error, rtol=1e-3)
    stiff = here["eigenvalue"].values[:3] + run.weight_decay
    total = slopes.mean(0) + run.weight_decay * seen.weights.numpy()
    np.testing.assert_allclose(here["bias"][:3], vectors @ total / stiff, rtol=1e-3, atol=1e-6)
    spread = (slopes @ vectors.T).std(0, ddof=1) / np.sqrt(batches)
    np.testing.assert_allclose(here["bias_error"][:3], spread / stiff, rtol=1e-3)


def test_noise_has_the_dropout_of_training():
    run = POINT.model_copy(update=VGG | {"noise_batch": 3, "noise_batches": 4, "norm_groups": 2})
    model = model_of(run)
    weights = initial_weights(sgd(RESUMED | VGG), model)
    seen = geometry._points(run, weights, torch.device("cpu"))[0]
    generator = torch.Generator()
    generator.manual_seed(stream_seed(0, "curvature", "dropout", 3) % 2**63)

    def masks(count):
        return {
            f"keep_{name}": 2.0 * (torch.rand(count, size, generator=generator) >= 0.5)
            for name, size in model.dropout.items()
        }

    vectors = np.linalg.qr(np.random.default_rng(0).standard_normal((len(weights), 2)))[0].T
    found = image_curvature.gradient_noise(seen, vectors, 3, 4, 2)
    slopes, undropped = batch_gradients(seen, run, masks), batch_gradients(seen, run)
    np.testing.assert_allclose(found.mean, slopes.mean(0), atol=1e-5)
    total = slopes.var(0, ddof=1).sum()
    assert found.trace == pytest.approx(3 * total, rel=1e-3)
    assert abs(undropped.var(0, ddof=1).sum() / total - 1) > 0.05


def test_too_little_memory_for_curvature_is_said(start, monkeypatch):
    def large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(image_curvature, "top_spectrum", large)
    with pytest.raises(ConfigError, match="lower .*curvature_batch: 250, noise_batch: 8, modes: 3"):
        geometry.measure([POINT], start=start)

    def broken(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(image_curvature, "top_spectrum", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        geometry.measure([POINT], start=start)


def test_parts_of_curvature(seen):
    """So many images together as the setting says: what memory grows with."""
    parts = list(seen._replace(together=6).parts())
    assert [len(x) for _, x, _ in parts] == [6, 6, 6, 6]


def test_images_of_curvature_are_augmented_once(seen):
    first, again = sample(seen), sample(seen)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one[1], other[1])
    bare = sample(seen._replace(augment=None))
    assert not torch.equal(first[0][1], bare[0][1])
    assert sum(len(x) for _, x, _ in first) == POINT.curvature_samples
    assert sum(share for share, _, _ in first) == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spectrum": "full"}, "an image network takes spectrum: top"),
        ({"curvature_samples": 50_001}, "at most 50000, the images of cifar10_augmented"),
        ({"model": "mlp", "data": "teacher_noisy"}, "must be null for an mlp"),
        ({"data": "cifar10_regression"}, "a model resnet18 takes data cifar10, "),
        ({"data": "teacher_noisy"}, "a model resnet18 takes data cifar10, "),
        ({"model": "mlp", "data": "cifar10"}, "a model mlp takes data teacher_noisy"),
    ],
)
def test_curvature_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        Geometry.model_validate(POINT.model_dump() | changes)


# --- Weights of torchvision ----------------------------------------------------------------------


def saved(folder, state):
    """File of a state, under the name that torchvision would give it."""
    torch.save(state, folder / "state")
    digest = store.file_digest(folder / "state")
    return (folder / "state").rename(folder / f"resnet18-{digest[:8]}.pth"), digest


def test_weights_of_torchvision(made, tmp_path, monkeypatch):
    run = sgd(model="resnet18", data="imagenet", width=64, origin="torchvision")
    model = model_of(run)
    folder = tmp_path / "torchvision"
    folder.mkdir()
    monkeypatch.setenv("REGIMES_DATA", str(tmp_path))
    monkeypatch.setattr(files, "_used", {})
    with pytest.raises(ConfigError, match="0 files resnet18-"):
        networks.torchvision_weights(run, model)
    state = plain(model).float().state_dict()
    path, digest = saved(folder, state)
    found = networks.torchvision_weights(run, model)
    expected = [value.ravel() for value in from_torchvision(model, state).values()]
    np.testing.assert_array_equal(found, np.concatenate(expected))
    assert files.used() == {"torchvision/resnet18": digest}
    path.unlink()
    path, _ = saved(folder, {"fc.bias": torch.zeros(3)})
    with pytest.raises(ConfigError, match="download torchvision's weights resnet18"):
        networks.torchvision_weights(run, model)
    with pytest.raises(ValidationError, match="weights for data: imagenet and width: 64 only"):
        sgd(origin="torchvision")


def test_weights_with_other_bytes_than_their_name_says(tmp_path, monkeypatch):
    (tmp_path / "torchvision").mkdir()
    monkeypatch.setenv("REGIMES_DATA", str(tmp_path))
    (tmp_path / "torchvision" / "resnet18-f37072fd.pth").write_bytes(b"cut short")
    begins = hashlib.sha256(b"cut short").hexdigest()[:8]
    with pytest.raises(ConfigError, match=f"begins with {begins}, not with f37072fd as its name"):
        files.weights("resnet18")


def test_weights_are_noted_with_the_results(tmp_path, monkeypatch):
    """Before training, so that checkpoints of other weights are not gone on with."""
    (tmp_path / "torchvision").mkdir()
    monkeypatch.setenv("REGIMES_DATA", str(tmp_path))
    monkeypatch.setattr(files, "_used", {})
    monkeypatch.setenv("REGIMES_CACHE", str(tmp_path / "decoded"))
    make(tmp_path, "imagenet", (24, 8))
    _, digest = saved(tmp_path / "torchvision", {"any": torch.zeros(1)})
    run = sgd(model="resnet18", data="imagenet", width=64, origin="torchvision")
    assert jobs._data_of([run])["torchvision/resnet18"] == digest


# --- Regression ----------------------------------------------------------------------------------


def test_least_squares_with_several_outputs_against_a_solver():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 6)) * np.arange(1, 7) + 1.0
    targets = x @ rng.standard_normal((6, 3)) + rng.standard_normal((300, 3)) + 2.0
    found = least_squares.solve(x, targets, 0.3, bias=True, modes=5)
    rows = np.column_stack([x, np.ones(300)])
    expected = np.linalg.lstsq(
        np.vstack([rows, np.sqrt(0.3 * 300) * np.eye(7)]),
        np.concatenate([targets, np.zeros((7, 3))]), rcond=None,
    )[0]  # fmt: skip
    np.testing.assert_allclose(found.minimum, expected.ravel(), rtol=1e-10)
    # The whole Hessian, each eigenvalue three times, and gradients of single samples.
    hessian = np.kron(rows.T @ rows / 300, np.eye(3))
    np.testing.assert_allclose(np.repeat(found.eigenvalue, 3), np.linalg.eigvalsh(hessian)[::-1])
    along = found.directions(5)
    np.testing.assert_allclose(hessian @ along.T, along.T * found.eigenvalue[:5], atol=1e-9)
    np.testing.assert_allclose(along @ along.T, np.eye(5), atol=1e-12)
    residual = targets - rows @ expected
    gradients = (rows[:, :, None] * residual[:, None, :]).reshape(300, -1)
    covariance = np.cov(gradients.T, bias=True)
    np.testing.assert_allclose(found.noise, np.diag(along @ covariance @ along.T), rtol=1e-9)
    assert found.noise_trace == pytest.approx(np.trace(covariance))
    assert found.residual_variance == pytest.approx(np.mean(residual[:, 0] ** 2))


def test_least_squares_in_parts_and_without_enough_samples(monkeypatch):
    rng = np.random.default_rng(1)
    x, targets = rng.standard_normal((50, 4)), rng.standard_normal((50, 2))
    whole = least_squares.solve(x, targets, 0.0, bias=True)
    monkeypatch.setattr(least_squares, "TOGETHER", 4 * 7)
    for one, other in zip(least_squares.solve(x, targets, 0.0, bias=True), whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    # Three samples in four dimensions: the solution of least length.
    found = least_squares.solve(x[:3], targets[:3], 0.0)
    expected = np.linalg.pinv(x[:3]) @ targets[:3]
    np.testing.assert_allclose(found.minimum, expected.ravel(), atol=1e-10)


def test_linear_runs_on_images(made):
    run = sgd(LINEAR)
    model = model_of(run)
    assert networks.size_of(model) == 61 * 10
    runs = [sgd(LINEAR, seed=s, weight_decay=0.01) for s in range(30)]
    start = initial_weights(runs[0], model)
    assert np.array_equal(start, initial_weights(runs[3], model)) and start.std() > 0
    assert abs(start).max() <= networks.LINEAR_REACH
    found = experiments.train(runs)
    data = data_sets.on_device(run.data, 0.0, "cpu")
    rows = np.column_stack([data.x[:].numpy(), np.ones(400)])
    targets = data.targets[:].numpy()
    second, cross = rows.T @ rows / 400, rows.T @ targets / 400
    top = np.linalg.eigvalsh(second)[::-1]
    np.testing.assert_allclose(found["eigenvalue"][0], top[:4], rtol=1e-10)
    solution = np.linalg.solve(second + 0.01 * np.eye(61), cross)
    vectors = np.linalg.eigh(second)[1][:, ::-1].T[:4]
    moved = vectors @ (solution - start.reshape(61, 10))[:, 0]
    np.testing.assert_allclose(abs(found["minimum"][0]), abs(moved), rtol=1e-8)

    # The mean of the runs follows gradient descent on all data, within four standard errors.
    weights, buffer, path = start.reshape(61, 10), 0.0, [start.reshape(61, 10)]
    for _ in range(run.steps):
        buffer = 0.9 * buffer + second @ weights - cross + 0.01 * weights
        weights = weights - run.eta * buffer
        path.append(weights)
    lead = np.sign(np.take_along_axis(vectors, abs(vectors).argmax(1)[:, None], 1))
    expected = (np.array(path) - path[0])[:, :, 0] @ (lead * vectors).T
    positions = found["position"].values
    error = positions.std(0, ddof=1) / np.sqrt(len(runs)) + 1e-9
    assert (abs(positions.mean(0) - expected) < 4 * error + 1e-7).mean() > 0.98

    # And so do the theory's constants: the recursion of a mode, as figures draw it.
    exact = theory.moment_recursion(
        run.steps, found["eigenvalue"].values[0], found["noise"].values[0], run.eta, 0.9, 32,
        0.01, -found["minimum"].values[0],
    )  # fmt: skip
    np.testing.assert_allclose(exact.mean_x, expected, atol=1e-7)


def test_linear_runs_on_images_can_be_drawn(made):
    runs = [sgd(LINEAR, seed=s) for s in range(2)]
    found = experiments.train(runs)
    names = linear_paths.SETTINGS
    found = found.assign_coords({n: ("run", [getattr(r, n) for r in runs]) for n in names})
    path = linear_paths.about_minimum(found)
    means = linear_paths.mean_paths(path)
    bands = linear_paths.bands(path, means, found["residual_variance"])
    assert np.isfinite(bands["band_position"]).all()
    error = linear_paths.relative_rms(path["position"], means["recursion_position"])
    assert (error < 0.3).all()
