"""Fig. 6: learning-rate transfer across widths, K-FAC."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.second_order_mup import transfer_panels as panels
from regimes.studies.second_order_mup.analyses.lr_transfer import RATE
from regimes.studies.second_order_mup.transfer import PARAMETERIZATIONS

NETWORKS = {"mlp_kfac": "MLP", "cnn_kfac": "CNN", "resnet_kfac": "ResNet"}
SYMBOLS = {"resnet_kfac": "w"}
NAMES = panels.PARAMETERIZATION_NAMES


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw train loss and test accuracy against the learning rate for every network that was run.

    One network: standard parameterization and muP side by side. Several: a column each.

    Parameters
    ----------
    analyses
        ``lr_transfer``.
    """
    data = analyses["lr_transfer"]
    run = [name for name in NETWORKS if panels.run_widths(data["train_loss"].sel(panel=name))]
    if not run:
        return panels.nothing_figure("no runs on learning-rate transfer of K-FAC at this scale")
    if len(run) == 1:
        figure, axes = panels.grid_figure(2, (2.1, 1.8))
        place = {p: (axes[0, i], axes[1, i]) for i, p in enumerate(PARAMETERIZATIONS)}
        _network(data.sel(panel=run[0]), run[0], place)
        legends = axes[-1]
    else:
        figure, axes = panels.grid_figure(len(run), (1.9, 1.9, 1.5, 1.5), sharey=False)
        for column, name in zip(axes.T, run, strict=True):
            place = {p: (column[i], column[2 + i]) for i, p in enumerate(PARAMETERIZATIONS)}
            _network(data.sel(panel=name), name, place)
        legends = axes[-1]
    for i, bottom in enumerate(legends):
        name = run[0] if len(run) == 1 else run[i]
        widths = panels.run_widths(data["train_loss"].sel(panel=name))
        handles = panels.width_handles(widths, SYMBOLS.get(name, "M"))
        # With one network both columns show the same widths: the marks go under the second.
        if len(run) == 1:
            panels.legend_under(bottom, handles if i == 0 else panels.mark_handles(), 4)
        else:
            panels.legend_under(bottom, handles + (panels.mark_handles() if i == 0 else []), 2)
        bottom.set_xlabel(r"$\log_2$ learning rate $\eta'$")
    for row in axes:
        row[0].set_ylabel("test accuracy (%)" if row[0].get_yscale() == "linear" else "train loss")
    panels.name_setup(figure, *data["setup"].sel(panel=run).values)
    panels.letter(axes.ravel())
    return figure


def _network(data: xr.Dataset, name: str, place: dict) -> None:
    """Panels of one network, loss and accuracy for both parameterizations."""
    used = data["train_loss"].notnull().any(("parameterization", "width", "seed"))
    data = data.isel({RATE: used.values})
    for parameterization, (loss, accuracy) in place.items():
        own = data.sel(parameterization=parameterization, drop=True)
        panels.loss_panel(loss, own, RATE, parameterization)
        panels.accuracy_panel(accuracy, own, RATE, parameterization)
        loss.set_title(f"{NETWORKS[name]}, {NAMES[parameterization]}")
        accuracy.set_title(f"{NETWORKS[name]}, {NAMES[parameterization]}" if len(place) > 2 else "")
        panels.few_ticks(accuracy)
    panels.limit_losses([loss for loss, _ in place.values()], data)
    limits = [accuracy.get_ylim() for _, accuracy in place.values()]
    for _, accuracy in place.values():
        accuracy.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
