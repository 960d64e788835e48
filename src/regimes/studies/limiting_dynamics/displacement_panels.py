"""Panels of the figures on displacements: accuracy, step length, distance, sweeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

from regimes.plot import style
from regimes.studies.limiting_dynamics.displacement_cases import DROPPED
from regimes.studies.limiting_dynamics.panels import (
    NET_COLOURS,
    SWEEP_COLOURS,
    SWEEP_LABELS,
    net_colour,
    net_name,
    power_text,
)

LOCAL = r"$\|\delta_k\|^2$"
GLOBAL = r"$\|\Delta_k\|^2$"
FLAT = 0.05  # smallest range of accuracies shown: a change of a point must look small


def geometric_mean(values: xr.DataArray) -> xr.DataArray:
    """Exp of the mean of ln over seeds, as fitted lines are averaged; NaN where all are missing."""
    logs = np.log(values.where(values > 0))
    count = logs.notnull().sum("seed")
    return np.exp(logs.sum("seed") / count.where(count > 0))


def seed_mean(values: xr.DataArray) -> xr.DataArray:
    """Mean over seeds, NaN without warning where all are missing."""
    count = values.notnull().sum("seed")
    return values.sum("seed") / count.where(count > 0)


def seed_deviation(values: xr.DataArray) -> xr.DataArray:
    """Standard deviation over seeds, 0 for a single seed."""
    count = values.notnull().sum("seed")
    squares = ((values - seed_mean(values)) ** 2).sum("seed")
    return np.sqrt(squares / (count - 1).where(count > 1)).fillna(0)


# --- Cases of figure 1 ---------------------------------------------------------------------------


def case_looks(data: xr.Dataset) -> list[tuple[str, str]]:
    """Colour and legend text of each case: by network, or by learning rate of one network."""
    models = [str(model) for model in data["model"].values]
    several_nets = len(set(data["net"].values.tolist())) > 1
    by_net = several_nets and len(set(models)) == len(models) and set(models) <= set(NET_COLOURS)
    looks = []
    for i, model in enumerate(models):
        parts = [net_name(model)] if several_nets else []
        parts.append(rf"$\eta={power_text(float(data['eta'][i]))}$")
        colour = net_colour(model) if by_net else style.CYCLE[i % len(style.CYCLE)]
        looks.append((colour, ", ".join(parts)))
    return looks


def resumed_figure(data: xr.Dataset, marks: bool = False) -> Figure:
    """Accuracy, squared local and squared global displacement against step, one colour per case.

    Parameters
    ----------
    data
        See `displacement_cases.statistics`.
    marks
        Mark the accuracies that training ended with at step 0, where known.
    """
    figure, row = plt.subplots(1, 3, figsize=(style.PAGE, 2.75), width_ratios=[1, 1.1, 1.1])
    looks = case_looks(data)
    accuracy_panel(row[0], data, looks)
    if marks and "pretrained_train_accuracy" in data:
        _pretrained(row[0], data, looks)
    local_panel(row[1], data, looks)
    global_panel(row[2], data, looks)
    for axes, letter in zip(row, "abc", strict=True):
        style.panel_label(axes, letter)
    known = bool(data["level_theory"].notnull().any())
    handles = [
        Line2D([], [], color=colour, label=label + _exponent_text(data.isel(case=i)))
        for i, (colour, label) in enumerate(looks)
    ]
    handles += [
        Line2D([], [], color="0.3", label="train"),
        Line2D([], [], color="0.3", linestyle=":", label="test"),
        Line2D([], [], label="b: theory, c: fit" if known else "fit", **style.THEORY),
    ]
    # Wide entries: at most three cases in a row.
    columns = len(handles) if len(looks) < 3 else 3
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure


def _exponent_text(part: xr.Dataset) -> str:
    exponent = float(seed_mean(part["exponent"]))
    return f", $c={exponent:.2f}$" if np.isfinite(exponent) else ""


def accuracy_panel(axes: Axes, data: xr.Dataset, looks: list[tuple[str, str]]) -> None:
    """Train (solid) and test (dotted) accuracy against step, seed means."""
    shown = []
    for name, linestyle in (("train_accuracy", "-"), ("test_accuracy", ":")):
        if name not in data:
            continue
        mean = seed_mean(data[name])
        for case, (colour, _) in zip(mean["case"].values, looks, strict=True):
            line = mean.sel(case=case).dropna("evaluation_step")
            axes.plot(line["evaluation_step"], line, color=colour, linestyle=linestyle)
            shown.append(line.values)
    values = np.concatenate(shown) if shown else np.array([])
    if values.size:
        middle, half = (values.max() + values.min()) / 2, np.ptp(values) / 2
        half = max(1.15 * half, FLAT)
        axes.set_ylim(max(middle - half, 0), middle + half)
    axes.set(xlabel="step $k$", ylabel="accuracy")
    plain_thousands(axes)


def _pretrained(axes: Axes, data: xr.Dataset, looks: list[tuple[str, str]]) -> None:
    """Accuracies that training ended with, as discs at step 0."""
    colours = dict(zip(data["model"].values.tolist(), [c for c, _ in looks], strict=True))
    for i, model in enumerate(data["pretrained_model"].values.tolist()):
        for name, face in (("train", colours.get(model)), ("test", "white")):
            value = float(data[f"pretrained_{name}_accuracy"][i])
            if model in colours and np.isfinite(value):
                colour = colours[model]
                look = {"markerfacecolor": face, "markeredgecolor": colour, "clip_on": False}
                axes.plot(0, value, "o", markersize=4.5, zorder=5, **look)
                low, high = axes.get_ylim()
                axes.set_ylim(min(low, value - 0.02), max(high, value + 0.02))


def local_panel(axes: Axes, data: xr.Dataset, looks: list[tuple[str, str]]) -> None:
    """Samples of one seed (pale) and their moving average over 15 samples, log axis."""
    for case, (colour, _) in zip(data["case"].values, looks, strict=True):
        part = data.sel(case=case).isel(seed=0)
        step = part["sample_step"].values
        axes.plot(step, part["local_samples"], color=colour, alpha=0.35, linewidth=0.6)
        axes.plot(step, part["local_average"], color=colour, linewidth=1.3)
        level = float(part["level_theory"])
        if np.isfinite(level):
            axes.axhline(level, **(style.THEORY | {"linewidth": 0.8}), zorder=3)
    axes.set(yscale="log", xlabel="step $k$", ylabel=f"local displacement {LOCAL}")
    plain_thousands(axes)


def global_panel(axes: Axes, data: xr.Dataset, looks: list[tuple[str, str]]) -> None:
    """Seed mean of the squared distance, log-log, with fits and exponents; first tenth left out."""
    last = float(data["log_step"].max())
    shown = data["log_step"].values >= DROPPED * last
    mean = geometric_mean(data["global_samples"]).isel(log_step=np.flatnonzero(shown))
    for case, (colour, _) in zip(data["case"].values, looks, strict=True):
        line = mean.sel(case=case).dropna("log_step")
        if not line.size:
            continue
        axes.plot(line["log_step"], line, color=colour, linewidth=1.6)
        fit = fitted_line(data.sel(case=case))
        if fit is None:
            continue
        axes.plot(fit[0], fit[1], **style.THEORY)
    axes.set(xscale="log", yscale="log", xlabel="step $k$", ylabel=f"global displacement {GLOBAL}")
    if np.log10(last / max(DROPPED * last, 1)) <= 1.05:
        few_log_ticks(axes)


def fitted_line(part: xr.Dataset) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Ends of the window, the fitted line there (mean over seeds of its ln) and the exponent."""
    exponent, intercept = float(seed_mean(part["exponent"])), float(seed_mean(part["intercept"]))
    if not np.isfinite(exponent):
        return None
    steps = np.array([float(part[name].max()) for name in ("window_low", "window_high")])
    return steps, np.exp(intercept + exponent * np.log(steps)), exponent


