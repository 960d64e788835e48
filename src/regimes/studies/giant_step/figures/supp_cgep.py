"""Supplement: the conditional Gaussian surrogate against the real network."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.giant_step.panels import TARGET_FORMULAS, centre, interval

COLOURS = [style.SKY, style.BLUE]  # one per ridge strength, weak to strong


def _panel(axes: Axes, data: xr.Dataset) -> None:
    n = data["ridge_batch_size"]
    last = int(data["step"].max())
    for colour, ridge in zip(COLOURS, data["ridge"].values, strict=False):
        part = data.sel(ridge=ridge)
        strength = rf"$\lambda={ridge:g}$"
        for step, tint, marker in ((last, colour, "o"), (0, style.BASELINE, "^")):
            filled = ridge == data["ridge"].values[-1]
            real = part["error"].sel(step=step)
            axes.errorbar(
                n,
                centre(real),
                interval(real),
                color=tint,
                marker=marker,
                markerfacecolor=tint if filled else "white",
                linestyle="",
                capsize=1.5,
                elinewidth=0.8,
                label=f"{'one step' if step else 'frozen features'}, {strength}",
            )
            surrogate = centre(part["error_surrogate"].sel(step=step))
            axes.plot(n, surrogate, **{**style.THEORY, "linewidth": 0.9})
    axes.axvline(float(data["width"]), color="0.8", linewidth=0.8, zorder=0)
    axes.annotate(
        "$n=p$",
        (float(data["width"]), 0.98),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        fontsize=7,
        color="0.45",
        va="top",
    )
    axes.set(
        xscale="log",
        xlabel="samples $n$ of the second layer",
        title=f"target {data['target'].item()}: {TARGET_FORMULAS[str(data['target'].item())]}",
    )


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Points: real network; dashed: surrogate; one panel per target."""
    data = analyses["surrogate"]
    figure, row = plt.subplots(
        1, data.sizes["target"], figsize=(style.PAGE, 3.1), sharey=True, squeeze=False
    )
    for index, (axes, target) in enumerate(zip(row[0], data["target"].values, strict=True)):
        _panel(axes, data.sel(target=target))
        style.panel_label(axes, "ab"[index])
    row[0, 0].set_ylabel("test error")
    handles, labels = row[0, 0].get_legend_handles_labels()
    surrogate = plt.Line2D([], [], **style.THEORY)
    figure.legend(
        [*handles, surrogate], [*labels, "surrogate"], loc="outside lower center", ncols=3
    )
    return figure
