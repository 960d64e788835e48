"""Steps of K-FAC and Shampoo in the space of samples against the textbook form, and a sweep.

First, one step of a perceptron with three layers (784 inputs, width M, 10 outputs) at batch 64:
forward pass, gradient, direction and update of the weights. The product solves in the space of
the samples (K-FAC, without averages) or takes thin decompositions (Shampoo). The textbook route
is plain PyTorch: dense factors A = H^T H / N and B = S^T S / N of every layer and two Cholesky
solves; for Shampoo eigendecompositions of G G^T and G^T G and their powers -1/4. Both see the same
weights, batch and, for the Fisher of one sample, the same random targets. Ratios are of wall-clock
time, those of CPU time beside them.

Then the learning rates of figure 6 at one width (K-FAC, rescaled damping, Fisher of one sample,
averages with weight 0.3, muP; 12 learning rates, 3 seeds) with the study's engine as one ensemble,
with the same engine one run at a time, and as one plain loop per run on the same batches and random
targets. The engine pads a run that is alone to two lanes: what that takes counts as what a single
run costs, and the ratio of an ensemble to runs two by two, without padding, is half of it. The
plain loops pad nothing and get their batches and targets for nothing.

    python benchmarks/second_order_mup.py [--quick] [--part steps] [--width 1024 2048]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from regimes import plan
from regimes.config import load
from regimes.data.samples import EPOCHS, SampledStream
from regimes.data.streams import numpy_stream, stream_seed
from regimes.data.tasks import TemplateImages
from regimes.ensemble.preconditioned import Preconditioner
from regimes.ensemble.recorded import RecordedNetwork
from regimes.ensemble.updates import UPDATES
from regimes.nn.taped.mlp import TapedMLP
from regimes.optim.noise import NOISE_SEED, Generators
from regimes.studies.second_order_mup import data_sets, experiments, networks
from regimes.studies.second_order_mup.settings import Train

AIMS = {"kfac": 15.0, "shampoo": 50.0}  # at width 4096
AGREEMENT = 1e-4  # of updates, relative to their norm
STRENGTH = {"kfac": ("rescaled", 1e-2), "shampoo": ("largest", 1e-4)}  # damping
PRECISION = experiments.PRECISION


class Times(NamedTuple):
    """Duration of a call in seconds: by the clock, and of the process."""

    wall: float
    cpu: float


def timed(function: Callable[[], object]) -> tuple[Times, object]:
    """Duration of a call and its result."""
    begin, busy = perf_counter(), process_time()
    result = function()
    return Times(perf_counter() - begin, process_time() - busy), result


class Textbook(NamedTuple):
    """What a plain pass through the network gives, per layer."""

    loss: Tensor
    gradients: list[Tensor]  # (n, m)
    inputs: list[Tensor]  # H (N, n)
    signals: list[Tensor]  # S (N K, m); empty without a Fisher


def textbook_pass(
    weights: list[Tensor], x: Tensor, targets: Tensor, fisher: str | None, noise: Tensor | None
) -> Textbook:
    """Loss, gradients and factors' rows by autograd; noise (N, C) for the Fisher of one sample."""
    leaves = [weight.detach().requires_grad_() for weight in weights]
    h, inputs, outputs = x, [], []
    for number, leaf in enumerate(leaves):
        h = h if number == 0 else torch.relu(outputs[-1])
        inputs.append(h.detach())
        outputs.append(h @ leaf)
    samples, classes = targets.shape
    loss = (outputs[-1] - targets).square().mean()
    gradients = list(torch.autograd.grad(loss, leaves, retain_graph=fisher is not None))
    if fisher is None:
        return Textbook(loss.detach(), gradients, inputs, [])
    root = (2 / classes) ** 0.5  # of the Hessian of a mean over the classes
    eye = torch.eye(classes, dtype=x.dtype)
    sent = [noise] if fisher == "mc" else [unit.expand(samples, classes) for unit in eye]
    passes = [
        torch.autograd.grad(outputs[-1], outputs, root * each, retain_graph=count < len(sent))
        for count, each in enumerate(sent, 1)
    ]
    signals = [torch.cat(of_layer) for of_layer in zip(*passes, strict=True)]
    return Textbook(loss.detach(), gradients, inputs, signals)


def damped(factor: Tensor, strength: float) -> Tensor:
    """Cholesky factor of a factor with rescaled damping."""
    shifted = factor.clone()
    shifted.diagonal().add_(strength * factor.trace())
    lower, failed = torch.linalg.cholesky_ex(shifted)
    # Of a diverging run, not finite: NaN, and the loop ends with the next loss.
    return torch.full_like(lower, torch.nan) if failed else lower


