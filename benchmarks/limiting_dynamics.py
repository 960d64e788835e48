"""The grid of figure 8 as an ensemble against one plain loop per run, and the theory of 1e7 modes.

Trains the 18 settings of the laptop grid (several seeds, fewer steps) with the study's engine, and
as a plain PyTorch module per run with autograd and torch.optim.SGD that records the same numbers
at every step: squared local and global displacement, norm and overlap of the weights, batch loss,
in float64. Both draw the same batches. Alternates in one process and prints runs x steps per
second, the ratio, and the share of the engine's time that its matrix products alone would need.
Then the exact recursion of 1e7 modes in logarithmic bins over 1e4 steps: seconds and peak memory.

    python benchmarks/limiting_dynamics.py [--quick] [--threads 2] [--steps 400] [--repeats 3]
"""

from __future__ import annotations

import argparse
import resource
from statistics import median
from time import perf_counter

import numpy as np
import torch
import xarray as xr
from torch import nn

from regimes.data.samples import SampledStream
from regimes.data.streams import stream_seed
from regimes.studies.limiting_dynamics import data_sets, experiments, theory
from regimes.studies.limiting_dynamics.networks import initial_weights, model_of
from regimes.studies.limiting_dynamics.settings import Sgd
from regimes.studies.limiting_dynamics.theory_experiments import grouped_spectrum
from regimes.studies.limiting_dynamics.theory_settings import Spectrum

AIM = 10.0


def grid(steps: int, seeds: int) -> list[Sgd]:
    """Settings of the laptop grid."""
    return [
        Sgd(model="mlp", data="teacher_noisy", weight_decay=1e-4, eta=eta, batch_size=size,
            momentum=momentum, steps=steps, seed=seed)
        for eta in (1e-4, 2e-4, 1e-3) for size in (32, 64, 128) for momentum in (0.9, 0.99)
        for seed in range(seeds)
    ]  # fmt: skip


def start_point(run: Sgd) -> xr.Dataset:
    """Random weights as a start point: speed does not depend on where it lies."""
    weights = initial_weights(run, model_of(run))
    names = ("model", "hidden", "activation", "width", "data")
    settings = {name: ("run", [getattr(run, name)]) for name in names}
    return xr.Dataset({"weights": (("run", "parameter"), weights[None])}, coords=settings)


def by_engine(runs: list[Sgd], start: xr.Dataset) -> tuple[float, np.ndarray]:
    """Seconds that the engine takes, and the final squared displacements."""
    begin = perf_counter()
    found = experiments.train(runs, start=start)
    seconds = perf_counter() - begin
    return seconds, found["global_displacement"].values[:, -1]


