"""Table 3: test accuracy under SP, and the advantage of muP, against the width multiplier."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.second_order_mup.analyses.accuracy_by_width import ROWS
from regimes.studies.second_order_mup.network_names import (
    DATA,
    NETWORKS,
    OPTIMIZERS,
    chance,
    name,
)
from regimes.studies.second_order_mup.transfer import near

PAPER = {
    "vgg19_shampoo": ("VGG19, CIFAR-100", "Shampoo"),
    "vgg19_kfac": ("VGG19, CIFAR-100", "K-FAC"),
    "resnet18_kfac": ("ResNet18, CIFAR-100", "K-FAC"),
    "resnet18_shampoo": ("ResNet18, CIFAR-100", "Shampoo"),
    "resnet50": ("ResNet50, ImageNet", "optimizer not stated"),
}
"""Rows as in the paper."""
LEFT, RIGHT = 0.37, 1.0  # of the columns of numbers
LINE = 0.155  # height of a line of text, inches
LONG = 14  # characters of an entry that is written smaller
LINES = ("SP", "muP − SP", "paper: SP", "paper: muP − SP")
MISSING = {"ha": "center", "va": "center", "color": "0.6"}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """The table: a row per network and optimizer, a column per width multiplier."""
    data = analyses["accuracy_by_width"]
    widths = data["width"].values
    rows = [row for row in ROWS if _is_shown(data.sel(row=row))]
    heights = {row: _lines(data.sel(row=row)) for row in rows}
    total = (sum(heights.values()) + 0.8 * len(rows) + 2) * LINE
    figure, axes = plt.subplots(figsize=(style.PAGE, total + 0.1))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(-total - 0.1 * LINE, 0))
    columns = LEFT + (RIGHT - LEFT) * (np.arange(widths.size) + 0.5) / widths.size
    for x, width in zip(columns, widths, strict=True):
        axes.text(x, -LINE, f"$w={width:g}$", ha="center", va="center", fontweight="bold")
    top = -2 * LINE
    for i, row in enumerate(rows):
        axes.axhline(top, color="black" if i == 0 else "0.7", linewidth=0.7)
        _row(axes, data.sel(row=row), columns, top)
        top -= (heights[row] + 0.8) * LINE
    axes.axhline(top, color="black", linewidth=0.7)
    return figure


def _is_shown(row: xr.Dataset) -> bool:
    """Whether the row was run or has a published number."""
    published = row["published_sp"].notnull() | row["published_gain"].notnull()
    return bool(row["test_accuracy"].notnull().any() or published.any())


def _lines(row: xr.Dataset) -> int:
    """Number of lines of a row; published ones are left out where the paper gives none."""
    if len(heading(row)) > 2:
        return max(3, _numbers(row))
    return _numbers(row)


def _numbers(row: xr.Dataset) -> int:
    """Number of lines with numbers."""
    published = [row[n].notnull().any() for n in ("published_sp", "published_gain")]
    return 2 + int(sum(map(bool, published)))


def _row(axes: Axes, row: xr.Dataset, columns: np.ndarray, top: float) -> None:
    """Names on the left, then the numbers, measured ones above published ones."""
    was_run = bool(row["test_accuracy"].notnull().any())
    for i, (text, look) in enumerate(heading(row)):
        axes.text(0, top - (i + 0.9) * LINE, text, va="center", **look)
    shown = [measured_level(row), measured_gain(row)]
    labels = list(LINES[:2])
    for label, variable, form in (
        (LINES[2], "published_sp", "{:.2f}"),
        (LINES[3], "published_gain", "{:+.2f}"),
    ):
        if row[variable].notnull().any():
            labels.append(label)
            shown.append([_number(form, value) for value in row[variable].values])
    for i, (label, texts) in enumerate(zip(labels, shown, strict=True)):
        y = top - (i + 0.9) * LINE
        colour = "0.45" if label.startswith("paper") else "black"
        axes.text(LEFT + 0.005, y, label, ha="right", va="center", fontsize=6, color="0.45")
        if not was_run and i < 2:
            if i == 0:
                middle = (LEFT + RIGHT) / 2
                axes.text(middle, y - LINE / 2, "not trained at this scale", **MISSING, fontsize=7)
            continue
        for x, text in zip(columns, texts, strict=True):
            size = 7 if len(text) < LONG else 6
            axes.text(x, y, text, ha="center", va="center", fontsize=size, color=colour)


def heading(row: xr.Dataset) -> list[tuple[str, dict]]:
    """Lines at the left of a row with their looks: what was trained, else what the paper trained.

    Network and data of the paper come third where others stand in for them.
    """
    paper, optimizer = PAPER[str(row["row"].values)]
    bold, plain, small = {"fontweight": "bold"}, {}, {"fontsize": 6, "color": "0.4"}
    if not bool(row["test_accuracy"].notnull().any()):
        lines = [(paper, bold), (optimizer, plain)]
    else:
        data = str(row["data"].values)
        trained = f"{name(NETWORKS, str(row['network'].values))}, {name(DATA, data)}"
        used = name(OPTIMIZERS, str(row["optimizer"].values))
        used += f", {float(row['epochs']):.0f} epochs"
        if math.isfinite(guess := chance(data)):
            used += f"; chance {guess:g} %"
        lines = [(trained, bold), (used, plain)]
        if trained != paper:
            lines.append((f"in the paper: {paper}", small))
    return [(text, {"fontsize": 7} | look) for text, look in lines]


def _number(form: str, value: float) -> str:
    """Number with a proper minus sign; nothing where it is unknown."""
    return form.format(value).replace("-", "−") if math.isfinite(value) else ""


def measured_level(row: xr.Dataset) -> list[str]:
    """Accuracy under SP in percent with its standard deviation over seeds, for each width."""
    accuracy = 100 * row["test_accuracy"].sel(parameterization="sp")
    lost = (row["diverged"].sel(parameterization="sp") > 0).sum("seed").values
    mean = accuracy.mean("seed").values
    count = accuracy.notnull().sum("seed").values
    deviation = accuracy.std("seed", ddof=1).values
    return [
        _with_spread(m, d, n) + (f" ({k} div.)" if k else "")
        for m, d, n, k in zip(mean, deviation, count, lost, strict=True)
    ]


def _with_spread(mean: float, deviation: float, count: int) -> str:
    if not math.isfinite(mean):
        return ""
    return f"{mean:.1f} ± {deviation:.1f}" if count > 1 else f"{mean:.1f}"


def measured_gain(row: xr.Dataset) -> list[str]:
    """Gain of muP over SP in points with half its 95 % interval, for each width.

    At the base width both are the same network: marked by (=).
    """
    lost = (row["diverged"].sel(parameterization="mup") > 0).sum("seed").values
    half = ((row["gain_high"] - row["gain_low"]) / 2).values
    base = near(row["width"].values, float(row["base_width"]))
    texts = []
    for gain, interval, k, same in zip(row["gain"].values, half, lost, base, strict=True):
        text = _number("{:+.1f}", gain)
        if text and same:
            text += " (=)"
        elif math.isfinite(interval):
            text += f" ± {interval:.1f}"
        texts.append(text + (f" ({k} div.)" if k else ""))
    return texts


def rows(analyses: dict[str, xr.Dataset]) -> pd.DataFrame:
    """The table in long form, one row, width multiplier and parameterization a line.

    Parameters
    ----------
    analyses
        ``accuracy_by_width``.

    Returns
    -------
    pd.DataFrame
        The network, data and optimizer that were run; ``train_mean``, the mean accuracy on the
        training set, ``mean`` and ``spread`` (standard deviation over seeds) of that on the test
        set, in percent; how many ``seeds`` and how many of them
        ``diverged``; of muP minus SP in points the mean ``gain`` and its interval; and what the
        paper reports. Lines without any number are left out.
    """
    data = analyses["accuracy_by_width"]
    accuracy = data["test_accuracy"]
    numbers = xr.Dataset(
        {
            "train_mean": 100 * data["train_accuracy"].mean("seed"),
            "mean": 100 * accuracy.mean("seed"),
            "spread": 100 * accuracy.std("seed", ddof=1),
            "seeds": accuracy.notnull().sum("seed"),
            "diverged": (data["diverged"] > 0).sum("seed"),
        }
    )
    names = ["network", "data", "optimizer", "gain", "gain_low", "gain_high"]
    numbers = numbers.merge(data[[*names, "published_sp", "published_gain"]])
    table = numbers.to_dataframe().reset_index()
    known = table[["mean", "published_sp", "published_gain"]].notna().any(axis=1)
    return table[known].sort_values(["row", "width", "parameterization"])
