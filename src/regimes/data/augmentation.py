"""Random changes of images, batched and on the device of the images.

Every augmentation is a function of images and of uniform random numbers, a fixed count per image.
Numbers are drawn run by run from the run's own generator, while the work on the images is one
batched call: what a run sees does not depend on the runs beside it. Everything is gathering and
elementwise arithmetic, which is deterministic on every device; parameters that change nothing give
the image back bit for bit.

Images may be standardized. What comes into view from outside an image has the value ``fill``: zero
is the mean colour of the data set; `black` is what a pixel of 0 has become, which digits on a black
ground need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import torch

Fill = float | tuple[float, ...]

# Tries of a random crop until one fits into the image, as torchvision's RandomResizedCrop.
TRIES = 10
# Weights of red, green and blue in a grey value (ITU-R 601-2), as in Pillow.
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """A random change of images.

    Attributes
    ----------
    numbers
        Uniform random numbers k per image.
    apply
        Maps images (B, C, H, W) and numbers in [0, 1) (B, k) to changed images (B, C, H', W').
    """

    numbers: int
    apply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def draw(self, generator: torch.Generator, count: int) -> torch.Tensor:
        """Numbers (count, k) for some images, in float32 on the generator's device."""
        return torch.rand(count, self.numbers, generator=generator, device=generator.device)

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Changed images; the generator is on their device."""
        return self.apply(images, self.draw(generator, len(images)))


def compose(*parts: Augmentation) -> Augmentation:
    """Augmentations one after the other, each with its own numbers."""
    ends = list(accumulate(part.numbers for part in parts))

    def apply(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        for part, end in zip(parts, ends, strict=True):
            images = part.apply(images, numbers[:, end - part.numbers : end])
        return images

    return Augmentation(ends[-1] if ends else 0, apply)


def black(mean: Sequence[float], deviation: Sequence[float]) -> tuple[float, ...]:
    """What pixels of value 0 become by standardization, per channel: a ``fill``."""
    return tuple(-m / d for m, d in zip(mean, deviation, strict=True))


def flip() -> Augmentation:
    """Mirror left and right with probability 1/2; one number per image."""

    def apply(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return torch.where(_each(numbers[:, 0] < 0.5), images.flip(-1), images)

    return Augmentation(1, apply)


def crop(padding: int = 4, fill: Fill = 0.0) -> Augmentation:
    """Part of the size of the image, uniform in the image with ``padding`` pixels around it.

    Two numbers per image: the place from the top and from the left.
    """
    outside = _per_channel(fill)

    def apply(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[2:]
        place = _below(numbers, 2 * padding + 1) - padding
        rows = place[:, :1] + torch.arange(height, device=images.device)
        columns = place[:, 1:] + torch.arange(width, device=images.device)
        inside = _within(rows, height)[:, None, :, None] & _within(columns, width)[:, None, None]
        taken = _take(images, rows.clamp(0, height - 1), 2)
        taken = _take(taken, columns.clamp(0, width - 1), 3)
        return torch.where(inside, taken, outside(images))

    return Augmentation(2, apply)


def crop_and_flip(padding: int = 4, fill: Fill = 0.0) -> Augmentation:
    """Random part of the padded image, mirrored with probability 1/2 (`crop`, `flip`)."""
    return compose(crop(padding, fill), flip())


def affine(
    shift: float = 3.0,
    rotation: float = 15.0,
    scale: tuple[float, float] = (0.9, 1.1),
    fill: Fill = 0.0,
) -> Augmentation:
    """Rotate and scale about the centre, then shift; interpolated linearly.

    Parameters
    ----------
    shift
        Largest shift along each axis, in pixels; any real number up to it.
    rotation
        Largest angle in degrees, to either side.
    scale
        Smallest and largest magnification.
    fill
        Value outside the image.

    Notes
    -----
    Four numbers per image: shift down, shift to the right, angle (counter-clockwise), scale; all
    uniform.
    """
    outside = _per_channel(fill)

    def apply(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[2:]
        symmetric = 2 * numbers - 1
        angle = symmetric[:, 2] * math.radians(rotation)
        size = scale[0] + (scale[1] - scale[0]) * numbers[:, 3]
        cosine, sine = (_each(f(angle) / size, 3) for f in (torch.cos, torch.sin))
        # Where each pixel of the result comes from, relative to the centre.
        where = {"device": images.device, "dtype": numbers.dtype}
        centre = (height - 1) / 2, (width - 1) / 2
        down = torch.arange(height, **where).view(1, -1, 1) - centre[0]
        right = torch.arange(width, **where).view(1, 1, -1) - centre[1]
        down = down - _each(symmetric[:, 0], 3) * shift
        right = right - _each(symmetric[:, 1], 3) * shift
        return _sample(
            images,
            cosine * down + sine * right + centre[0],
            cosine * right - sine * down + centre[1],
            outside(images),
        )

    return Augmentation(4, apply)


def resized_crop(
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    size: tuple[int, int] | None = None,
) -> Augmentation:
    """Random part of random area and shape, resized linearly: torchvision's RandomResizedCrop.

    Parameters
    ----------
    scale
        Smallest and largest share of the image's area; uniform.
    ratio
        Smallest and largest width over height; uniform in its logarithm.
    size
        Height and width of the result; None for those of the image.

    Notes
    -----
    Of ten pairs of area and ratio the first that fits into the image is taken; if none does, the
    largest centred part whose ratio is within bounds. All ten are drawn at once. There is no
    smoothing before an image is made smaller (``antialias=False``). Twenty-two numbers per image:
    ten areas, ten ratios, place from the top, place from the left.
    """

    def apply(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        high, wide = images.shape[2:]
        top, left, height, width = crop_boxes(numbers, high, wide, scale, ratio)
        out = size or (high, wide)
        return _stretch(_stretch(images, top, height, out[0], 2), left, width, out[1], 3)

    return Augmentation(2 * TRIES + 2, apply)


def crop_boxes(
    numbers: torch.Tensor,
    high: int,
    wide: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Top, left, height and width, integers (B,), of random crops of images high x wide.

    ``numbers`` (B, 22) are uniform in [0, 1): see `resized_crop`.
    """
    area = high * wide * (scale[0] + (scale[1] - scale[0]) * numbers[:, :TRIES])
    low, up = math.log(ratio[0]), math.log(ratio[1])
    shape = torch.exp(low + (up - low) * numbers[:, TRIES : 2 * TRIES])
    width, height = torch.sqrt(area * shape).round(), torch.sqrt(area / shape).round()
    fits = (width > 0) & (width <= wide) & (height > 0) & (height <= high)
    first = fits.int().argmax(1, keepdim=True)
    none = ~fits.any(1)
    # Where nothing fits: the whole image, or less of its longer side.
    whole_height = min(high, round(wide / ratio[0]))
    whole_width = min(wide, round(high * ratio[1]))
    height = height.gather(1, first)[:, 0].long().masked_fill(none, whole_height)
    width = width.gather(1, first)[:, 0].long().masked_fill(none, whole_width)
    top = _below(numbers[:, -2], high - height + 1)
    left = _below(numbers[:, -1], wide - width + 1)
    top = torch.where(none, (high - height) // 2, top)
    left = torch.where(none, (wide - width) // 2, left)
    return top, left, height, width


def colour_jitter(
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    deviation: Sequence[float] = (1.0, 1.0, 1.0),
) -> Augmentation:
    """Random brightness, contrast and saturation of colour images, in this order.

    Each multiplies the distance of pixels p in [0, 1] from a base by a factor uniform in
    [1 - strength, 1 + strength], and the result is kept in [0, 1]. The base is black for the
    brightness, the mean grey value of the image for the contrast, and the pixel's own grey value
    for the saturation.

    Parameters
    ----------
    brightness, contrast, saturation
        Strengths, 0 to 1.
    mean, deviation
        With which the images are standardized, per channel.

    Notes
    -----
    Three numbers per image.
    """
    given = [_per_channel(values) for values in (mean, deviation, GREY)]

    def apply(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        centre, spread, weights = (values(images) for values in given)
        least, most = (0 - centre) / spread, (1 - centre) / spread  # as black and white become
        for which, strength in enumerate((brightness, contrast, saturation)):
            pixels = images * spread + centre
            base = torch.zeros_like(weights)
            if which > 0:
                base = (pixels * weights).sum(1, keepdim=True)
            if which == 1:
                base = base.mean((2, 3), keepdim=True)
            # A sum, so that a factor of one changes no bit.
            more = _each((2 * numbers[:, which] - 1) * strength).to(images.dtype)
            images = (images + more * (pixels - base) / spread).clamp(least, most)
        return images

    return Augmentation(3, apply)


def _each(values: torch.Tensor, dims: int = 4) -> torch.Tensor:
    """Values (B,), one per image, shaped to act on tensors of ``dims`` dimensions."""
    return values.view(-1, *[1] * (dims - 1))


def _below(numbers: torch.Tensor, count: int | torch.Tensor) -> torch.Tensor:
    """Integers 0 to count - 1, uniform, from numbers in [0, 1)."""
    # The product may round up to the count.
    return (numbers * count).long().clamp(max=count - 1)


def _within(places: torch.Tensor, count: int) -> torch.Tensor:
    return (places >= 0) & (places < count)


def _per_channel(values: float | Sequence[float]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Values per channel as a function of the images that they are to act on.

    They are copied once to each device: a copy in every step would make a GPU wait.
    """

    @cache
    def made(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=device).view(1, -1, 1, 1)

    return lambda images: made(images.dtype, images.device)


def _take(images: torch.Tensor, places: torch.Tensor, dim: int) -> torch.Tensor:
    """Rows (``dim`` 2) or columns (``dim`` 3) of images at places (B, n), other for each image."""
    batch, channels, height, width = images.shape
    if dim == 2:
        return images.gather(2, places[:, None, :, None].expand(-1, channels, -1, width))
    return images.gather(3, places[:, None, None, :].expand(-1, channels, height, -1))


def _stretch(
    images: torch.Tensor, start: torch.Tensor, length: torch.Tensor, out: int, dim: int
) -> torch.Tensor:
    """Resize the pixels ``start`` to ``start + length`` of one axis to ``out`` pixels, linearly.

    Pixels are squares, so the middles of the outermost are half a pixel from the edge; beyond
    these middles the outermost value holds.
    """
    middles = torch.arange(out, device=images.device) + 0.5
    place = middles * (length / out).unsqueeze(1) - 0.5
    place = torch.minimum(place.clamp(min=0), (length - 1).unsqueeze(1))
    lower = place.floor()
    share = (place - lower).to(images.dtype)
    lower = lower.long()
    upper = torch.minimum(lower + 1, (length - 1).unsqueeze(1))
    share = share[:, None, :, None] if dim == 2 else share[:, None, None, :]
    low = _take(images, start.unsqueeze(1) + lower, dim)
    return low + share * (_take(images, start.unsqueeze(1) + upper, dim) - low)


def _sample(
    images: torch.Tensor, down: torch.Tensor, right: torch.Tensor, fill: torch.Tensor
) -> torch.Tensor:
    """Images at real positions (B, H, W), linearly interpolated, with ``fill`` outside."""
    batch, channels, height, width = images.shape
    top, left = down.floor(), right.floor()
    below, beside = (down - top).to(images.dtype), (right - left).to(images.dtype)
    top, left = top.long(), left.long()
    flat = images.flatten(2)

    def at(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        inside = _within(row, height) & _within(column, width)
        index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
        taken = flat.gather(2, index.unsqueeze(1).expand(-1, channels, -1))
        return torch.where(inside.unsqueeze(1), taken.view(batch, channels, *row.shape[1:]), fill)

    below, beside = below.unsqueeze(1), beside.unsqueeze(1)
    upper = at(top, left) * (1 - beside) + at(top, left + 1) * beside
    lower = at(top + 1, left) * (1 - beside) + at(top + 1, left + 1) * beside
    return upper * (1 - below) + lower * below