def plain_thousands(axes: Axes) -> None:
    """Few ticks on a linear axis of steps, written as 5k."""
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if abs(x) >= 1000 else f"{x:g}")


def few_log_ticks(axes: Axes) -> None:
    """Ticks at 1, 2, 5 times powers of ten on a log axis of steps that spans one decade."""
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


# --- Sweeps of figure 7 --------------------------------------------------------------------------


def sweep_figure(data: xr.Dataset) -> Figure:
    """Squared local displacement and exponent against eta, S and beta, linear axes.

    Parameters
    ----------
    data
        See `displacement_sweeps.sweeps`.
    """
    figure, grid = plt.subplots(
        2, 3, figsize=(style.PAGE, 4.5), sharex="col", height_ratios=[1.15, 1]
    )
    for column, name in enumerate(SWEEP_COLOURS):
        top, bottom = grid[:, column]
        level_panel(top, data, name)
        exponent_panel(bottom, data, name)
        bottom.set_xlabel(SWEEP_LABELS[name])
        if name == "eta":
            bottom.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
            bottom.locator_params(axis="x", nbins=4)
    grid[0, 0].set_ylabel(f"mean local displacement {LOCAL}")
    grid[1, 0].set_ylabel("exponent $c$")
    _common_exponents(grid[1])
    for axes, letter in zip(grid.flat, "abcdef", strict=True):
        style.panel_label(axes, letter)
    figure.align_ylabels(grid[:, 0])
    figure.legend(handles=_sweep_handles(), loc="outside lower center", ncols=4)
    return figure


