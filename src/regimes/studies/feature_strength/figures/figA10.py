"""Figure A10: sharpness of the MLP at several depths and of the vision transformer."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.feature_strength.figures.fig3 import edge_ratio, one_depth, top_eigenvalues


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """One column per network: top eigenvalues against gamma, edge ratio against steps."""
    mlp, vit = analyses["curvature"], analyses["curvature_vit"]
    columns = [(f"MLP, $L={int(depth)}$", one_depth(mlp, depth)) for depth in mlp["depth"].values]
    columns.append(("ViT", one_depth(vit, 3)))
    figure = plt.figure(figsize=(style.PAGE, 3.9))
    panels = figure.subplots(2, len(columns), sharey="row", squeeze=False)
    for index, (title, data) in enumerate(columns):
        upper, lower = panels[:, index]
        top_eigenvalues(upper, data, legend=index == len(columns) - 1)
        edge_ratio(lower, data)
        upper.set_title(title)
        if index:
            upper.set_ylabel("")
            lower.set_ylabel("")
    named = {}
    for axes in panels[1]:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(
        named.values(), named.keys(), loc="outside lower center", ncols=max(1, len(named))
    )
    for axes, letter in zip(panels.flat, "abcdefghijklmnop", strict=False):
        style.panel_label(axes, letter)
    return figure
