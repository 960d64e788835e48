"""One exact Gauss-Newton step at MNIST size: Gram route against two thin SVDs per block, and Adam.

A reversible network with d = 784, L = 2, d' = 8000 on a batch of 1024 synthetic 28 x 28 images, in
float32 with the truncation of the paper. The textbook route takes a thin SVD of the features with
their column of ones for every half-coupled layer; the product's route decomposes Gram matrices,
(h + 1, h + 1) ones in the linear block, in float64 ("gram64") or in float32 ("gram", as training
does at this cut-off). Both alternate in one process; with gram64 updates must agree to 1e-3, with
gram they do up to the rounding error over the square of the cut-off.
Then a Gauss-Newton step in units of an Adam step on the same batch, forward pass and update of the
weights included in both.

    python benchmarks/exact_gauss_newton.py [--quick] [--threads 2] [--repeats 3]
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter

import torch

from regimes.data.streams import numpy_stream
from regimes.data.tasks import TemplateImages
from regimes.ensemble.losses import LOSSES
from regimes.ensemble.reversible import GaussNewtonNetwork, ReversibleNetwork
from regimes.ensemble.updates import UPDATES
from regimes.nn.revmlp import RevMLP
from regimes.optim.gauss_newton import direction
from regimes.optim.pseudo_inverse import Rule

AIM, AGREEMENT = 10.0, 1e-3
LOSS = LOSSES["cross_entropy"]


def network(model: RevMLP, sigma: float) -> dict[str, torch.Tensor]:
    """Trained and frozen tensors of one run, with a leading axis."""

    def stream(name: str):
        return numpy_stream(0, "benchmark", name)

    drawn = model.initial(stream, sigma) | model.frozen(stream)
    return {name: torch.from_numpy(value).float().unsqueeze(0) for name, value in drawn.items()}


def batch(side: int, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardized images (1, n, d) and one-hot labels (1, n, 10)."""
    x, label = TemplateImages(side).draw(torch.Generator().manual_seed(0), samples)
    x = x.flatten(1)
    return ((x - x.mean()) / x.std()).unsqueeze(0), torch.eye(10)[label].unsqueeze(0)


def textbook(model: RevMLP, params: dict, x: torch.Tensor, targets: torch.Tensor, rule: Rule):
    """Update by thin SVDs of the features, as written in the algorithm box."""
    passed = model.run(params, x)
    logits = model.readout(params, passed.output)
    error = model.lift(params, logits.softmax(-1) - targets)
    first, second = error.chunk(2, -1)
    update = {}

    def solve(half: str, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        a = torch.cat([features, features.new_ones(*features.shape[:-1], 1)], -1)
        left, values, right = torch.linalg.svd(a, full_matrices=False)
        kept = (values >= rule.rtol * values.amax(-1, keepdim=True)) & (values >= rule.atol)
        inverse = torch.where(kept, 1 / values, 0.0).unsqueeze(-1)
        solution = right.mT @ (inverse * (left.mT @ target))
        update[f"w{half}"], update[f"b{half}"] = solution[..., :-1, :], solution[..., -1, :]
        return a @ solution

    for block in range(model.blocks, 0, -1):
        of_f, of_g = passed.halves[2 * block - 2 : 2 * block]
        before = model.inverse_tangent(params, block, passed, first, second)
        moved = solve(f"{block}f", of_f.features, first)
        solve(f"{block}g", of_g.features, second - model.push(params, f"{block}g", of_g, moved))
        first, second = before
    return update


def seconds(function) -> tuple[float, object]:
    """Duration of a call and its result."""
    begin = perf_counter()
    result = function()
    return perf_counter() - begin, result


def main() -> None:
    """Print one line per alternation and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work")
    parser.add_argument("--threads", type=int, default=2, help="of both (default: 2)")
    parser.add_argument("--route", choices=("gram", "gram64"), default="gram64", help="of ours")
    parser.add_argument("--repeats", type=int, default=3, help="alternations (default: 3)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    side, width, samples, repeats = 28, 8000, 1024, options.repeats
    if options.quick:
        side, width, samples, repeats = 8, 200, 64, 1
    model = RevMLP(side * side, 2, width)
    params, (x, targets), rule = (
        network(model, 1e-2),
        batch(side, samples),
        Rule(route=options.route),
    )
    gauss_newton = GaussNewtonNetwork(model, LOSS, rule)
    first_order = ReversibleNetwork(model, LOSS)
    trained = {name: params[name] for name in model.shapes()}
    none, one = torch.zeros(1, 1, 1), torch.ones(1)
    hyper = {"rate": torch.full((1,), 1e-12), "weight_decay": torch.zeros(1)}
    memory = UPDATES["adam"].memory(trained)

    def step(which, update, remembered):
        _, found = which.loss_and_gradient(params, x, targets, none, one)
        UPDATES[update].apply(trained, found, remembered, hyper)
        return found

    step(gauss_newton, "decayed", {})  # warm up
    step(first_order, "adam", memory)
    ratios, costs = [], []
    for _ in range(repeats):
        fast, found = seconds(lambda: step(gauss_newton, "decayed", {}))
        slow, expected = seconds(lambda: textbook(model, params, x, targets, rule))
        adam, _ = seconds(lambda: step(first_order, "adam", memory))
        # The relative error of a tensor is up to rounding over the square of the cut-off, 1e-3.
        errors = [(found[name] - expected[name]).square().sum() for name in found]
        sizes = [expected[name].square().sum() for name in found]
        worst = max(float((e / v).sqrt()) for e, v in zip(errors, sizes, strict=True))
        apart = float((sum(errors) / sum(sizes)).sqrt())
        assert options.route == "gram" or apart < AGREEMENT, f"updates differ by {apart:.2e}"
        ratios.append(slow / fast)
        costs.append(fast / adam)
        print(
            f"textbook over {options.route} route {ratios[-1]:.1f} (updates agree to {apart:.1e}, "
            f"single tensors to {worst:.1e}); a Gauss-Newton step costs {costs[-1]:.1f} Adam steps"
        )
    _, diagnostics = direction(model, params, model.run(params, x), torch.ones_like(x), rule)
    kept = ", ".join(f"{rank:.0f}" for rank in diagnostics.rank_kept[0])
    print(
        f"d = {side * side}, L = 2, d' = {width}, n = {samples}, rank kept {kept}: median ratio "
        f"{median(ratios):.1f} (aim {AIM:g}), Gauss-Newton step = {median(costs):.1f} Adam steps"
    )


if __name__ == "__main__":
    main()
