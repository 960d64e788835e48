"""Agreement of trained networks in outputs and representation across gamma (figure 5)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.observe.agreement import kernel_agreement, output_agreement
from regimes.studies.feature_strength.trajectories import at_last_step, described, last_layer

SCATTER_POINTS = 1200  # enough to show the cloud, few enough to draw
DEPTH = 3  # the scatter's networks
# log10 gamma of the two networks of each scatter; their seeds differ.
SCATTERS = {"ultra-rich": (2.0, 3.0), "rich": (0.0, 3.0), "lazy": (-2.0, 2.0)}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Pairwise agreement of all networks of a depth, three scatters, alignment in time.

    Parameters
    ----------
    experiments
        ``universality``.

    Returns
    -------
    xr.Dataset
        Over (depth, log10_gamma, seed, other_log10_gamma, other_seed): ``output_correlation``
        (Pearson r of the outputs on the test points) and ``kernel_similarity`` (CKA of the last
        hidden kernels), 1 for a network with itself; ``scatter`` over (pair, axis, point) with
        ``scatter_log10_gamma``, ``scatter_seed``, ``scatter_correlation``; ``alignment`` (CKA of
        the last hidden kernel with the labels) over kernel_step, ``alignment_end``,
        ``alignment_start``, ``tau`` = eta step / gamma.
    """
    data = experiments["universality"].reset_coords("steps")
    dense = by_setting(data, ["depth", "log10_gamma", "seed"])
    alignment = last_layer(dense["cka_label"])
    end = at_last_step(alignment, dense["steps"], "kernel_step")
    tau = dense["eta"] * dense["kernel_step"] / 10.0 ** dense["log10_gamma"]
    variables = {
        "output_correlation": (
            pairwise(data["outputs"], lambda f: output_agreement(f)["pearson"]),
            "Pearson r of the outputs of two networks on the test points",
        ),
        "kernel_similarity": (
            pairwise(data["last_kernel"], kernel_agreement),
            "CKA of the last hidden kernels of two networks",
        ),
        "alignment": (alignment, "CKA of the last hidden kernel with the labels"),
        "alignment_start": (
            alignment.sel(kernel_step=0, drop=True),
            "CKA of the last hidden kernel with the labels at step 0",
        ),
        "alignment_end": (end, "CKA of the last hidden kernel with the labels at the end"),
        "tau": (tau, "rescaled time tau = eta step / gamma"),
        "eta": (dense["eta"], "learning rate eta"),
    }
    result = described(variables)
    depth = float(result["depth"].sel(depth=DEPTH, method="nearest"))
    return result.merge(
        scatters(dense["outputs"].sel(depth=depth), result["output_correlation"].sel(depth=depth))
    )


def pairwise(
    values: xr.DataArray, agreement: Callable[[xr.DataArray], xr.DataArray]
) -> xr.DataArray:
    """Agreement of every two runs of equal depth.

    Parameters
    ----------
    values
        Over ``run`` (with coordinates depth, log10_gamma, seed) and the dimensions of one run.
    agreement
        From such an array to the matrix over (run, other_run).

    Returns
    -------
    xr.DataArray
        (depth, log10_gamma, seed, other_log10_gamma, other_seed), NaN where a run is missing or
        has diverged.
    """
    depths = np.unique(values["depth"].values)
    grids = []
    for depth in depths:
        of_depth = values.isel(run=np.flatnonzero(values["depth"].values == depth))
        pairs = agreement(of_depth).to_dataset(name="agreement")
        pairs = by_setting(pairs, ["log10_gamma", "seed"])
        pairs = by_setting(pairs, ["other_log10_gamma", "other_seed"], dim="other_run")
        grids.append(pairs["agreement"].transpose("log10_gamma", "seed", ...))
    return xr.concat(grids, xr.DataArray(depths, dims="depth", name="depth"))


def scatters(outputs: xr.DataArray, correlation: xr.DataArray) -> xr.Dataset:
    """Thinned outputs of the pairs of networks in `SCATTERS`, with different seeds.

    Parameters
    ----------
    outputs
        (log10_gamma, seed, sample, output_class)
    correlation
        (log10_gamma, seed, other_log10_gamma, other_seed)
    """
    grid, seeds = outputs["log10_gamma"].values, outputs["seed"].values[[0, -1]]
    points = outputs.sizes["sample"] * outputs.sizes["output_class"]
    # Evenly spaced points that do not fall on one class again and again.
    chosen = np.linspace(0, points - 1, min(SCATTER_POINTS, points)).round().astype(int)
    clouds, gammas, agreement = [], [], []
    for wanted in SCATTERS.values():
        pair = [float(grid[np.abs(grid - value).argmin()]) for value in wanted]
        two = [outputs.sel(log10_gamma=g, seed=s) for g, s in zip(pair, seeds, strict=True)]
        clouds.append([run.transpose("sample", ...).values.ravel()[chosen] for run in two])
        gammas.append(pair)
        cell = dict(zip(("log10_gamma", "other_log10_gamma"), pair, strict=True))
        agreement.append(float(correlation.sel(cell | {"seed": seeds[0], "other_seed": seeds[1]})))
    named = {
        "scatter": (("pair", "axis", "point"), np.array(clouds), "outputs f of two networks"),
        "scatter_log10_gamma": (("pair", "axis"), np.array(gammas), "their log10 gamma"),
        "scatter_seed": (("axis",), seeds.astype(float), "their seeds"),
        "scatter_correlation": (("pair",), np.array(agreement), "Pearson r of all their outputs"),
    }
    coords = {
        "pair": ("pair", list(SCATTERS), {"long_name": "pair of networks", "units": "1"}),
        "axis": ("axis", ["x", "y"], {"long_name": "network of the pair", "units": "1"}),
    }
    result = xr.Dataset(coords=coords)
    for name, (dims, values, long_name) in named.items():
        result[name] = (dims, values, {"long_name": long_name, "units": "1"})
    return result
