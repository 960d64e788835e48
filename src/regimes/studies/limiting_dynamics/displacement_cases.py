"""Networks that move after convergence: the statistics of figure 1 and of its CIFAR-10 repeat.

A case is one network at one learning rate (and batch size, momentum); seeds repeat it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics import displacement_curves as curves
from regimes.studies.limiting_dynamics.exponents import fit_window, transient_end
from regimes.studies.limiting_dynamics.start_points import net_names

DROPPED = 0.1  # share of the run that is left out: the paper drops the first of ten epochs
# The fit covers the last two thirds of what is left.
FIT_FROM = DROPPED + (1 - DROPPED) / 3
SETTINGS = ("eta", "batch_size", "momentum", "weight_decay")
PERFORMANCE = {
    "train_accuracy": "accuracy on the training set",
    "test_accuracy": "accuracy on the test set",
    "train_loss": "loss on the training set",
    "test_loss": "loss on the test set",
}


def numbered(data: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Number the distinct networks and settings: by network as first met, then by setting.

    Parameters
    ----------
    data
        Runs with the coordinates of `SETTINGS` and ``model``.

    Returns
    -------
    tuple of xr.Dataset
        The runs with a coordinate ``case`` = 1, 2, ...; and over ``case`` the variables ``net``,
        ``model`` and the settings.
    """
    nets = net_names(data)
    rank = {net: i for i, net in enumerate(dict.fromkeys(nets))}
    keys = [
        (rank[net], *map(float, values))
        for net, *values in zip(nets, *(data[name].values for name in SETTINGS), strict=True)
    ]
    ordered = sorted(set(keys))
    number = np.array([ordered.index(key) for key in keys])
    first = [int(np.argmax(number == i)) for i in range(len(ordered))]
    labels = xr.Dataset(coords={"case": np.arange(1, len(ordered) + 1)})
    labels["net"] = ("case", nets[first])
    labels["model"] = ("case", data["model"].values[first].astype(str))
    for name in SETTINGS:
        labels[name] = ("case", data[name].values[first].astype(float))
    texts = {"net": "network and its width", "model": "network"}
    texts |= {name: name.replace("_", " ") for name in SETTINGS}
    for name, text in texts.items():
        labels[name].attrs = {"long_name": text, "units": "1"}
    return data.assign_coords(case=("run", number + 1)), labels


def statistics(data: xr.Dataset, geometry: xr.Dataset | None = None) -> xr.Dataset:
    """Levels, exponents, growth and thinned curves of every case and seed.

    Parameters
    ----------
    data
        Runs with ``local_displacement`` and ``global_displacement`` (run, step).
    geometry
        Start points with ``noise_trace``, if it was measured.

    Returns
    -------
    xr.Dataset
        Over (case, seed): ``local_mean``, ``level_theory``, ``level_ratio``, ``half_ratio``,
        ``rising_share``, ``final_displacement``, ``accuracy_change`` (points), the exponents of
        `displacement_curves.fits`; curves ``local_samples``, ``local_average`` over
        ``sample_step``, ``global_samples`` over ``log_step``, accuracies and losses over
        ``evaluation_step``; over case: the settings and ``default`` (see `default_cases`).
    """
    # Steps that only runs of other lengths recorded would thin the curves.
    data = data.dropna("step", how="all", subset=["global_displacement"])
    data, labels = numbered(curves.surviving(data))
    local, globally = data["local_displacement"], data["global_displacement"]
    length = curves.last_step(globally)
    begin = np.maximum(DROPPED * length, transient_end(data["momentum"]))
    mean = curves.mean_between(local, begin, length)
    theory = curves.level_theory(data, curves.noise_trace(data, geometry))
    low, high = fit_window(length, data["momentum"], FIT_FROM)
    kept = f"first {DROPPED:.0%} of the run left out"
    variables = {
        "local_mean": (mean, f"mean squared local displacement, {kept}"),
        "level_theory": (theory, "eta^2 tr(Sigma) / (S (1 - beta^2)) with measured tr(Sigma)"),
        "level_ratio": (mean / theory, "mean squared local displacement over theory"),
        "half_ratio": (
            curves.half_ratio(local, begin, length),
            f"mean squared local displacement, first over second half, {kept}",
        ),
        "rising_share": (
            curves.rising_share(globally),
            f"share of consecutive {curves.INCREMENT}-step increments of the squared global "
            "displacement that are positive",
        ),
        "final_displacement": (
            globally.where(globally["step"] == length).max("step"),
            "squared global displacement at the last step",
        ),
        "accuracy_change": (
            accuracy_change(data),
            "train accuracy at the end minus at the start, percentage points",
        ),
        **curves.local_curves(local),
        "global_samples": (curves.log_sampled(globally), "squared global displacement"),
        **curves.fits(globally, low, high),
        **{name: (data[name], text) for name, text in PERFORMANCE.items() if name in data},
    }
    labels["default"] = default_cases(labels)
    return curves.gridded(variables, ["case", "seed"]).merge(labels)


def accuracy_change(data: xr.Dataset) -> xr.DataArray:
    """Last minus first recorded train accuracy of each run, in percentage points."""
    if "train_accuracy" not in data or data.sizes["evaluation_step"] < 2:
        return xr.DataArray(np.full(data.sizes["run"], np.nan), dims="run")
    accuracy = data["train_accuracy"]
    step = accuracy["evaluation_step"].where(accuracy.notnull())
    start, end = (
        accuracy.where(step == edge).max("evaluation_step")
        for edge in (step.min("evaluation_step"), step.max("evaluation_step"))
    )
    return 100 * (end - start)


def default_cases(labels: xr.Dataset) -> xr.DataArray:
    """Mark the default learning rate of each network with 1: its middle one if it has several."""
    default = np.zeros(labels.sizes["case"])
    for net in np.unique(labels["net"].values):
        of_net = np.flatnonzero(labels["net"].values == net)
        rates = np.unique(labels["eta"].values[of_net])
        default[of_net] = labels["eta"].values[of_net] == rates[(len(rates) - 1) // 2]
    attrs = {"long_name": "1 for the network's default learning rate, its middle one", "units": "1"}
    return xr.DataArray(default, dims="case", attrs=attrs)


def nearest_length(data: xr.Dataset, steps: int) -> xr.Dataset:
    """Of runs that differ in their length alone, keep the ones with the length nearest to one."""
    keys = _keys(data, (*SETTINGS, "seed"))
    distance = np.abs(np.log(data["steps"].values.astype(float) / steps))
    best: dict[tuple, int] = {}
    for index, key in enumerate(keys):
        if key not in best or distance[index] < distance[best[key]]:
            best[key] = index
    return data.isel(run=sorted(best.values()))


def _keys(data: xr.Dataset, names: Sequence[str]) -> list[tuple]:
    columns = [net_names(data), *(data[name].values for name in names)]
    return list(zip(*columns, strict=True))
