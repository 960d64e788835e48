"""Table 1: steps and batch size, learned subspace, reachable error, with measured numbers."""

from __future__ import annotations

import math
import re

import pandas as pd
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.giant_step.panels import TARGET_FORMULAS, centre, interval

NOTHING = float("nan")
COLUMNS = [
    "regime",
    "learned_subspace",
    "reachable_floor",
    "target",
    "floor",
    "quantity",
    "measured",
    "interval",
    "theory",
]


def _last(values: xr.DataArray, dim: str) -> xr.DataArray:
    """Values at the last coordinate of a dimension that was run."""
    return values.dropna(dim, how="all").isel({dim: -1})


def _row(regime: tuple[str, str, str], target: str, floor: float, quantity: str,
         values: xr.DataArray, theory: float = NOTHING) -> list:  # fmt: skip
    """One row; ``values`` over seeds gives mean and half-width of the 95 % interval."""
    mean, half = float(centre(values)), float(interval(values))
    return [*regime, target, floor, quantity, mean, half, theory]


def _untrained(analyses: dict[str, xr.Dataset], constants: xr.Dataset) -> list[list]:
    regime = ("T = 0", "none", "linear floor")
    overlap = _last(analyses["initial_overlap"].sel(rows="sphere"), "dimension")
    rows = [
        _row(
            regime, "any", NOTHING, f"mean |cos(w, w*)|, d = {int(overlap['dimension'])}",
            overlap["overlap"], float(overlap["overlap_theory"]),
        )
    ]  # fmt: skip
    for target in ("A", "B"):
        errors, n = _generalization(analyses, target, "error_frozen")
        floor = float(constants["linear_floor"].sel(target=target))
        rows.append(_row(regime, target, floor, f"test error, frozen, {n}", errors))
    return rows


def _generalization(
    analyses: dict[str, xr.Dataset], target: str, name: str
) -> tuple[xr.DataArray, str]:
    """Errors at the largest width, batch and ridge strength, and where that is."""
    data = analyses["generalization"][name].sel(target=target).isel(ridge=-1)
    errors = _last(_last(data, "width"), "batch_factor")
    return errors, f"n = {float(errors['batch_factor']):g}d, λ = {float(errors['ridge']):g}"


def _one_linear_step(analyses: dict[str, xr.Dataset], constants: xr.Dataset) -> list[list]:
    regime = ("T = 1, n ~ d", "span C1: one direction", "one-step floor")
    plane = _last(analyses["one_step"].sel(target="plus", batch="4d"), "dimension")
    floor = float(constants["one_step_floor"].sel(target="plus"))
    rows = [
        _row(
            regime, "plus", floor, "cos²(g, V*), n = 4d",
            plane["plane_cos2"], float(plane["plane_cos2_theory"]),
        ),
        _row(regime, "plus", floor, "concentration R, n = 4d", plane["concentration"]),
    ]  # fmt: skip
    for target in ("A", "B"):
        errors, n = _generalization(analyses, target, "error_step")
        floor = float(constants["one_step_floor"].sel(target=target))
        rows.append(_row(regime, target, floor, f"test error, {n}", errors))
    return rows


def _one_quadratic_step(analyses: dict[str, xr.Dataset], constants: xr.Dataset) -> list[list]:
    regime = ("T = 1, n ~ d², leap 2", "span C2: several directions", "floor given span C2")
    plane = _last(analyses["one_step"].sel(target="he2_pair", batch="d^2"), "dimension")
    floor = float(constants["leap_floor"].sel(target="he2_pair"))
    return [
        _row(
            regime, "he2_pair", floor, "cos²(g, V*), n = d²",
            plane["plane_cos2"], float(plane["plane_cos2_theory"]),
        ),
        _row(regime, "he2_pair", floor, "concentration R, n = d²", plane["concentration"]),
    ]  # fmt: skip


def _leap(analyses: dict[str, xr.Dataset], constants: xr.Dataset) -> list[list]:
    data = analyses["leap_scaling"]
    at = ("T = 1, n ~ d^ℓ, leap ℓ", "span Cℓ", "floor given span Cℓ")
    below = ("T = 1, n ≪ d^ℓ", "nothing", "linear floor")
    cubic = data.sel(target="he3", activation="cubic")
    rows = []
    dimension = float(cubic["alignment"].dropna("dimension", how="all")["dimension"][0])
    cubic = _last(cubic.sel(dimension=dimension), "batch_exponent")
    exponent = float(cubic["batch_exponent"])
    rows.append(
        _row(
            at, "he3", float(constants["leap_floor"].sel(target="he3")),
            f"cos²(g, w*), cubic σ, n = d^{exponent:g}, d = {dimension:g}",
            cubic["alignment"], float(cubic["alignment_theory"]),
        )
    )  # fmt: skip
    linear = data.sel(target="he2", activation="relu", batch_exponent=1.0)
    for d in linear["alignment"].dropna("dimension", how="all")["dimension"].values:
        part = linear.sel(dimension=d)
        rows.append(
            _row(
                below, "he2", float(constants["linear_floor"].sel(target="he2")),
                f"cos²(g, w*), n = d = {int(d)}",
                part["alignment"], float(part["alignment_theory"]),
            )
        )  # fmt: skip
    return rows


