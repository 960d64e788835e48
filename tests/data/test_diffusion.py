"""The diffusion model behind MNIST-1M: noise levels, guidance, training, files, resuming."""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import json
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from regimes import jobs, journal
from regimes.config import Config, ConfigError
from regimes.data import diffusion, files, images, tasks
from regimes.data.diffusion import Diffusion, Schedule, Training, draw, draw_part, guided, make
from regimes.nn.unet import ContextUNet
from tests.data import made_images

CPU = torch.device("cpu")
TOY = Diffusion(
    features=8,
    steps=12,
    highest=0.4,
    batch_size=16,
    rate=5e-3,
    epochs=3,
    drawn_together=6,
    part_size=12,
    parts=3,
)


def two_classes(count=64):
    """Images of 8 x 8 pixels that are bright above (class 0) or below (class 1)."""
    label = np.arange(count) % 2
    pixels = np.random.default_rng(0).integers(0, 60, (count, 1, 8, 8)).astype(np.uint8)
    pixels[label == 0, :, :4] += 190
    pixels[label == 1, :, 4:] += 190
    return pixels, label


class Untrained(torch.nn.Module):
    """Any function of image, class and time that mixes no images."""

    channels, side, classes = 1, 8, 2

    def forward(self, x, context, time):
        told = (context * torch.tensor([1.0, -2.0])).sum(1) + 3 * (context.sum(1) == 0)
        return x.sin() * time[:, None, None, None] + told[:, None, None, None]


# ---------------------------------------------------------------- noise levels


def test_the_documented_noise_levels():
    beta, kept = Schedule.of(Diffusion())
    assert len(beta) == len(kept) == 400
    np.testing.assert_allclose([beta[0], beta[-1]], [1e-4, 0.02], rtol=1e-6)
    np.testing.assert_allclose(np.diff(beta.double()), (0.02 - 1e-4) / 399, rtol=1e-3)
    np.testing.assert_allclose(kept[-1], np.prod(1 - np.linspace(1e-4, 0.02, 400)), rtol=1e-5)
    assert 0.01 < kept[-1] < 0.02  # about 2 % of an image's variance is left


def test_noise_in_one_go_equals_noise_step_by_step():
    """Mean and variance of q(x_t | x_0) against those of the iterated kernels q(x_t | x_t-1)."""
    schedule = Schedule.of(TOY)
    mean, variance = 1.0, 0.0
    for step, beta in enumerate(schedule.beta.tolist(), 1):
        mean, variance = mean * (1 - beta) ** 0.5, variance * (1 - beta) + beta
        image, nothing = torch.ones(1, 1), torch.zeros(1, 1)
        at = torch.tensor([step])
        np.testing.assert_allclose(schedule.noised(image, at, nothing), mean, rtol=1e-6)
        np.testing.assert_allclose(schedule.noised(nothing, at, image) ** 2, variance, rtol=1e-6)


def test_steps_back_have_the_mean_of_the_posterior():
    """With the true noise, against the mean of q(x_t-1 | x_t, x_0) of Ho et al., equation 7."""
    schedule = Schedule.of(TOY)
    generator = torch.Generator().manual_seed(0)
    x0, noise, fresh = torch.randn(3, 4, 1, 8, 8, generator=generator).double()
    for step in range(1, TOY.steps + 1):
        x = schedule.noised(x0, torch.full((4,), step), noise)
        beta, kept = (values[step - 1] for values in schedule)
        before = schedule.kept[step - 2] if step > 1 else torch.tensor(1.0)
        posterior = before.sqrt() * beta / (1 - kept) * x0
        posterior = posterior + (1 - beta).sqrt() * (1 - before) / (1 - kept) * x
        mean = schedule.earlier(x, step, noise, None)
        torch.testing.assert_close(mean, posterior)
        moved = schedule.earlier(x, step, noise, fresh) - mean
        torch.testing.assert_close(moved, beta.sqrt() * fresh)


