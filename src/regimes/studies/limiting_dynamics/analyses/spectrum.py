"""Exponents that a surrogate power-law spectrum predicts for the sweeps of Figure 7."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics import theory
from regimes.studies.limiting_dynamics.exponents import displacement_exponent
from regimes.studies.limiting_dynamics.long_names import described

SWEPT = ("eta", "batch_size", "momentum")
# Default of the ImageNet runs; every sweep varies one setting and keeps the others.
DEFAULT = {"eta": 1e-4, "batch_size": 256, "momentum": 0.9}
# ResNet-18 on ImageNet, read off the official notebook's output (section 4, Figure 7).
NOTEBOOK = {
    "eta": {1e-5: 1.325, 6.2e-5: 1.03, 1e-4: 0.987, 2.2e-4: 0.95, 5e-4: 0.925, 1e-3: 0.895},
    "batch_size": {
        32: 1.145, 84: 1.03, 136: 0.97, 188: 0.97, 240: 0.97, 256: 0.987, 345: 1.005, 555: 1.06,
        1024: 1.17,
    },
    "momentum": {0.8: 1.052, 0.85: 1.02, 0.9: 0.987, 0.95: 0.953, 0.99: 0.912},
}  # fmt: skip
TEXTS = {
    "exponent": "exponent c of the squared global displacement",
    "level": "squared local displacement after the last step over its stationary closed form",
    "eta": "learning rate eta",
    "batch_size": "batch size S",
    "momentum": "momentum beta",
    "window": "first and last step of the fit",
    "notebook_exponent": "exponent c of ResNet-18 on ImageNet, read off the official notebook",
    "notebook_sweep": "setting that is swept",
    "notebook_value": "value of the setting that is swept",
    "modes": "number of modes",
    "end": "end of a window",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Exponents over settings, and the notebook's values beside them.

    Parameters
    ----------
    experiments
        ``surrogate_spectrum``.

    Returns
    -------
    xr.Dataset
        ``exponent`` and ``level`` over ``setting`` with coordinates eta, batch_size, momentum;
        ``window`` (end); ``notebook_exponent`` over ``notebook`` with ``notebook_sweep`` and
        ``notebook_value``; ``modes``.
    """
    runs = experiments["surrogate_spectrum"]
    low, high = int(runs["fit_from"][0]), int(runs["fit_to"][0])
    exponent = displacement_exponent(runs["step"], runs["global_displacement"], low, high)
    stationary = theory.local_displacement(
        runs["noise_trace"], *(runs[name] for name in ("eta", "momentum", "batch_size"))
    )
    last = runs["local_displacement"].isel(step=-1, drop=True)
    listed = [(sweep, v, c) for sweep, found in NOTEBOOK.items() for v, c in found.items()]
    sweeps, values, exponents = zip(*listed, strict=True)
    result = xr.Dataset(
        {
            "exponent": ("setting", exponent.values),
            "level": ("setting", last.values / stationary),
            "window": ("end", [low, high]),
            "modes": ((), int(runs["modes"][0])),
            "notebook_exponent": ("notebook", list(exponents)),
        },
        coords={
            **{name: ("setting", runs[name].values) for name in SWEPT},
            "notebook_sweep": ("notebook", list(sweeps)),
            "notebook_value": ("notebook", np.array(values, dtype=float)),
            "end": ["low", "high"],
        },
    )
    return described(result, TEXTS)


def sweep(data: xr.Dataset, name: str) -> xr.DataArray:
    """Exponents along one swept setting, the others at their default, in increasing order."""
    kept = np.ones(data.sizes["setting"], dtype=bool)
    for other in SWEPT:
        if other != name:
            kept &= np.isclose(data[other].values, DEFAULT[other], rtol=1e-9)
    chosen = data["exponent"].isel(setting=np.flatnonzero(kept))
    return chosen.swap_dims(setting=name).reset_coords(drop=True).sortby(name)
