"""Small tables of real measurements that scikit-learn ships, so that nothing is downloaded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Table(NamedTuple):
    """A table as shipped.

    Attributes
    ----------
    x : ndarray (n, d)
        Features in float64, not standardized.
    target : ndarray (n,)
        Class labels (integers), or the quantity to predict.
    """

    x: np.ndarray
    target: np.ndarray


def digits() -> Table:
    """Handwritten digits, 1797 images of 8 x 8 pixels with values 0 to 16, ten classes."""
    from sklearn.datasets import load_digits  # an import of a second, which few jobs need

    return Table(*load_digits(return_X_y=True))


def wine() -> Table:
    """Chemical analyses of 178 wines of three growers, 13 features; classes 0 to 2."""
    from sklearn.datasets import load_wine

    return Table(*load_wine(return_X_y=True))


def diabetes() -> Table:
    """Ten features of 442 patients and the progression of their illness after a year."""
    from sklearn.datasets import load_diabetes

    return Table(*load_diabetes(return_X_y=True, scaled=False))
