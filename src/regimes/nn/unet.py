"""Small U-Net that estimates the noise in an image, given its class and the noise level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GROUPS = 8  # of every group normalization


class ContextUNet(nn.Module):
    """Two levels down, a bottleneck of one pixel, two levels up; class and time enter going up.

    Stem (two convolutions, averaged as a residual) -> level of F features -> level of 2F features
    at a quarter of the side -> mean over the remaining pixels -> back up, each level joined to the
    one of its size on the way down. On the way up features are multiplied by an embedding of the
    class and shifted by one of the time. Convolutions are 3 x 3, followed by group normalization
    and GELU, so that an image's estimate does not depend on the others of its batch.

    Parameters
    ----------
    channels
        Of an image.
    side
        Height and width in pixels, a multiple of 4.
    features
        F, a multiple of 8.
    classes
        Number of classes C.

    Raises
    ------
    ValueError
        If the side or the number of features is no such multiple.
    """

    def __init__(self, channels: int, side: int, features: int, classes: int) -> None:
        super().__init__()
        if side % 4 or features % GROUPS:
            raise ValueError(
                f"the side of images must be a multiple of 4 and features one of {GROUPS}, got "
                f"{side} and {features}"
            )
        self.channels, self.side, self.classes = channels, side, classes
        self.enter, self.again = _convolution(channels, features), _convolution(features, features)
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(before, after), _convolution(after, after))
            for before, after in ((features, features), (features, 2 * features))
        )
        deep = 2 * features
        self.widen = nn.Sequential(
            nn.ConvTranspose2d(deep, deep, side // 4, side // 4),
            nn.GroupNorm(GROUPS, deep),
            nn.ReLU(),
        )
        self.class_embedding = nn.ModuleList(_embedding(classes, n) for n in (deep, features))
        self.time_embedding = nn.ModuleList(_embedding(1, n) for n in (deep, features))
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(before, features, 2, 2),
                *(_convolution(features, features) for _ in range(4)),
            )
            for before in (2 * deep, deep)
        )
        self.leave = nn.Sequential(
            nn.Conv2d(deep, features, 3, padding=1),
            nn.GroupNorm(GROUPS, features),
            nn.ReLU(),
            nn.Conv2d(features, channels, 3, padding=1),
        )

    def forward(self, x: Tensor, context: Tensor, time: Tensor) -> Tensor:
        """Estimate of the noise.

        Parameters
        ----------
        x : Tensor (B, channels, side, side)
            Noisy images.
        context : Tensor (B, C)
            One-hot classes; zeros where the class is not told.
        time : Tensor (B,)
            Noise level, step over number of steps.

        Returns
        -------
        Tensor (B, channels, side, side)
        """
        entered = self.enter(x)
        entered = (entered + self.again(entered)) / 2**0.5
        left = [_halved(self.down[0](entered))]
        left.append(_halved(self.down[1](left[0])))
        rising = self.widen(nn.functional.gelu(left[1].mean((2, 3), keepdim=True)))
        for level, beside in enumerate(reversed(left)):
            factor = self.class_embedding[level](context)[:, :, None, None]
            shift = self.time_embedding[level](time[:, None])[:, :, None, None]
            rising = self.up[level](torch.cat([factor * rising + shift, beside], 1))
        return self.leave(torch.cat([rising, entered], 1))


def _convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(GROUPS, after), nn.GELU()
    )


def _embedding(given: int, features: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(given, features), nn.GELU(), nn.Linear(features, features))


def _halved(x: Tensor) -> Tensor:
    """Largest of every 2 x 2 pixels; the gradient of torch's own pooling is not deterministic."""
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).amax((3, 5))
