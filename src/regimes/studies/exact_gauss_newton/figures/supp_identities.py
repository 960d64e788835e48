"""Identities of the update on toys, the inverse of trained networks, numbers of parameters."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import COLOURS

LOOKS = {"tanh": (style.PURPLE, "o", "tanh"), "relu": (style.ORANGE, "^", "ReLU")}
NETWORKS = {784: "MNIST", 3072: "CIFAR-10"}
SPREAD = 0.32  # width over which the draws of one column lie


def _columns(axes: Axes, columns: list[dict[str, xr.DataArray]], names: list[str]) -> None:
    """One dot per draw, side by side within a column; activations side by side as well."""
    for place, by_activation in enumerate(columns):
        for shift, (activation, values) in zip((-0.2, 0.2), by_activation.items(), strict=False):
            known = values.dropna("seed").values
            colour, marker, _ = LOOKS[activation]
            x = place + shift + SPREAD * (np.linspace(0, 1, max(len(known), 2))[: len(known)] - 0.5)
            axes.plot(x, known, marker, color=colour, markersize=2.5, alpha=0.8)
    axes.set(yscale="log", xlim=(-0.5, len(columns) - 0.5))
    axes.set_xticks(range(len(names)), names)


def _by_activation(values: xr.DataArray) -> dict[str, xr.DataArray]:
    return {a: values.sel(activation=a) for a in LOOKS if a in values["activation"].values}


def _residuals(axes: Axes, data: xr.Dataset) -> None:
    parts = [_by_activation(data[n]) for n in ("residual", "residual_uncorrected")]
    _columns(axes, parts, ["GN update", "without\ncross term"])
    axes.set(title=r"right inverse: $J\Delta=E$", ylabel=r"$\Vert J\Delta-E\Vert\,/\,\Vert E\Vert$")


def _blocks(axes: Axes, data: xr.Dataset) -> None:
    errors = data["block_error"]
    parts = [_by_activation(errors.sel(block=block)) for block in errors["block"]]
    _columns(axes, parts, [str(int(block)) for block in errors["block"]])
    axes.set(
        title="each block: Moore-Penrose",
        xlabel="block $l$",
        ylabel=r"relative distance to $J_l^+E$",
    )


def _norms(axes: Axes, data: xr.Dataset) -> None:
    _columns(axes, [_by_activation(data["norm_ratio"])], [""])
    axes.axhline(1, label="minimum norm", **style.THEORY)
    axes.tick_params(axis="x", length=0)
    axes.set(
        title="all blocks: not minimal",
        ylabel=r"$\Vert\Delta\Vert\,/\,\Vert J^+E\Vert$",
    )
    axes.set_ylim(bottom=0.7)


def _first_order(axes: Axes, data: xr.Dataset) -> None:
    for activation, values in _by_activation(data["output_difference"]).items():
        colour = LOOKS[activation][0]
        axes.plot(values["alpha"], values.transpose("alpha", "seed"), color=colour, linewidth=0.5)
    alpha = data["alpha"].values
    # Slope 2, a little below all draws.
    square = 0.3 * float(data["output_difference"].isel(alpha=0).min()) * (alpha / alpha[0]) ** 2
    axes.plot(alpha, square, **style.THEORY)
    middle = (alpha[len(alpha) // 2], square[len(alpha) // 2])
    offset = {"textcoords": "offset points", "ha": "left", "va": "top"}
    axes.annotate(r"$\propto\alpha^2$", middle, (6, -4), **offset)
    axes.set(
        xscale="log", yscale="log", xlabel=r"step $\alpha$",
        title=r"steps with $\Delta$ and $J^+E$", ylabel="difference of outputs",
    )  # fmt: skip


def _round_trip(axes: Axes, data: xr.Dataset) -> None:
    _columns(axes, [_by_activation(data["round_trip"]), {}], ["toys", "trained\nnetworks"])
    error = data["inversion_error"].dropna("trained_seed").values
    axes.plot(np.linspace(0.8, 1.2, len(error)), error, "s", color=COLOURS["gn"], markersize=3)
    axes.set(
        title="inverse network",
        ylabel=r"$\Vert\mathrm{inverse}(x_L)-x\Vert\,/\,\Vert x\Vert$",
    )


def _parameters(axes: Axes, data: xr.Dataset) -> None:
    counted, place = data["counted"], np.arange(data.sizes["inputs"])
    names = [NETWORKS.get(int(d), f"$d={int(d)}$") for d in data["inputs"]]
    bars = axes.bar(place, counted, width=0.5, color=style.SKY)
    axes.bar_label(bars, [f"{int(value):,}" for value in counted], fontsize=6.5, padding=2)
    half = 0.35
    axes.hlines(data["formula"], place - half, place + half, **_dashed())
    axes.set_xticks(place, names)
    axes.set(yscale="log", title="trainable parameters", ylabel="number")
    axes.set_ylim(1e6, 4 * float(counted.max()))


def _dashed() -> dict[str, object]:
    """Look of theory for lines that take plural properties."""
    return {"colors" if name == "color" else f"{name}s": v for name, v in style.THEORY.items()}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Six panels; toys in the colours of their activation, theory dashed.

    Parameters
    ----------
    analyses
        ``identities``.
    """
    data = analyses["identities"]
    figure, panels = plt.subplots(2, 3, figsize=(style.PAGE, 4.4))
    drawn = (_residuals, _blocks, _norms, _first_order, _round_trip, _parameters)
    for letter, axes, panel in zip("abcdef", panels.ravel(), drawn, strict=True):
        panel(axes, data)
        style.panel_label(axes, letter)
    entries = [
        Line2D(
            [], [], color=colour, marker=marker, linewidth=0.8, markersize=3, label=f"toy, {name}"
        )
        for colour, marker, name in LOOKS.values()
    ]
    entries.append(
        Line2D(
            [],
            [],
            color=COLOURS["gn"],
            marker="s",
            linestyle="",
            markersize=3,
            label="trained with GN",
        )
    )
    entries.append(
        Line2D([], [], label="minimum norm (c), slope 2 (d), formula (f)", **style.THEORY)
    )
    figure.legend(handles=entries, loc="outside lower center", ncols=4)
    return figure
