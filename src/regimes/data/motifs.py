"""Small colour images whose class is a motif somewhere in them: a task for convolutions.

A network has to find a pattern of 3 x 3 pixels at any place, so that sharing weights over places
pays and a linear classifier, which sees the average over places only, stays near chance.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

SIDE = 3  # height and width of a motif
SHARED = 10  # motifs that belong to no class and distract


class ColourMotifs:
    """The task "colour motifs": images (3, size, size) of ten classes.

    Background: normal noise of unit variance per pixel, half of it white, half of it smoothed over
    its 3 x 3 neighbourhood (with wrap-around) and mixed over colours. On it stand, at independent
    random places, ``copies`` times one of the ``variants`` motifs of the class (the same in all
    copies) and ``distractors`` motifs of a list that all classes share, each times ``strength`` and
    a random contrast in [0.5, 1.5]. All motifs have zero mean and unit variance per colour. Drawn
    in float32.

    Parameters
    ----------
    size
        Height and width in pixels, at least 4.
    strength
        Size of the motifs in standard deviations of the background.
    copies, distractors
        Motifs of the class and motifs without meaning per image.
    variants
        Number of motifs that stand for a class.

    Raises
    ------
    ValueError
        If the size is too small for a motif to have a choice of places.
    """

    classes = 10
    samples = None

    def __init__(
        self,
        size: int = 12,
        strength: float = 1.4,
        copies: int = 2,
        distractors: int = 2,
        variants: int = 1,
    ) -> None:
        if size <= SIDE:
            raise ValueError(f"motifs of side {SIDE} need images of side {SIDE + 1}, got {size}")
        self.shape = (3, size, size)
        self.strength, self.variants = strength, variants
        self.copies, self.distractors = copies, distractors

    @cached_property
    def _motifs(self) -> torch.Tensor:
        """Motifs (classes * variants + SHARED, 3, SIDE, SIDE), class by class."""
        rng = np.random.default_rng(13)
        motifs = rng.standard_normal((self.classes * self.variants + SHARED, 3, SIDE, SIDE))
        motifs -= motifs.mean(axis=(2, 3), keepdims=True)
        motifs /= motifs.std(axis=(2, 3), keepdims=True)
        return torch.from_numpy(motifs).float()

    def _place(self, x: torch.Tensor, which: torch.Tensor, generator: torch.Generator) -> None:
        """Add motif ``which`` (count,) to images x (count, 3, size, size) at random places."""
        count, _, size, _ = x.shape
        where = {"generator": generator, "device": generator.device}
        corner = torch.randint(size - SIDE + 1, (2, count), **where)
        contrast = torch.rand(count, **where).add_(0.5).mul_(self.strength)
        motif = self._motifs.to(generator.device)[which] * contrast.view(-1, 1, 1, 1)
        along = torch.arange(SIDE, device=generator.device)
        sample = torch.arange(count, device=generator.device).view(-1, 1, 1, 1)
        colour = torch.arange(3, device=generator.device).view(1, -1, 1, 1)
        row = (corner[0, :, None] + along).view(count, 1, SIDE, 1)
        column = (corner[1, :, None] + along).view(count, 1, 1, SIDE)
        x[sample, colour, row, column] += motif  # no pixel of an image twice: places differ

    def draw(
        self, generator: torch.Generator, count: int, start: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw labels, backgrounds, then motifs: see `regimes.data.tasks.Task`."""
        where = {"generator": generator, "device": generator.device}
        label = torch.randint(self.classes, (count,), **where)
        x = _smooth(torch.randn(count, *self.shape, **where))
        x = (x + torch.randn(count, *self.shape, **where)) / 2**0.5
        variant = torch.randint(self.variants, (count,), **where)
        for _ in range(self.copies):
            self._place(x, self.variants * label + variant, generator)
        for _ in range(self.distractors):
            other = torch.randint(SHARED, (count,), **where)
            self._place(x, self.classes * self.variants + other, generator)
        return x, label


def _smooth(noise: torch.Tensor) -> torch.Tensor:
    """Correlate white noise (count, 3, size, size) over pixels and colours, unit variance kept."""
    for axis in (2, 3):
        # Weights 1, 2, 1 over neighbours; the sum of their squares is six.
        noise = (noise.roll(1, axis) + 2 * noise + noise.roll(-1, axis)) / 6**0.5
    # Half of the variance is common to the three colours.
    return (noise + noise.mean(1, keepdim=True) * 3**0.5) / _colour_scale()


def _colour_scale() -> float:
    """Standard deviation of a colour plus sqrt(3) times the mean of three independent ones."""
    return float(np.sqrt((1 + 3**-0.5) ** 2 + 2 / 3))
