"""What the feature-strength figures share: colours and names of feature strengths."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np

LARGEST = 5.0  # |log10 gamma| of the documented grid


def gamma_colour(log10_gamma: float) -> tuple[float, float, float, float]:
    """Colour of a feature strength, the same in every figure: dark lazy, bright ultra-rich."""
    # The brightest tenth of the map is illegible on white.
    share = 0.92 * (np.clip(log10_gamma / LARGEST, -1, 1) + 1) / 2
    return mpl.colormaps["plasma"](float(share))


def gamma_label(log10_gamma: float) -> str:
    """Legend text of a feature strength, such as gamma = 10^-2."""
    power = f"{log10_gamma:.2f}".rstrip("0").rstrip(".")
    return r"$\gamma=1$" if power in ("0", "-0") else rf"$\gamma=10^{{{power}}}$"