def law(data: xr.Dataset, name: str, at: np.ndarray) -> tuple[np.ndarray, bool]:
    """eta^2 C / (S (1 - beta^2)) along a sweep and whether C is the measured tr(Sigma).

    Where tr(Sigma) was not measured, C is the constant of the default run.
    """
    settings = {n: float(data[f"default_{n}"]) for n in SWEEP_COLOURS} | {name: at}
    per_trace = settings["eta"] ** 2 / settings["batch_size"] / (1 - settings["momentum"] ** 2)
    trace = data[f"level_theory_{name}"] / data[f"law_{name}"]
    known = bool(trace.notnull().any())
    constant = float(trace.mean()) if known else float(data["calibration"].mean())
    return np.asarray(per_trace) * constant, known


def level_panel(axes: Axes, data: xr.Dataset, name: str) -> None:
    """Mean squared local displacement against one setting, with the law; inset with log axes."""
    values = seed_mean(data[f"local_mean_{name}"])
    x = values[name].values.astype(float)
    smooth = np.linspace(x.min(), x.max(), 200)
    if name == "eta":
        smooth = np.unique(np.r_[smooth, x])
    theory, _ = law(data, name, smooth)
    left = 0.14 if name != "batch_size" else 0.42
    inset = axes.inset_axes([left, 0.5, 0.44, 0.45])
    axis = 1 / (1 - x**2) if name == "momentum" else x
    fine = 1 / (1 - smooth**2) if name == "momentum" else smooth
    for panel, across, along, size in ((axes, x, smooth, 4), (inset, axis, fine, 2.5)):
        panel.plot(along, theory, **style.THEORY, zorder=1)
        panel.plot(across, values, "o", color=SWEEP_COLOURS[name], markersize=size)
        _default_dot(panel, data, f"local_mean_{name}", name, across, size)
    inset.set(xscale="log", yscale="log")
    inset.tick_params(labelsize=5.5, pad=1, length=2)
    inset.minorticks_off()
    if name == "momentum":
        inset.set_xlabel(r"$1/(1-\beta^2)$", fontsize=5.5, labelpad=0)
        default = 1 / (1 - float(data["default_momentum"]) ** 2)
        few_values(inset, [fine.min(), default, fine.max()])
    elif name == "batch_size":
        few_values(inset, [fine.min(), float(data["default_batch_size"]), fine.max()])
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    # The highest point of 1/S stays off the inset.
    axes.set_ylim(0, None)
    axes.margins(x=0.06)


def few_values(axes: Axes, values: Sequence[float]) -> None:
    """Name some values of a logarithmic axis alone, as rounded numbers."""
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.2g}" if x < 100 else f"{x:.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def exponent_panel(axes: Axes, data: xr.Dataset, name: str) -> None:
    """Exponent against one setting: mean and standard deviation over seeds, dashed c = 1."""
    exponent = data[f"exponent_{name}"]
    mean, deviation = seed_mean(exponent), seed_deviation(exponent)
    x = mean[name].values.astype(float)
    colour = SWEEP_COLOURS[name]
    axes.axhline(1, **style.THEORY, zorder=0)
    axes.errorbar(x, mean, deviation, fmt="o-", color=colour, capsize=2, linewidth=0.8)
    log = seed_mean(data[f"exponent_log_{name}"])
    axes.plot(
        x, log, "o", markerfacecolor="none", markeredgecolor=colour, markersize=6.5, alpha=0.7
    )
    _default_dot(axes, data, f"exponent_{name}", name, x, 4)


def _default_dot(
    axes: Axes, data: xr.Dataset, variable: str, name: str, across: np.ndarray, size: float
) -> None:
    """Black dot at the default, where the sweep contains it."""
    values = seed_mean(data[variable])
    at = np.flatnonzero(np.isclose(values[name].values, float(data[f"default_{name}"])))
    if at.size:
        axes.plot(
            across[at], values.values[at], "o", color="black", markersize=1.3 * size, zorder=4
        )


def _common_exponents(row) -> None:
    """One vertical range for the exponents of all sweeps."""
    limits = np.array([axes.get_ylim() for axes in row])
    for axes in row:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())


def _sweep_handles() -> list[Line2D]:
    ring = {"marker": "o", "linestyle": "", "color": "0.4"}
    return [
        Line2D([], [], marker="o", linestyle="", color="black", label="default"),
        Line2D([], [], **ring, label="seed mean (± sd)"),
        Line2D([], [], **ring, markerfacecolor="none", markersize=6.5, label="log-spaced fit"),
        Line2D([], [], label=r"$\eta^2\,C/(S(1-\beta^2))$, $c=1$", **style.THEORY),
    ]
