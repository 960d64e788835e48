"""Toy networks whose Jacobian fits into memory, feature ranks, and sizes of networks.

Draws of one shape are lanes of one program; everything is float64 on the CPU, whatever the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from regimes import store
from regimes.config import ConfigError, RunSettings
from regimes.data.streams import numpy_stream
from regimes.ensemble.programs import in_programs
from regimes.nn.revmlp import RevMLP
from regimes.optim.gauss_newton import direction
from regimes.optim.pseudo_inverse import Rule, with_ones
from regimes.studies.exact_gauss_newton import data_sets
from regimes.studies.exact_gauss_newton.toy_settings import (
    Counts,
    FeatureRank,
    Flow,
    Identities,
)

Tensors = dict[str, Tensor]
Train = Callable[..., xr.Dataset]

EXACT = Rule(mode="truncate", rtol=0.0, atol=0.0, route="svd")
WIDEST = 64

TEXTS = {
    "residual": "|J Delta - E| / |E| of the update, the stack of all blocks divided by L",
    "residual_uncorrected": "|J Delta - E| / |E| of the update without the cross term",
    "block_error": "|Delta_l - pinv(J_l) E| / |pinv(J_l) E| of the weights of a block",
    "norm_ratio": "|Delta| / |pinv(J) E|",
    "minimum_norm_residual": "|J pinv(J) E - E| / |E|",
    "output_difference": "norm of the difference of outputs after one step with Delta and with "
    "pinv(J) E",
    "round_trip": "|inverse(forward(x)) - x| / |x|",
    "block": "block, counted from the input",
    "alpha": "step alpha in function space",
    "loss": "squared loss |f - y|^2 / (n d)",
    "step": "number of updates",
    "singular_value": "singular values of the features with a column of ones, largest first",
    "index": "place of the singular value, counted from 1",
    "rank": "singular values that are at least rtol times the largest",
    "half_inputs": "half h of the input dimension",
    "parameters": "trainable parameters, sum over the shapes of the tensors",
}


def _together(simulate: Callable[[Sequence], xr.Dataset], *free: str) -> Train:
    """Turn a function of runs that differ in seed and ``free`` settings only into one of any."""

    def shape(run: RunSettings) -> tuple:
        return tuple(sorted(run.model_dump(exclude={"seed", *free}).items()))

    def train(settings: Sequence[RunSettings], device: object = None) -> xr.Dataset:
        """Simulate runs in the order of ``settings``; the device does not matter."""
        return in_programs(
            settings, shape, lambda runs: store.described(simulate(runs), TEXTS), WIDEST
        )

    return train


# --- Toy networks ---------------------------------------------------------------------------------


def _model(run: Identities | Flow) -> RevMLP:
    return RevMLP(
        inputs=run.inputs,
        blocks=run.blocks,
        width=run.width,
        outputs=None,
        activation=run.activation,
        first_block_linear=False,
    )


def _drawn(runs: Sequence[Identities | Flow], *arrays: str) -> tuple[RevMLP, Tensors, Tensors]:
    """Model, weights and expansions of all runs, and standard normal (R, n, d) by name."""
    model, lanes = _model(runs[0]), []
    for run in runs:

        def stream(name: str, seed: int = run.seed) -> np.random.Generator:
            return numpy_stream(seed, "toy", name)

        weights = model.initial(stream, run.weight_std)
        more = {name: stream(name).standard_normal((run.samples, run.inputs)) for name in arrays}
        lanes.append((weights, model.frozen(stream, run.expansion_std), more))
    weights, frozen, more = (_stacked(dicts) for dicts in zip(*lanes, strict=True))
    return model, weights | frozen, more


def _stacked(dicts: Sequence[dict[str, np.ndarray]]) -> Tensors:
    return {name: torch.from_numpy(np.stack([one[name] for one in dicts])) for name in dicts[0]}


def _flat(model: RevMLP, params: Tensors) -> Tensor:
    """Trained parameters, or an update of them, as vectors (R, P), block after block."""
    return torch.cat([params[name].flatten(1) for name in model.shapes()], 1)


def _shaped(model: RevMLP, flat: Tensor) -> Tensors:
    """Inverse of `_flat`."""
    shapes = model.shapes()
    parts = flat.split([int(np.prod(shape)) for shape in shapes.values()], 1)
    return {
        name: part.reshape(-1, *shape)
        for part, (name, shape) in zip(parts, shapes.items(), strict=True)
    }


def _norms(values: Tensor) -> Tensor:
    """Norm of all numbers of each run (R,)."""
    return values.flatten(1).norm(dim=1)


def jacobian(model: RevMLP, params: Tensors, x: Tensor) -> Tensor:
    """Derivatives of x_L with respect to the trained parameters, by reverse mode.

    Parameters
    ----------
    model
        Network without read-out.
    params
        Trained and frozen tensors with a leading axis of R runs.
    x
        Inputs (R, n, d).

    Returns
    -------
    Tensor
        (R, n d, P), parameters in the order of ``model.shapes()``.
    """

    def summed(flat: Tensor) -> Tensor:
        return model.run(params | _shaped(model, flat), x).output.sum(0)

    # Runs share no parameters: the derivative of their sum has each run's own Jacobian.
    found = torch.func.jacrev(summed)(_flat(model, params))
    return found.flatten(0, 1).transpose(0, 1)


def _identities(runs: Sequence[Identities]) -> xr.Dataset:
    """The update against dense pseudo-inverses of the Jacobian, and one step with each."""
    one = runs[0]
    model, params, drawn = _drawn(runs, "x", "error")
    x, error = drawn["x"], drawn["error"]
    passed = model.run(params, x)
    wanted = error.flatten(1)[..., None]
    dense = jacobian(model, params, x)
    updates = {
        cross: _flat(model, direction(model, params, passed, error, EXACT, cross_term=cross)[0])
        for cross in (True, False)
    }
    minimum = (torch.linalg.pinv(dense) @ wanted)[..., 0]

    def residual(update: Tensor) -> Tensor:
        return _norms(dense @ update[..., None] - wanted) / _norms(wanted)

    size = dense.shape[-1] // model.blocks
    block_errors = []
    for of_block, update in zip(dense.split(size, -1), updates[True].split(size, -1), strict=True):
        own = (torch.linalg.pinv(of_block) @ wanted)[..., 0]
        block_errors.append(_norms(update - own) / _norms(own))

    delta = updates[True] / model.blocks
    alphas = np.geomspace(one.smallest_step, one.largest_step, one.step_sizes)
    start = _flat(model, params)

    def moved(update: Tensor, alpha: float) -> Tensor:
        return model.run(params | _shaped(model, start - alpha * update), x).output

    differences = [_norms(moved(delta, alpha) - moved(minimum, alpha)) for alpha in alphas]
    back = model.inverse(params, passed.output)
    per_run = {
        "residual": residual(delta),
        "residual_uncorrected": residual(updates[False] / model.blocks),
        "minimum_norm_residual": residual(minimum),
        "norm_ratio": _norms(delta) / _norms(minimum),
        "round_trip": _norms(back - x) / _norms(x),
    }
    return xr.Dataset(
        {
            **{name: ("run", values.numpy()) for name, values in per_run.items()},
            "block_error": (("run", "block"), torch.stack(block_errors, 1).numpy()),
            "output_difference": (("run", "alpha"), torch.stack(differences, 1).numpy()),
        },
        coords={"block": np.arange(1, model.blocks + 1), "alpha": alphas},
    )


def _flow(runs: Sequence[Flow]) -> xr.Dataset:
    """Squared loss with eps = f - y under theta <- theta - (alpha/L) direction (section 2.4)."""
    model, params, drawn = _drawn(runs, "x", "target")
    rate = runs[0].alpha / model.blocks
    losses = []
    for step in range(runs[0].steps + 1):
        passed = model.run(params, drawn["x"])
        error = passed.output - drawn["target"]
        losses.append(error.square().mean((1, 2)))
        if step < runs[0].steps:
            update, _ = direction(model, params, passed, error, EXACT)
            params = params | {name: params[name] - rate * update[name] for name in update}
    return xr.Dataset(
        {"loss": (("run", "step"), torch.stack(losses, 1).numpy())},
        coords={"step": np.arange(runs[0].steps + 1)},
    )


# --- Features at the start ------------------------------------------------------------------------


def _inputs(run: FeatureRank) -> np.ndarray:
    """Inputs (n, d): the first training samples of a data set, or normal numbers."""
    if run.data == "gaussian":
        return numpy_stream(run.seed, "inputs").standard_normal((run.samples, run.inputs))
    x = data_sets.inputs(run.data, run.samples)
    if run.samples > len(x):
        raise ConfigError(
            f"samples: {run.samples} is more than the {len(x)} training samples of {run.data}; "
            f"at most {len(x)}"
        )
    return x


def first_features(run: FeatureRank) -> tuple[Tensor, int]:
    """Features [phi(x2), 1] of the first half-coupled layer, (n, d' + 1), and the width h of x2.

    Raises
    ------
    regimes.config.ConfigError
        If the data cannot be read, or have fewer samples than wanted.
    """
    x = _inputs(run)
    model = RevMLP(
        inputs=x.shape[1],
        blocks=1,
        width=run.width,
        outputs=None,
        first_block_linear=run.activation == "linear",
    )
    expansion = numpy_stream(run.seed, "c1f").standard_normal((model.half_width, run.width))
    params = {"c1f": torch.from_numpy(expansion / np.sqrt(run.width))}
    features = model.expand(params, "1f", torch.from_numpy(x).chunk(2, -1)[1])
    return with_ones(features), model.half_width


def singular_values(matrix: Tensor) -> np.ndarray:
    """Singular values of a matrix (n, m), largest first; meant for n much smaller than m.

    By way of the triangular factor of its transpose, three times as fast as at once; unlike those
    of the Gram matrix they are right down to the rounding error of the largest.
    """
    triangle = torch.linalg.qr(matrix.T, mode="r").R
    return torch.linalg.svdvals(triangle).numpy()


def _ranks(settings: Sequence[FeatureRank], device: object = None) -> xr.Dataset:
    """Singular values and ranks; the device does not matter."""
    parts = []
    # A run is one factorization of 8e6 numbers: joining runs would only take memory.
    for run in settings:
        features, half = first_features(run)
        values = singular_values(features)
        found = xr.Dataset(
            {
                "singular_value": (("run", "index"), values[None]),
                "rank": ("run", [int((values >= run.rtol * values[0]).sum())]),
                "half_inputs": ("run", [half]),
            },
            coords={"index": np.arange(1, len(values) + 1)},
        )
        parts.append(store.described(found, TEXTS))
    return store.join_runs(parts)


# --- Sizes ----------------------------------------------------------------------------------------


def _counts(settings: Sequence[Counts], device: object = None) -> xr.Dataset:
    """Numbers of trainable parameters; no tensor is made."""
    counts = []
    for run in settings:
        shapes = RevMLP(
            inputs=run.inputs, blocks=run.blocks, width=run.width, outputs=None
        ).shapes()
        counts.append(sum(int(np.prod(shape)) for shape in shapes.values()))
    counted = xr.Dataset({"parameters": ("run", np.array(counts, dtype=np.int64))})
    return store.described(counted, TEXTS)


TOY_TRAIN: dict[str, Train] = {
    "identities": _together(_identities),
    "flow": _together(_flow),
    "rank": _ranks,
    "counts": _counts,
}
