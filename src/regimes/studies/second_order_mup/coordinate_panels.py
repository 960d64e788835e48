"""Panels of coordinate checks: changes against width, predicted powers, printed exponents.

Everywhere: input, hidden and output layer by colour and marker; muP solid with filled markers, SP
dashed with open ones, UP dotted with filled ones; predicted powers in thin dashed black.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from regimes.plot import style
from regimes.studies.second_order_mup.network_names import trained_on
from regimes.studies.second_order_mup.width_cases import choose, known_widths
from regimes.studies.second_order_mup.width_fits import geometric_mean

LAYERS = (("input", style.BLUE, "o"), ("hidden", style.ORANGE, "s"), ("output", style.GREEN, "^"))
CHANGES = {"dWh": r"mean $|\Delta W_l\, h_{l-1}|$", "dh": r"mean $|\Delta u_l|$"}
SCHEMES = {"mup": "muP", "sp": "SP", "up": "UP"}
OPEN = {"linestyle": (0, (4, 1.5)), "markerfacecolor": "white"}
FILLED = {"linestyle": "-"}
DOTTED = {"linestyle": (0, (1, 1.2))}
LOOKS = {"mup": FILLED, "sp": OPEN, "up": DOTTED}
SMALL = 5.6  # points, printed exponents
LINE = 6.8  # points from one printed line to the next
FEW_DECADES = 200.0  # ratio of the ends of an axis up to which powers of ten are too few labels
LETTER = -12.0  # points from axes to the letter of a panel
GAP = 2.5  # points between axes and the lowest printed line
SMALLEST_PLAIN = 1e-3  # an axis with smaller labels has all of them as powers of ten
THEORY = {**style.THEORY, "linewidth": 0.8, "zorder": 1.5}


@dataclass(frozen=True)
class Shown:
    """Values against width of one case, layer by layer, with fitted and predicted exponents.

    Attributes
    ----------
    values
        Over (layer, width, seed).
    slope, low, high, predicted
        Over layer: fitted exponent, its interval, the predicted one (NaN for none).
    start
        Narrowest network of the fit.
    scheme
        "mup", "sp" or "up".
    """

    values: xr.DataArray
    slope: np.ndarray
    low: np.ndarray
    high: np.ndarray
    predicted: np.ndarray
    start: float
    scheme: str


def shown(
    data: xr.Dataset,
    change: str = "dWh",
    step: int = 1,
    window: str = "wide",
    prediction: str = "predicted",
    **settings: float | str | None,
) -> Shown | None:
    """First case with given settings, or None where there is none.

    Parameters
    ----------
    data
        From `analyses.coordinate_check`.
    change
        "dWh" or "dh".
    step
        Number of updates; -1 for the last one that was stored.
    window
        Widths of the fit, "wide" or "all".
    prediction
        Variable with the predicted exponents; they are about dWh, and in muP also about dh.
    settings
        Settings of the case.
    """
    cases = choose(data, **settings)
    if not cases.sizes["case"]:
        return None
    case = cases.isel(case=0)
    steps = case[change].dropna("layer_step", how="all")["layer_step"].values
    if step == -1 and steps.size:
        step = int(steps[-1])
    if step not in steps:
        return None
    case = case.sel(layer_step=step, window=window, change=change)
    scheme = str(case["parameterization"].item())
    predicted = case[prediction].values
    return Shown(
        known_widths(case[change]),
        case["slope"].values,
        case["slope_low"].values,
        case["slope_high"].values,
        predicted if change == "dWh" or scheme == "mup" else np.full(3, np.nan),
        float(case["first_width"]) if window == "wide" else 1.0,
        scheme,
    )


def against_width(
    axes: Axes, case: Shown, theory: bool = True, layers: Iterable[int] = range(3)
) -> None:
    """Geometric mean over seeds against width, range over seeds as a band, predicted powers."""
    for layer in layers:
        _, colour, marker = LAYERS[layer]
        values = case.values.isel(layer=layer, drop=True).transpose("width", "seed")
        values = values.where(np.isfinite(values) & (values > 0))
        mean = geometric_mean(values)
        width = mean["width"].values.astype(float)
        known = np.isfinite(mean.values)
        if not known.any():
            continue
        axes.plot(
            width,
            mean,
            color=colour,
            marker=marker,
            markersize=3,
            markeredgewidth=0.8,
            **LOOKS[case.scheme],
        )
        low, high = values.min("seed"), values.max("seed")
        axes.fill_between(width, low, high, color=colour, alpha=0.2, linewidth=0)
        exponent = case.predicted[layer]
        fitted = known & (width >= case.start)
        if theory and math.isfinite(exponent) and fitted.any():
            # Through the middle of the fitted points.
            centre = np.log(mean.values[fitted]).mean()
            offset = np.log(width[fitted]).mean()
            line = np.exp(centre + exponent * (np.log(width[known]) - offset))
            axes.plot(width[known], line, **THEORY)


def log_axes(axes: Axes, ylabel: str = "") -> None:
    """Logarithmic axes, widths as powers of two."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="width $M$", ylabel=ylabel)
    log_values(axes)


