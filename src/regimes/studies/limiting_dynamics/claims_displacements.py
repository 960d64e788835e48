"""How claims on displacements are read off: flat performance, growth from rest, lengths.

Claims on sweeps (figure 7) are in `claims_sweeps`; `DISPLACEMENTS` holds both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.studies.limiting_dynamics.claim_reading import (
    NEAR,
    POSITIVE,
    SHARE,
    at_log,
    cells,
    furthest_cell,
    furthest_run,
    largest_cell,
    mean_of_cells,
    one,
    ordered_share,
    seed_means,
    smallest_cell,
    stacked,
)
from regimes.studies.limiting_dynamics.claims_sweeps import SWEEPS, mean_absolute_error

# --- Figure 1 ------------------------------------------------------------------------------------

# Printed values of the five nets: exponent, squared local displacement, squared global one at
# 50,000 steps (section 4, figure 1).
NETS = {
    "vgg16_bn": (1.370, 1.72e-8, 0.155),
    "vgg16": (1.616, 2.85e-8, 0.094),
    "vgg11_bn": (1.401, 1.63e-8, 0.145),
    "resnet18": (1.075, 1.27e-6, 1.5),
    "resnet34": (1.085, 1.57e-6, 2.0),
}
FINAL_STEP = 50_000


def _cases(values: xr.DataArray, chosen: np.ndarray) -> xr.DataArray:
    """Cells of the cases in a mask; a single unknown cell where there are none."""
    part = values.isel(case=np.flatnonzero(chosen))
    return cells(part) if chosen.any() else xr.full_like(cells(values.isel(case=[0])), np.nan)


def _default(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Select a variable at each network's default learning rate."""
    return lambda data: _cases(data[name], data["default"].values > 0)


def _at_rate(name: str, eta: float) -> Callable[[xr.Dataset], xr.DataArray]:
    """Select a variable at one learning rate."""
    return lambda data: _cases(data[name], np.abs(data["eta"].values / eta - 1) < NEAR)


def _slowest(data: xr.Dataset) -> xr.DataArray:
    """Share of rising increments at the smallest learning rate."""
    return _cases(data["rising_share"], data["eta"].values == data["eta"].values.min())


def _absolute(select: Callable[[xr.Dataset], xr.DataArray]) -> Callable:
    return lambda data: abs(select(data))


def _slow_and_fast(data: xr.Dataset) -> xr.DataArray:
    """Exponents at 5e-5 and at 1e-3."""
    parts = [_at_rate("exponent", rate)(data) for rate in (5e-5, 1e-3)]
    return xr.concat(parts, "cell", join="outer")


def _first_minus_last(values: xr.DataArray) -> float:
    """Seed mean of the first cell minus that of the last."""
    means = seed_means(values)
    return float(means[0] - means[-1])