def textbook_kfac(
    passed: Textbook, strength: float, averages: list[list[Tensor]] | None = None, ema: float = 1.0
) -> list[Tensor]:
    """Directions (A + rho_A)^-1 G (B + rho_B)^-1; averages of A and B, if given, in place."""
    found = []
    for number, gradient in enumerate(passed.gradients):
        h, s = passed.inputs[number], passed.signals[number]
        sides = [h.T @ h / len(h), s.T @ s / len(h)]
        if averages is not None:
            if len(averages) == number:
                averages.append(sides)
            else:
                for average, side in zip(averages[number], sides, strict=True):
                    average.lerp_(side, ema)
                sides = averages[number]
        left = torch.cholesky_solve(gradient, damped(sides[0], strength))
        found.append(torch.cholesky_solve(left.T, damped(sides[1], strength)).T)
    return found


def inverse_fourth_root(factor: Tensor, strength: float) -> Tensor:
    """Power -1/4 of a factor, its damping relative to the largest eigenvalue."""
    values, vectors = torch.linalg.eigh(factor)
    powers = (values.clamp_min(0) + strength * values[-1]).pow(-0.25)
    return (vectors * powers) @ vectors.T


def textbook_shampoo(passed: Textbook, strength: float) -> list[Tensor]:
    """Directions (G G^T + rho)^-1/4 G (G^T G + rho)^-1/4."""
    return [
        inverse_fourth_root(g @ g.T, strength) @ g @ inverse_fourth_root(g.T @ g, strength)
        for g in passed.gradients
    ]


class Problem:
    """One step of one method, by both routes, from the same weights and batch.

    Parameters
    ----------
    method : str
        "kfac" or "shampoo".
    fisher : str or None
        Of K-FAC: "ggn" (exact) or "mc" (one sample).
    """

    def __init__(
        self, method: str, fisher: str | None, width: int, batch: int, side: int, dtype: torch.dtype
    ) -> None:
        self.method, self.fisher = method, fisher
        rule, self.strength = STRENGTH[method]
        model = TapedMLP(side * side, width)
        initial = model.initial(lambda name: numpy_stream(0, "benchmark", name))
        self.weights = {n: torch.from_numpy(w).to(dtype).unsqueeze(0) for n, w in initial.items()}
        x, label = TemplateImages(side).draw(torch.Generator().manual_seed(0), batch)
        self.x = ((x - x.mean()) / x.std()).flatten(1).to(dtype).unsqueeze(0)
        self.targets = (torch.eye(10)[label] - 0.1).to(dtype).unsqueeze(0)
        self.network = RecordedNetwork(model, "mse", fisher, samples=True)
        self.preconditioner = Preconditioner(model.layers, method, rule)
        self.frozen = {NOISE_SEED: torch.zeros(1, dtype=torch.int64)}
        # A rate of zero: every repetition starts from the same weights.
        zero = torch.zeros(1, dtype=dtype)
        self.hyper = {"damping": zero + self.strength, "rate": zero, "weight_decay": zero}

    def double(self) -> Problem:
        """The same problem, of the same numbers, in float64."""
        other = copy(self)
        other.weights = {name: weight.double() for name, weight in self.weights.items()}
        other.hyper = {name: value.double() for name, value in self.hyper.items()}
        other.x, other.targets = self.x.double(), self.targets.double()
        return other

    def product(self) -> list[Tensor]:
        """Step of the product; its directions (n, m)."""
        _, gradient = self.network.with_statistics(
            {**self.weights, **self.frozen}, self.x, self.targets, Generators()
        )
        found = self.preconditioner.directions(gradient, {}, self.hyper)
        UPDATES["decayed"].apply(self.weights, found, {}, self.hyper)
        return [found[name][0] for name in self.weights]

    def textbook(self) -> list[Tensor]:
        """Step as written in a textbook; its directions (n, m)."""
        weights = [weight[0] for weight in self.weights.values()]
        noise = None
        if self.fisher == "mc":
            generator = torch.Generator().manual_seed(int(self.frozen[NOISE_SEED]))
            noise = torch.randn(self.targets.shape[1:], generator=generator).to(self.x)
        passed = textbook_pass(weights, self.x[0], self.targets[0], self.fisher, noise)
        direction = textbook_kfac if self.method == "kfac" else textbook_shampoo
        found = direction(passed, self.strength)
        for weight, each in zip(weights, found, strict=True):
            weight.sub_(0.0 * each)
        return found