def log_values(axes: Axes, factor: float = 10.0) -> None:
    """Logarithmic vertical axis, at least a factor between its ends: flat lines look flat."""
    drawn = [line.get_ydata() for line in axes.get_lines()]
    known = np.concatenate([np.asarray(values, dtype=float) for values in drawn] or [[]])
    known = known[np.isfinite(known) & (known > 0)]
    if known.size and known.max() < known.min() * (1 + 1e-6):
        axes.set_ylim(known.min() / 2, known.max() * 2)  # a constant has no limits of its own
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high / low < factor:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(factor), middle * math.sqrt(factor)
        axes.set_ylim(low, high)
    axes.yaxis.set_minor_formatter(NullFormatter())
    if high / low > FEW_DECADES:
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        return
    # Powers of ten alone would leave one label or none.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3) if high / low > 20 else (1, 2, 5)))
    lowest = min(value for value in axes.get_yticks() if low <= value <= high)
    form = power_text if lowest < SMALLEST_PLAIN else "{:.4g}".format
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axes.yaxis.set_minor_locator(NullLocator())


def power_text(value: float) -> str:
    """Positive number as a power of ten, with one digit in front of it unless that is 1."""
    power = math.floor(math.log10(value) + 1e-9)
    digit = round(value / 10.0**power)
    front = "" if digit == 1 else rf"{digit}\!\cdot\!"
    return f"${front}10^{{{power}}}$"


def only_last_row(grid: np.ndarray) -> None:
    """Label the horizontal axes of the lowest panels only."""
    for axes in grid[:-1].flat:
        axes.set_xlabel("")


def exponent_text(value: float) -> str:
    """Exponent as a simple fraction."""
    if not math.isfinite(value):
        return "–"
    text = str(Fraction(value).limit_denominator(8)).replace("-", "−")
    return {"1/2": "½", "−1/2": "−½"}.get(text, text)


def fit_text(case: Shown, layer: int) -> str:
    """Fitted exponent with its interval and, in brackets, the predicted one."""
    slope, low, high = (float(values[layer]) for values in (case.slope, case.low, case.high))
    if not math.isfinite(slope):
        fitted = "–"
    else:
        half = (high - low) / 2
        fitted = f"{slope:.2f}" + (f"±{half:.2f}" if math.isfinite(half) else "")
        fitted = fitted.replace("-0.00", "0.00").replace("-", "−")
    predicted = case.predicted[layer]
    return f"{fitted} ({exponent_text(predicted)})" if math.isfinite(predicted) else fitted


def print_above(axes: Axes, lines: Sequence[tuple[str, str]], title: str = "") -> None:
    """Lines of text with colours above the axes, the title above them."""
    for i, (text, colour) in enumerate(reversed(lines)):
        axes.annotate(
            text,
            xy=(0.5, 1),
            xycoords="axes fraction",
            xytext=(0, GAP + i * LINE),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=SMALL,
            color=colour,
        )
    if title:
        axes.set_title(title, pad=GAP + 2.5 + len(lines) * LINE)