def _of_nets(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Select a variable of the five nets of the paper in the order of `NETS`, (net, seed)."""

    def select(data: xr.Dataset) -> xr.DataArray:
        values = data[name]
        if "log_step" in values.dims:
            values = at_log(values, "log_step", FINAL_STEP, beyond=0.002)
        rows = []
        for model in NETS:
            mask = (data["model"].values == model) & (data["default"].values > 0)
            row = values.isel(case=int(mask.argmax()), drop=True)
            rows.append(row if mask.any() else xr.full_like(row, np.nan))
        kept = xr.concat(rows, "net").drop_vars("case", errors="ignore")
        return kept.transpose("net", "seed").dropna("seed", how="all")

    return select


def _number_above_one(exponents: xr.DataArray) -> float:
    """Nets whose seed mean exceeds 1; NaN unless all are known."""
    means = seed_means(exponents)
    return float((means > 1).sum()) if np.isfinite(means).all() and means.size else math.nan


def _vgg_above_resnet(exponents: xr.DataArray) -> float:
    """Smallest exponent of the VGG nets minus largest of the ResNets."""
    means = seed_means(exponents)
    vgg = np.array([name.startswith("vgg") for name in NETS])
    return float(means[vgg].min() - means[~vgg].max()) if means.size else math.nan


def _largest_error(column: int) -> Callable[[xr.DataArray], float]:
    """Largest difference to the printed values: of exponents, or of the ln of levels."""
    printed = np.array([row[column] for row in NETS.values()])

    def statistic(values: xr.DataArray) -> float:
        means = seed_means(values)
        if not means.size:
            return math.nan
        error = means - printed if column == 0 else np.log(means / printed)
        return float(np.abs(error).max())

    return statistic


FIG1 = {
    "ld_fig1_accuracy_flat": Measure(
        "displacements", _absolute(_default("accuracy_change")), largest_cell, POSITIVE
    ),
    "ld_fig1_delta_stationary": Measure(
        "displacements",
        lambda data: cells(data["half_ratio"]),
        furthest_run,
        POSITIVE,
    ),
    "ld_fig1_increments_positive": Measure("displacements", _slowest, smallest_cell, SHARE),
    "ld_fig1_superdiffusive_small_eta": Measure(
        "displacements", _at_rate("exponent", 5e-5), mean_of_cells
    ),
    "ld_fig1_subdiffusive_large_eta": Measure(
        "displacements", _at_rate("exponent", 1e-3), mean_of_cells
    ),
    "ld_fig1_slower_larger_c": Measure("displacements", _slow_and_fast, _first_minus_last),
    "ld_fig1_all_nets_superdiffusive": Measure(
        "displacements", _of_nets("exponent"), _number_above_one, (0.0, len(NETS))
    ),
    "ld_fig1_vgg_above_resnet": Measure("displacements", _of_nets("exponent"), _vgg_above_resnet),
    "ld_fig1_paper_exponents": Measure(
        "displacements", _of_nets("exponent"), _largest_error(0), POSITIVE
    ),
    "ld_fig1_paper_delta_levels": Measure(
        "displacements", _of_nets("local_mean"), _largest_error(1), POSITIVE
    ),
    "ld_fig1_paper_global_levels": Measure(
        "displacements", _of_nets("global_samples"), _largest_error(2), POSITIVE
    ),
}


def _of_model(name: str, model: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Select a variable of one network at its default learning rate."""

    def select(data: xr.Dataset) -> xr.DataArray:
        chosen = (data["model"].values == model) & (data["default"].values > 0)
        return _cases(data[name], chosen)

    return select


CIFAR = {
    "ld_cifar_fig1_no_trend": Measure(
        "cifar_displacements",
        lambda data: cells(data["half_ratio"]),
        furthest_run,
        POSITIVE,
    ),
    "ld_cifar_fig1_exponent_r18": Measure(
        "cifar_displacements", _of_model("exponent", "resnet18"), mean_of_cells
    ),
    "ld_cifar_fig1_exponent_r34": Measure(
        "cifar_displacements", _of_model("exponent", "resnet34"), mean_of_cells
    ),
}

# --- Figures 8 and A (from rest) -----------------------------------------------------------------

FALLS_AND_RISES = {"eta": -1, "batch_size": 1, "momentum": -1}
FARTHER = {"eta": 1, "batch_size": -1, "momentum": 1}
# Legend of the notebook: exponents by (eta, S), for beta .8, .9, .99.
LEGEND = {
    (1e-5, 128): (1.335, 1.202, 0.983),
    (1e-5, 256): (1.453, 1.326, 1.000),
    (1e-5, 512): (1.593, 1.497, 1.087),
    (1e-4, 128): (1.000, 0.976, 0.882),
    (1e-4, 256): (1.054, 0.987, 0.915),
    (1e-4, 512): (1.177, 1.063, 0.958),
    (1e-3, 128): (0.924, 0.873, 0.530),
    (1e-3, 256): (0.924, 0.895, 0.627),
    (1e-3, 512): (0.945, 0.925, 0.750),
}
LEGEND_MOMENTA = (0.8, 0.9, 0.99)
IMAGENET_TRACE = 6177.0  # tr(Sigma) calibrated on the paper's default run
TWO_EPOCHS = 20_018  # steps of two ImageNet epochs at S = 128


def _drawn(data: xr.DataArray) -> xr.DataArray:
    """Settings of the figure: the two largest momenta."""
    return data.isel(momentum=slice(-2, None))


def _seeds(values: xr.DataArray) -> xr.DataArray:
    return values.dropna("seed", how="all")


def _legend_errors(data: xr.Dataset) -> xr.DataArray:
    """Exponents minus the printed legend, all 27 settings, (cell, seed)."""
    parts = [
        one(data["exponent"], eta=eta, batch_size=size, momentum=beta) - value
        for (eta, size), row in LEGEND.items()
        for beta, value in zip(LEGEND_MOMENTA, row, strict=True)
    ]
    return stacked(parts)


def _first_steps(data: xr.Dataset) -> xr.DataArray:
    """Squared global displacements at k = 1..5 with beta = .9, (cell, log_step, seed)."""
    samples = one(data["global_samples"], momentum=0.9)
    samples = samples.isel(log_step=np.flatnonzero(samples["log_step"].values <= 5))
    stack = samples.stack(cell=("eta", "batch_size")).reset_index("cell", drop=True)
    return stack.transpose("cell", "log_step", "seed").dropna("seed", how="all")


def _initial_slope(samples: xr.DataArray) -> float:
    """Mean over settings of the log-log slope of seed means over k = 1..5, all five known."""
    step = samples["log_step"].values.astype(float)
    means = seed_means(samples).reshape(samples.sizes["cell"], len(step))
    if len(step) < 5 or not (means > 0).all():
        return math.nan
    return float(np.polyfit(np.log(step), np.log(means).T, 1)[0].mean())


def _flat_mode_level(data: xr.Dataset) -> xr.DataArray:
    """Squared displacement after two epochs at (1e-4, 128, .9) over the flat-mode formula."""
    eta, size, beta = 1e-4, 128, 0.9
    samples = one(data["global_samples"], eta=eta, batch_size=size, momentum=beta)
    reached = at_log(samples, "log_step", TWO_EPOCHS, beyond=0.002)
    return cells(reached / (eta**2 * IMAGENET_TRACE * TWO_EPOCHS / (size * (1 - beta) ** 2)))


def _furthest_momentum(data: xr.Dataset) -> xr.DataArray:
    """Rises at the momentum whose mean over settings and seeds is furthest from 1."""
    rise = _drawn(data["rise"])
    means = [mean_of_cells(cells(rise.isel(momentum=i))) for i in range(rise.sizes["momentum"])]
    if np.isnan(means).any():
        return xr.full_like(cells(rise), np.nan)
    return cells(rise.isel(momentum=int(np.abs(np.array(means) - 1).argmax())))


def _comparisons(name: str, signs: Mapping[str, int], every_momentum: bool = False) -> Measure:
    """Share of single-factor pairs in the stated order."""
    return Measure(
        "grid",
        lambda data: _seeds(data[name] if every_momentum else _drawn(data[name])),
        lambda values: ordered_share(values, signs),
        SHARE,
    )


def _furthest_plateau(name: str) -> Measure:
    return Measure("grid", lambda data: furthest_cell(_drawn(data[name])), mean_of_cells, POSITIVE)


FROM_REST = {
    "ld_fig8_comparisons": _comparisons("exponent", FALLS_AND_RISES),
    "ld_fig8_comparisons_paper": _comparisons("exponent", FALLS_AND_RISES, every_momentum=True),
    "ld_fig8_exponents_paper": Measure("grid", _legend_errors, mean_absolute_error, POSITIVE),
    "ld_fig8_initial_slope": Measure("grid", _first_steps, _initial_slope),
    "ld_fig8_vertical_order": _comparisons("final_displacement", FARTHER),
    "ld_fig8_flat_mode_level": Measure("grid", _flat_mode_level, mean_of_cells, POSITIVE),
    "ld_figA_plateau": _furthest_plateau("plateau_ratio"),
    "ld_figA_plateau_wide": _furthest_plateau("calibrated_ratio"),
    "ld_figA_rise": Measure("grid", _furthest_momentum, mean_of_cells, POSITIVE),
}

# --- Figure 9 ------------------------------------------------------------------------------------

EPOCHS, EPOCH = 100, 5005  # ImageNet epochs of the paper's run, and steps of one at S = 256


def _reported_lengths(data: xr.Dataset) -> float:
    """Lengths K at which c(K) and its standard deviation over seeds are known."""
    return float((data["exponent"].notnull().sum("seed") >= 2).sum())


def _short_and_long(data: xr.Dataset) -> xr.DataArray:
    """Exponents over the first 1000 and the first 40,000 steps."""
    return stacked([one(data["exponent"], length=length) for length in (1000, 40_000)])


def _direction(exponent: xr.DataArray) -> float:
    """Absolute sum of the signs of the last two differences of seed means."""
    means = seed_means(exponent)[-3:]
    if means.size < 3 or np.isnan(means).any():
        return math.nan
    return float(abs(np.sign(np.diff(means)).sum()))


def _epochs(*shares: float) -> Callable[[xr.Dataset], xr.DataArray]:
    """Exponents up to shares of the paper's 100 ImageNet epochs; NaN for other lengths."""

    def select(data: xr.Dataset) -> xr.DataArray:
        found = stacked([one(data["share_exponent"], share=share) for share in shares])
        whole = np.abs(data["final_step"] / (EPOCHS * EPOCH) - 1) < 0.01
        return found.where(whole)

    return select


LENGTHS = {
    "ld_fig9_lengths": Measure(
        "lengths", lambda data: data, _reported_lengths, POSITIVE, exact=True
    ),
    "ld_fig9_depends_on_length": Measure("lengths", _short_and_long, _first_minus_last),
    "ld_fig9_monotone": Measure(
        "lengths", lambda data: _seeds(data["exponent"]), _direction, (0.0, 2.0)
    ),
    "ld_fig9_growth_paper": Measure("lengths", _epochs(1.0, 0.2), _first_minus_last),
    "ld_fig9_c20_paper": Measure("lengths", _epochs(0.2), mean_of_cells),
}

DISPLACEMENTS: dict[str, Measure] = FIG1 | FROM_REST | LENGTHS | CIFAR | SWEEPS
