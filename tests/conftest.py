"""Every test runs on one thread, as every job does; several processes would fight for the cores."""

from __future__ import annotations

import os

# Read when numpy and torch are imported, which no test module has done yet.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
