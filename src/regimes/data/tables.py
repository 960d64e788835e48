"""Tables of real measurements: small ones that scikit-learn ships, one that lies in a file."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from regimes.config import ConfigError
from regimes.data import files
from regimes.ensemble import probing

# Rows and columns of the superconductivity table; the last column is the target.
ROWS, COLUMNS, TARGET = 21_263, 82, "critical_temp"


class Table(NamedTuple):
    """A table as it comes.

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


def superconductivity() -> Table:
    """81 properties of 21263 superconductors and their critical temperatures in kelvin.

    Reads ``<data folder>/superconductivity/train.csv``.

    Raises
    ------
    regimes.config.ConfigError
        If the file is missing, damaged or incomplete.

    References
    ----------
    Hamidieh, A data-driven statistical model for predicting the critical temperature of a
    superconductor (2018).
    """
    import pandas as pd

    path = files.folder() / "superconductivity" / "train.csv"
    source = "the UCI data set 'Superconductivty Data' (number 464, archive.ics.uci.edu)"
    if not path.exists():
        if (probe := probing.current()) is not None:
            return Table(*probe.table(ROWS, COLUMNS - 1, "the superconductivity table (24 MB)"))
        raise ConfigError(
            f"data: no table in {path.absolute()}. Put there train.csv (24 MB) of {source}; or "
            "name the folder that has it (config/config.yaml, data, or environment REGIMES_DATA); "
            "or choose scale smoke or laptop, which need no downloads"
        )
    try:
        table = pd.read_csv(path, low_memory=False)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise ConfigError(
            f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); get {source} anew"
        ) from None
    if table.shape[1] != COLUMNS or table.columns[-1] != TARGET:
        raise ConfigError(
            f"{path}: has {table.shape[1]} columns, the last one '{table.columns[-1]}', expected "
            f"{COLUMNS} that end with '{TARGET}' (not unique_m.csv); get {source} anew"
        )
    numbers = table.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    odd = np.argwhere(~np.isfinite(numbers))
    if len(odd):
        row, column = odd[0]
        raise ConfigError(
            f"{path}:{row + 2}: '{table.columns[column]}' is {table.iat[row, column]}, expected a "
            f"finite number; get {source} anew"
        )
    if len(numbers) != ROWS:
        raise ConfigError(f"{path}: has {len(numbers)} rows, expected {ROWS}; get {source} anew")
    return Table(numbers[:, :-1], numbers[:, -1])
