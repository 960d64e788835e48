"""Fig. 7: damping transfer across widths, heuristic and rescaled K-FAC damping."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.second_order_mup import transfer_panels as panels
from regimes.studies.second_order_mup.analyses.damping_transfer import DAMPING, RULES

LABELS = {
    "heuristic": r"$\log_{10}$ damping $\rho$",
    "rescaled": r"$\log_{10}$ damping $\rho'$ (relative to the trace)",
}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw train loss and test accuracy against the damping, one column per rule.

    Parameters
    ----------
    analyses
        ``damping_transfer``.
    """
    data = analyses["damping_transfer"]
    widths = panels.run_widths(data["train_loss"])
    if not widths:
        return panels.nothing_figure("no runs on the transfer of the damping at this scale")
    figure, axes = panels.grid_figure(2, (2.1, 1.8))
    for (loss, accuracy), rule in zip(axes.T, RULES, strict=True):
        own = data.sel(damping_rule=rule, drop=True)
        used = own["train_loss"].notnull().any(("width", "seed"))
        own = own.isel({DAMPING: used.values})
        if own.sizes[DAMPING]:
            panels.loss_panel(loss, own, DAMPING)
            panels.accuracy_panel(accuracy, own, DAMPING)
        loss.set_title(f"{rule} damping, muP")
        accuracy.set_xlabel(LABELS[rule])
        panels.few_ticks(accuracy)
    panels.limit_losses(axes[0], data)
    axes[0, 0].set_ylabel("train loss")
    axes[1, 0].set_ylabel("test accuracy (%)")
    panels.legend_under(axes[1, 0], panels.width_handles(widths))
    panels.legend_under(axes[1, 1], panels.mark_handles())
    panels.name_setup(figure, data["setup"].values)
    panels.letter(axes.ravel())
    return figure
