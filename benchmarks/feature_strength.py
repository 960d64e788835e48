"""The laptop phase portrait by the ensemble engine against one network at a time.

Trains the portrait of the MLP with squared error (L = 3, one seed, the window of the laptop
scale) with the engine, and as a plain PyTorch module per run with autograd and torch.optim.SGD: the
same initial weights, batches, precision and number of steps, the frozen copy evaluated at every
step by both. The module gets its batches for nothing. Alternates in one process and prints runs x
steps per second, the ratio, and the share of the float32 matrix-product rate that the engine's
products alone would need at that speed.

    python benchmarks/feature_strength.py [--quick] [--threads 2] [--device cpu]
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

from statistics import median  # noqa: E402
from time import perf_counter  # noqa: E402

import torch  # noqa: E402
from torch import nn  # noqa: E402

from regimes import plan  # noqa: E402
from regimes.config import load  # noqa: E402
from regimes.data.streams import stream_seed  # noqa: E402
from regimes.data.tasks import OnlineStream  # noqa: E402
from regimes.studies.feature_strength import experiments  # noqa: E402
from regimes.studies.feature_strength.settings import Network  # noqa: E402

SIZES = {  # stream, N = B, aim of the ratio on two CPU cores
    "N = B = 64, 64 inputs": ("gmm30", 64, 6.0),
    "N = B = 128, 28 x 28 inputs": ("mnist_augmented", 128, 1.4),
}


class Noise:
    """White noise of 28 x 28 pixels with random labels: speed does not depend on the content."""

    shape, classes, samples = (1, 28, 28), 10, None

    def draw(self, generator, count, start=0):
        """Draw pixels and labels."""
        device = generator.device
        x = torch.randn(count, 1, 28, 28, generator=generator, device=device)
        return x, torch.randint(10, (count,), generator=generator, device=device)


class Perceptron(nn.Module):
    """The MLP of the study as a plain module."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.depth = len(weights) // 2
        self.weights = nn.ParameterDict({n: nn.Parameter(w.clone()) for n, w in weights.items()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raw outputs, before division by gamma."""
        h = x.flatten(1)
        for layer in range(1, self.depth):
            z = h @ self.weights[f"w{layer}"] + self.weights[f"b{layer}"]
            h = torch.relu(z / h.shape[1] ** 0.5)
        return (h @ self.weights[f"w{self.depth}"] + self.weights[f"b{self.depth}"]) / h.shape[1]


def portrait(stream: str, size: int, steps: int) -> list[Network]:
    """Runs of one seed of the laptop portrait at this size."""
    batch = plan.find_batch(
        load(), "feature_strength", "portrait_mlp_mse", "laptop", "seed_0"
    )  # fmt: skip
    change = {"stream": stream, "width": size, "batch_size": size, "steps": steps, "test_at": ""}
    change |= {"test_size": 2, "points": 2}
    return [
        Network.model_validate({**run.model_dump(exclude_unset=True), **change})
        for run in batch.runs
        if run.depth == 3
    ]


def by_engine(runs: list[Network], device: torch.device) -> float:
    """Seconds that the engine takes."""
    start = perf_counter()
    experiments.train(runs, device)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def one_by_one(runs: list[Network], device: torch.device) -> float:
    """Seconds of plain modules, each trained alone, without the time of drawing their data."""
    run = runs[0]
    batches = {}
    for dtype in (torch.float32, torch.float64):
        seed = stream_seed(run.seed, "batches", run.stream, run.batch_size)
        task = experiments.TASKS[run.stream]()
        stream = OnlineStream(task, [seed], run.batch_size, run.steps, dtype=dtype, device=device)
        batches[dtype] = [(x[0].clone(), targets[0].clone()) for x, targets in stream]
    model = experiments.model_of(run)
    start = perf_counter()
    for each in runs:
        dtype = torch.float64 if each.double else torch.float32
        initial = experiments.start_of([each], model, dtype, device).start
        weights = {name: value[0] for name, value in initial.items()}
        network, frozen = Perceptron(weights), Perceptron(weights)
        optimizer = torch.optim.SGD(network.parameters(), lr=each.width * each.eta())
        for x, targets in batches[dtype]:
            with torch.no_grad():
                reference = frozen(x)
            loss = ((network(x) - reference) / each.gamma - targets).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def product_rate(size: int, device: torch.device) -> float:
    """Operations per second of a plain float32 product of large matrices."""
    left, right = (torch.randn(2048, 2048, device=device) for _ in range(2))
    out = left @ right
    start = perf_counter()
    for _ in range(5):
        torch.mm(left, right, out=out)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 5 * 2 * 2048**3 / (perf_counter() - start)


def operations(run: Network) -> float:
    """Operations of the matrix products of one step: forward, weight and activation gradients."""
    layers = list(experiments.model_of(run).shapes().values())[::2]
    products = [2 * run.batch_size * rows * columns for rows, columns in layers]
    return 3 * sum(products) - products[0]


def main() -> None:
    """Print one line per alternation and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few runs and steps: does it work")
    parser.add_argument("--threads", type=int, default=2, help="of both (default: 2)")
    parser.add_argument("--steps", type=int, default=100, help="steps per run (default: 100)")
    parser.add_argument("--repeats", type=int, default=3, help="alternations (default: 3)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_deterministic_debug_mode("error")
    device = torch.device(options.device)
    experiments.TASKS.setdefault("mnist_augmented", Noise)
    repeats, steps = (1, 5) if options.quick else (options.repeats, options.steps)
    for title, (stream, size, aim) in SIZES.items():
        runs = portrait(stream, size, steps)
        runs = runs[::40] if options.quick else runs
        by_engine([run.model_copy(update={"steps": 2}) for run in runs], device)  # warm up
        done = len(runs) * steps
        ratios, shares = [], []
        for _ in range(repeats):
            rate = product_rate(size, device)
            seconds = by_engine(runs, device)
            plain = one_by_one(runs, device)
            ratios.append(plain / seconds)
            shares.append(done * operations(runs[0]) / seconds / rate)
            print(
                f"{title}: engine {done / seconds:.0f} runs x steps per second, modules "
                f"{done / plain:.0f}, ratio {ratios[-1]:.2f}; {100 * shares[-1]:.0f} % of the "
                f"{rate / 1e9:.0f} GFLOP/s of a float32 matrix product"
            )
        print(
            f"{title}: {len(runs)} runs, {steps} steps, median of {repeats}: ratio "
            f"{median(ratios):.2f} (aim {aim}), {100 * median(shares):.0f} % of the peak"
        )


if __name__ == "__main__":
    main()
