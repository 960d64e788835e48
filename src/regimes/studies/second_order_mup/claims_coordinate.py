"""How claims on powers of the width are read off: coordinate checks, factors, dampings.

Exponents are those of geometric means over seeds (`width_fits.slopes_of_means`). A number of which
one part was not measured is unknown: leaving the part out could make it look better than it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import xarray as xr

from regimes.claims import Measure
from regimes.studies.second_order_mup.width_cases import choose
from regimes.studies.second_order_mup.width_fits import FIRST_WIDTH, SMALLEST, slopes_of_means

POSITIVE = (0.0, math.inf)
Settings = Mapping[str, float | str]
Select = Callable[[xr.Dataset], xr.DataArray]
Statistic = Callable[[xr.DataArray], float]

PERCEPTRON: Settings = {"model": "mlp", "loss": "mse"}
MAIN: Settings = {**PERCEPTRON, "experiment": "coord_check_main"}
TANH: Settings = {**MAIN, "activation": "tanh", "steps": 1}
SP: Settings = {"parameterization": "sp"}
UP: Settings = {"parameterization": "up"}
MUP: Settings = {"parameterization": "mup"}
SGD: Settings = {"optimizer": "sgd"}
SHAMPOO: Settings = {"optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-4}
KFAC: Settings = {"optimizer": "kfac", "fisher": "ggn"}
RESCALED: Settings = {**KFAC, "damping_rule": "rescaled", "damping": 0.1}
SAMPLED: Settings = {**RESCALED, "fisher": "mc", "damping": 0.01}
HEURISTIC: Settings = {**KFAC, "damping_rule": "heuristic"}
FOOF: Settings = {"optimizer": "foof", "damping_rule": "rescaled", "damping": 0.01}
NEWTON: Settings = {"optimizer": "layerwise_gn", "damping_rule": "rescaled"}

# --- What is selected: (case, ..., layer, width, seed) with the reference as a coordinate ---------


def changes(
    *groups: Settings, name: str = "dWh", step: int = 1, layer: int | None = None
) -> Select:
    """Changes of the layers after ``step`` updates, of the cases of several groups of settings.

    The coordinate ``reference`` (case, layer) has the predicted exponents. A group without any case
    gives one that is unknown.
    """

    def select(data: xr.Dataset) -> xr.DataArray:
        parts = [_at_step(part, name, step) for part in _cases(data, groups)]
        found = xr.concat(parts, "case")
        if layer is not None:
            found = found.sel(layer=[layer])
        return found.dropna("seed", how="all")

    return select


def _cases(data: xr.Dataset, groups: Iterable[Settings]) -> list[xr.Dataset]:
    """Cases of each group; a single unknown one where there is none."""
    found = []
    for group in groups:
        part = choose(data, **group)
        found.append(part if part.sizes["case"] else data.reindex(case=[-1]))
    return found


def _at_step(part: xr.Dataset, name: str, step: int) -> xr.DataArray:
    """Variable after so many updates, with the predicted exponents as a coordinate."""
    values = part[name].reindex(layer_step=[step]).isel(layer_step=0, drop=True)
    return values.reset_coords(drop=True).assign_coords(reference=part["predicted"])


def orders(
    name: str, *groups: Settings, factors: str = "AB", layers: Iterable[int] = (0, 1, 2)
) -> Select:
    """Quantity of `analyses.damping_order` for some factors and layers, as from `changes`.

    Factors are flattened into cases.
    """

    def select(data: xr.Dataset) -> xr.DataArray:
        parts = []
        for part in _cases(data, groups):
            predicted = part["predicted"].sel(quantity=name, drop=True).reset_coords(drop=True)
            values = part[name].reset_coords(drop=True).assign_coords(reference=predicted)
            parts += [values.sel(factor=factor, drop=True) for factor in factors]
        return xr.concat(parts, "case").sel(layer=list(layers)).dropna("seed", how="all")

    return select


def traces(*factors: str) -> Select:
    """Traces of K-FAC's factors in muP at all stored times, with the predicted exponents."""

    def select(data: xr.Dataset) -> xr.DataArray:
        (part,) = _cases(data, [{**PERCEPTRON, **MUP, "optimizer": "kfac"}])
        predicted = part["predicted"].reset_coords(drop=True)
        values = part["trace"].reset_coords(drop=True).assign_coords(reference=predicted)
        # A case may end before others.
        return values.sel(factor=list(factors)).dropna("layer_step", how="all").dropna(
            "seed", how="all"
        )  # fmt: skip

    return select