def print_fits(axes: Axes, cases: Sequence[Shown | None], title: str = "") -> None:
    """Exponents of all layers above the axes, a line per layer; of several cases side by side."""
    present = [case for case in cases if case is not None]
    lines = []
    for layer, (_, colour, _) in enumerate(LAYERS):
        texts = [fit_text(case, layer) for case in present]
        if len(present) > 1:
            texts = [f"{SCHEMES[c.scheme]} {t}" for c, t in zip(present, texts, strict=True)]
        lines.append(("   ".join(texts), darker(colour)))
    print_above(axes, lines if present else [], title)


def darker(colour: str) -> str:
    """Colour for small text: orange is too light on white."""
    return {style.ORANGE: "#A86E00"}.get(colour, colour)


def panel(
    axes: Axes,
    cases: Sequence[Shown | None],
    title: str = "",
    ylabel: str = "",
    fitted: Sequence[Shown | None] | None = None,
) -> None:
    """Draw cases, print the exponents of the ``fitted`` ones (all without), or say what is missing.

    Predicted powers are drawn for the cases whose exponents are printed.
    """
    fitted = cases if fitted is None else fitted
    for case in cases:
        if case is not None:
            against_width(axes, case, theory=any(case is each for each in fitted))
    if any(case is not None for case in cases):
        log_axes(axes, ylabel)
        print_fits(axes, fitted, title)
    else:
        missing(axes, title)


def missing(axes: Axes, title: str = "") -> None:
    """Say that the scale has no such runs."""
    axes.set_title(title)
    axes.text(0.5, 0.5, "no runs at\nthis scale", ha="center", va="center", color="0.4")
    axes.set_axis_off()


def layer_handles() -> list[Line2D]:
    """Entries of the legend for the layers."""
    return [
        Line2D([], [], color=colour, marker=marker, markersize=3.5, label=f"{name} layer")
        for name, colour, marker in LAYERS
    ]


def width_colours(widths: Iterable[float]) -> dict[float, tuple]:
    """Colour of each width, darker for wider networks."""
    known = sorted(float(width) for width in widths)
    # The end of the map is too light for lines on white.
    shades = np.linspace(0.85, 0.0, len(known)) if len(known) > 1 else [0.4]
    return dict(zip(known, colormaps["viridis"](shades), strict=True))


def width_handles(colours: Mapping[float, tuple]) -> list[Line2D]:
    """Entries of the legend for the widths."""
    return [Line2D([], [], color=c, marker=".", label=f"$M = {m:g}$") for m, c in colours.items()]


def scheme_handles(*schemes: str, theory: str = "predicted power") -> list[Line2D]:
    """Entries of the legend for parameterizations and theory."""
    found = [
        Line2D(
            [],
            [],
            color="0.3",
            marker="o",
            markersize=3.5,
            label=SCHEMES[name],
            **LOOKS[name],
        )
        for name in schemes
    ]
    return [*found, Line2D([], [], label=theory, **style.THEORY)]


def finish(
    figure: Figure,
    first: Iterable[Axes],
    cases: xr.Dataset,
    *schemes: str,
    theory: str = "predicted power",
) -> None:
    """Letters beside the titles of some panels, what was trained above all, the legend below."""
    for axes, letter in zip(first, "abcdefgh", strict=False):
        axes.annotate(
            letter,
            xy=(0, 1),
            xycoords="axes fraction",
            xytext=(LETTER, GAP + len(LAYERS) * LINE),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontweight="bold",
            fontsize=9,
        )
    figure.suptitle(trained_on(cases), fontsize=7.5, color="0.3")
    legend(figure, [*layer_handles(), *scheme_handles(*schemes, theory=theory)])


def legend(figure: Figure, handles: Sequence[Line2D], columns: int | None = None) -> None:
    """Legend of the whole figure, below its panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns or len(handles))
