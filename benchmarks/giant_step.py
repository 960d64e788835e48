"""Giant steps as a batch of runs against one run at a time in plain numpy.

Trains the six-step runs of figures A.3 and A.4 (d = n = 4096, p = 1024, T = 6) as the pipeline
does, and by a straightforward float64 transcription of Algorithm 1, alternating in one process on
one thread. Prints the ratio of the times per run, the rate of the machine's float32 matrix product
at these shapes, and the share of it that the two large products of a step reach.

    OMP_NUM_THREADS=1 python benchmarks/giant_step.py [--quick]
"""

from __future__ import annotations

import argparse
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # read when numpy and torch are imported

from collections.abc import Callable, Sequence  # noqa: E402
from statistics import median  # noqa: E402
from time import perf_counter  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from regimes import lanes  # noqa: E402
from regimes.studies.giant_step.experiments import train  # noqa: E402
from regimes.studies.giant_step.functions import TARGETS  # noqa: E402
from regimes.studies.giant_step.settings import GiantSteps  # noqa: E402


def transcription(run: GiantSteps) -> np.ndarray:
    """Train one run as section 2.3 writes it, in numpy and float64; norms of the final rows."""
    d, p, n = run.dimension, run.width, run.batch_size
    stream = np.random.default_rng(run.seed)
    teacher = np.linalg.qr(stream.standard_normal((d, 2))).Q.T
    w = stream.standard_normal((p, d)) / np.sqrt(d)
    a = stream.choice([-1.0, 1.0], p) / np.sqrt(p)
    for _ in range(run.steps):
        z = stream.standard_normal((n, d))
        y = TARGETS[run.target](*(z @ teacher.T).T)
        h = z @ w.T
        fhat = (h * (h > 0)) @ a / np.sqrt(p)
        gradient = ((h > 0) * ((y - fhat)[:, None] * a / np.sqrt(p))).T @ z / n
        w = w + run.learning_rate * gradient
    return np.linalg.norm(w, axis=1)


class Stopwatch:
    """Add up the seconds spent in a function while it is replaced by this object."""

    def __init__(self, function: Callable) -> None:
        self.function, self.seconds, self.operations = function, 0.0, 0.0

    def __call__(self, *arguments, **options):
        """Call the function and time it where it is one of the two large products."""
        left, right = arguments[-2:]
        operations = 2 * left.shape[0] * left.shape[1] * left.shape[2] * right.shape[2]
        start = perf_counter()
        result = self.function(*arguments, **options)
        if min(left.shape[1], right.shape[2]) > 16 and left.dtype == torch.float32:
            self.seconds += perf_counter() - start
            self.operations += operations
        return result


def train_timed(runs: Sequence[GiantSteps]) -> tuple[float, float]:
    """Seconds of a training call, and the rate of its large products in operations per second."""
    watches = Stopwatch(lanes.product), Stopwatch(lanes.add_product_)
    lanes.product, lanes.add_product_ = watches
    try:
        start = perf_counter()
        train(runs, torch.device("cpu"))
        seconds = perf_counter() - start
    finally:
        lanes.product, lanes.add_product_ = (watch.function for watch in watches)
    return seconds, sum(w.operations for w in watches) / sum(w.seconds for w in watches)


def product_rate(run: GiantSteps) -> float:
    """Operations per second of one plain float32 product (n, d) x (d, p)."""
    left = torch.randn(run.batch_size, run.dimension)
    right = torch.randn(run.dimension, run.width)
    out = torch.empty(run.batch_size, run.width)
    repeats = max(1, int(2e9 / out.numel() / run.dimension))
    start = perf_counter()
    for _ in range(repeats):
        torch.mm(left, right, out=out)
    seconds = perf_counter() - start
    return 2 * repeats * out.numel() * run.dimension / seconds


def main() -> None:
    """Print one line per alternation and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small size: does it run at all")
    parser.add_argument("--repeats", type=int, default=3, help="alternations (default: 3)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    d, p = (256, 128) if options.quick else (4096, 1024)
    runs = [
        GiantSteps(
            seed=seed, target=target, dimension=d, width=p, steps=6, learning_rate_rule="width",
            learning_rate_factor=2, rows="gauss", readout="hypercube", symmetric=False,
        )
        for seed, target in enumerate(("example1", "minus"))
    ]  # fmt: skip
    train([run.model_copy(update={"steps": 1}) for run in runs], torch.device("cpu"))  # warm up
    ratios, shares, rates = [], [], []
    for _ in range(options.repeats):
        rates.append(product_rate(runs[0]))
        seconds, rate = train_timed(runs)
        shares.append(rate / rates[-1])
        start = perf_counter()
        for run in runs:
            transcription(run)
        plain = perf_counter() - start
        ratios.append(plain / seconds)
        print(
            f"batched {seconds / 2:.2f} s per run, numpy {plain / 2:.2f} s per run, "
            f"ratio {ratios[-1]:.2f}; float32 product {rates[-1] / 1e9:.0f} GFLOP/s, "
            f"reached in the two large products {100 * shares[-1]:.0f} %"
        )
    print(f"d = n = {d}, p = {p}, T = 6, median of {options.repeats}: ratio {median(ratios):.2f},")
    print(f"  {100 * median(shares):.0f} % of {median(rates) / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