# --- Numbers --------------------------------------------------------------------------------------


def largest_deviation(values: xr.DataArray, first_width: float = FIRST_WIDTH) -> float:
    """Largest distance of an exponent from its reference; NaN if one is unknown."""
    slopes = slopes_of_means(values, first_width)
    return _largest(slopes - values["reference"])


def largest_exponent(values: xr.DataArray) -> float:
    """Largest absolute exponent; NaN if one is unknown."""
    return _largest(slopes_of_means(values))


def only_exponent(values: xr.DataArray) -> float:
    """Exponent of a single layer, the mean over cases; NaN if one is unknown."""
    slopes = slopes_of_means(values)
    return float(slopes.mean(skipna=False)) if slopes.size else math.nan


def _largest(values: xr.DataArray) -> float:
    return float(abs(values).max(skipna=False)) if values.size else math.nan


def _from_all_widths(values: xr.DataArray) -> float:
    return largest_deviation(values, SMALLEST)


def largest_drift(values: xr.DataArray) -> float:
    """Largest over layers and factors of the range of exponents over times."""
    slopes = slopes_of_means(values, SMALLEST)
    if slopes.sizes["layer_step"] < 2:
        return math.nan
    highest, lowest = (
        getattr(slopes, end)("layer_step", skipna=False) for end in ("max", "min")
    )  # fmt: skip
    return _largest(highest - lowest)


def _deviation(*groups: Settings, **options) -> Measure:
    """Largest deviation of an exponent of |dW h| from the predicted one."""
    return Measure("coordinate_check", changes(*groups, **options), largest_deviation, POSITIVE)


def _flat(*groups: Settings, **options) -> Measure:
    """Largest absolute exponent of the change."""
    return Measure("coordinate_check", changes(*groups, **options), largest_exponent, POSITIVE)


# --- Figure 1 -------------------------------------------------------------------------------------


def _heuristic(rho: float, layer: int) -> Measure:
    group = {**TANH, **HEURISTIC, **MUP, "damping": rho}
    return Measure("coordinate_check", changes(group, layer=layer), only_exponent)


def _five(own: Settings) -> Settings:
    return {**MAIN, **MUP, **own, "activation": "relu", "steps": 5}


FIG1 = {
    "so_fig1_shampoo_mup_flat": _flat({**TANH, **SHAMPOO, **MUP}),
    "so_fig1_kfac_rescaled_mup_flat": _flat({**TANH, **RESCALED, **MUP}),
    "so_fig1_kfac_mc_mup_flat": _flat({**TANH, **SAMPLED, **MUP}),
    "so_fig1_sgd_slopes": _deviation({**TANH, **SGD, **SP}, {**TANH, **SGD, **MUP}),
    "so_fig1_shampoo_sp_slopes": _deviation({**TANH, **SHAMPOO, **SP}),
    "so_fig1_kfac_sp_slopes": _deviation({**TANH, **RESCALED, **SP}),
    "so_fig1_mup_dh_flat": _flat(
        {**TANH, **SHAMPOO, **MUP}, {**TANH, **RESCALED, **MUP}, name="dh"
    ),
    "so_fig1_heuristic_input_slope": _heuristic(1.0, 0),
    "so_fig1_heuristic_input_limit": _heuristic(1e4, 0),
    "so_fig1_heuristic_hidden_slope": _heuristic(1.0, 1),
    "so_fig1_five_steps": _flat(*map(_five, (SGD, SHAMPOO, RESCALED)), step=5),
}

# --- Figure 2 -------------------------------------------------------------------------------------

FIG2 = {
    "so_fig2_trA_exponents": Measure("factor_order", traces("A"), _from_all_widths, POSITIVE),
    "so_fig2_trB_exponents": Measure("factor_order", traces("B"), _from_all_widths, POSITIVE),
    "so_fig2_parallel_curves": Measure("factor_order", traces("A", "B"), largest_drift, POSITIVE),
}

# --- Figures A2, A3, A5 ---------------------------------------------------------------------------


def _both(*groups: Settings) -> list[Settings]:
    return [{**group, **scheme} for group in groups for scheme in (SP, MUP)]


