"""Long names of what analyses store; every quantity of this study is without dimension."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr


def described(data: xr.Dataset, texts: Mapping[str, str]) -> xr.Dataset:
    """Give every variable and coordinate a long name and units.

    Parameters
    ----------
    data
        Arrays with or without attributes, which are replaced.
    texts
        Name to long name. What it lacks keeps the long name that it has, or is called by its name.

    Returns
    -------
    xr.Dataset
        Same values.
    """
    named = data.copy()
    for name, variable in named.variables.items():
        plain = str(name).replace("_", " ")
        text = texts.get(str(name), variable.attrs.get("long_name", plain))
        named[name].attrs = {"long_name": text, "units": "1"}
    return named


def gathered(
    variables: Mapping[str, tuple[xr.DataArray, str]], coordinates: Mapping[str, str] | None = None
) -> xr.Dataset:
    """Dataset of arrays given with their long names.

    Parameters
    ----------
    variables
        Name to array and long name.
    coordinates
        Long names of coordinates, as in `described`.
    """
    data = xr.Dataset({name: values for name, (values, _) in variables.items()})
    texts = {name: text for name, (_, text) in variables.items()}
    return described(data, {**(coordinates or {}), **texts})
