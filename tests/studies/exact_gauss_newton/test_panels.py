"""What figures share: where lines end, where they leave a panel, labels of short axes."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

mpl.use("Agg")
from matplotlib import pyplot as plt

from regimes.studies.exact_gauss_newton import panels


def values(rows, epochs=None):
    """Curves (seed, epoch) of a case planned for all their epochs."""
    rows = np.array(rows, dtype=float)
    epoch = np.arange(rows.shape[1])
    last = int(epoch[-1]) if epochs is None else epochs
    return xr.DataArray(
        rows,
        dims=("seed", "epoch"),
        coords={"seed": np.arange(len(rows)), "epoch": epoch, "epochs": last, "then_epochs": 0},
    )


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def markers(axes, kind):
    """Positions of the markers of a kind."""
    lines = [line for line in axes.get_lines() if line.get_marker() == kind]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def test_a_line_that_ends_early_has_a_cross_at_its_last_epoch(axes):
    panels.mark_end(axes, values([[4, 2, np.nan, np.nan], [4, 4, 3, 3]]), "k")
    assert markers(axes, "x") == [(1.0, 3.0)]


def test_a_line_that_reaches_its_planned_end_has_none(axes):
    panels.mark_end(axes, values([[4, 2, np.nan, np.nan], [4, 4, np.nan, np.nan]], epochs=1), "k")
    panels.mark_end(axes, values([[4, 2, 1, 1]]), "k")
    assert not markers(axes, "x")


def test_a_curve_that_explodes_leaves_the_panel_at_a_triangle(axes):
    calm, wild = values([[2, 1, 1, 1]]), values([[2, 2, 200, 20_000]])
    for each in (calm, wild):
        panels.band(axes, each, None, "k")
    panels.log_loss(axes)
    panels.cap(axes, [calm, wild])
    low, high = axes.get_ylim()
    assert high == pytest.approx(6) and 0.5 < low < 1
    ((x, y),) = markers(axes, "^")
    assert y == pytest.approx(6)
    assert x == pytest.approx(1 + np.log(3) / np.log(100))


def test_calm_curves_keep_their_axis(axes):
    calm = values([[2, 1, 1, 1]])
    panels.band(axes, calm, None, "k")
    panels.log_loss(axes)
    before = axes.get_ylim()
    panels.cap(axes, [calm])
    assert axes.get_ylim() == before and not markers(axes, "^")


@pytest.mark.parametrize("span", [(0.9, 1.1), (0.4, 2.3), (0.05, 0.9), (0.3, 30), (1e-3, 10)])
def test_logarithmic_axes_have_three_labels(axes, span):
    panels.band(axes, values([np.geomspace(*span, 20)]), None, "k")
    axes.set_ylim(*span)
    panels.log_loss(axes)
    axes.figure.canvas.draw()
    low, high = axes.get_ylim()
    ticks = axes.yaxis.get_majorticklocs()
    shown = [t for t in ticks if low <= t <= high]
    assert len(shown) >= 3
    texts = [label.get_text() for label in axes.yaxis.get_majorticklabels()]
    assert all(texts)


def test_a_band_stays_positive_and_ends_where_a_seed_is_lost(axes):
    panels.band(axes, values([[1, 0.01, 1], [1, 10, np.nan]]), "case", "k")
    (line,) = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [0, 1])
    lowest = axes.collections[0].get_paths()[0].vertices[:, 1].min()
    assert lowest == pytest.approx(5.005 / 10)
