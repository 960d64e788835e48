"""Supplement: alignment after one step against batch exponent, for leap one, two and three."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.giant_step.panels import centre, interval

PANELS = [  # target, activation, title
    ("he1", "relu", r"leap 1, $z_1$"),
    ("he2", "relu", r"leap 2, $\mathrm{He}_2(z_1)/\sqrt{2}$"),
    ("he3", "relu", r"leap 3, ReLU"),
    ("he3", "cubic", r"leap 3, cubic $\sigma$"),
]
COLOURS = [style.SKY, style.BLUE, style.PURPLE, style.GREEN]  # by dimension


def _panel(axes: Axes, data: xr.Dataset) -> None:
    for colour, d in zip(COLOURS, data["dimension"].values, strict=False):
        part = data.sel(dimension=d)
        measured = part["alignment"].dropna("batch_exponent", how="all")
        if not measured.sizes["batch_exponent"]:
            continue
        axes.errorbar(
            measured["batch_exponent"],
            centre(measured),
            interval(measured),
            color=colour,
            marker="o",
            linestyle="",
            capsize=1.5,
            elinewidth=0.8,
            label=f"$d={int(d)}$",
        )
        low, high = (float(f(measured["batch_exponent"])) for f in (min, max))
        curve = part["alignment_curve"].sel(curve_exponent=slice(low, high))
        axes.plot(curve["curve_exponent"], curve, **{**style.THEORY, "linewidth": 0.9})


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Four panels with one colour per dimension and dashed theory."""
    data = analyses["leap_scaling"]
    figure, row = plt.subplots(1, 4, figsize=(style.PAGE, 2.6), sharey=True)
    for index, (axes, (target, activation, title)) in enumerate(zip(row, PANELS, strict=True)):
        _panel(axes, data.sel(target=target, activation=activation))
        leap = int(data["leap"].sel(target=target))
        axes.axvline(leap, color="0.8", linewidth=0.8, zorder=0)
        axes.set(title=title, xlabel=r"$\log n/\log d$", xlim=(0.3, 3.2), ylim=(0, 1.03))
        style.panel_label(axes, "abcd"[index])
    row[0].set_ylabel(r"squared cosine $\cos^2(g, w^*)$")
    entries = {}  # a dimension may be missing in some of the panels
    for axes in row:
        entries |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    labels = sorted(entries, key=lambda text: int(text.strip("$d=")))
    handles = [entries[text] for text in labels]
    theory = plt.Line2D([], [], **style.THEORY)
    threshold = plt.Line2D([], [], color="0.8", linewidth=0.8)
    figure.legend(
        [*handles, theory, threshold],
        [*labels, "theory", r"leap threshold $n=d^\ell$"],
        loc="outside lower center",
        ncols=6,
    )
    return figure
