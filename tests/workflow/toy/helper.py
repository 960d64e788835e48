"""Arithmetic of the toy study."""

import numpy as np


def decay(start, rate, step):
    """Exponential decay."""
    # A comment that a test edits.
    return start * np.exp(-rate * step)
