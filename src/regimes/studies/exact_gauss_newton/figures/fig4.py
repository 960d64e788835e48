"""Figure 4: tangent kernel and representations during mini-batch training."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.lazy_panels import by_optimizer, optimizer_handles
from regimes.studies.exact_gauss_newton.probes import shown_blocks

PLACES = ("first", "middle", "last")


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw velocity and similarity of the kernel above, CKA to init of three blocks below.

    Parameters
    ----------
    analyses
        ``laziness``.
    """
    data = analyses["laziness"]
    figure, grid = plt.subplots(2, 3, figsize=(style.PAGE, 4.2))
    (velocity, similarity, empty), blocks = grid
    by_optimizer(velocity, data["ntk_velocity"], marker=".")
    velocity.set(ylabel="kernel velocity per epoch", title="tangent kernel: velocity")
    velocity.set_ylim(bottom=0)
    by_optimizer(similarity, data["ntk_similarity"])
    similarity.set(ylabel="similarity to init", title="tangent kernel: similarity")
    count = data.sizes["block"]
    for axes, place, number in zip(blocks, PLACES, shown_blocks(count), strict=True):
        by_optimizer(axes, data["cka_initial"].isel(block=number - 1))
        axes.set(ylabel="CKA to init", title=f"{place} block ({number} of {count})")
        axes.sharey(blocks[0])
    panels = (velocity, similarity, *blocks)
    for letter, axes in zip("abcde", panels, strict=True):
        axes.set_xlabel("epoch")
        style.panel_label(axes, letter)
    for axes in (similarity, blocks[0]):
        axes.set_ylim(top=1 + 0.03 * (1 - axes.get_ylim()[0]))
    empty.set_axis_off()
    empty.legend(handles=optimizer_handles(data["lr_code"]), loc="center left")
    return figure
