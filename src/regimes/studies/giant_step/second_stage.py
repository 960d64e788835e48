"""Errors of the second stage (ridge regression on frozen features) as labelled arrays."""

from __future__ import annotations

import numpy as np
import xarray as xr


def second_stage(dataset: xr.Dataset, names: list[str]) -> xr.Dataset:
    """Second-stage errors with ridge strength and batch size as coordinates.

    Parameters
    ----------
    dataset
        Runs of one experiment that share their ridge strengths.
    names
        Variables over (run, step, ridge_batch, ridge). A missing one comes out as NaN,
        as for runs without that option.

    Returns
    -------
    xr.Dataset
        Variables over (run, step, ridge_batch_size, ridge), or over (run, step, ridge) where a
        run has one second-stage batch; settings as coordinates on ``run``.

    Raises
    ------
    ValueError
        If runs differ in their ridge strengths, or in several second-stage batch sizes.
    """
    strengths = _shared(dataset["ridge_strength"])
    sizes = dataset["ridge_batch_size"]
    empty = xr.full_like(dataset["test_error"], np.nan)
    errors = xr.Dataset({name: dataset.get(name, empty) for name in names})
    if sizes.sizes["ridge_batch"] == 1:
        errors = errors.isel(ridge_batch=0, drop=True)
    else:
        errors = errors.rename(ridge_batch="ridge_batch_size")
        errors = errors.assign_coords(ridge_batch_size=_shared(sizes).astype(int))
        errors["ridge_batch_size"].attrs = {
            "long_name": "samples of the second stage",
            "units": "1",
        }
    errors = errors.assign_coords(ridge=strengths)
    errors["ridge"].attrs = {"long_name": "ridge strength", "units": "1"}
    return errors


def _shared(values: xr.DataArray) -> np.ndarray:
    rows = values.transpose("run", ...).values
    if not (rows == rows[0]).all():
        raise ValueError(f"runs differ in {values.attrs.get('long_name', values.name)}")
    return rows[0]
