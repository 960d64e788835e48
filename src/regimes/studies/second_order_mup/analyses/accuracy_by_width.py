"""Test accuracy of convolutional networks against the width multiplier (Table 3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.store import described
from regimes.studies.second_order_mup import accuracies
from regimes.studies.second_order_mup.accuracies import gains
from regimes.studies.second_order_mup.transfer import PARAMETERIZATIONS, by_optimizer

ROWS = {
    "vgg19_shampoo": ("acc_vgg19", "shampoo"),
    "vgg19_kfac": ("acc_vgg19", "kfac"),
    "resnet18_kfac": ("acc_resnet18", "kfac"),
    "resnet18_shampoo": ("acc_resnet18", "shampoo"),
    "resnet50": ("acc_resnet50", None),
}
"""Rows of the table: experiment and optimizer (None: the only one, which the paper does not name).

At smaller scales a smaller network stands in for the one that a row is called by.
"""
PUBLISHED_SP = {
    "vgg19_shampoo": {1: 63.86, 2: 70.55},
    # The published entry for w = 2, 62.00, looks like a misprint and is left out.
    "resnet50": {1: 61.94, 4: 75.64, 8: 78.63},
}
"""Test accuracy in percent that the paper reports, as far as known: row, width multiplier."""
PUBLISHED_GAIN = {
    "vgg19_shampoo": {1: -0.28, 2: -0.66},
    "resnet18_kfac": {16: 4.00},
    "resnet50": {1: 0.17, 8: 0.13},
}
"""The same for muP minus SP in points."""
TEXTS = accuracies.TEXTS | {
    "row": "network and optimizer of the paper",
    "network": "network that was trained",
    "data": "data it was trained on",
    "optimizer": "optimizer it was trained with",
    "width": "width multiplier",
    "base_width": "width multiplier at which both parameterizations are the same network",
    "epochs": "passes over the training samples",
    "published_sp": "test accuracy under SP in the paper, percent",
    "published_gain": "test accuracy of muP minus SP in the paper, points",
}
SETTINGS = ("network", "data", "optimizer")
NUMBERS = ("base_width", "epochs")


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Accuracies under both parameterizations and their difference, beside the published ones.

    Parameters
    ----------
    experiments
        Those of `ROWS` that were run at this scale.

    Returns
    -------
    xr.Dataset
        ``train_accuracy``, ``test_accuracy``, ``diverged`` (row, width, parameterization, seed);
        ``gain``, ``gain_low``, ``gain_high``, ``published_sp``, ``published_gain`` (row, width);
        ``base_width``, ``epochs`` (row). Rows that were not run are NaN, with empty ``network``,
        ``data`` and ``optimizer`` (row).
    """
    parts, settings, numbers = {}, {}, {}
    for row, runs in by_optimizer(experiments, ROWS).items():
        parts[row] = accuracies.accuracies(runs, ["width"])
        settings[row] = [str(runs[n].values[0]) for n in ("model", "data", "optimizer")]
        numbers[row] = (float(runs["base_width"].values[0]), accuracies.epochs(runs))
    named = [part.drop_attrs().expand_dims(row=[row]) for row, part in parts.items()]
    found = xr.concat(named, "row", join="outer") if named else _nothing()
    published = {w for table in (PUBLISHED_SP, PUBLISHED_GAIN) for r in table.values() for w in r}
    widths = sorted(published | set(found["width"].values[found["width"].notnull()]))
    found = found.reindex(row=list(ROWS), width=[float(width) for width in widths])
    found = found.merge(gains(found["test_accuracy"]))
    for name, table in (("published_sp", PUBLISHED_SP), ("published_gain", PUBLISHED_GAIN)):
        values = [[table.get(row, {}).get(w, np.nan) for w in widths] for row in ROWS]
        found[name] = (("row", "width"), np.array(values))
    for i, name in enumerate(SETTINGS):
        found[name] = ("row", [settings[row][i] if row in settings else "" for row in ROWS])
    for i, name in enumerate(NUMBERS):
        found[name] = ("row", [numbers[row][i] if row in numbers else np.nan for row in ROWS])
    return described(found.set_coords([*SETTINGS, *NUMBERS]), TEXTS)


def _nothing() -> xr.Dataset:
    """One row without any run."""
    dims = ("row", "width", "parameterization", "seed")
    coords = {"row": ["resnet18_kfac"], "width": [1.0], "seed": [0.0]}
    coords["parameterization"] = list(PARAMETERIZATIONS)
    empty = xr.DataArray(np.full((1, 1, 2, 1), np.nan), coords, dims)
    return xr.Dataset(dict.fromkeys(("train_accuracy", "test_accuracy", "diverged"), empty))