def distances(found: list[Tensor], expected: list[Tensor]) -> list[float]:
    """Relative distances |P - P'| / |P'| of the directions of every layer."""
    pairs = zip(found, expected, strict=True)
    return [float((one - other).norm() / other.norm()) for one, other in pairs]


def listed(values: list[float]) -> str:
    """Numbers in a line."""
    return ", ".join(f"{value:.1e}" for value in values)


def compare_steps(problem: Problem, title: str, repeats: int) -> None:
    """Print the ratio of every alternation, the medians, and how far the updates are apart.

    The product in float64 is the measure of rounding errors: the textbook in float64 has to agree
    with it, and so has the product in float32.
    """
    ratios, busy = [], []
    exact = problem.double().product()
    for _ in range(repeats):
        fast, found = timed(problem.product)
        slow, expected = timed(problem.textbook)
        ratios.append(slow.wall / fast.wall)
        busy.append(slow.cpu / fast.cpu)
        print(
            f"{title}: textbook over product {ratios[-1]:.1f} ({slow.wall:.2f} s over "
            f"{fast.wall:.3f} s), CPU time {busy[-1]:.1f}",
            flush=True,
        )
    own, of_textbook = distances(found, exact), distances(expected, exact)
    trusted = own if problem.x.dtype == torch.float32 else of_textbook
    assert max(trusted) < AGREEMENT, f"{title}: updates differ by {listed(trusted)}"
    print(
        f"{title}: median ratio of {repeats}: {median(ratios):.1f}, of CPU time "
        f"{median(busy):.1f} (aim at width 4096: {AIMS[problem.method]:g}); updates of the layers "
        f"differ by {listed(distances(found, expected))}; from the product in float64 the product "
        f"by {listed(own)}, the textbook by {listed(of_textbook)}",
        flush=True,
    )


def sweep_runs(width: int) -> list[Train]:
    """Runs in muP of the laptop scale at this width, without evaluations."""
    batches = plan.batches(load(), "second_order_mup", "lr_transfer_mlp_kfac", "laptop")
    found = [
        run.model_copy(update={"evaluate_at": ""})
        for batch in batches.values()
        for run in batch.runs
        if run.width == width and run.parameterization == "mup"
    ]
    if not found:
        widths = sorted({run.width for batch in batches.values() for run in batch.runs})
        raise SystemExit(f"--sweep-width: {width} is not a width of the sweep, one of {widths}")
    return found


def last_losses(dataset) -> np.ndarray:
    """Loss of the last batch of every run."""
    return dataset["batch_loss"].values[:, -1]


def plain_loop(
    run: Train, weights: list[Tensor], rates: list[float], batches: list, noises: list[Tensor]
) -> float:
    """Train one network by a plain loop; the last batch loss, NaN when one is not finite."""
    averages: list[list[Tensor]] = []
    loss = np.nan
    for (rows, wanted), noise in zip(batches, noises, strict=True):
        passed = textbook_pass(weights, rows[0], wanted[0], run.fisher, noise)
        loss = float(passed.loss)
        if not np.isfinite(loss):
            return np.nan
        found = textbook_kfac(passed, run.damping, averages, run.ema)
        for weight, each, rate in zip(weights, found, rates, strict=True):
            weight.sub_(rate * each)
    return loss


def plain_loops(runs: Sequence[Train]) -> tuple[Times, np.ndarray]:
    """Time of one plain loop per run, without that of its data, and losses of the last batch."""
    spent, losses = [], []
    data = data_sets.load(runs[0].data)
    for run in runs:
        dtype, model = PRECISION[run.precision], networks.model_of(run)
        factors, rates = networks.weight_factors(run, model), networks.rates(run, model)
        initial = model.initial(lambda name, seed=run.seed: numpy_stream(seed, "network", name))
        weights = [torch.from_numpy(w * factors[name]).to(dtype) for name, w in initial.items()]
        x = torch.from_numpy(data.x[: run.used()]).to(dtype).flatten(1)
        targets = torch.eye(10, dtype=dtype)[torch.from_numpy(data.label[: run.used()])] - 0.1
        seed = stream_seed(run.seed, "batches", run.batch())
        batches = list(SampledStream(x, targets, [seed], run.batch(), run.steps, EPOCHS))
        generator = torch.Generator().manual_seed(stream_seed(run.seed, "Fisher noise") % 2**62)
        noises = [torch.randn(run.batch(), 10, generator=generator).to(dtype) for _ in batches]
        each, loss = timed(partial(plain_loop, run, weights, [*rates.values()], batches, noises))
        spent.append(each)
        losses.append(loss)
    wall, cpu = (sum(times) for times in zip(*spent, strict=True))
    return Times(wall, cpu), np.array(losses)