# ---------------------------------------------------------------- guidance and sampling


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_guidance_is_that_of_two_separate_evaluations(weight):
    torch.manual_seed(0)
    model = ContextUNet(1, 8, 8, 2).requires_grad_(False)
    x, context, level = torch.randn(4, 1, 8, 8), torch.eye(2)[[0, 1, 1, 0]], torch.rand(4)
    told, untold = model(x, context, level), model(x, torch.zeros(4, 2), level)
    expected = told + weight * (told - untold)
    torch.testing.assert_close(
        guided(model, x, context, level, weight), expected, rtol=1e-4, atol=1e-5
    )
    assert (told - untold).abs().max() > 1e-3


def test_a_perfect_model_of_gaussian_pixels_draws_gaussian_pixels():
    """For x_0 ~ N(m, s^2) the best estimate of the noise is known; draws must have its moments."""
    mean, deviation = 0.4, 0.3
    settings = dataclasses.replace(Diffusion(), guidance=0.0)
    schedule = Schedule.of(settings)

    class Perfect(Untrained):
        def forward(self, x, context, time):
            kept = schedule.kept.float()[(time * settings.steps).round().long() - 1].view(
                -1, 1, 1, 1
            )
            total = kept * deviation**2 + 1 - kept
            return (1 - kept).sqrt() * (x - kept.sqrt() * mean) / total

    x = draw(Perfect(), torch.zeros(400).long(), settings, torch.Generator().manual_seed(0))
    count = x.numel()
    # The start is N(0, 1) where N(sqrt(kept) m, ...) would be exact, which leaves a small error.
    np.testing.assert_allclose(x.mean(), mean, atol=0.02 + 4 * deviation / count**0.5)
    np.testing.assert_allclose(x.std(), deviation, rtol=0.05)


def test_parts_are_deterministic_and_independent_with_exact_class_counts():
    images, label = draw_part(Untrained(), 0, TOY, CPU)
    again = draw_part(Untrained(), 0, TOY, CPU)
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(label, again[1])
    assert images.dtype == np.float16 and images.shape == (12, 1, 8, 8)
    assert label.dtype == np.int64
    for batch in label.reshape(-1, TOY.drawn_together):
        np.testing.assert_array_equal(np.bincount(batch), [3, 3])
    other, other_label = draw_part(Untrained(), 1, TOY, CPU)
    assert abs(np.corrcoef(images.ravel(), other.ravel())[0, 1]) < 0.99
    assert not np.array_equal(label, other_label)
    long = draw_part(Untrained(), 0, dataclasses.replace(TOY, part_size=60), CPU)[1]
    assert len({tuple(batch) for batch in long.reshape(10, -1)}) > 3  # shuffled inside


# ---------------------------------------------------------------- training


def test_training_lowers_the_loss_and_draws_what_the_class_says():
    settings = dataclasses.replace(TOY, epochs=30, steps=30, highest=0.3)
    training = Training(*two_classes(128), settings, CPU)
    while len(training.losses) < settings.epochs:
        training.epoch()
    assert np.mean(training.losses[-3:]) < 0.3 * training.losses[0]
    label = torch.arange(20) % 2
    x = draw(training.model, label, settings, torch.Generator().manual_seed(0))
    above = x[:, 0, :4].mean((1, 2)) - x[:, 0, 4:].mean((1, 2))
    assert ((above > 0) == (label == 0)).all()
    assert 0.3 < above[label == 0].median() < 1.5  # 190 / 255 in the images


def test_the_rate_falls_linearly_over_the_epochs():
    training = Training(*two_classes(8), TOY, CPU)
    rates = []
    for _ in range(TOY.epochs):
        training.epoch()
        rates.append(training.optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates, np.array([3, 2, 1]) / 3 * TOY.rate)


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
def test_what_is_resumed_goes_where_the_model_and_the_optimizer_want_it(tmp_path):
    """Adam counts steps on the CPU, wherever the model is: on "meta", where nothing is stored."""
    training = Training(*two_classes(8), TOY, CPU)
    training.epoch()
    training.save(tmp_path / "model.pt", "{}")
    resumed = Training(*two_classes(8), TOY, torch.device("meta"))
    resumed.resume(tmp_path / "model.pt", "{}")
    for state in resumed.optimizer.state.values():
        assert state["step"] == 1 and not state["step"].is_meta and state["exp_avg"].is_meta


# ---------------------------------------------------------------- files