def _staircase(analyses: dict[str, xr.Dataset], constants: xr.Dataset) -> list[list]:
    several = analyses["several_steps"]
    last = int(constants["step"].max())
    regime = ("T steps, n ~ d each", "staircase U_T", "floor given U_T")
    rows = []
    for target in ("z1_z1z2", "z1_z2z3"):
        floor = float(constants["staircase_floor"].sel(target=target))
        for direction in (1, 2):
            cosines = several["row_cos2"].sel(target=target, direction=direction, step=last)
            quantity = f"cos²(w, w*_{direction}), T = {last}, n = 4d"
            rows.append(_row(regime, target, floor, quantity, cosines))
    return rows


def rows(analyses: dict[str, xr.Dataset]) -> pd.DataFrame:
    """The table in long form: one measured number a row.

    Returns
    -------
    pd.DataFrame
        Columns as in `COLUMNS`; ``interval`` is the half-width of the 95 % interval over seeds.
    """
    constants = analyses["theory_constants"]
    return pd.DataFrame(
        [
            *_untrained(analyses, constants),
            *_one_linear_step(analyses, constants),
            *_one_quadratic_step(analyses, constants),
            *_leap(analyses, constants),
            *_staircase(analyses, constants),
        ],
        columns=COLUMNS,
    )


HEADER = ["regime", "subspace", "target", "floor", "measured", "value", "theory"]
WIDTHS = [0.16, 0.135, 0.18, 0.06, 0.265, 0.135, 0.065]


# How the plain text of the CSV file is set in the drawn table.
SET = {
    "mean |cos(w, w*)|": r"mean $|\cos(w, w^*)|$",
    "cos²(w, w*_1)": r"$\cos^2(w, w^*_1)$",
    "cos²(w, w*_2)": r"$\cos^2(w, w^*_2)$",
    "cos²(g, V*)": r"$\cos^2(g, V^*)$",
    "cos²(g, w*)": r"$\cos^2(g, w^*)$",
    "concentration R": "concentration $R$",
    "n ~ d^ℓ, leap ℓ": r"$n\sim d^\ell$, leap $\ell$",
    "n ≪ d^ℓ": r"$n\ll d^\ell$",
    "n ~ d², leap 2": r"$n\sim d^2$, leap 2",
    "n ~ d": r"$n\sim d$",
    "n = d²": "$n=d^2$",
    "span Cℓ": r"span of $C_\ell$",
    "span C1: one direction": "span of $C_1$, a line",
    "span C2: several directions": "span of $C_2$",
    "staircase U_T": "staircase $U_T$",
    "cubic σ": r"cubic $\sigma$",
}


def _set(text: str) -> str:
    for plain, mathematical in SET.items():
        text = text.replace(plain, mathematical)
    return re.sub(r"n = d\^([\d.]+)", r"$n=d^{\1}$", text)


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value + 0:.3f}" if abs(value) > 5e-4 else "0"


def _measured(value: float, half: float) -> str:
    """Mean and half-width of its interval, with a digit more where the interval needs it."""
    digits = 3 if half >= 5e-4 else 4
    return f"{value:.{digits}f} ± {half:.{digits}f}"


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """Text of the drawn table; a regime is named in its first row only."""
    cells, before = [], None
    for _, row in table.iterrows():
        new = row["regime"] != before
        before = row["regime"]
        cells.append(
            [
                _set(row["regime"]) if new else "",
                _set(row["learned_subspace"]) if new else "",
                TARGET_FORMULAS.get(row["target"], row["target"]),
                _number(row["floor"]),
                _set(row["quantity"]),
                _measured(row["measured"], row["interval"]),
                _number(row["theory"]),
            ]
        )
    return cells


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw the table with a rule between regimes."""
    cells = _cells(rows(analyses))
    figure, axes = plt.subplots(figsize=(style.PAGE, 0.215 * (len(cells) + 1) + 0.2))
    axes.axis("off")
    drawn = axes.table(
        cells, colLabels=HEADER, colWidths=WIDTHS, cellLoc="left", edges="", bbox=(0, 0, 1.0, 1)
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7)
    for (line, _), cell in drawn.get_celld().items():
        cell.PAD = 0.01
        if line == 0:
            cell.set_text_props(fontweight="bold", horizontalalignment="left")
    for line, row in enumerate(cells):
        if row[0]:
            height = 1 - (line + 1) / (len(cells) + 1)
            axes.axhline(height, color="0.6" if line else "black", linewidth=0.7)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return figure
