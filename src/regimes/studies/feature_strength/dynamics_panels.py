"""Panels of the figures on dynamics: catapults, silent alignment, bands over seeds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.feature_strength.plateaus import log_binned, smoothed

LOSS = "black"
TANGENT, SHARPNESS = style.GREEN, style.VERMILLION
PER_DECADE = 20  # points per decade of step in which online losses are drawn
GONE = 1e29  # values of this size mark divergence and are not drawn
LOSS_NAMES = {"mse": "MSE", "cross_entropy": "cross-entropy"}


def nearest_gamma(data: xr.Dataset, log10_gamma: float) -> xr.Dataset:
    """Runs at the feature strength nearest to a given one; keeps its ``log10_gamma``."""
    return data.sel(log10_gamma=log10_gamma, method="nearest")


def over_seeds(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Mean, smallest and largest over seeds, without warnings where all are missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return values.mean("seed"), values.min("seed"), values.max("seed")


def seed_band(axes: Axes, values: xr.DataArray, dim: str, label: str = "", **look) -> None:
    """Mean over seeds against ``dim`` as a line, the range over seeds as a band.

    Parameters
    ----------
    values
        Over (seed, dim); steps where no seed is known are left out.
    look
        Properties of the line.
    """
    values = values.dropna(dim, how="all")
    if not values.sizes[dim]:
        return
    mean, low, high = over_seeds(values.astype(float))
    x = values[dim].values.astype(float)
    (line,) = axes.plot(x, mean.values, label=label or None, **look)
    axes.fill_between(x, low.values, high.values, color=line.get_color(), alpha=0.2, linewidth=0)


# --- Catapults -----------------------------------------------------------------------------------


def multiple_colour(rank: int, count: int, stable: bool) -> tuple[float, float, float, float]:
    """Colour of a multiple m of the critical rate: grey below it, then dark to bright above."""
    if stable:
        return mpl.colors.to_rgba("0.45")
    return mpl.colormaps["viridis"](0.92 * rank / max(count - 1, 1))


def multiple_colours(multiples: np.ndarray) -> dict[float, tuple]:
    """Colour of each multiple of the critical rate."""
    unstable = [m for m in multiples if m > 1]
    return {
        float(m): multiple_colour(unstable.index(m) if m > 1 else 0, len(unstable), m <= 1)
        for m in multiples
    }


def catapult_panel(axes: Axes, data: xr.Dataset, colours: dict[float, tuple]) -> None:
    """Online loss against step, both logarithmic, one colour per multiple m.

    The thick line is the first seed, thin ones the others.

    Parameters
    ----------
    data
        Catapult variables at one loss and feature strength, over (multiple, seed, step).
    """
    curves = log_binned(data["relative_loss"].where(data["relative_loss"] < GONE), "step", 20)
    # A run's last, partly divergent bin is NaN, and it ends there.
    seeds = data["seed"].values
    for multiple in data["multiple"].values:
        for seed in seeds[::-1]:
            part = curves.sel(multiple=multiple, seed=seed).dropna("log_step")
            if not part.size:
                continue
            first = seed == seeds[0]
            look = {"linewidth": 1.2, "zorder": 3} if first else {"linewidth": 0.5, "alpha": 0.5}
            colour = colours[float(multiple)]
            axes.plot(part["log_step"], part, color=colour, **look)
    axes.axhline(1, color="0.6", linewidth=0.6, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="step")


def mark_divergent(
    row: Sequence[Axes], parts: Sequence[xr.Dataset], colours: dict[float, tuple]
) -> None:
    """Limit the common loss axis to runs that survive; crosses on its top where others leave it.

    Parameters
    ----------
    row
        Catapult panels with a common vertical axis.
    parts
        Catapult variables of each panel.
    """
    peaks = [float(part["peak"].where(part["diverges"] == 0).max()) for part in parts]
    top = 30 * max([1.0, *(peak for peak in peaks if np.isfinite(peak))])
    row[0].set_ylim(top=top)
    for axes, part in zip(row, parts, strict=True):
        first = part["diverges"].isel(seed=0) > 0
        for multiple in part["multiple"].values[first.values]:
            loss = part["relative_loss"].isel(seed=0).sel(multiple=multiple)
            gone = loss["step"].values[~(loss.values < top)]
            axes.plot(
                max(float(gone[0]), 1.0) if gone.size else float(loss["step"][-1]),
                top,
                "x",
                color=colours[float(multiple)],
                clip_on=False,
                zorder=5,
            )


def catapult_handles(colours: dict[float, tuple]) -> list[Line2D]:
    """Legend handles of the multiples m, and of divergence."""
    lines = [Line2D([], [], color=c, label=f"$m={m:g}$") for m, c in colours.items()]
    cross = Line2D([], [], color="0.3", marker="x", linestyle="", markersize=4, label="diverges")
    return [*lines, cross]


# --- Silent alignment ----------------------------------------------------------------------------


def layer_looks(layers: np.ndarray) -> dict[int, dict]:
    """Line properties of the hidden layers: thin to thick, light to dark blue, last one darkest."""
    shades = mpl.colormaps["Blues"](np.linspace(0.45, 0.95, len(layers)))
    widths = np.linspace(0.9, 1.5, len(layers))
    return {
        int(layer): {"color": shade, "linewidth": width}
        for layer, shade, width in zip(layers, shades, widths, strict=True)
    }


def alignment_panel(axes: Axes, data: xr.Dataset, log: bool = True, sharpness: bool = False):
    """Loss on the left, alignment (and sharpness) on the right axis, against step.

    Parameters
    ----------
    axes
        Left axes.
    data
        Alignment variables at one feature strength, over seed and their steps.
    log
        Logarithmic steps; loss then as means over logarithmic bins.
    sharpness
        Draw lambda_1 N eta / 2 as well, and its edge of stability 1.

    Returns
    -------
    matplotlib.axes.Axes
        Right axes.
    """
    loss = data["relative_loss"]
    if log:
        loss, dim = log_binned(loss, "step", PER_DECADE), "log_step"
    else:
        loss, dim = smoothed(loss), "step"
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    seed_band(axes, loss, dim, color=LOSS, linewidth=1.4)
    for layer, look in layer_looks(data["layer"].values).items():
        seed_band(
            right, _from(data["cka"].sel(layer=layer), "kernel_step", log), "kernel_step", **look
        )
    if "tangent_cka" in data:
        values = _from(data["tangent_cka"], "tangent_step", log)
        seed_band(right, values, "tangent_step", color=TANGENT, linewidth=1.1)
    if sharpness:
        values = _from(data["sharpness"], "sharpness_step", log)
        seed_band(right, values, "sharpness_step", color=SHARPNESS, linewidth=1.0)
        right.axhline(1, **style.THEORY)
    for name, linestyle in (("aligned_at", ":"), ("plateau_end", "-")):
        values = data[name].where(np.isfinite(data[name]))
        if values.notnull().any():
            axes.axvline(float(values.mean()), color="0.6", linestyle=linestyle, linewidth=0.8)
    axes.set(xlabel="step", ylim=(0, 1.25), xscale="log" if log else "linear")
    # With sharpness, its edge 1 stays off the height of the initial loss.
    right.set_ylim(0, 1.5 if sharpness else 1)
    # The left axes, with the loss, lie above the right ones.
    axes.set_zorder(right.get_zorder() + 1)
    axes.patch.set_visible(False)
    return right


def _from(values: xr.DataArray, dim: str, log: bool) -> xr.DataArray:
    """Values without step 0, which has no place on a logarithmic axis."""
    return values.where(values[dim] >= 1, drop=True) if log else values


def alignment_handles(data: xr.Dataset, sharpness: bool = False) -> list[Line2D]:
    """Legend handles of an alignment panel."""
    layers = data["layer"].values
    handles = [Line2D([], [], color=LOSS, label="loss (left)")]
    handles += [
        Line2D([], [], label=f"CKA, hidden layer {layer}", **look)
        for layer, look in layer_looks(layers).items()
    ]
    if "tangent_cka" in data:
        handles.append(Line2D([], [], color=TANGENT, label="CKA, tangent kernel"))
    if sharpness:
        handles.append(Line2D([], [], color=SHARPNESS, label=r"$\lambda_1 N\eta/2$"))
        handles.append(Line2D([], [], label="edge of stability", **style.THEORY))
    marks = {"linewidth": 0.8, "color": "0.6"}
    handles.append(Line2D([], [], linestyle=":", label="alignment begins", **marks))
    handles.append(Line2D([], [], label="plateau ends", **marks))
    return handles
