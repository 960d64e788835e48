"""Classification tasks as endless distributions, and online streams that never repeat a sample.

A task draws labelled samples from a torch generator. A stream draws the batches of many runs, one
batch per step, from one named random stream per data seed: runs with equal data seeds see equal
batches, drawn once. Samples are drawn in float32 and converted, so that runs in both precisions see
the same data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property, lru_cache, partial
from math import prod
from typing import Any, Protocol

import numpy as np
import torch

from regimes.config import ConfigError
from regimes.data import augmentation, images
from regimes.data.augmentation import Augmentation
from regimes.data.streams import Cursor, stream_seed

# Numbers drawn at a time for one data seed: enough to amortize the calls, few enough for a cache.
CHUNK = 2**18


class Task(Protocol):
    """A distribution of labelled samples.

    Attributes
    ----------
    shape
        Shape of one input.
    classes
        Number C of classes.
    samples
        Number of distinct samples, None where endless.
    """

    shape: tuple[int, ...]
    classes: int
    samples: int | None

    def draw(
        self, generator: torch.Generator, count: int, start: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs (count, *shape) in float32 and labels (count,), on the generator's device.

        ``start`` is the number of samples drawn before; only finite tasks look at it.
        """


class GaussianMixture:
    """The task "GMM-30": thirty Gaussian clusters in a plane of eight dimensions, ten classes.

    Centres are ``2 * normal(30, 8) @ Q^T`` with Q (64, 8) orthonormal, unit noise in all 64
    dimensions, inputs divided by ``sqrt(mean(centre^2) + 1)``; centre i has label i // 3.

    Parameters
    ----------
    image
        Return the 64 numbers as an image (1, 8, 8), for networks that read patches.
    """

    classes = 10
    samples = None

    def __init__(self, image: bool = False) -> None:
        self.shape = (1, 8, 8) if image else (64,)

    @cached_property
    def _centres(self) -> tuple[torch.Tensor, float]:
        rng = np.random.default_rng(7)
        plane, _ = np.linalg.qr(rng.standard_normal((64, 8)))
        centres = 2.0 * rng.standard_normal((30, 8)) @ plane.T
        return torch.from_numpy(centres).float(), float(np.sqrt(np.mean(centres**2) + 1))

    def draw(
        self, generator: torch.Generator, count: int, start: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw centre indices, then noise: see `Task`."""
        device = generator.device
        centres, scale = self._centres
        index = torch.randint(30, (count,), generator=generator, device=device)
        noise = torch.randn(count, 64, generator=generator, device=device)
        x = noise.add_(centres.to(device).index_select(0, index)).div_(scale)
        return x.view(count, *self.shape), index // 3


class Hierarchical:
    """Ten orthogonal class directions of size 1 and one super-class direction of size 3.

    Five classes share each sign of the super-class direction. Inputs are
    ``sqrt(64)/3 * (direction of the class +- 3 * super-class direction) + noise`` with noise of
    standard deviation 0.5 in 64 dimensions.
    """

    classes = 10
    samples = None
    shape = (64,)

    def draw(
        self, generator: torch.Generator, count: int, start: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw labels, then noise: see `Task`."""
        device = generator.device
        label = torch.randint(10, (count,), generator=generator, device=device)
        x = torch.randn(count, 64, generator=generator, device=device).mul_(0.5)
        # Orthonormal directions: the first ten axes for classes, the eleventh for super-classes.
        means = torch.zeros(10, 64)
        means[:, :10] = torch.eye(10)
        means[:, 10] = torch.where(torch.arange(10) < 5, 3.0, -3.0)
        return x.add_(means.mul(8 / 3).to(device).index_select(0, label)), label


class TemplateImages:
    """Images of ten classes: a smooth random template per class, random contrast, pixel noise.

    Templates are sums of plane waves of low frequency with unit variance per pixel; a sample is
    ``contrast * template + noise`` with contrast uniform in [0.5, 1.5] and unit noise, divided by
    ``sqrt(2)``. A synthetic stand-in for image streams, easy for a linear classifier.

    Parameters
    ----------
    size
        Height and width in pixels.
    channels
        Number of channels.
    """

    classes = 10
    samples = None

    def __init__(self, size: int = 32, channels: int = 1) -> None:
        self.shape = (channels, size, size)

    @cached_property
    def _templates(self) -> torch.Tensor:
        rng = np.random.default_rng(11)
        channels, size, _ = self.shape
        along = np.arange(size) / size
        waves = np.zeros((10, channels, size, size))
        for vertical in range(-3, 4):
            for horizontal in range(4):
                phase = 2 * np.pi * rng.random((10, channels, 1, 1))
                height = rng.standard_normal((10, channels, 1, 1))
                angle = 2 * np.pi * (vertical * along[:, None] + horizontal * along[None, :])
                waves += height * np.cos(angle + phase)
        waves -= waves.mean(axis=(2, 3), keepdims=True)
        waves /= waves.std(axis=(2, 3), keepdims=True)
        return torch.from_numpy(waves).float()

    def draw(
        self, generator: torch.Generator, count: int, start: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw labels, contrasts, then noise: see `Task`."""
        device = generator.device
        label = torch.randint(10, (count,), generator=generator, device=device)
        contrast = torch.rand(count, generator=generator, device=device).add_(0.5)
        x = torch.randn(count, *self.shape, generator=generator, device=device)
        templates = self._templates.to(device).index_select(0, label)
        return x.addcmul_(templates, contrast.view(-1, 1, 1, 1)).div_(2**0.5), label


class Samples:
    """A finite list of samples, each given out once, in order.

    Parameters
    ----------
    x : Tensor (n, *shape)
    labels : Tensor (n,)
    classes : int
    """

    def __init__(self, x: torch.Tensor, labels: torch.Tensor, classes: int) -> None:
        self.x, self.labels = x, labels
        self.shape = tuple(x.shape[1:])
        self.classes = classes
        self.samples = len(x)

    def draw(
        self, generator: torch.Generator, count: int, start: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the samples ``start`` to ``start + count``: see `Task`.

        Raises
        ------
        regimes.config.ConfigError
            If there are not so many.
        """
        if start + count > self.samples:
            raise _dry(self.samples, start + count)
        part = slice(start, start + count)
        return self.x[part].to(generator.device), self.labels[part].to(generator.device)


class Images:
    """Images of a data set: as an endless stream of augmented ones, or each once, in order.

    The endless stream goes through the training part epoch by epoch, each in an order of its own
    that follows from the seed of the generator and the number of the epoch, so that any sample can
    be drawn without those before it. Every sample is changed by numbers of its own.

    Parameters
    ----------
    found
        The data set, with the mean and deviation that standardize it.
    augment
        Change of the training images; None for the images as they are.
    endless
        Whether the training part is gone through again and again. Otherwise its samples come in
        their order, none twice.
    """

    def __init__(
        self, found: images.ImageSet, augment: Augmentation | None = None, *, endless: bool = True
    ) -> None:
        self.found, self.augment = found, augment
        self.shape, self.classes = found.shape, found.classes
        self.samples = None if endless else len(found.train.label)
        self._pixels = cache(lambda part, device: found.pixels(getattr(found, part), device=device))
        # An epoch of each data seed in use. Neither cache refers to this object, which would keep
        # it and its pixels alive until the garbage collector runs.
        self._order = lru_cache(maxsize=64)(partial(_shuffled, len(found.train.label)))

    def draw(
        self, generator: torch.Generator, count: int, start: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the samples ``start`` to ``start + count``, then change them: see `Task`.

        Raises
        ------
        regimes.config.ConfigError
            If the stream is not endless and there are not so many.
        """
        size, device = len(self.found.train.label), generator.device
        if self.samples is not None and start + count > size:
            raise _dry(size, start + count)
        rows = torch.arange(start, start + count)
        if self.samples is None:
            epochs = range(start // size, (start + count - 1) // size + 1)
            order = torch.cat([self._order(generator.initial_seed(), epoch) for epoch in epochs])
            rows = order[rows - epochs[0] * size]
        pixels, label = self._pixels("train", device), torch.from_numpy(self.found.train.label)
        if self.augment is None:
            x = pixels.index_select(0, rows)
        else:
            x = pixels.changed(rows, lambda taken: self.augment(taken, generator))
        return x, label[rows].to(device)

    def held_out(self, generator: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Some images of the test part, none twice, as they are.

        Raises
        ------
        regimes.config.ConfigError
            If there are fewer.
        """
        size = len(self.found.test.label)
        if count > size:
            raise ConfigError(
                f"{count} held-out samples are asked for and the test part of {self.found.name} "
                f"has {size}; ask for at most {size}"
            )
        rows = torch.randperm(size, generator=generator)[:count]
        label = torch.from_numpy(self.found.test.label)[rows]
        return self._pixels("test", generator.device).index_select(0, rows), label


def _shuffled(size: int, seed: int, epoch: int) -> torch.Tensor:
    """Order of the images in one epoch of one data seed."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "epoch", epoch) % 2**63)
    return torch.randperm(size, generator=generator)


def _digits(found: images.ImageSet) -> Augmentation:
    """Small shifts, rotations and changes of size, on a black ground."""
    return augmentation.affine(fill=augmentation.black(found.mean, found.deviation))


def _colours(found: images.ImageSet) -> Augmentation:
    """Mirrored crops of the padded image with other brightness, contrast and saturation."""
    return augmentation.compose(
        augmentation.crop_and_flip(fill=augmentation.black(found.mean, found.deviation)),
        augmentation.colour_jitter(mean=found.mean, deviation=found.deviation),
    )


def _crops(found: images.ImageSet) -> Augmentation:
    """Mirrored crops of random area and shape."""
    return augmentation.compose(
        augmentation.resized_crop(size=found.shape[1:]), augmentation.flip()
    )


# How the images of a stream are changed.
CHANGES = {
    "mnist": _digits,
    "fashion_mnist": _digits,
    "cifar10": _colours,
    "cifar10_jpeg": _colours,
    "cifar100": _colours,
    "tinyimagenet": _crops,
    "imagenet": _crops,
}
# Sets so large that a stream need not go through them twice.
GENERATED = ("mnist1m", "cifar5m")


def image_task(name: str, augmented: bool = True, normalized: bool = True) -> Images:
    """Online stream made of an image data set.

    Parameters
    ----------
    name
        Of the data set, in `regimes.data.catalog`. A set of generated images (MNIST-1M, CIFAR-5M)
        is gone through once, in order, and never changed; others are endless.
    augmented
        Whether every training image is changed at random.
    normalized
        Whether pixels are standardized; otherwise they are pixels / 255.

    Raises
    ------
    regimes.config.ConfigError
        If the name is unknown, or files are missing or bad (`regimes.data.images.load`).
    """
    found = images.load(name)
    if not normalized:
        channels = found.shape[0]
        found = found._replace(mean=(0.0,) * channels, deviation=(1.0,) * channels)
    change = CHANGES.get(name) if augmented else None
    return Images(found, change and change(found), endless=name not in GENERATED)


def _dry(samples: int, wanted: int) -> ConfigError:
    return ConfigError(
        f"the data stream has {samples} samples and the runs ask for {wanted}: samples are never "
        "repeated. Lower steps or batch_size, or choose an endless stream"
    )


class OnlineStream:
    """Batches of fresh samples, step by step, for several data seeds.

    A finite task is gone through once, in its order, by every data seed alike.

    Iterating yields, ``steps`` times, inputs (S, B, *shape) and one-hot targets (S, B, C).

    Parameters
    ----------
    task
        Where samples come from.
    seeds
        One `regimes.data.streams.stream_seed` per data seed.
    batch_size
        Samples B per step and seed.
    steps
        Number of steps.
    dtype, device
        Of the result. Samples are drawn on the device.

    Raises
    ------
    regimes.config.ConfigError
        If the task has fewer than ``steps * batch_size`` samples.
    """

    def __init__(
        self,
        task: Task,
        seeds: Sequence[int],
        batch_size: int,
        steps: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if task.samples is not None and task.samples < steps * batch_size:
            raise _dry(task.samples, steps * batch_size)
        self.task, self.seeds = task, tuple(seeds)
        self.batch_size, self.steps = batch_size, steps
        self.dtype, self.device = dtype, torch.device(device)
        self._cursor, self._next = Cursor(self.seeds, self.device), None

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of every step, from the first on or from where it is to go on."""
        size = self.batch_size
        # A function of shapes only: the numbers must not depend on steps or neighbours.
        steps_at_once = max(1, CHUNK // (size * prod(self.task.shape)))
        if self.task.samples is not None:
            steps_at_once = 1  # a finite task must not be drawn past the last step
        cursor = self._cursor = self._next or Cursor(self.seeds, self.device)
        self._next = None
        eye = torch.eye(self.task.classes, dtype=self.dtype, device=self.device)
        for start in range(cursor.chunk, self.steps, steps_at_once):
            cursor.begin(start)
            count = steps_at_once * size
            drawn = [self.task.draw(g, count, start * size) for g in cursor.draws]
            x = torch.stack([part for part, _ in drawn]).to(self.dtype)
            targets = eye[torch.stack([labels for _, labels in drawn])]
            for step in range(cursor.step - start, min(steps_at_once, self.steps - start)):
                rows = slice(step * size, (step + 1) * size)
                cursor.step += 1
                yield x[:, rows], targets[:, rows]

    def state(self) -> dict[str, Any]:
        """Where the last iteration stands."""
        return self._cursor.state()

    def resume(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on there."""
        self._cursor = self._next = Cursor(self.seeds, self.device, state=state)


def held_out(
    task: Task, purpose: str, count: int, *, dtype: torch.dtype, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples (count, *shape) and one-hot targets (count, C) that no run trains on.

    The same for every run; each purpose has its own stream, so that asking for more test samples
    does not change the samples of another purpose. Those of images are from their test part.

    Raises
    ------
    regimes.config.ConfigError
        If the task is a finite list, whose held-out samples are a list of their own, or if its
        test part is too small.
    """
    generator = torch.Generator("cpu").manual_seed(stream_seed(0, "held out", purpose) % 2**63)
    if isinstance(task, Images):
        x, labels = task.held_out(generator, count)
    elif task.samples is None:
        x, labels = task.draw(generator, count)
    else:
        raise ConfigError("a finite stream has no held-out samples; give them as their own list")
    eye = torch.eye(task.classes, dtype=dtype)
    return x.to(device, dtype), eye[labels].to(device)
