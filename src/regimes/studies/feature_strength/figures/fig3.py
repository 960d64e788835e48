"""Figure 3: Hessian spectrum across gamma."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.feature_strength.panels import gamma_colour, gamma_label

DEPTH = 3
STEP_ZERO = 0.2  # where step 0 is drawn on a logarithmic axis
RANKS = LogNorm(1, 50)
# Viridis without its palest end.
RANK_COLOURS = ListedColormap(plt.colormaps["viridis"](np.linspace(0, 0.92, 256)))


def top_eigenvalues(axes: Axes, data: xr.Dataset, legend: bool = True) -> None:
    """Largest eigenvalue against gamma at the start and the end, with the power laws of theory.

    Parameters
    ----------
    data
        One depth of an analysis of curvature, with the scalar coordinate ``depth``.
    """
    gamma, depth = 10.0 ** data["log10_gamma"], int(data["depth"])
    for name, marker, colour, filled, label in (
        ("sharpness_start", "o", style.SKY, False, "step 0"),
        ("sharpness_end", "s", style.VERMILLION, True, "last step"),
    ):
        values = data[name].where(data[name] > 0)
        middle = values.mean("seed")
        reach = [middle - values.min("seed"), values.max("seed") - middle]
        axes.errorbar(
            gamma,
            middle,
            yerr=[part.fillna(0) for part in reach],
            fmt=marker,
            color=colour,
            markerfacecolor=colour if filled else "none",
            label=label,
        )
    end = data["sharpness_end"].where(data["sharpness_end"] > 0).mean("seed").dropna("log10_gamma")
    rich = Fraction(-2, depth)
    for side, fit, exponent in (
        (end.sel(log10_gamma=slice(None, -0.5)), "end_lazy", Fraction(-2)),
        (end.sel(log10_gamma=slice(0.5, None)), "end_rich", rich),
    ):
        if side.size:
            _guide(axes, np.log10(side), float(exponent), exponent, data["fit_slope"].sel(fit=fit))
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=r"feature strength $\gamma$",
        ylabel=r"top Hessian eigenvalue $\lambda_1$",
    )
    if legend:
        axes.legend(loc="lower left", handletextpad=0.2)


def _guide(axes: Axes, side: xr.DataArray, slope: float, text: object, fit: xr.DataArray) -> None:
    """Power law of theory through log10 values over log10_gamma, with the fitted exponent."""
    x = np.array([float(side["log10_gamma"].min()), float(side["log10_gamma"].max())])
    level = float((side - slope * side["log10_gamma"]).mean())
    reached = x + np.array([-0.3, 0.3])
    axes.plot(10.0**reached, 10 ** (level + slope * reached), **style.THEORY)
    fitted = f"\nfit ${float(fit):.2f}$" if np.isfinite(fit) else ""
    axes.annotate(
        rf"$\gamma^{{{text}}}$" + fitted,
        (10 ** x.mean(), 10 ** (level + slope * x.mean())),
        xytext=(6, 4),
        textcoords="offset points",
        fontsize=6.5,
    )


def logged_steps(steps: xr.DataArray) -> np.ndarray:
    """Steps for a logarithmic axis, step 0 at `STEP_ZERO`."""
    return np.maximum(steps.values.astype(float), STEP_ZERO)


def label_steps(axes: Axes, last: float) -> None:
    """Logarithmic axis of steps with a mark for step 0."""
    powers = 10.0 ** np.arange(0, np.floor(np.log10(max(last, 1))) + 1)
    axes.set_xscale("log")
    axes.set_xticks([STEP_ZERO, *powers], ["0", *(f"$10^{{{np.log10(p):.0f}}}$" for p in powers)])
    axes.set_xticks(np.outer(powers, np.arange(2, 10)).ravel(), minor=True)
    axes.set_xlim(STEP_ZERO * 0.8, max(last, 1) * 1.3)
    axes.set_xlabel("step $t$")


def edge_ratio(axes: Axes, data: xr.Dataset, gammas: np.ndarray | None = None) -> None:
    """Sharpness over the edge of stability 2/(N eta) against steps, mean and range over seeds."""
    ratio = data["edge_ratio"].dropna("sharpness_step", how="all")
    for gamma in ratio["log10_gamma"].values if gammas is None else gammas:
        curve = ratio.sel(log10_gamma=gamma).dropna("sharpness_step", how="all")
        if not curve.size:
            continue
        x, colour = logged_steps(curve["sharpness_step"]), gamma_colour(gamma)
        axes.plot(x, curve.mean("seed"), color=colour, label=gamma_label(gamma))
        axes.fill_between(
            x, curve.min("seed"), curve.max("seed"), color=colour, alpha=0.25, linewidth=0
        )
    axes.axhline(1, **style.THEORY)
    axes.annotate(
        r"$\lambda_1=2/(N\eta)$",
        (0.98, 1),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=6.5,
    )
    label_steps(axes, float(ratio["sharpness_step"].max()))
    axes.set(ylabel=r"$\lambda_1 N\eta/2$", yscale="log")


def _spectrum_in_time(axes: Axes, data: xr.Dataset, gamma: float) -> None:
    spectrum = data["spectrum"].sel(log10_gamma=gamma).dropna("spectrum_step", how="all")
    # From the last rank up, so that the first eigenvalues lie on top.
    for rank in spectrum["rank"].values[::-1]:
        values = spectrum.sel(rank=rank)
        axes.plot(
            logged_steps(spectrum["spectrum_step"]),
            values.where(values > 0),
            color=RANK_COLOURS(RANKS(rank)),
            linewidth=0.9,
        )
    label_steps(axes, float(spectrum["spectrum_step"].max()) if spectrum.size else 1)
    axes.set(yscale="log", ylabel=r"eigenvalues $\lambda_k$", title=gamma_label(gamma))


def _final_spectra(axes: Axes, data: xr.Dataset) -> None:
    for gamma in data["log10_gamma"].values:
        end = data["spectrum_end"].sel(log10_gamma=gamma)
        relative = (end / end.sel(rank=1)).mean("seed").dropna("rank")
        axes.plot(
            relative["rank"],
            relative.where(relative > 0),
            color=gamma_colour(gamma),
            label=gamma_label(gamma),
        )
    axes.axvline(10, color="0.6", linestyle=":", linewidth=1, zorder=0)
    axes.axhline(0.1, color="0.6", linestyle=":", linewidth=1, zorder=0)
    axes.set(
        xscale="log", yscale="log", xlabel="rank $k$", ylabel=r"$\lambda_k/\lambda_1$, last step"
    )


def one_depth(data: xr.Dataset, depth: int) -> xr.Dataset:
    """Part of an analysis of curvature at the depth nearest to the given one."""
    chosen = data.sortby("log10_gamma").sel(depth=depth, method="nearest")
    if "spectrum_depth" in chosen.dims:
        if float(chosen["depth"]) in chosen["spectrum_depth"]:
            return chosen.sel(spectrum_depth=float(chosen["depth"]))
        return chosen.drop_dims("spectrum_depth")
    return chosen


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Top eigenvalues of MLP and CNN against gamma, sharpness and spectra in time."""
    data = one_depth(analyses["curvature"], DEPTH)
    gammas = data["log10_gamma"].values
    figure = plt.figure(figsize=(style.PAGE, 4.5))
    panels = figure.subplots(2, 3)
    top_eigenvalues(panels[0, 0], data)
    panels[0, 0].set_title(f"MLP, $L={int(data['depth'])}$")
    edge_ratio(panels[0, 1], data)
    panels[0, 1].set_title(f"MLP, $L={int(data['depth'])}$")
    cnn = one_depth(analyses["curvature_cnn"], 4)
    top_eigenvalues(panels[0, 2], cnn, legend=False)
    panels[0, 2].set_title(f"CNN, $L={int(cnn['depth'])}$")
    known = data["spectrum_end"].notnull().any(["seed", "rank"]).values
    shown = gammas[known] if known.any() else gammas
    for axes, wanted in zip(panels[1, :2], (-2.0, 2.0), strict=True):
        _spectrum_in_time(axes, data, shown[np.abs(shown - wanted).argmin()])
    colours = plt.cm.ScalarMappable(RANKS, RANK_COLOURS)
    bar = figure.colorbar(colours, ax=panels[1, 1], pad=0.02, aspect=30)
    bar.set_ticks([1, 10, 50], labels=["1", "10", "50"], minor=False)
    bar.minorticks_off()
    bar.ax.set_title("$k$", fontsize=7)
    _final_spectra(panels[1, 2], data)
    handles, labels = panels[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(handles)))
    for axes, letter in zip(panels.flat, "abcdef", strict=True):
        style.panel_label(axes, letter)
    return figure