def compare_sweep(runs: list[Train], repeats: int) -> None:
    """Print the ratios of every alternation and their medians."""
    experiments.train([run.model_copy(update={"steps": 2}) for run in runs[:2]])  # warm up
    title = f"sweep at width {runs[0].width}"
    single, plain, single_cpu, plain_cpu = [], [], [], []
    for _ in range(repeats):
        together, dataset = timed(lambda: experiments.train(runs))
        alone, parts = timed(lambda: [experiments.train([run]) for run in runs])
        plainly, losses = plain_loops(runs)
        found = last_losses(dataset)
        np.testing.assert_array_equal(found, np.concatenate([last_losses(each) for each in parts]))
        # Rounding errors grow along float32 trajectories at large learning rates: judge the median.
        apart = np.abs(found / losses - 1)
        typical, worst = float(np.nanmedian(apart)), float(np.nanmax(apart))
        assert typical < 1e-3, f"losses of the engine and of plain loops differ by {typical}"
        single.append(alone.wall / together.wall)
        plain.append(plainly.wall / together.wall)
        single_cpu.append(alone.cpu / together.cpu)
        plain_cpu.append(plainly.cpu / together.cpu)
        print(
            f"{title}: one at a time over ensemble {single[-1]:.2f} (CPU time "
            f"{single_cpu[-1]:.2f}; two at a time {single[-1] / 2:.2f}), plain loops over ensemble "
            f"{plain[-1]:.2f} (CPU time {plain_cpu[-1]:.2f}); ensemble {together.wall:.2f} s; last "
            "losses: the same one at a time, plain loops apart by a median of "
            f"{typical:.1e}, at most {worst:.1e}; diverged: {np.isnan(found).sum()} of the engine, "
            f"{np.isnan(losses).sum()} of the loops",
            flush=True,
        )
    print(
        f"{title}: {len(runs)} runs, {runs[0].steps} steps, median of {repeats}: one at a time "
        f"(two lanes each) {median(single):.2f} times as long (CPU time {median(single_cpu):.2f}), "
        f"plain loops {median(plain):.2f} (CPU time {median(plain_cpu):.2f})",
        flush=True,
    )


def main() -> None:
    """Print one line per alternation and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work")
    parser.add_argument("--part", choices=("steps", "sweep", "both"), default="both")
    parser.add_argument("--threads", type=int, default=1, help="of both (default: 1)")
    parser.add_argument("--repeats", type=int, default=3, help="alternations (default: 3)")
    parser.add_argument(
        "--width", type=int, nargs="+", default=[1024],
        help="of the steps (default: 1024; the aims are for 4096, minutes for Shampoo's textbook)",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=64, help="of the steps (default: 64)")
    parser.add_argument("--precision", nargs="+", choices=PRECISION, default=list(PRECISION))
    parser.add_argument(
        "--method", nargs="+", choices=("ggn", "mc", "shampoo"), default=["ggn", "mc", "shampoo"],
        help="of the steps: K-FAC with the exact Fisher, with that of one sample, Shampoo",
    )  # fmt: skip
    parser.add_argument("--sweep-width", type=int, default=128, help="32, 128 or 512")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    widths, batch, side, repeats = options.width, options.batch, 28, options.repeats
    if options.quick:
        widths, batch, side, repeats = [128], 16, 8, 1
    steps = options.part in ("steps", "both")
    for width in widths if steps else ():
        for precision in options.precision:
            for name in options.method:
                method, fisher = ("shampoo", None) if name == "shampoo" else ("kfac", name)
                where = (method, fisher)
                # Libraries load and set up at the first call.
                small = Problem(*where, 32, batch, side, PRECISION[precision])
                small.product(), small.textbook()
                problem = Problem(*where, width, batch, side, PRECISION[precision])
                title = f"{method}{f' {fisher}' if fisher else ''}, width {width}, {precision}"
                compare_steps(problem, title, repeats)
    if options.part in ("sweep", "both"):
        runs = sweep_runs(32 if options.quick else options.sweep_width)
        runs = runs[::9] if options.quick else runs
        compare_sweep(runs, repeats)


if __name__ == "__main__":
    main()
