"""Table 2: test accuracy against batch size for three sizes of the output layer."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.second_order_mup.zero_init import case_name
from regimes.studies.second_order_mup.zero_init_panels import (
    LABELS,
    batch_name,
    of_zero_init,
    started,
)

LINE = 0.2  # height of a line of text, inches
FIRST, SECOND, NUMBERS = 0.0, 0.235, 0.42  # left ends of the columns
COLUMNS = ["case", "name", "output_exponent", "batch_size", "mean", "spread", "seeds", "failed"]


def rows(analyses: dict[str, xr.Dataset]) -> pd.DataFrame:
    """The table in long form, one case, output layer and batch size a row.

    Parameters
    ----------
    analyses
        ``zero_init``.

    Returns
    -------
    pd.DataFrame
        Columns as in `COLUMNS`: ``mean`` and ``spread`` (standard deviation over seeds) of the
        final test accuracy in percent over the runs that did not fail, how many these are, and how
        many ``failed``.
    """
    data = analyses["zero_init"]
    table = []
    for case in range(data.sizes["case"]):
        own = started(data, case)
        for exponent in own["output_exponent"].values:
            for batch in own["batch_size"].values:
                cell = own.sel(output_exponent=exponent, batch_size=batch)
                values = 100 * cell["final_test_accuracy"].values[cell["ran"].values > 0]
                known = values[np.isfinite(values)]
                mean = known.mean() if known.size else math.nan
                spread = known.std(ddof=1) if known.size > 1 else math.nan
                count = (known.size, values.size - known.size)
                table.append([case, case_name(data, case), exponent, batch, mean, spread, *count])
    return pd.DataFrame(table, columns=COLUMNS)


def _text(row: pd.Series) -> str:
    if not row["seeds"]:
        return "failed" if row["failed"] else "–"
    spread = rf" $\pm$ {row['spread']:.1f}" if math.isfinite(row["spread"]) else ""
    lost = f" ({row['failed']} failed)" if row["failed"] else ""
    return f"{row['mean']:.1f}{spread}{lost}"


def clearly_best(part: pd.DataFrame) -> list:
    """Rows of a case, at most one for each batch size, that stand out from their rivals.

    Parameters
    ----------
    part
        Rows of `rows` of one case.

    Returns
    -------
    list
        Index of those without a failed run whose mean exceeds each other known mean of the batch
        size by more than both spreads together (root of the sum of squares); none where a spread
        is unknown.
    """
    found = []
    for _, cells in part.dropna(subset="mean").groupby("batch_size"):
        top = cells["mean"].idxmax()
        best, others = cells.loc[top], cells.drop(top)
        ahead = best["mean"] - others["mean"] > np.hypot(best["spread"], others["spread"])
        if len(others) and ahead.all() and not best["failed"]:
            found.append(top)
    return found


@of_zero_init
def draw(data: xr.Dataset) -> Figure:
    """Draw the table; output layers that are clearly better than the others are bold."""
    table = rows({"zero_init": data})
    batches = sorted(table["batch_size"].unique())
    lines = 1 + 3 * table["case"].nunique()
    height = LINE * (lines + 1)
    figure, axes = plt.subplots(figsize=(style.PAGE, height))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(lines, -0.6))
    step = (1 - NUMBERS) / len(batches)
    full = dict(zip(data["batch_size"].values, data["full"].values > 0, strict=True))
    for i, batch in enumerate(batches):
        x = NUMBERS + (i + 0.5) * step
        axes.text(x, 0, batch_name(batch, full[batch]), ha="center", va="center", fontweight="bold")
    axes.axhline(0.5, color="black", linewidth=0.8)
    for block, (_, part) in enumerate(table.groupby("case")):
        name, _, rest = part["name"].iloc[0].partition(", ")
        for line, text in enumerate([name, *rest.split(", ")]):
            look = {"fontweight": "bold"} if line == 0 else {"fontsize": 7, "color": "0.35"}
            axes.text(FIRST, 1 + 3 * block + line, text, va="center", **look)
        best = clearly_best(part)
        for line, (exponent, values) in enumerate(part.groupby("output_exponent")):
            y = 1 + 3 * block + line
            axes.text(SECOND, y, LABELS[exponent], va="center", fontsize=7)
            for index, row in values.iterrows():
                x = NUMBERS + (batches.index(row["batch_size"]) + 0.5) * step
                weight = "bold" if index in best else "normal"
                axes.text(x, y, _text(row), ha="center", va="center", fontweight=weight)
        axes.axhline(3.5 + 3 * block, color="0.75", linewidth=0.6)
    return figure
