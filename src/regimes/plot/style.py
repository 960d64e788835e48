"""One look for all figures: colours by meaning, dashed black theory, a footer, no dates."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

# Okabe-Ito, safe for colour-blind readers; the same colour means the same thing everywhere.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, GREY = "#56B4E9", "#CC79A7", "#F0E442", "#7F7F7F"
CYCLE = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY]
BASELINE = VERMILLION  # frozen or untrained features
FLOOR = ORANGE  # bounds that no method of a class can pass
THEORY = {"color": "black", "linestyle": "--", "linewidth": 1.1}

COLUMN, PAGE = 3.4, 7.0  # widths of one and two columns, inches
FOOTER = 0.13  # height of the footer, inches

_SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=CYCLE),
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "svg.hashsalt": "regimes",
}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Apply the common style inside a ``with`` block; figures made there are closed after it."""
    with mpl.rc_context(_SETTINGS):
        try:
            yield
        finally:
            plt.close("all")


def footer(
    figure: Figure, scale: str, seed_ranges: Sequence[Sequence[int]], fingerprint: str
) -> None:
    """Name scale, seeds and code fingerprint (8 digits) below the figure.

    Parameters
    ----------
    seed_ranges
        Fewest and most seeds of the experiments of each analysis drawn.
    """
    parts = [f"scale {scale}"]
    if seed_ranges:
        low, high = min(r[0] for r in seed_ranges), max(r[1] for r in seed_ranges)
        parts.append(f"seeds {low}" if low == high else f"seeds {low}–{high}")
    parts.append(f"code {fingerprint[:8]}")
    # Everything else, outside legends included, moves up by the height of the footer.
    height = FOOTER / figure.get_figheight()
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, height, 1, 1 - height))
    for legend in figure.legends:
        legend.borderaxespad += FOOTER * 72 / legend.prop.get_size_in_points()
    figure.text(
        0.995, 0.2 * height, " · ".join(parts), fontsize=5.5, color="0.45", ha="right", va="bottom"
    )


def save(figure: Figure, path: Path) -> None:
    """Save without dates or versions, so that equal inputs give equal files.

    The first call fixes the layout: later formats show the same, and it is costly.
    """
    kept = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
    figure.savefig(path, metadata=kept)
    figure.set_layout_engine("none")


def panel_label(axes: mpl.axes.Axes, letter: str) -> None:
    """Write a bold panel letter at the upper left, outside the axes."""
    axes.annotate(
        letter,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(-10, 6),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontweight="bold",
        fontsize=9,
    )