ACTIVATIONS = ("tanh", "relu", "gelu", "identity")
OTHER_ACTIVATIONS = [
    {**PERCEPTRON, **own, "experiment": "coord_check_activations", "activation": name, "steps": 1}
    for name in ACTIVATIONS
    for own in (SHAMPOO, RESCALED)
]
FOOF_NEWTON: Settings = {**TANH, "experiment": "coord_check_foof_gn"}
CROSS: Settings = {**TANH, "experiment": "coord_check_cross_entropy", "loss": "cross_entropy"}
LAZY: Settings = {**TANH, **UP, "experiment": "coord_check_up"}


def _up_and_sp(data: xr.Dataset) -> xr.DataArray:
    """Relative difference of |dW h| after one K-FAC step, UP over SP, equal seeds and widths.

    NaN if one of the two lacks a width or a seed that the other has.
    """
    lazy, standard = (
        _at_step(part, "dWh", 1).drop_vars(["reference", "case"])
        for part in _cases(data, ({**LAZY, **RESCALED}, {**TANH, **RESCALED, **SP}))
    )
    if lazy.sizes["case"] != standard.sizes["case"]:
        raise ValueError("K-FAC under UP and under SP have other numbers of data sets")
    known = lazy.notnull() | standard.notnull()
    # What neither has is no difference: other cases brought these widths and seeds along.
    return abs(lazy / standard - 1).where(known, 0.0).where(known.any())


FURTHER = {
    "so_figA2_activations": _deviation(*_both(*OTHER_ACTIVATIONS)),
    "so_figA3_foof_slopes": _deviation(*_both({**FOOF_NEWTON, **FOOF})),
    "so_figA3_layerwise_gn_mup_flat": _flat(
        *({**FOOF_NEWTON, **NEWTON, **MUP, "damping": rho} for rho in (0.01, 0.1))
    ),
    "so_figA3_cross_entropy_slopes": _deviation(
        *_both({**CROSS, **SHAMPOO}, {**CROSS, **RESCALED})
    ),
    "so_figA5_up_slopes": _deviation(*({**LAZY, **own} for own in (SGD, SHAMPOO, RESCALED))),
    "so_figA5_kfac_up_equals_sp": Measure(
        "coordinate_check",
        _up_and_sp,
        lambda values: float(values.max(skipna=False)),
        exact=True,
    ),
}

# --- Supplements ----------------------------------------------------------------------------------


def _damping(*selected, **options) -> Measure:
    """Largest deviation of an exponent of dampings or factors from the predicted one."""
    return Measure("damping_order", orders(*selected, **options), largest_deviation, POSITIVE)


def _product_factors(data: xr.Dataset) -> xr.DataArray:
    """Largest eigenvalues of Shampoo's L and R and of J J'."""
    shampoo = orders("lambda_max", {**TANH, **SHAMPOO, **MUP})(data)
    newton = orders("lambda_max", {**FOOF_NEWTON, **NEWTON, **MUP, "damping": 0.01}, factors="A")
    return xr.concat([shampoo, newton(data)], "case", join="outer")


def _by_multiplier(data: xr.Dataset) -> xr.DataArray:
    """Changes with output multiplier 1 and 1 / sqrt(M0), (multiplier, case, layer, width, seed)."""
    own = {**TANH, **MUP, "experiment": "coord_check_output_multiplier"}
    found = []
    for multiplier in (1.0, 0.125):
        groups = [{**own, **each, "output_multiplier": multiplier} for each in (SGD, RESCALED)]
        found.append(changes(*groups)(data).drop_vars(["reference", "case"]))
    return xr.concat(found, "multiplier", join="outer")


def _mean_shift(values: xr.DataArray) -> float:
    """Mean over layers and optimizers of the exponent with multiplier 1 minus with the other."""
    slopes = slopes_of_means(values, SMALLEST)
    return float(slopes.diff("multiplier").mean(skipna=False)) * -1


SUPPLEMENTS = {
    "so_supp_damping_heuristic": _damping(
        "ratio", {**TANH, **HEURISTIC, **MUP, "damping": 1.0}, factors="A"
    ),
    "so_supp_damping_rescaled": _damping("ratio", {**TANH, **RESCALED, **MUP}),
    "so_supp_damping_product_factors": Measure(
        "damping_order", _product_factors, largest_deviation, POSITIVE
    ),
    "so_supp_damping_sp_trB": _damping(
        "trace", {**TANH, **RESCALED, **SP}, factors="B", layers=(0, 1)
    ),
    "so_supp_output_multiplier_shift": Measure("coordinate_check", _by_multiplier, _mean_shift),
}

COORDINATE: dict[str, Measure] = {**FIG1, **FIG2, **FURTHER, **SUPPLEMENTS}
