"""Images drawn from a diffusion model: MNIST-1M, a million generated digits.

A class-conditional denoising diffusion model with classifier-free guidance is trained on the
training images of a data set, then drawn from. Pixels are neither scaled before (they lie in
[0, 1]) nor clipped afterwards.

References
----------
Ho, Jain and Abbeel, Denoising diffusion probabilistic models (2020).
Ho and Salimans, Classifier-free diffusion guidance (2022).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from regimes import provenance, store
from regimes.config import ConfigError
from regimes.data.streams import numpy_stream, stream_seed
from regimes.nn.unet import ContextUNet

CHECKPOINT, METADATA = "model.pt", "metadata.json"


@dataclass(frozen=True)
class Diffusion:
    """Settings of a diffusion model and of what is drawn from it; the defaults are MNIST-1M's.

    Attributes
    ----------
    features
        Features F of the U-Net.
    steps
        Number T of noise levels.
    lowest, highest
        Variance beta of the noise of the first and of the last step, linear in between.
    dropout
        Share of training images whose class is not told.
    batch_size, rate, epochs
        Of training by Adam; the learning rate falls linearly from epoch to epoch, to
        ``rate / epochs`` in the last. The official generator loads the checkpoint of epoch 40,
        its training script stops at 20.
    guidance
        Weight w of the guidance.
    drawn_together
        Images of one batch, the same number of each class.
    part_size, parts
        Images of one file; number of files.
    seed
        Of all random streams.
    """

    features: int = 128
    steps: int = 400
    lowest: float = 1e-4
    highest: float = 0.02
    dropout: float = 0.1
    batch_size: int = 256
    rate: float = 1e-4
    epochs: int = 20
    guidance: float = 0.5
    drawn_together: int = 1000
    part_size: int = 100_000
    parts: int = 10
    seed: int = 0


class Schedule(NamedTuple):
    """Noise levels in float64; entry t - 1 belongs to step t.

    Attributes
    ----------
    beta : Tensor (T,)
        Variance of the noise that step t adds.
    kept : Tensor (T,)
        Share of the image's variance that is left after step t, the product of 1 - beta.
    """

    beta: Tensor
    kept: Tensor

    @classmethod
    def of(cls, settings: Diffusion, device: torch.device | str = "cpu") -> Schedule:
        """Linear schedule."""
        span = (settings.lowest, settings.highest, settings.steps)
        beta = torch.linspace(*span, dtype=torch.float64)
        kept = (1 - beta).cumprod(0)
        return cls(beta.to(device), kept.to(device))

    def noised(self, x: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """Images (B, ...) after ``step`` (B,) steps of noise, in one go."""
        kept = self.kept[step - 1].view(-1, *[1] * (x.ndim - 1))
        return kept.sqrt().to(x.dtype) * x + (1 - kept).sqrt().to(x.dtype) * noise

    def earlier(self, x: Tensor, step: int, estimate: Tensor, noise: Tensor | None) -> Tensor:
        """Images one step of noise before ``step``, by the estimate of all noise in them.

        The fresh noise has variance beta; None for no fresh noise, as in the last draw.
        """
        beta, kept = self.beta[step - 1], self.kept[step - 1]
        mean = (x - estimate * (beta / (1 - kept).sqrt())) / (1 - beta).sqrt()
        return mean if noise is None else mean + beta.sqrt() * noise


def guided(model: nn.Module, x: Tensor, context: Tensor, level: Tensor, weight: float) -> Tensor:
    """Noise estimate pushed towards the class: (1 + w) told - w untold, in one forward pass."""
    both = model(
        torch.cat([x, x]),
        torch.cat([context, torch.zeros_like(context)]),
        torch.cat([level, level]),
    )
    told, untold = both.chunk(2)
    return (1 + weight) * told - weight * untold


@torch.no_grad()
def draw(
    model: ContextUNet,
    label: Tensor,
    settings: Diffusion,
    generator: torch.Generator,
) -> Tensor:
    """Images of the given classes.

    Parameters
    ----------
    model
        Trained network.
    label : Tensor of int64 (B,)
        Classes, on the generator's device.
    settings
        Noise levels and guidance.
    generator
        Source of randomness.

    Returns
    -------
    Tensor (B, channels, side, side)
        Pixels, most of them in [0, 1].
    """
    device = generator.device
    schedule = Schedule.of(settings, device)
    context = torch.eye(model.classes, device=device)[label]
    shape = (len(label), model.channels, model.side, model.side)
    x = torch.randn(shape, generator=generator, device=device)
    for step in range(settings.steps, 0, -1):
        level = torch.full((len(label),), step / settings.steps, device=device)
        estimate = guided(model, x, context, level, settings.guidance)
        noise = torch.randn(shape, generator=generator, device=device) if step > 1 else None
        x = schedule.earlier(x, step, estimate, noise)
    return x


def draw_part(
    model: ContextUNet, index: int, settings: Diffusion, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one file; each file has random streams of its own.

    Returns
    -------
    images : ndarray of float16 (part_size, channels, side, side)
    label : ndarray of int64 (part_size,)
    """
    generator = torch.Generator(device).manual_seed(
        stream_seed(settings.seed, "diffusion", "part", index) % 2**63
    )
    order = numpy_stream(settings.seed, "diffusion", "order of part", index)
    classes = np.arange(settings.drawn_together) % model.classes
    images, labels = [], []
    for _ in range(settings.part_size // settings.drawn_together):
        label = order.permutation(classes)
        x = draw(model, torch.from_numpy(label).to(device), settings, generator)
        images.append(x.to("cpu", torch.float16).numpy())
        labels.append(label)
    return np.concatenate(images), np.concatenate(labels)


class Training:
    """A diffusion model in training.

    Parameters
    ----------
    pixels : ndarray of uint8 (n, channels, side, side)
    label : ndarray of int (n,)
        Classes, 0 to C - 1.
    settings
        Of the model and its training.
    device
        Where it is trained. The start and the order of the images do not depend on it.

    Attributes
    ----------
    model : ContextUNet
    losses : list of float
        Mean loss of each epoch so far: squared error of the noise estimate per pixel.
    """

    def __init__(
        self, pixels: np.ndarray, label: np.ndarray, settings: Diffusion, device: torch.device
    ) -> None:
        _, channels, side, other = pixels.shape
        if side != other:
            raise ValueError(f"images must be square, got {side} x {other} pixels")
        self.pixels = torch.from_numpy(np.array(pixels)).to(device)
        self.label = torch.from_numpy(np.array(label, dtype=np.int64)).to(device)
        self.settings, self.device = settings, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(settings.seed, "diffusion", "weights") % 2**63)
            self.model = ContextUNet(channels, side, settings.features, int(label.max()) + 1)
        self.model.to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=settings.rate)
        self.losses: list[float] = []

    def epoch(self) -> float:
        """Train for one more pass over the images, in random order; return its mean loss."""
        settings, done = self.settings, len(self.losses)
        schedule = Schedule.of(settings, self.device)
        classes = torch.eye(self.model.classes, device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate * (1 - done / settings.epochs)
        order = numpy_stream(settings.seed, "diffusion", "order of epoch", done)
        rows = torch.from_numpy(order.permutation(len(self.pixels))).to(self.device)
        generator = torch.Generator(self.device).manual_seed(
            stream_seed(settings.seed, "diffusion", "noise of epoch", done) % 2**63
        )
        where = {"generator": generator, "device": self.device}
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for batch in rows.split(settings.batch_size):
            x = self.pixels[batch].float() / 255
            step = torch.randint(1, settings.steps + 1, (len(batch),), **where)
            noise = torch.randn(x.shape, **where)
            told = torch.rand(len(batch), 1, **where) >= settings.dropout
            estimate = self.model(
                schedule.noised(x, step, noise),
                classes[self.label[batch]] * told,
                step / settings.steps,
            )
            loss = nn.functional.mse_loss(estimate, noise)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach().double() * len(batch)
        self.losses.append(float(total) / len(rows))
        return self.losses[-1]

    def save(self, path: Path, origin: str) -> None:
        """Write what is needed to go on; ``origin`` tells what it was made of."""
        state = {
            "origin": origin,
            "losses": self.losses,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with store.atomic(path) as temporary:
            torch.save(state, temporary)

    def resume(self, path: Path, origin: str) -> None:
        """Go on from what `save` wrote.

        Raises
        ------
        regimes.config.ConfigError
            If the file is damaged or was made of something else.
        """
        advice = f"remove {path} and the parts beside it to make them anew"
        try:
            # To the CPU: each tensor then goes where the model and the optimizer want it, which
            # for Adam's count of steps is the CPU.
            state = torch.load(path, map_location="cpu", weights_only=True)
            found = state["origin"]
        except (RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise ConfigError(
                f"{path}: is no checkpoint of a diffusion model ({_line(error)}); {advice}"
            ) from None
        if found != origin:
            changes = _changes(json.loads(found), json.loads(origin))
            raise ConfigError(
                f"{path}: was made by other settings or of other images: {changes}; ask for the "
                f"same, or {advice}"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses = list(state["losses"])


def allow_tf32() -> None:
    """Let convolutions on a GPU use TF32, torch's own default: drawing takes hours, not a day."""
    torch.backends.cudnn.allow_tf32 = True


def complete(folder: Path, settings: Diffusion, shape: tuple[int, ...]) -> bool:
    """Whether the files of a generated data set are all there, so that nothing is to be made.

    A complete set of parts that was made elsewhere is accepted: its parts are checked and get a
    ``metadata.json`` that knows no settings.

    Parameters
    ----------
    folder
        Where the files lie.
    settings
        Of the model and the files.
    shape
        Of one image: channels, height, width.

    Raises
    ------
    regimes.config.ConfigError
        If files are damaged or were made by other settings, or if some parts are there without
        the model that drew them.
    """
    files = _parts(folder, settings)
    missing = [file.name for file in files if not file.exists()]
    if missing:
        if len(missing) < len(files) and not (folder / CHECKPOINT).exists():
            raise ConfigError(
                f"{folder}: holds {len(files) - len(missing)} of {len(files)} parts, but not the "
                f"{CHECKPOINT} that drew them; add {', '.join(missing)}, or remove the parts to "
                "make them anew"
            )
        return False
    about = store.read_json(folder / METADATA)
    if about is None and (folder / CHECKPOINT).exists():
        return False  # killed before the last file
    if about is None:
        about = {"settings": None}
        _describe(folder, files, shape, settings, about)
    if about["settings"] not in (None, asdict(settings)):
        changes = _changes({"settings": about["settings"]}, {"settings": asdict(settings)})
        raise ConfigError(
            f"{folder}: was made by other settings: {changes}; ask for the same, or remove the "
            "folder to make its files anew"
        )
    return True


def make(
    folder: Path,
    pixels: np.ndarray,
    label: np.ndarray,
    source: str,
    settings: Diffusion,
    device: torch.device,
) -> None:
    """Make the files of a generated data set that are missing.

    ``model.pt`` is renewed after every epoch, ``part-<k>.npz`` appear one by one and
    ``metadata.json`` comes last, so that a call that was killed is simply repeated.

    Parameters
    ----------
    folder
        Where the files lie.
    pixels : ndarray of uint8 (n, channels, side, side)
        Images to learn from.
    label : ndarray of int (n,)
        Their classes, 0 to C - 1.
    source
        Name of the data set that they are.
    settings
        Of the model and the files.
    device
        Where the work is done.

    Raises
    ------
    ValueError
        If batches cannot hold the same number of each class, or parts no whole batches.
    regimes.config.ConfigError
        If files in the folder are damaged or were made differently, or if the model draws
        numbers that are not finite.
    """
    if settings.drawn_together % (int(label.max()) + 1):
        raise ValueError("a batch must hold the same number of each class")
    if settings.part_size % settings.drawn_together:
        raise ValueError("a part must hold whole batches")
    images = {"name": source, "sha256": hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()}
    about = {"settings": asdict(settings), "trained_on": images, "device": device.type}
    origin = json.dumps(about, sort_keys=True)
    training = Training(pixels, label, settings, device)
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        training.resume(checkpoint, origin)
    while len(training.losses) < settings.epochs:
        started = time.perf_counter()
        loss = training.epoch()
        training.save(checkpoint, origin)
        spent = time.perf_counter() - started
        print(
            f"epoch {len(training.losses)} of {settings.epochs}: loss {loss:.4f}, {spent:.0f} s",
            flush=True,
        )
    files = _parts(folder, settings)
    for index, file in enumerate(files):
        if file.exists():
            continue
        started = time.perf_counter()
        drawn, classes = draw_part(training.model, index, settings, device)
        wrong = _not_finite(drawn)
        if wrong:
            raise ConfigError(
                f"{file}: not written, {wrong} of its {len(drawn)} images have pixels that are not "
                f"finite numbers: the training of the model failed (loss {training.losses[-1]:.4g} "
                f"in the last epoch); remove {checkpoint} and the parts beside it to train anew"
            )
        with store.atomic(file) as temporary:
            np.savez(temporary, images=drawn, label=classes)
        print(f"{file.name} drawn, {time.perf_counter() - started:.0f} s", flush=True)
    about |= {"losses": training.losses, "versions": provenance.package_versions()}
    _describe(folder, files, pixels.shape[1:], settings, about)


def _parts(folder: Path, settings: Diffusion) -> list[Path]:
    return [folder / f"part-{index}.npz" for index in range(settings.parts)]


def _describe(
    folder: Path,
    files: list[Path],
    shape: tuple[int, ...],
    settings: Diffusion,
    about: dict[str, Any],
) -> None:
    """Check the parts and write the file that tells what they are."""
    for file in files:
        _check_part(file, (settings.part_size, *shape))
    digests = {file.name: store.file_digest(file) for file in files}
    store.write_json(folder / METADATA, {**about, "parts": digests})


def _check_part(file: Path, shape: tuple[int, ...]) -> None:
    try:
        with np.load(file, allow_pickle=False) as archive:
            images, label = archive["images"], archive["label"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{file}: is no archive with images and label ({_line(error)}); remove it to have it "
            "made again"
        ) from None
    if (images.shape, label.shape) != (shape, shape[:1]):
        raise ConfigError(
            f"{file}: has images {images.shape} and label {label.shape} where {shape} and "
            f"{shape[:1]} are expected; remove it to have it made again"
        )
    wrong = _not_finite(images)
    if wrong:
        raise ConfigError(
            f"{file}: {wrong} of its {len(images)} images have pixels that are not finite numbers: "
            "the training of the generator failed, or it is another file; remove all files in its "
            "folder to make them anew"
        )


def _not_finite(images: np.ndarray) -> int:
    """Number of images with pixels that are NaN or infinite."""
    return int((~np.isfinite(images).all((1, 2, 3))).sum())


def _line(error: Exception) -> str:
    return str(error).split("\n")[0] or type(error).__name__


def _changes(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Name what differs between two origins."""
    before, after = _flat(found), _flat(wanted)
    return ", ".join(
        f"{key} {before.get(key)} there, {after.get(key)} now"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    )


def _flat(nested: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat
