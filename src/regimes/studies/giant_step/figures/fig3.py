"""Figure 3: generalization after one giant step against frozen random features."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.giant_step.panels import TARGET_FORMULAS

WEAK = 1e-3  # ridge strengths below this show the interpolation peak and get a logarithmic axis
STEP = style.BLUE


def _curve(axes: Axes, x: np.ndarray, values: xr.DataArray, **look) -> None:
    """Median over seeds with the central half of the seeds as bars: the peak has heavy tails."""
    low, middle, high = (values.quantile(q, "seed").values for q in (0.25, 0.5, 0.75))
    axes.errorbar(x, middle, [middle - low, high - middle], elinewidth=0.8, capsize=1.5, **look)


def _panel(axes: Axes, data: xr.Dataset) -> None:
    """One target at one ridge strength."""
    shown = data.dropna("batch_factor", how="all", subset=["error_step"])
    x = shown["batch_factor"].values
    _curve(axes, x, shown["error_frozen"], color=style.BASELINE, marker="^")
    _curve(axes, x, shown["error_step"], color=STEP, marker="o")
    surrogate = shown["error_surrogate"].dropna("seed", how="all").median("seed")
    axes.plot(x, surrogate, **style.THEORY)
    linear, one_step = float(shown["linear_floor"]), float(shown["one_step_floor"])
    axes.axhline(linear, color=style.FLOOR, linestyle="--", zorder=1)
    weak = float(shown["ridge"]) < WEAK
    if one_step < linear and not weak:  # a floor of 0 has no place on a logarithmic axis
        axes.axhline(one_step, color=style.FLOOR, linestyle=":", zorder=1)
    ratio = float(shown["width"]) / float(shown["dimension"])
    axes.axvline(ratio, color="0.8", linewidth=0.8, zorder=0)
    axes.annotate(
        "$n=p$", (ratio, 0.99), xycoords=("data", "axes fraction"), xytext=(3, 0),
        textcoords="offset points", fontsize=6.5, color="0.45", va="top",
    )  # fmt: skip
    axes.set(xscale="log", xticks=x)
    axes.set(yscale="log") if weak else axes.set_ylim(bottom=-0.06)
    axes.set_xticklabels([f"{value:g}" for value in x])
    axes.minorticks_off()


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Targets in columns, ridge strengths in rows; the widest network of the scale."""
    data = analyses["generalization"]
    data = data.sel(width=2 * int(data["dimension"]))
    targets, ridges = data["target"].values, data["ridge"].values
    figure, grid = plt.subplots(
        len(ridges), len(targets), figsize=(style.PAGE, 4.6), sharex=True, sharey="row",
        squeeze=False,
    )  # fmt: skip
    for row, ridge in enumerate(ridges):
        for column, target in enumerate(targets):
            axes = grid[row, column]
            _panel(axes, data.sel(target=target, ridge=ridge))
            style.panel_label(axes, "abcd"[row * len(targets) + column])
            if row == 0:
                axes.set_title(f"target {target}: {TARGET_FORMULAS[str(target)]}")
            if column == 0:
                axes.set_ylabel(rf"test error, $\lambda={_power(float(ridge))}$")
            if row == len(ridges) - 1:
                axes.set_xlabel("samples per dimension $n/d$")
    handles = [
        Line2D([], [], color=style.BASELINE, marker="^", label="frozen features"),
        Line2D([], [], color=STEP, marker="o", label="one giant step"),
        Line2D([], [], **style.THEORY, label="Gaussian surrogate of the step"),
        Line2D([], [], color=style.FLOOR, linestyle="--", label="linear floor"),
        Line2D([], [], color=style.FLOOR, linestyle=":", label="floor after one step, if lower"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _power(value: float) -> str:
    """Ridge strength as a power of ten where it is one."""
    exponent = round(np.log10(value))
    return (
        f"10^{{{exponent}}}" if value != 1 and np.isclose(value, 10.0**exponent) else f"{value:g}"
    )
