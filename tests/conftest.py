"""Every test runs on one thread, as every job does, and without data sets or network."""

from __future__ import annotations

import os

# Several threads would fight for the cores. Read when numpy and torch are imported, which no test
# module has done yet.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

# Data sets that happen to lie on a machine, or could be fetched, must not decide about a test.
os.environ["REGIMES_OFFLINE"] = "1"
os.environ["REGIMES_DATA"] = os.path.join(os.path.dirname(__file__), "no data here")