def one_by_one(runs: list[Sgd], start: xr.Dataset) -> tuple[float, np.ndarray]:
    """Seconds of plain modules, each trained alone and recorded at every step."""
    data = data_sets.load("teacher_noisy", 0.0)
    x, targets = torch.from_numpy(data.x), torch.from_numpy(data.targets)
    weights = torch.from_numpy(start["weights"].values[0])
    last = []
    begin = perf_counter()
    for run in runs:
        network = nn.Sequential(nn.Linear(20, 24), nn.Tanh(), nn.Linear(24, 10)).double()
        w1, b1, w2, b2 = weights.split([480, 24, 240, 10])
        with torch.no_grad():
            for value, part in zip(
                network.parameters(), (w1.view(20, 24).T, b1, w2.view(24, 10).T, b2), strict=True
            ):
                value.copy_(part)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=run.eta, momentum=run.momentum, weight_decay=run.weight_decay
        )
        origin = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
        record = torch.empty(run.steps, 5, dtype=torch.float64)
        seed = stream_seed(run.seed, "batches", "run", run.batch_size)
        before = origin
        stream = SampledStream(x, targets, [seed], run.batch_size, run.steps)
        for step, (rows, labels) in enumerate(stream):
            loss = nn.functional.cross_entropy(network(rows[0]), labels[0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                here = nn.utils.parameters_to_vector(network.parameters())
                moved = here - origin
                record[step, 0] = (here - before).square().sum()
                record[step, 1] = moved.square().sum()
                record[step, 2] = here.square().sum()
                record[step, 3] = here @ origin
                record[step, 4] = loss
            before = here
        last.append(float(record[-1, 1]))
    return perf_counter() - begin, np.array(last)


def products_alone(runs: list[Sgd]) -> float:
    """Seconds of the batched matrix products of all steps, nothing else."""
    total = 0.0
    for size in sorted({run.batch_size for run in runs}):
        count = sum(run.batch_size == size for run in runs)
        x, hidden = torch.randn(count, size, 20).double(), torch.randn(count, size, 24).double()
        outputs = torch.randn(count, size, 10).double()
        w1, w2 = torch.randn(count, 20, 24).double(), torch.randn(count, 24, 10).double()
        begin = perf_counter()
        for _ in range(20):
            torch.bmm(x, w1)
            torch.bmm(hidden, w2)
            torch.bmm(hidden.mT, outputs)
            torch.bmm(outputs, w2.mT)
            torch.bmm(x.mT, hidden)
        total += (perf_counter() - begin) / 20 * runs[0].steps
    return total


def spectrum(steps: int) -> None:
    """Exact recursion of the surrogate spectrum with 1e7 modes."""
    run = Spectrum(
        modes=10_000_000, bins=110, top=52.8, exponent=0.5, noise_trace=6177, offset_norm=1,
        eta=1e-4, batch_size=256, momentum=0.9, weight_decay=1e-4, fit_from=1, fit_to=steps, seed=0,
    )  # fmt: skip
    begin = perf_counter()
    rho, counts = grouped_spectrum(run.modes, run.bins, run.top, run.exponent)
    noise = rho * run.noise_trace / np.sum(counts * rho)
    found = theory.displacement_recursion(
        np.arange(1, steps + 1), rho, noise, counts, run.eta, run.momentum, run.batch_size,
        run.weight_decay, run.offset_norm / np.sqrt(run.modes),
    )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert np.isfinite(found[0]).all()
    print(
        f"theory: {run.modes:.0e} modes in {len(rho)} bins, {steps} steps: "
        f"{perf_counter() - begin:.2f} s, peak of this process {peak:.2f} GiB (aim 10 s, 1 GB)"
    )


def main() -> None:
    """Print one line per alternation and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few runs and steps: does it work")
    parser.add_argument("--threads", type=int, default=2, help="of both (default: 2)")
    parser.add_argument("--steps", type=int, default=400, help="steps per run (default: 400)")
    parser.add_argument("--seeds", type=int, default=6, help="seeds per setting (default: 6)")
    parser.add_argument("--repeats", type=int, default=3, help="alternations (default: 3)")
    options = parser.parse_args()
    spectrum(100 if options.quick else 10_000)
    torch.set_num_threads(options.threads)
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # as in jobs
    repeats, steps, seeds = options.repeats, options.steps, options.seeds
    if options.quick:
        repeats, steps, seeds = 1, 10, 1
    runs = grid(steps, seeds)
    start = start_point(runs[0])
    by_engine(grid(2, seeds), start)  # warm up
    ratios = []
    for _ in range(repeats):
        seconds, found = by_engine(runs, start)
        plain, expected = one_by_one(runs, start)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        ratios.append(plain / seconds)
        done = len(runs) * steps
        share = products_alone(runs) / seconds
        print(
            f"figure 8: engine {done / seconds:.0f} runs x steps per second, loops "
            f"{done / plain:.0f}, ratio {ratios[-1]:.1f}; {100 * share:.0f} % of the engine's time "
            "are matrix products"
        )
    print(
        f"figure 8: {len(runs)} runs, {steps} steps, median of {repeats}: ratio "
        f"{median(ratios):.1f} (aim {AIM:g})"
    )


if __name__ == "__main__":
    main()
