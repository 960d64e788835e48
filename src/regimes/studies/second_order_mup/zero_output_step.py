"""One step of a relu network from zero output weights, against kernel ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from regimes.data import tables
from regimes.data.streams import numpy_stream
from regimes.nn.lanewise import product
from regimes.nn.taped.mlp import TapedMLP
from regimes.optim import kronecker, shampoo
from regimes.studies.second_order_mup import theory
from regimes.studies.second_order_mup.toy_settings import ZeroOutputStep

Tensors = dict[str, Tensor]

OPTIMIZERS = ("kfac", "sgd", "shampoo")
SHAMPOO_EPSILON = 1e-4  # damping over the largest eigenvalue, as in the coordinate checks


def parity_digits(run: ZeroOutputStep) -> tuple[np.ndarray, np.ndarray]:
    """Digits and parity, the training samples first, then those for tests.

    Returns
    -------
    x, y : ndarray (n, 64), (n, 1)
        One mean and deviation for all pixels of all digits; +1 for even digits, -1 for odd ones.
    """
    table = tables.digits()
    kept = numpy_stream(run.seed, "samples").permutation(len(table.x))
    kept = kept[: run.samples + run.test_samples]
    x = (table.x - table.x.mean()) / table.x.std()
    return x[kept], np.where(table.target[kept] % 2 == 0, 1.0, -1.0)[:, None]


def _started(run: ZeroOutputStep, model: TapedMLP) -> dict[str, np.ndarray]:
    """Weights of one run, those of the output layer zero."""
    weights = model.initial(lambda name: numpy_stream(run.seed, "initial", name))
    last = f"w{model.depth}"
    return weights | {last: np.zeros_like(weights[last])}


def _taped(model: TapedMLP, params: Tensors, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Inputs (R, N, n) of every layer and derivatives (R, N, m) of the one output, by layer."""
    # Whatever follows the first weights then has a derivative, and no weight needs one.
    outputs, tape = model.run(params | {"w1": params["w1"].clone().requires_grad_()}, x)
    signals = torch.autograd.grad(outputs.sum(), [entry.outputs for entry in tape.values()])
    inputs = (entry.inputs.detach() for entry in tape.values())
    return dict(zip(tape, zip(inputs, signals, strict=True), strict=True))


def _directions(
    optimizer: str,
    taped: dict[str, tuple[Tensor, Tensor]],
    residual: Tensor,
    ridge: Tensor,
) -> Tensors:
    """Preconditioned gradients (R, n, m) of the loss |f - y|^2 / 2 N, residual f - y (R, N, 1)."""
    found = {}
    for name, (inputs, signals) in taped.items():
        slopes = residual * signals
        if optimizer == "kfac":
            outputs = kronecker.Samples(signals / signals.shape[1] ** 0.5)
            rho = kronecker.damping("rescaled", ridge, outputs, outputs).outputs
            thin = kronecker.sample_direction(
                inputs, slopes, signals, ridge * inputs.shape[-1], rho, residual
            )
        elif optimizer == "shampoo":
            epsilon = torch.full_like(ridge, SHAMPOO_EPSILON)
            thin = shampoo.thin_direction(inputs, slopes, "largest", epsilon)
        else:
            thin = (inputs.mT / inputs.shape[1], slopes)
        found[name] = product(*thin)
    return found


def _step_size(optimizer: str, ridge: Tensor, along: Tensor, y: Tensor) -> Tensor:
    """Learning rates (R,); outputs change by ``-along`` (R, N, 1) at learning rate one.

    K-FAC's undoes the scalar B_L + rho_B of the output layer, where B_L is 1 and rho_B its share
    rho. The others minimize |y + eta along|, in closed form.
    """
    if optimizer == "kfac":
        return 1 + ridge
    return -(y * along).flatten(1).sum(1) / along.square().flatten(1).sum(1)


def _moved(
    optimizer: str, model: TapedMLP, params: Tensors, x: Tensor, y: Tensor, ridge: Tensor
) -> tuple[Tensors, Tensor]:
    """Weights after one step on all of ``x``, and the learning rate (R,)."""
    taped = _taped(model, params, x)
    # The outputs are zero before the step.
    directions = _directions(optimizer, taped, -y, ridge)
    last = f"w{model.depth}"
    eta = _step_size(optimizer, ridge, product(taped[last][0], directions[last]), y)
    return {name: params[name] - eta.view(-1, 1, 1) * directions[name] for name in params}, eta


def _largest_change(model: TapedMLP, before: Tensors, after: Tensors) -> np.ndarray:
    """Largest change (R,) of weights below the output layer; infinite where one is not finite."""
    below = list(model.layers)[:-1]
    largest = torch.stack([(after[n] - before[n]).abs().flatten(1).amax(1) for n in below]).amax(0)
    return largest.masked_fill(largest.isnan(), torch.inf).numpy()


