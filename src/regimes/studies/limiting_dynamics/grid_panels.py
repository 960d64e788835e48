"""What figures over the grid of eta, S and beta share: the curves, their colours and names."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from regimes.studies.limiting_dynamics.panels import power_text, setting_colours

DRAWN_MOMENTA = 2  # the paper draws the two larger of its three momenta


def curves(data: xr.Dataset) -> Iterator[tuple[tuple[float, ...], xr.Dataset]]:
    """Colour and variables over seed of every setting, by eta, then S, then beta.

    Neighbours in tab20, a dark and a pale tone of one hue, differ in beta alone.
    """
    momenta = data["momentum"].values[-DRAWN_MOMENTA:]
    settings = [
        {"eta": eta, "batch_size": size, "momentum": beta}
        for eta in data["eta"].values[::-1]
        for size in data["batch_size"].values
        for beta in momenta[::-1]
    ]
    for colour, setting in zip(setting_colours(len(settings)), settings, strict=True):
        yield colour, data.sel(setting)


def curve_label(part: xr.Dataset) -> str:
    """Learning rate, batch size and momentum of a curve."""
    eta, size, beta = (float(part[name]) for name in ("eta", "batch_size", "momentum"))
    return rf"${power_text(eta)},\;{size:g},\;{beta:g}$"
