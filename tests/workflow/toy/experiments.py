"""Training of the toy study."""

import time

import numpy as np
import xarray as xr
from regimes.studies.toy import helper

STEPS = 4


def train(settings, device):
    """Decay from a random start."""
    time.sleep(sum(s.pause for s in settings))
    start = [np.random.default_rng([s.seed]).uniform(1, 2) for s in settings]
    steps = np.arange(STEPS + 1)
    value = [helper.decay(y, s.rate, steps) for y, s in zip(start, settings, strict=True)]
    return xr.Dataset(
        {"value": (("run", "step"), np.array(value), {"long_name": "value", "units": "1"})},
        coords={"step": ("step", steps, {"long_name": "step", "units": "1"})},
    )


KINDS = {"decay": train}
