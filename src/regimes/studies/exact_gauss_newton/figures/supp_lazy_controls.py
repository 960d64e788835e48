"""Supplement: laziness with few and many inputs, and with a slow optimizer."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import COLOURS, NAMES, data_name
from regimes.studies.exact_gauss_newton.probes import OPTIMIZERS
from regimes.studies.exact_gauss_newton.reading import drop_unknown_seeds, final

WIDTH = 0.8  # of a group of bars


def _order(data: xr.Dataset) -> list[int]:
    """Positions of the cases: GN, SGD, Adam, the larger learning rate first."""
    place = {"gn": 0, "sgd": 1, "adam": 2}
    key = [
        (place[str(name)], -float(rate))
        for name, rate in zip(data["optimizer"].values, data["lr_code"].values, strict=True)
    ]
    return sorted(range(len(key)), key=key.__getitem__)


def _bars(axes: Axes, data: xr.Dataset) -> None:
    """Groups of bars of one experiment: kernel, then blocks; train losses in the legend."""
    chosen = _order(data)
    data = data.isel(block=slice(0, int(data["blocks"].values[0])))
    slower: dict[str, int] = dict.fromkeys(OPTIMIZERS, 0)
    count = data.sizes["block"]
    for i, position in enumerate(chosen):
        case = drop_unknown_seeds(data.isel(case=position))
        name = str(case["optimizer"].values)
        kernel, cka = final(case["ntk_similarity"]), final(case["cka_initial"])
        values = np.concatenate([kernel.values[:, None], cka.transpose("seed", "block").values], 1)
        loss = float(final(case["running_loss"]).mean("seed", skipna=False))
        # Slower runs of the same optimizer are paler.
        share = 0.5 ** slower[name]
        slower[name] += 1
        colour = tuple(1 - share * (1 - c) for c in to_rgb(COLOURS[name]))
        width = WIDTH / len(chosen)
        at = np.arange(count + 1) + (i - (len(chosen) - 1) / 2) * width
        spread = values.std(0, ddof=1) if len(values) > 1 else None
        label = f"{NAMES[name]} {float(case['lr_code']):g}: train loss {loss:.2f}"
        axes.bar(
            at, values.mean(0), width, yerr=spread, color=colour, label=label,
            error_kw={"linewidth": 0.8},
        )  # fmt: skip
    names = ["tangent\nkernel", *(f"CKA\nblock {b + 1}" for b in range(count))]
    axes.set_xticks(range(count + 1), names)
    axes.axhline(1, color="0.7", linewidth=0.7, zorder=0)
    text = data_name(str(data["data"].values[0]))
    axes.set(title=f"{text}, {data['epochs'].values[0]:g} epochs")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw similarity to init after the last epoch, a panel per experiment.

    Parameters
    ----------
    analyses
        ``lazy_controls``.
    """
    data = analyses["lazy_controls"]
    names = list(dict.fromkeys(data["experiment"].values))
    figure, grid = plt.subplots(
        1, max(len(names), 1), figsize=(style.PAGE, 3.1), sharey=True, squeeze=False
    )
    for letter, axes, name in zip("ab", grid[0], names, strict=False):
        _bars(axes, data.isel(case=np.flatnonzero(data["experiment"].values == name)))
        style.panel_label(axes, letter)
    if names:
        grid[0, 0].set_ylabel("similarity to init")
    return figure
