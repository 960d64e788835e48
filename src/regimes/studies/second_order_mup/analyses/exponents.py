"""Tables of exponents as coded and as published, orders of one step, errors of rewritings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.nn.abc_parameterization import (
    INITIAL,
    POWERS,
    ROLES,
    Powers,
    damping_exponents,
    initial_exponents,
    learning_rate_exponents,
    preconditioned_exponents,
)
from regimes.store import described
from regimes.studies.second_order_mup import theory

OPTIMIZERS = ("sgd", "adam", *(name for name in POWERS if name != "sgd"))
FACTORS = ("A", "B")

TEXTS = {
    "optimizer": "optimizer",
    "parameterization": "parameterization: standard, uniform (neural tangent), muP",
    "role": "place of the layer in the network",
    "factor": "factor of the preconditioner on the side of a layer's inputs (A) or outputs (B)",
    "rates": "exponents c of the learning rates, proportional to M^-c",
    "published_rates": "exponents c of the learning rates in the published or derived table",
    "initial": "exponents b of the initial weights, standard deviation proportional to M^-b",
    "published_initial": "exponents b of the initial weights in the published or derived table",
    "damping_exponents": "exponents d of the dampings, proportional to M^-d",
    "published_damping": "exponents d of the dampings in the published or derived table",
    "differing": "entries of the published table that the code does not share",
    "entries": "entries of the published table",
    "power_inputs": "random power e_A",
    "power_outputs": "random power e_B",
    "order": "width exponent of |dW h| after one step at a width-independent learning rate, muP",
    "formula": "published exponent c of the learning rate in muP, from the powers",
    "leftover": "width exponent of |dW h| after one step with learning rates M^-c by the formula",
    "coded_difference": "coded exponent c minus the formula's",
    "rewriting_error": "relative Frobenius distance of a rewriting from the dense form",
    "rewriting": "form of an update that needs no matrix of the width's size",
    "width": "width M of the random layer",
    "damping": "damping over the largest eigenvalue of its factor",
    "seed": "seed of the draw",
    "pair": "number of the random pair of powers",
}


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Compare coded exponents with the published table and with the orders of one step.

    Parameters
    ----------
    experiments
        ``exponent_algebra``.

    Returns
    -------
    xr.Dataset
        ``rates`` and ``initial`` (optimizer, parameterization, role) and ``damping_exponents``
        (also over ``factor``), each beside its published table, NaN where there is no entry;
        ``differing`` of ``entries`` published ones. ``order``, ``formula``, ``leftover`` and
        ``coded_difference`` (seed, pair, role) of random powers. ``rewriting_error`` (width,
        damping, seed, rewriting).
    """
    runs = experiments["exponent_algebra"]
    errors = by_setting(runs[["rewriting_error"]], ["width", "damping", "seed"])
    result = xr.merge([_tables(), _orders(runs), errors], join="outer", compat="no_conflicts")
    # Whatever else the runs differ in, their names are of no use here.
    result = result.drop_vars([name for name in result.coords if name not in TEXTS])
    return described(result, TEXTS)


# --- Random powers --------------------------------------------------------------------------------


def _orders(runs: xr.Dataset) -> xr.Dataset:
    """Orders of one step of each random pair of powers (seed, pair, role)."""
    # Powers depend on the seed alone.
    first = np.unique(runs["seed"].values, return_index=True)[1]
    drawn = by_setting(runs[["power_inputs", "power_outputs"]].isel(run=first), ["seed"])
    powers = Powers(drawn["power_inputs"], drawn["power_outputs"])

    def stacked(exponents: Sequence) -> xr.DataArray:
        return xr.concat(exponents, "role").assign_coords(role=list(ROLES))

    order = stacked(theory.push_through_orders(powers))
    formula = stacked(theory.mup_formula(powers))
    coded = stacked(preconditioned_exponents(powers, "mup"))
    return drawn.assign(
        order=order, formula=formula, leftover=order - formula, coded_difference=coded - formula
    )


# --- Tables ---------------------------------------------------------------------------------------


def _table(entry: Callable[..., Sequence], **axes: Sequence[str]) -> xr.DataArray:
    """Exponents by role of all combinations of axes, NaN where ``entry`` raises a KeyError."""
    shape = tuple(len(axis) for axis in axes.values())
    values = np.full((*shape, len(ROLES)), np.nan)
    for place in np.ndindex(shape):
        try:
            found = entry(*(axis[i] for axis, i in zip(axes.values(), place, strict=True)))
        except KeyError:
            continue
        values[place] = [float(exponent) for exponent in found]
    coords = {name: list(axis) for name, axis in axes.items()}
    return xr.DataArray(values, dims=(*axes, "role"), coords=coords | {"role": list(ROLES)})


def _damping(optimizer: str, parameterization: str, factor: str) -> tuple:
    if optimizer == "foof":
        raise KeyError(optimizer)  # the published table has none of its own
    last = initial_exponents(parameterization)[-1]
    return damping_exponents(optimizer, last)[factor]


def _initial(optimizer: str, parameterization: str) -> tuple:
    learning_rate_exponents(optimizer, parameterization)  # raises where there is no such row
    return initial_exponents(parameterization)


def _tables() -> xr.Dataset:
    """Tables of the code beside the published ones, and how many entries they do not share."""
    cases = {"optimizer": OPTIMIZERS, "parameterization": tuple(INITIAL)}
    damped = {**cases, "factor": FACTORS}
    published = theory.PUBLISHED
    pairs = {
        "rates": (
            _table(learning_rate_exponents, **cases),
            _table(lambda *key: published[key].rates, **cases),
        ),
        "initial": (
            _table(_initial, **cases),
            _table(lambda *key: published[key].initial, **cases),
        ),
        "damping": (
            _table(_damping, **damped),
            _table(lambda *key: theory.PUBLISHED_DAMPING[key], **damped),
        ),
    }
    # NaN, no entry in the code, differs from every number.
    wrong = [((coded != known) & known.notnull()).sum() for coded, known in pairs.values()]
    names = {"rates": "rates", "initial": "initial", "damping": "damping_exponents"}
    return xr.Dataset(
        {
            **{names[name]: coded for name, (coded, _) in pairs.items()},
            **{f"published_{name}": known for name, (_, known) in pairs.items()},
            "differing": sum(wrong),
            "entries": sum(known.notnull().sum() for _, known in pairs.values()),
        }
    )
