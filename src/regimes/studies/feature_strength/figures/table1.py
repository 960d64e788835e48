"""Table 1: exponents of eta_min, eta_crit, eta_max; theory, one-weight model, networks."""

from __future__ import annotations

import math

import pandas as pd
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.boundaries import pick
from regimes.studies.feature_strength.portrait_panels import LOSSES, power_text

DRAWN_DEPTH = 3
DEPTHS = (2, 3, 4, 5)
QUANTITIES = {
    "eta_min": (r"$\eta_{\min}$", "too slow below"),
    "eta_crit": (r"$\eta_{\mathrm{crit}}$", "catapults above"),
    "eta_max": (r"$\eta_{\max}$", "diverges above"),
}
TIME = "eta_min_time"  # exponent of T instead of gamma
REGIMES = {"lazy": r"$\gamma\ll 1$", "rich": r"$\gamma\gg 1$"}
COLUMNS = [
    "quantity",
    "loss",
    "regime",
    "depth",
    "theory",
    "toy",
    "toy_low",
    "toy_high",
    "network_boundary",
    "window_low",
    "window_high",
    "network",
    "network_low",
    "network_high",
]


def toy_boundary(quantity: str, loss: str, regime: str) -> str:
    """Boundary of the one-weight model; its cross-entropy eta_max is that of boundedness."""
    if quantity == "eta_max":
        lazy_tail = (loss, regime) == ("cross_entropy", "lazy")
        return "bounded_max" if lazy_tail else "opt_max"
    return {"eta_min": "opt_min", "eta_crit": "eta_crit"}[quantity]


def network_boundary(quantity: str, loss: str, regime: str) -> tuple[str, str]:
    """Boundary of the MLP and the window of the fit, as the claims have them."""
    if quantity == "eta_min":
        return "opt_min", regime
    window = "rich_long" if (loss, regime) == ("cross_entropy", "rich") else regime
    if quantity == "eta_crit":
        return "nocat_max", window
    lazy_tail = (loss, regime) == ("cross_entropy", "lazy")
    return ("accuracy_max" if lazy_tail else "opt_max"), window


def _slopes(data: xr.Dataset, **labels) -> list[float]:
    found = pick(data[["slope", "slope_low", "slope_high"]], **labels)
    return [float(found[name]) for name in ("slope", "slope_low", "slope_high")]


def time_rows(toy: xr.Dataset, networks: xr.Dataset) -> list[list]:
    """Rows for the exponent of T of eta_min; the networks' one from two budgets, no interval."""
    nothing, table = float("nan"), []
    names = ["time_slope", "time_slope_low", "time_slope_high"]
    for loss in LOSSES:
        for regime in REGIMES:
            sides = toy[names].isel(time_log10_gamma=-1 if regime == "rich" else 0)
            measured = pick(sides, loss=loss)
            ends = networks["window"].sel(fit_window=regime).values
            where = {"fit_window": regime, "loss": loss, "depth": DRAWN_DEPTH}
            network = float(pick(networks["time_slope"], **where))
            table.append(
                [TIME, loss, regime, DRAWN_DEPTH, -1.0]
                + [float(measured[name]) for name in names]
                + ["opt_min", *map(float, ends), network, nothing, nothing]
            )
    return table


def rows(analyses: dict[str, xr.Dataset]) -> pd.DataFrame:
    """The table in long form, one quantity, loss, regime and depth a row.

    Returns
    -------
    pd.DataFrame
        Columns as in `COLUMNS`: theory's exponent of gamma; fitted ones of the one-weight model
        and the MLP with the 95 % interval of the fit, empty where not run. Rows of the quantity
        `TIME` give exponents of T.
    """
    toy, networks = analyses["toy_portrait"], analyses["exponents"]
    table = []
    for quantity in QUANTITIES:
        for loss in LOSSES:
            for regime in REGIMES:
                for depth in DEPTHS:
                    where = {"loss": loss, "depth": depth}
                    toy_name = toy_boundary(quantity, loss, regime)
                    edge, window = network_boundary(quantity, loss, regime)
                    ends = networks["window"].sel(fit_window=window).values
                    table.append(
                        [
                            quantity,
                            loss,
                            regime,
                            depth,
                            theory.exponent(quantity, loss, regime, depth),
                            *_slopes(toy, quantity=toy_name, regime=regime, **where),
                            edge,
                            *map(float, ends),
                            *_slopes(networks, boundary=edge, fit_window=window, **where),
                        ]
                    )
    return pd.DataFrame([*table, *time_rows(toy, networks)], columns=COLUMNS)


def _value(slope: float, low: float, high: float) -> str:
    if not math.isfinite(slope):
        return "not measured"
    half = (high - low) / 2
    interval = rf" \pm {half:.2f}" if math.isfinite(half) else ""
    return f"${slope:.2f}{interval}$"


def _theory_text(quantity: str, exponent: float) -> str:
    if quantity == TIME:
        return "$T^{-1}$"
    return power_text(exponent)[:-1] + ("/T$" if quantity == "eta_min" else "$")


LEFT = [0.165, 0.385, 0.595, 0.815]  # of the four columns of numbers
TOP, ROW, LINE = 0.86, 0.215, 0.061


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """The table for depth 3: in each cell theory, one-weight model, MLP."""
    table = rows(analyses)
    table = table[table["depth"] == DRAWN_DEPTH].set_index(["quantity", "loss", "regime"])
    figure, axes = plt.subplots(figsize=(style.PAGE, 3.3))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.0))
    columns = list(zip(LEFT, [(m, r) for m in LOSSES for r in REGIMES], strict=True))
    for x, (loss, regime) in columns:
        axes.text(x + 0.08, 0.905, REGIMES[regime], va="center")
        if regime == "lazy":
            axes.text(x + 0.2, 0.975, LOSSES[loss], fontweight="bold", ha="center", va="center")
    shown = QUANTITIES | {TIME: (r"$\eta_{\min}$", "against the budget $T$")}
    for index, (quantity, (symbol, meaning)) in enumerate(shown.items()):
        top = TOP - ROW * index
        axes.axhline(top, color="black" if index == 0 else "0.7", linewidth=0.7)
        axes.text(0.0, top - 0.085, symbol, va="center", fontsize=9)
        axes.text(0.0, top - 0.15, meaning, va="center", fontsize=7, color="0.35")
        for x, column in columns:
            row = table.loc[(quantity, *column)]
            lines = {
                "theory": _theory_text(quantity, row["theory"]),
                "one weight": _value(row["toy"], row["toy_low"], row["toy_high"]),
                "MLP": _value(row["network"], row["network_low"], row["network_high"]),
            }
            for line, (name, text) in enumerate(lines.items()):
                y = top - 0.045 - LINE * line
                axes.text(x + 0.07, y, name, ha="right", va="center", fontsize=6, color="0.45")
                axes.text(x + 0.08, y, text, va="center")
    axes.axhline(TOP - ROW * len(shown), color="black", linewidth=0.7)
    return figure