def files_of(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != diffusion.CHECKPOINT
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of a data set that was made at one go."""
    folder = tmp_path_factory.mktemp("whole")
    make(folder, *two_classes(), "toy", TOY, CPU)
    return folder


def test_files_hold_what_they_should(whole):
    names = ["metadata.json", "part-0.npz", "part-1.npz", "part-2.npz"]
    assert list(files_of(whole)) == names
    about = json.loads((whole / "metadata.json").read_text())
    assert about["settings"] == dataclasses.asdict(TOY) and len(about["losses"]) == TOY.epochs
    pixels = two_classes()[0]
    assert about["trained_on"] == {
        "name": "toy",
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }
    assert about["parts"] == {name: files_of(whole)[name] for name in names[1:]}
    assert "torch" in about["versions"]
    with np.load(whole / "part-1.npz", allow_pickle=False) as archive:
        assert archive["images"].shape == (12, 1, 8, 8)
        np.testing.assert_array_equal(np.bincount(archive["label"]), [6, 6])
    assert diffusion.complete(whole, TOY, (1, 8, 8))


@pytest.mark.parametrize("where", ["epoch 0", "epoch 2", "part 1", "last file"])
def test_a_killed_job_goes_on_to_the_same_bytes(whole, tmp_path, monkeypatch, where):
    class Killed(BaseException):
        pass

    def killing(function, count):
        calls = []

        def wrapped(*arguments):
            if len(calls) == count:
                raise Killed
            calls.append(None)
            return function(*arguments)

        return wrapped

    with monkeypatch.context() as patch:
        if where.startswith("epoch"):
            patch.setattr(Training, "epoch", killing(Training.epoch, int(where[-1])))
        elif where.startswith("part"):
            patch.setattr(diffusion, "draw_part", killing(draw_part, 1))
        else:
            patch.setattr(diffusion, "_describe", killing(diffusion._describe, 0))
        with pytest.raises(Killed):
            make(tmp_path, *two_classes(), "toy", TOY, CPU)
    assert not (tmp_path / "metadata.json").exists()
    assert not diffusion.complete(tmp_path, TOY, (1, 8, 8))
    done = list(tmp_path.glob("part-*"))
    stamps = [path.stat().st_mtime_ns for path in done]
    epochs = []
    original = Training.epoch
    monkeypatch.setattr(Training, "epoch", lambda self: epochs.append(1) or original(self))
    make(tmp_path, *two_classes(), "toy", TOY, CPU)
    assert len(epochs) == {"epoch 0": 3, "epoch 2": 1}.get(where, 0)
    assert stamps == [path.stat().st_mtime_ns for path in done]
    assert files_of(tmp_path) == files_of(whole)


def copied(whole: Path, target: Path, *names: str) -> Path:
    for name in names:
        (target / name).write_bytes((whole / name).read_bytes())
    return target


PARTS = ("part-0.npz", "part-1.npz", "part-2.npz")


def test_parts_made_elsewhere_are_accepted_and_described(whole, tmp_path):
    folder = copied(whole, tmp_path, *PARTS)
    assert diffusion.complete(folder, TOY, (1, 8, 8))
    about = json.loads((folder / "metadata.json").read_text())
    assert about["settings"] is None and list(about["parts"]) == list(PARTS)
    other = dataclasses.replace(TOY, epochs=9)
    assert diffusion.complete(folder, other, (1, 8, 8))  # nobody knows how they were made


def test_some_parts_without_their_model_are_refused(whole, tmp_path):
    folder = copied(whole, tmp_path, *PARTS[:2])
    with pytest.raises(ConfigError, match=r"holds 2 of 3 parts.*model\.pt.*add part-2\.npz"):
        diffusion.complete(folder, TOY, (1, 8, 8))


def test_other_settings_are_refused_by_name(whole, tmp_path):
    other = dataclasses.replace(TOY, epochs=9)
    with pytest.raises(ConfigError, match="epochs 3 there, 9 now"):
        diffusion.complete(whole, other, (1, 8, 8))
    folder = copied(whole, tmp_path, "model.pt")
    with pytest.raises(ConfigError, match="epochs 3 there, 9 now"):
        make(folder, *two_classes(), "toy", other, CPU)
    pixels, label = two_classes()
    with pytest.raises(ConfigError, match="sha256 .* there, .* now"):
        make(folder, 255 - pixels, label, "toy", TOY, CPU)


def test_damaged_files_are_refused_by_name(whole, tmp_path):
    folder = copied(whole, tmp_path, *PARTS)
    (folder / "part-1.npz").write_bytes((whole / "part-1.npz").read_bytes()[:500])
    with pytest.raises(ConfigError, match=r"part-1\.npz: is no archive"):
        diffusion.complete(folder, TOY, (1, 8, 8))
    np.savez(folder / "part-1.npz", images=np.zeros((5, 1, 8, 8)), label=np.zeros(5))
    with pytest.raises(ConfigError, match=r"part-1\.npz: has images \(5, 1, 8, 8\)"):
        diffusion.complete(folder, TOY, (1, 8, 8))
    np.savez(folder / "part-1.npz", pictures=np.zeros((12, 1, 8, 8)))
    with pytest.raises(ConfigError, match=r"part-1\.npz: is no archive"):
        diffusion.complete(folder, TOY, (1, 8, 8))
    images = np.zeros((12, 1, 8, 8), np.float16)
    images[7, 0, 3, 3] = np.inf
    np.savez(folder / "part-1.npz", images=images, label=np.zeros(12))
    with pytest.raises(ConfigError, match=r"part-1\.npz: 1 of its 12 images .*not finite"):
        diffusion.complete(folder, TOY, (1, 8, 8))
    for content in (b"", b"no checkpoint", (whole / "model.pt").read_bytes()[:3000]):
        (folder / "model.pt").write_bytes(content)
        with pytest.raises(ConfigError, match=r"model\.pt: is no checkpoint"):
            make(folder, *two_classes(), "toy", TOY, CPU)


@pytest.mark.parametrize("value", [np.nan, 1e6])  # the latter is infinite in float16
def test_images_that_are_not_finite_are_never_written(value, tmp_path, monkeypatch):
    calls = []

    def drawn(model, label, *_):
        calls.append(None)
        x = torch.zeros(len(label), 1, 8, 8)
        if len(calls) == 4:  # in the second part
            x[1, 0, 2, 3] = value
        return x

    monkeypatch.setattr(diffusion, "draw", drawn)
    with pytest.raises(ConfigError, match=r"part-1.npz: not written, 1 of its 12 .*not finite"):
        make(tmp_path, *two_classes(), "toy", dataclasses.replace(TOY, epochs=1), CPU)
    assert sorted(files_of(tmp_path)) == ["part-0.npz"]


@pytest.mark.parametrize("changes", [{"drawn_together": 7}, {"part_size": 13}])
def test_uneven_batches_are_refused(tmp_path, changes):
    with pytest.raises(ValueError, match="must hold"):
        make(tmp_path, *two_classes(), "toy", dataclasses.replace(TOY, **changes), CPU)


# ---------------------------------------------------------------- the job and its readers


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Data folder with a few images in place of MNIST; MNIST-1M is as small as `TOY`."""
    monkeypatch.chdir(tmp_path)  # where the job keeps its journal
    folder = made_images.use(monkeypatch, tmp_path)
    made_images.expect(monkeypatch, "mnist", (40, 20))
    made_images.expect(monkeypatch, "mnist1m", archives=2)
    made_images.make(folder, "mnist", (40, 20))
    small = {"drawn_together": 20, "part_size": 40, "parts": 2, "epochs": 1}
    settings = dataclasses.asdict(TOY) | small
    monkeypatch.setattr(diffusion, "Diffusion", functools.partial(Diffusion, **settings))
    return folder


CONFIG = Config(Path(__file__).resolve().parents[2])


def test_the_job_makes_a_stream_that_runs_can_read(data, capsys):
    with pytest.raises(ConfigError, match="no train images of MNIST-1M .*make mnist1m"):
        images.load("mnist1m")
    jobs.make_data(CONFIG, "mnist1m", "cpu", epochs=2)
    about = json.loads((data / "mnist1m" / "metadata.json").read_text())
    assert about["settings"]["epochs"] == 2 and about["trained_on"]["name"] == "mnist"
    assert about["device"] == "cpu"
    parts = [np.load(data / "mnist1m" / f"part-{index}.npz") for index in range(2)]
    pixels = np.concatenate([part["images"] for part in parts]).astype(np.float32)
    assert pixels.min() < 0 and pixels.max() > 1  # not clipped
    task = tasks.image_task("mnist1m", augmented=False)
    assert task.samples == 80 and task.shape == (1, 28, 28)
    x, label = task.draw(torch.Generator().manual_seed(0), 10, 35)  # across the border
    np.testing.assert_allclose(x, (pixels[35:45] - 0.1307) / 0.3081, rtol=1e-5, atol=1e-6)
    labels = np.concatenate([part["label"] for part in parts])
    np.testing.assert_array_equal(label, labels[35:45])
    np.testing.assert_array_equal(np.bincount(labels[:20]), np.full(10, 2))
    capsys.readouterr()
    stamp = (data / "mnist1m" / "metadata.json").stat().st_mtime_ns
    jobs.make_data(CONFIG, "mnist1m", "cpu", epochs=2)
    assert "is complete" in capsys.readouterr().out
    assert (data / "mnist1m" / "metadata.json").stat().st_mtime_ns == stamp


def test_a_folder_that_cannot_be_written_to_gives_one_message(data, monkeypatch):
    jobs.make_data(CONFIG, "mnist1m", "cpu")
    for name in ("model.pt", "metadata.json"):  # parts made elsewhere
        (data / "mnist1m" / name).unlink()

    def refuse(path, value, durable=True):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(diffusion.store, "write_json", refuse)
    with pytest.raises(ConfigError, match=r"mnist1m cannot be written to \(Permission denied\)"):
        jobs.make_data(CONFIG, "mnist1m", "cpu")


def test_it_is_made_once_though_two_ask_for_it(data, capsys):
    """As when a cluster job of a dead call is still at work on it."""
    lock = data / ".mnist1m.lock"
    waiting = threading.Thread(target=jobs.make_data, args=(CONFIG, "mnist1m", "cpu"))
    with journal.held(Path("logs/data/mnist1m.json"), lock):
        waiting.start()
        time.sleep(2.5)
        assert not (data / "mnist1m" / "metadata.json").exists()
        assert "waiting for its end" in capsys.readouterr().out
    waiting.join(timeout=60)
    assert (data / "mnist1m" / "metadata.json").exists()


def test_the_job_decodes_data_sets_ahead_of_time(data, monkeypatch, capsys):
    for _ in range(2):
        jobs.make_data(CONFIG, "mnist")
        said = capsys.readouterr().out.splitlines()
        assert [line.split(" are in")[0] for line in said] == [
            "mnist, train: 40 images",
            "mnist, test: 20 images",
        ]
        assert len(list((data.parent / "decoded").glob("mnist-*-label.npy"))) == 2
        monkeypatch.setattr(files, "_decode", None)  # must not be called again
    with pytest.raises(ConfigError, match="no train images of CIFAR-5M"):
        jobs.make_data(CONFIG, "cifar5m")
    with pytest.raises(ConfigError, match=r"--epochs are for .*\(mnist1m\), and mnist is none"):
        jobs.make_data(CONFIG, "mnist", epochs=3)


def test_an_empty_variable_leaves_the_configured_folder(data, monkeypatch, tmp_path):
    monkeypatch.setenv("REGIMES_DATA", "")
    main = types.SimpleNamespace(data=str(tmp_path / "configured"), device="auto")
    with pytest.raises(ConfigError, match=f"in {tmp_path}/configured/cifar10_jpeg"):
        jobs.make_data(types.SimpleNamespace(main=main), "cifar10_jpeg")


def test_requests_of_the_job_that_make_no_sense(data, monkeypatch):
    with pytest.raises(ConfigError, match="no image data set 'mnist2m'; did you mean"):
        jobs.make_data(CONFIG, "mnist2m")
    with pytest.raises(ConfigError, match="--epochs: got 0; must be 1 or more"):
        jobs.make_data(CONFIG, "mnist1m", epochs=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("REGIMES_DEVICE", raising=False)
    with pytest.raises(ConfigError, match="hours on a GPU.*--device cpu"):
        jobs.make_data(CONFIG, "mnist1m")
    assert not (data / "mnist1m").exists()
