"""Tables of exponents, drawn: fractions, headers over groups of columns, marks for deviations."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from regimes.plot import style

OPTIMIZER_NAMES = {
    "sgd": "SGD",
    "adam": "Adam",
    "shampoo": "Shampoo",
    "kfac": "K-FAC",
    "foof": "FOOF",
    "layerwise_gn": "layer-wise GN",
}
PARAMETERIZATION_NAMES = {"sp": "SP", "up": "UP (NTK)", "mup": "μP"}
ROLE_COLOURS = {"input": style.BLUE, "hidden": style.ORANGE, "output": style.GREEN}
WRONG, LINE, HEAD = "#f8d0c8", "0.7", "0.94"
NONE = "–"


def fraction(value: float) -> str:
    """Exponent as text, such as "−1/2"; a dash where there is none."""
    if not np.isfinite(value):
        return NONE
    nearest = Fraction(float(value)).limit_denominator(16)
    return str(nearest).replace("-", "−") if abs(nearest - value) < 1e-9 else f"{value:.3g}"


def entry(coded: float, published: float) -> tuple[str, bool]:
    """Text of an entry of the code, and whether the published table says otherwise.

    An entry that the published table does not have is put in brackets.
    """
    text = fraction(coded)
    if np.isfinite(published):
        return text, coded != published
    return (text if text == NONE else f"({text})"), False


def table(
    axes: Axes,
    head: Sequence[str],
    groups: Sequence[tuple[str, int]],
    rows: Sequence[Sequence[str]],
    wrong: np.ndarray,
    widths: Sequence[float],
    rules: Sequence[int] = (),
) -> None:
    """Draw a table that fills the axes.

    Parameters
    ----------
    axes
        Without anything else in it.
    head
        Names of the columns.
    groups
        Title and number of columns of every group of columns, above their names.
    rows
        Text of the entries.
    wrong
        Entries (rows, columns) on a red ground.
    widths
        Relative widths of the columns.
    rules
        Rows above which there is a line.
    """
    axes.axis("off")
    edges = np.concatenate([[0], np.cumsum(widths)]) / np.sum(widths)
    height = 1 / (len(rows) + 2)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    tops = 1 - height * np.arange(len(rows) + 3)

    def write(text: str, left: float, right: float, row: int, **looks) -> None:
        axes.text(
            (left + right) / 2, tops[row] - height / 2, text, ha="center", va="center_baseline",
            fontsize=7.5, **looks,
        )  # fmt: skip

    axes.axhspan(tops[2], 1, color=HEAD, linewidth=0)
    column = 0
    for title, count in groups:
        write(title, edges[column], edges[column + count], 0, fontweight="bold")
        column += count
        if column < len(head):
            axes.axvline(edges[column], color=LINE, linewidth=0.6)
    for number, name in enumerate(head):
        write(name, edges[number], edges[number + 1], 1, color=ROLE_COLOURS.get(name, "black"))
    for row, entries in enumerate(rows, 2):
        for number, text in enumerate(entries):
            if wrong[row - 2, number]:
                axes.axhspan(
                    tops[row + 1], tops[row], edges[number], edges[number + 1], color=WRONG
                )
            write(text, edges[number], edges[number + 1], row)
    for row in (0, 2, len(rows) + 2):
        axes.axhline(tops[row], color="black", linewidth=0.9, clip_on=False)
    for row in rules:
        axes.axhline(tops[row + 2], color=LINE, linewidth=0.6)


def long_form(analyses: dict[str, xr.Dataset]) -> pd.DataFrame:
    """Exponents of the code in long form, one parameterization, optimizer and role a row.

    Parameters
    ----------
    analyses
        ``exponents``.

    Returns
    -------
    pd.DataFrame
        ``parameterization``, ``optimizer``, ``role``; exponents ``b`` of weights, ``c`` of learning
        rates, ``d_A`` and ``d_B`` of dampings, NaN where there is none.
    """
    data = analyses["exponents"]
    damping = data["damping_exponents"]
    columns = xr.Dataset(
        {
            "b": data["initial"],
            "c": data["rates"],
            **{f"d_{side}": damping.sel(factor=side, drop=True) for side in ("A", "B")},
        }
    )
    keys = ["parameterization", "optimizer", "role"]
    table = columns.to_dataframe(dim_order=keys).reset_index()
    return table[table["c"].notna()]
