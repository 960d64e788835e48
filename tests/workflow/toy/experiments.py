"""Training of the toy study."""

import os
import time

import numpy as np
import xarray as xr
from regimes.studies.toy import helper

STEPS = 4


def train(settings, device):
    """Decay from a random start."""
    # What tests of clusters want: time to step in, and to know which GPU a scheduler gave.
    time.sleep(sum(s.pause for s in settings) + float(os.environ.get("TOY_PAUSE", 0)))
    print("GPU", os.environ.get("CUDA_VISIBLE_DEVICES", "none"), flush=True)
    start = [np.random.default_rng([s.seed]).uniform(1, 2) for s in settings]
    steps = np.arange(STEPS + 1)
    value = [helper.decay(y, s.rate, steps) for y, s in zip(start, settings, strict=True)]
    return xr.Dataset(
        {"value": (("run", "step"), np.array(value), {"long_name": "value", "units": "1"})},
        coords={"step": ("step", steps, {"long_name": "step", "units": "1"})},
    )


KINDS = {"decay": train}
