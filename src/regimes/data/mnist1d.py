"""MNIST-1D as an endless stream: the templates of the mnist1d package, transformed in batches.

The package transforms one sample at a time; here the same steps (pad, dilate, scale, translate,
correlated and independent noise, shear, resample) run on many samples at once, on any device.
`fixed_set` is the finite data set of the package itself.
"""

from __future__ import annotations

import random
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch


class FixedSet(NamedTuple):
    """The data set that the package generates with its default arguments, standardized as there.

    Attributes
    ----------
    x, test_x : ndarray (4000, 40), (1000, 40)
    label, test_label : ndarray (4000,), (1000,)
    """

    x: np.ndarray
    label: np.ndarray
    test_x: np.ndarray
    test_label: np.ndarray


def fixed_set() -> FixedSet:
    """Fixed samples of MNIST-1D; takes two seconds, one sample after the other in the package."""
    from mnist1d.data import get_dataset_args, make_dataset

    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the package seeds these
    try:
        made = make_dataset(get_dataset_args())
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
    return FixedSet(made["x"], made["y"], made["x_test"], made["y_test"])


class Draws(NamedTuple):
    """Random numbers behind ``count`` samples; lengths in points of the padded signal.

    Attributes
    ----------
    label, padding, shift
        Integers (count,): class, zeros appended, cyclic shift.
    scale, shear
        Uniform in [-0.5, 0.5), (count,).
    correlated, independent
        Standard normals (count, length).
    """

    label: torch.Tensor
    padding: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor
    shear: torch.Tensor
    correlated: torch.Tensor
    independent: torch.Tensor


class Mnist1D:
    """Digits drawn as one-dimensional signals of 40 points, ten classes."""

    classes = 10
    samples = None
    shape = (40,)

    def __init__(self) -> None:
        # Here, not above: its import takes longer than most jobs, and few need it.
        from mnist1d.data import get_dataset_args, get_templates

        self.templates = torch.from_numpy(get_templates()["x"] + 1e-8).float()
        self.settings = get_dataset_args()
        self.length = self.settings.template_len + self.settings.padding[1]

    def draw(
        self, generator: torch.Generator, count: int, start: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw labels, geometry, then noise: see `regimes.data.tasks.Task`."""
        drawn = self.draws(generator, count)
        mean, deviation = self._moments
        return (self.transform(drawn) - mean) / deviation, drawn.label

    def draws(self, generator: torch.Generator, count: int) -> Draws:
        """Random numbers of ``count`` samples."""
        low, high = self.settings.padding
        where = {"generator": generator, "device": generator.device}
        return Draws(
            torch.randint(10, (count,), **where),
            torch.randint(low, high + 1, (count,), **where),
            torch.randint(self.settings.max_translation, (count,), **where),
            torch.rand(count, **where) - 0.5,
            torch.rand(count, **where) - 0.5,
            torch.randn(count, self.length, **where),
            torch.randn(count, self.length, **where),
        )

    def transform(self, drawn: Draws) -> torch.Tensor:
        """Signals (count, 40) from random numbers, before standardization."""
        settings, device = self.settings, drawn.label.device
        x = self.templates.to(device).index_select(0, drawn.label)
        points = x.shape[1] + drawn.padding  # length of the padded signal
        # Dilate the padded signal, zero beyond the template, to the full length.
        place = torch.linspace(0, 1, self.length, device=device) * (points - 1).unsqueeze(1)
        x = _interpolate(torch.nn.functional.pad(x, (0, settings.padding[1])), place)
        x = x * (1 + settings.scale_coeff * drawn.scale).unsqueeze(1)
        along = torch.arange(self.length, device=device)
        x = x.gather(1, (along - drawn.shift.unsqueeze(1)) % self.length)
        correlated = settings.corr_noise_scale * (drawn.correlated @ self._smoothing.to(device))
        x = torch.where(x != 0, x, correlated) + settings.iid_noise_scale * drawn.independent
        slope = torch.linspace(-0.5, 0.5, self.length, device=device)
        x = x - settings.shear_scale * drawn.shear.unsqueeze(1) * slope
        place = torch.linspace(0, self.length - 1, settings.final_seq_length, device=device)
        return _interpolate(x, place.expand(len(x), -1))

    @cached_property
    def _smoothing(self) -> torch.Tensor:
        """Gaussian filter of width 2 as a matrix, acting from the right."""
        from scipy.ndimage import gaussian_filter1d

        return torch.from_numpy(gaussian_filter1d(np.eye(self.length), 2, axis=1)).float()

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """Mean and standard deviation over a large sample, fixed once."""
        generator = torch.Generator("cpu").manual_seed(0)
        x = self.transform(self.draws(generator, 20_000)).double()
        return float(x.mean()), float(x.std())


def _interpolate(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of signals (n, l) at fractional positions (n, m)."""
    left = place.floor().long().clamp(0, x.shape[1] - 2)
    share = place - left
    return x.gather(1, left) * (1 - share) + x.gather(1, left + 1) * share