def _accuracy(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of outputs (R, n, 1) with the sign of ``y``."""
    return (np.sign(outputs) == np.sign(y)).mean((1, 2))


def _kernel_runs(
    x: np.ndarray, y: np.ndarray, hidden: np.ndarray, depth: int, samples: int, ridge: np.ndarray
) -> dict[str, np.ndarray]:
    """Kernel regressions on the training samples: test outputs (R, n, 1) and the kernel's error.

    Parameters
    ----------
    x, y, hidden
        Inputs (R, N + n, d), targets and last hidden layers (R, N + n, M), training samples first.
    ridge
        Damping rho (R,).
    """
    own = hidden @ np.swapaxes(hidden[:, :samples], 1, 2) / hidden.shape[-1]
    wide = theory.nngp_kernel(x, x[:, :samples], depth - 1)
    strength = samples * ridge

    def regress(kernel: np.ndarray) -> np.ndarray:
        train, test = kernel[:, :samples], kernel[:, samples:]
        return theory.ridge_predictor(train, test, y[:, :samples], strength, relative=False)

    return {
        "own": regress(own),
        "nngp": regress(wide),
        "error": theory.relative_distance(own[:, :samples], wide[:, :samples]),
    }


class Problem(NamedTuple):
    """Networks before the step and their data, training samples first.

    Attributes
    ----------
    model : TapedMLP
    params : dict of Tensor
        Weights (R, n, m).
    x, y : Tensor (R, N + n, d), (R, N + n, 1)
    samples : int
        Training samples N.
    """

    model: TapedMLP
    params: Tensors
    x: Tensor
    y: Tensor
    samples: int


def problem(runs: Sequence[ZeroOutputStep]) -> Problem:
    """Networks and data of runs of one shape."""
    one = runs[0]
    data = [np.stack(arrays) for arrays in zip(*map(parity_digits, runs), strict=True)]
    x, y = map(torch.from_numpy, data)
    model = TapedMLP(x.shape[-1], one.width, classes=1, depth=one.depth, activation="relu")
    lanes = [_started(run, model) for run in runs]
    params = {name: torch.from_numpy(np.stack([lane[name] for lane in lanes])) for name in lanes[0]}
    return Problem(model, params, x, y, one.samples)


def stepped(of: Problem, optimizer: str, ridge: Tensor) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Numbers (R,) after one step, and test outputs (R, n, 1)."""
    first, y = of.samples, of.y.numpy()
    after, eta = _moved(optimizer, of.model, of.params, of.x[:, :first], of.y[:, :first], ridge)
    outputs = of.model.run(after, of.x)[0].numpy()
    return {
        "train_residual": theory.relative_distance(outputs[:, :first], y[:, :first]),
        "test_accuracy": _accuracy(outputs[:, first:], y[:, first:]),
        "hidden_change": _largest_change(of.model, of.params, after),
        "step_size": eta.numpy(),
    }, outputs[:, first:]


def one_step(runs: Sequence[ZeroOutputStep]) -> xr.Dataset:
    """Steps of all optimizers and kernel regressions at all ridges, of runs of one shape."""
    one = runs[0]
    of = problem(runs)
    x, y = of.x.numpy(), of.y.numpy()
    hidden = of.model.run(of.params, of.x)[1][f"w{one.depth}"].inputs.numpy()
    ridges = np.geomspace(one.smallest_ridge, one.largest_ridge, one.ridges)
    regressions, steps = [], {optimizer: [] for optimizer in OPTIMIZERS}
    for value in ridges:
        ridge = torch.full((len(runs),), value, dtype=torch.float64)
        kernel = _kernel_runs(x, y, hidden, one.depth, one.samples, ridge.numpy())
        for optimizer, found in steps.items():
            if optimizer != "kfac" and found:  # no ridge in them
                found.append(found[0])
                continue
            numbers, outputs = stepped(of, optimizer, ridge)
            found.append(numbers)
            if optimizer == "kfac":
                kfac = outputs
        regressions.append(
            {
                "kernel_gap": theory.relative_distance(kfac, kernel["own"]),
                "nngp_gap": theory.relative_distance(kfac, kernel["nngp"]),
                "nngp_accuracy": _accuracy(kernel["nngp"], y[:, one.samples :]),
            }
        )
    layers = theory.nngp_layers(x[:, : one.samples], hidden_layers=one.depth - 1)
    diagonals = np.diagonal(layers, axis1=-2, axis2=-1)
    ratios = (diagonals[1:] / diagonals[:-1]).mean(-1)
    per_step = {
        name: np.stack([[at[name] for at in steps[o]] for o in OPTIMIZERS])
        for name in steps["kfac"][0]
    }
    return xr.Dataset(
        {
            **{
                name: (("ridge", "run"), np.stack([at[name] for at in regressions]))
                for name in regressions[0]
            },
            **{name: (("optimizer", "ridge", "run"), found) for name, found in per_step.items()},
            "kernel_error": ("run", kernel["error"]),
            "recursion_ratio": (("layer", "run"), ratios),
        },
        coords={"ridge": ridges, "optimizer": list(OPTIMIZERS), "layer": np.arange(1, one.depth)},
    ).transpose("run", ...)
