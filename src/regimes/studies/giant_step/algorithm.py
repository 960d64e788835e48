"""Algorithm 1 of the paper for R runs at once: giant steps, then ridge regression.

Notation of the paper, batched over runs in front: inputs Z (R, n, d), first-layer weights W
(R, p, d) with neurons as rows, read-out a (R, p), teacher directions (R, r, d), labels y (R, n).
The network is ``fhat(z) = (1/sqrt p) sum_i a_i sigma(<w_i, z>)`` (Eq. (1)-(2)).

A batch is an iterable of chunks of Z that can be iterated more than once
(`regimes.data.streams.GaussianRows`); sums over a batch accumulate chunk by chunk, so a million
samples need the memory of one chunk. Stage 1 computes in the precision of the weights (float32 in
the study), stage 2 in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch

from regimes import lanes
from regimes.data.streams import numpy_stream
from regimes.fit.ridge import ridge_dual, ridge_primal
from regimes.studies.giant_step.functions import ACTIVATIONS, TARGETS, directions

FeatureMap = Callable[[torch.Tensor], torch.Tensor]
Labels = Callable[[torch.Tensor], torch.Tensor]

# ---------------------------------------------------------------- start of a run (one run, numpy)


def teacher_directions(seed: int, count: int, dimension: int) -> np.ndarray:
    """Orthonormal teacher directions w*_1..w*_r as rows (r, d), uniformly oriented.

    The first directions do not depend on how many there are.
    """
    gaussian = numpy_stream(seed, "teacher").standard_normal((count, dimension))
    return np.linalg.qr(gaussian.T).Q.T


def initial_rows(seed: int, law: str, width: int, dimension: int, symmetric: bool) -> np.ndarray:
    """First-layer weights W at step 0, shape (p, d).

    ``sphere``: rows uniform on the unit sphere (Eq. (10)); ``gauss``: entries N(0, 1/d) (official
    notebooks). ``symmetric``: w_i = w_(p-i+1) (Eq. (11)).
    """
    distinct = width // 2 if symmetric else width
    rows = numpy_stream(seed, "rows").standard_normal((distinct, dimension))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) if law == "sphere" else sqrt(dimension)
    return np.concatenate([rows, rows[::-1]]) if symmetric else rows


def initial_readout(seed: int, law: str, width: int, symmetric: bool) -> np.ndarray:
    """Read-out weights a, shape (p,), frozen during the giant steps.

    ``uniform``: sqrt(p) a_i uniform on [-1, 1] (Eq. (10)); ``gauss``: a_i ~ N(0, 1/p);
    ``hypercube``: sqrt(p) a_i = +1 for the first 20 neurons, -1 for the next 20, random signs for
    the rest (official notebooks; the two blocks shrink to a third of the neurons each where there
    are fewer than 60). ``symmetric``: a_i = -a_(p-i+1) (Eq. (11)), the law describing the first
    half.
    """
    distinct = width // 2 if symmetric else width
    stream = numpy_stream(seed, "readout")
    if law == "uniform":
        scaled = stream.uniform(-1, 1, distinct)
    elif law == "gauss":
        scaled = stream.standard_normal(distinct)
    else:
        block = min(20, distinct // 3)
        scaled = stream.choice([-1.0, 1.0], distinct)
        scaled[:block], scaled[block : 2 * block] = 1, -1
    readout = scaled / sqrt(width)
    return np.concatenate([readout, -readout[::-1]]) if symmetric else readout


# ------------------------------------------------------------------------------- labels of a batch


class LinearPart(NamedTuple):
    """Mean A = mean y (R,) and linear part B = mean y z (R, d) of the labels of a batch."""

    mean: torch.Tensor
    slope: torch.Tensor

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """Return A + Z B, shape (R, n)."""
        return self.mean.unsqueeze(1) + lanes.times_vector(samples, self.slope)


def target_labels(
    samples: torch.Tensor, teacher: torch.Tensor, targets: Sequence[str]
) -> torch.Tensor:
    """Labels y = f*(z) (R, n), each run with the target of its name."""
    # teacher Z^T keeps the samples of a run contiguous and costs no transposed copy of Z.
    projections = lanes.product(teacher, samples.transpose(1, 2))
    labels = torch.empty_like(projections[:, 0])
    for target in sorted(set(targets)):
        members = [run for run, name in enumerate(targets) if name == target]
        arguments = lanes.spaced(projections[members]).unbind(dim=1)[: directions(target)]
        labels[members] = TARGETS[target](*arguments)
    return labels


def linear_part(chunks: Iterable[torch.Tensor], labels: Labels) -> LinearPart:
    """Mean and linear part of the labels, measured on a batch (preprocessing step)."""
    count, mean, slope = 0, 0.0, 0.0
    for samples in chunks:
        y = labels(samples)
        count += samples.shape[1]
        mean = mean + y.sum(dim=1, dtype=torch.float64)
        slope = slope + lanes.weighted_sum(y, samples).double()
    dtype = y.dtype
    return LinearPart((mean / count).to(dtype), (slope / count).to(dtype))


def without(linear: LinearPart | None, labels: Labels) -> Labels:
    """Preprocessed labels ytilde = y - A - Z B; the labels themselves where ``linear`` is None."""
    if linear is None:
        return labels
    return lambda samples: labels(samples) - linear(samples)


# ----------------------------------------------------------------------------- stage 1: giant steps


class Gradient(NamedTuple):
    """What one pass over a batch yields.

    Attributes
    ----------
    negative : Tensor (R, p, d)
        Negative gradient G of the loss (1/2n) sum (y - fhat)^2 with respect to W.
    error : Tensor (R,)
        Mean of (y - fhat)^2 on the batch, float64.
    spike : Tensor (R, d)
        chat = (1/n) sum y z, the right vector of the gradient's spike (section 2.5e).
    """

    negative: torch.Tensor
    error: torch.Tensor
    spike: torch.Tensor


def network_output(
    samples: torch.Tensor, rows: torch.Tensor, readout: torch.Tensor, activation: str = "relu"
) -> torch.Tensor:
    """Network output fhat(z) = (1/sqrt p) sum_i a_i sigma(<w_i, z>), shape (R, n)."""
    features = _activate(lanes.product(samples, rows.transpose(1, 2)), activation)
    return lanes.times_vector(features, readout) / sqrt(rows.shape[1])


def negative_gradient(
    rows: torch.Tensor,
    readout: torch.Tensor,
    chunks: Iterable[torch.Tensor],
    labels: Labels,
    activation: str = "relu",
    residual: str = "full",
) -> Gradient:
    """Negative gradient of the half mean squared error over a batch (Algorithm 1, stage 1).

    ``g_i = (1/n) sum_nu (a_i/sqrt p) (y_nu - fhat(z_nu)) sigma'(<w_i, z_nu>) z_nu``

    Parameters
    ----------
    rows : Tensor (R, p, d)
        First-layer weights W.
    readout : Tensor (R, p)
        Read-out weights a.
    chunks : iterable of Tensor (R, m, d)
        The batch Z, chunk by chunk.
    labels : callable
        Labels (R, m) of a chunk.
    activation : str
        Name in `functions.ACTIVATIONS`.
    residual : {"full", "labels"}
        With ``labels`` the network output is left out of the gradient (correlation loss).

    Returns
    -------
    Gradient
    """
    scale = readout / sqrt(rows.shape[1])
    sums = _batch_mean(rows, scale, chunks, labels, activation, residual)
    return sums._replace(negative=sums.negative.mul_(scale.unsqueeze(2)))


def mirrored_gradient(
    rows: torch.Tensor,
    readout: torch.Tensor,
    chunks: Iterable[torch.Tensor],
    labels: Labels,
    activation: str = "relu",
) -> Gradient:
    """Negative gradient at the symmetric start (Eq. (11)) from half of the neurons.

    There fhat = 0, and neurons i and p-i+1 have opposite gradients: the step costs half. Arguments
    as in `negative_gradient`; only the first p/2 rows are read.
    """
    width = rows.shape[1]
    scale = readout[:, : width // 2] / sqrt(width)
    half = _batch_mean(rows[:, : width // 2], None, chunks, labels, activation, "labels")
    gradient = half.negative.mul_(scale.unsqueeze(2))
    return half._replace(negative=torch.cat([gradient, -gradient.flip(1)], dim=1))


def _batch_mean(
    rows: torch.Tensor,
    scale: torch.Tensor | None,
    chunks: Iterable[torch.Tensor],
    labels: Labels,
    activation: str,
    residual: str,
) -> Gradient:
    """Batch means without the factor a_i/sqrt(p) of neuron i; ``scale`` None means fhat = 0.

    The two matrix products take nearly all the time; in between, every pass over the (R, m, p)
    preactivations is in place.
    """
    rows = lanes.aligned(rows)
    total = lanes.zeros_like(rows)
    spike = torch.zeros_like(rows[:, 0])
    error, count, buffer = 0.0, 0, None
    for samples in chunks:
        if buffer is None:  # the first chunk is the largest
            buffer = lanes.empty(
                *samples.shape[:2], rows.shape[1], dtype=rows.dtype, device=rows.device
            )
        preactivations = buffer[:, : samples.shape[1]]
        lanes.product(samples, rows.transpose(1, 2), out=preactivations)
        y = difference = labels(samples)
        if scale is not None:
            features = _activate(preactivations, activation)
            difference = y - lanes.times_vector(features, scale)
        error = error + difference.double().square().sum(dim=1)
        factor = difference if residual == "full" else y
        backward = _times_derivative(factor, preactivations, activation)
        lanes.add_product_(total, backward.transpose(1, 2), samples)
        spike += lanes.weighted_sum(y, samples)
        count += samples.shape[1]
    return Gradient(total.div_(count), error / count, spike.div_(count))


# ------------------------------------------------------------------------ stage 2: ridge regression


def features(rows: torch.Tensor, activation: str = "relu") -> FeatureMap:
    """Feature map of a network: Z (R, m, d) -> sigma(Z W^T) (R, m, p), in float64.

    The factor 1/sqrt(p) of Phi is left to `ridge_coefficients` and `generalization_error`, which
    apply it to small arrays.
    """

    def feature_map(samples: torch.Tensor) -> torch.Tensor:
        return _activate(lanes.product(samples, rows.transpose(1, 2)), activation).double()

    return feature_map


class SecondStage(NamedTuple):
    """Ridge regression on M feature maps and S strengths.

    Attributes
    ----------
    coefficients : Tensor (M, R, S, p)
        Read-out weights a, to be used with Phi = sigma(Z W^T)/sqrt(p).
    train_error : Tensor (M, R, S)
        Mean squared error on the ridge batch.
    """

    coefficients: torch.Tensor
    train_error: torch.Tensor


def ridge_coefficients(
    maps: Sequence[FeatureMap],
    chunks: Iterable[torch.Tensor],
    labels: Labels,
    count: int,
    width: int,
    strengths: Sequence[float],
) -> SecondStage:
    """Ridge regression on several feature maps in one pass over the batch (Algorithm 1, stage 2).

    ``min_a |y - Phi a|^2 + lambda |a|^2`` with Phi = sigma(Z W^T)/sqrt(p); the batch enters through
    its Gram matrices where n >= p, through Phi itself where n < p.

    Parameters
    ----------
    maps : sequence of FeatureMap
        For instance the network after every step.
    chunks, labels
        The ridge batch and its labels, as in `negative_gradient`.
    count, width : int
        Batch size n and number of features p.
    strengths : sequence of float
        Ridge strengths lambda.
    """
    solve = _ridge_on_gram if count >= width else _ridge_on_features
    return solve(maps, chunks, labels, count, width, strengths)


def _ridge_on_gram(maps, chunks, labels, count, width, strengths) -> SecondStage:
    grams, moments, square = [None] * len(maps), [0.0] * len(maps), 0.0
    for samples in chunks:
        y = labels(samples).double()
        square = square + y.square().sum(dim=1)
        for index, feature_map in enumerate(maps):
            phi = feature_map(samples)
            if grams[index] is None:
                grams[index] = lanes.zeros_like(phi.new_empty(phi.shape[0], width, width))
            lanes.add_product_(grams[index], phi.transpose(1, 2), phi)
            moments[index] = moments[index] + lanes.weighted_sum(y, phi)
    stages = []
    for gram, moment in zip(grams, moments, strict=True):
        gram, moment = gram / width, moment / sqrt(width)
        a = ridge_primal(gram, moment, strengths)
        # |y - Phi a|^2 = |y|^2 - y.Phi a - lambda |a|^2 by the normal equations.
        shrinkage = a.square().sum(dim=2) * a.new_tensor(list(strengths))
        explained = (a * moment.unsqueeze(1)).sum(dim=2)
        stages.append((a, (square.unsqueeze(1) - explained - shrinkage).clamp(min=0) / count))
    return SecondStage(*map(torch.stack, zip(*stages, strict=True)))


def _ridge_on_features(maps, chunks, labels, count, width, strengths) -> SecondStage:
    held: list[list[torch.Tensor]] = [[] for _ in maps]
    y = []
    for samples in chunks:
        y.append(labels(samples).double())
        for phis, feature_map in zip(held, maps, strict=True):
            phis.append(feature_map(samples))
    y = torch.cat(y, dim=1)
    stages = []
    for phis in held:
        phi = torch.cat(phis, dim=1) / sqrt(width)
        a = ridge_dual(phi, y, strengths)
        difference = y.unsqueeze(1) - lanes.product(a, phi.transpose(1, 2))
        stages.append((a, difference.square().mean(dim=2)))
    return SecondStage(*map(torch.stack, zip(*stages, strict=True)))


def generalization_error(
    maps: Sequence[FeatureMap],
    coefficients: torch.Tensor,
    chunks: Iterable[torch.Tensor],
    labels: Sequence[Labels],
) -> torch.Tensor:
    """Mean squared errors on a fresh test set, no factor 1/2.

    Parameters
    ----------
    maps : sequence of FeatureMap
        M feature maps.
    coefficients : Tensor (M, R, B, S, p)
        Read-out weights for B ridge batches and S strengths.
    chunks : iterable of Tensor (R, m, d)
        The test set.
    labels : sequence of callable
        For each ridge batch the test labels (R, m), less the linear part fitted on that batch
        where labels are preprocessed.

    Returns
    -------
    Tensor (M, R, B, S)
    """
    runs, batches, strengths, width = coefficients.shape[1:]
    readout = coefficients.flatten(2, 3).transpose(2, 3) / sqrt(width)
    total, count = 0.0, 0
    for samples in chunks:
        y = torch.stack([label(samples) for label in labels], dim=2).double()
        errors = []
        for feature_map, weights in zip(maps, readout, strict=True):
            output = lanes.product(feature_map(samples), weights)
            difference = y.unsqueeze(3) - output.reshape(runs, -1, batches, strengths)
            errors.append(difference.square().sum(dim=1))
        total = total + torch.stack(errors)
        count += samples.shape[1]
    return total / count


# ------------------------------------------------------------------------------------------ kernels


def _activate(preactivations: torch.Tensor, activation: str) -> torch.Tensor:
    """sigma(h), for ReLU in place: its derivative is still known from the sign of the result."""
    if activation == "relu":
        return preactivations.relu_()
    return ACTIVATIONS[activation][0](preactivations)


def _times_derivative(
    factor: torch.Tensor, preactivations: torch.Tensor, activation: str
) -> torch.Tensor:
    """factor_nu sigma'(h_nu,i), shape (R, m, p); for ReLU the mask is applied in the same pass."""
    factor = factor.unsqueeze(2)
    if activation == "relu":
        return torch.ops.aten.threshold_backward.grad_input(
            factor.expand_as(preactivations), preactivations, 0, grad_input=preactivations
        )
    return ACTIVATIONS[activation][1](preactivations) * factor
