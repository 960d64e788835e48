"""Reversible networks: shapes, equations written out, inverse, tangents, stable bits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import jvp

from regimes.nn.revmlp import RevMLP


def stream(seed):
    """Random generators by name."""
    return lambda name: np.random.default_rng([seed, *name.encode()])


def tensors(model, seed=0, sigma=0.3, dtype=torch.float64):
    """Trained and frozen tensors of one network, in one dict."""
    drawn = model.initial(stream(seed), sigma) | model.frozen(stream(seed))
    return {name: torch.from_numpy(value).to(dtype) for name, value in drawn.items()}


def inputs(model, count=5, seed=0, dtype=torch.float64):
    """Standard normal inputs (n, d)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, model.inputs, generator=generator, dtype=dtype)


MODELS = [
    RevMLP(8, 3, 20, 4),
    RevMLP(8, 2, None, 4),
    RevMLP(6, 2, 11, None, "tanh", first_block_linear=False),
    RevMLP(6, 1, None, 3, "tanh"),
]


def by_hand(model, params, x):
    """The equations of a block in numpy, sample by sample."""
    p = {name: value.numpy() for name, value in params.items()}
    act = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}[model.activation]
    rows = []
    for row in x.numpy():
        first, second = row[: model.inputs // 2], row[model.inputs // 2 :]
        for block in range(1, model.blocks + 1):
            for side in "fg":
                read = second if side == "f" else first
                z = read @ p[f"c{block}{side}"] if model.width else read
                phi = z if model.first_block_linear and block == 1 else act(z)
                added = phi @ p[f"w{block}{side}"] + p[f"b{block}{side}"]
                if side == "f":
                    first = first + added
                else:
                    second = second + added
        state = np.concatenate([first, second])
        rows.append(state @ p["readout"] if model.outputs else state)
    return np.array(rows)


@pytest.mark.parametrize("model", MODELS)
def test_forward_follows_the_equations(model):
    params, x = tensors(model), inputs(model)
    for name in params:
        if name.startswith("b"):
            params[name] = torch.linspace(-1, 1, len(params[name]), dtype=torch.float64)
    np.testing.assert_allclose(model.apply(params, x), by_hand(model, params, x), rtol=1e-12)


@given(
    st.integers(1, 5), st.integers(1, 4), st.sampled_from([None, 3, 17]), st.booleans(),
    st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_the_inverse_undoes_the_network(half, blocks, width, linear, seed):
    model = RevMLP(2 * half, blocks, width, None, first_block_linear=linear)
    params, x = tensors(model, seed, sigma=0.5), inputs(model, seed=seed)
    output = model.run(params, x).output
    np.testing.assert_allclose(model.inverse(params, output), x, atol=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_the_tangent_of_the_inverse_is_that_of_forward_mode_differentiation(model):
    params, x = tensors(model), inputs(model)
    passed = model.run(params, x)
    tangent = inputs(model, seed=1)
    _, expected = jvp(lambda y: model.inverse(params, y), (passed.output,), (tangent,))
    first, second = tangent.chunk(2, -1)
    for block in range(model.blocks, 0, -1):
        first, second = model.inverse_tangent(params, block, passed, first, second)
    np.testing.assert_allclose(torch.cat([first, second], 1), expected, rtol=1e-10, atol=1e-12)


def test_block_outputs_are_those_of_shorter_networks():
    model = RevMLP(8, 3, 20, 4)
    params, x = tensors(model), inputs(model)
    states = model.states(model.run(params, x))
    for blocks, state in enumerate(states, 1):
        short = RevMLP(8, blocks, 20, None)
        np.testing.assert_array_equal(state, short.run(params, x).output)


def test_small_weights_make_the_identity_and_the_readout_is_orthonormal():
    model = RevMLP(64, 2, 200, 10)
    params, x = tensors(model, sigma=1e-6), inputs(model)
    np.testing.assert_allclose(model.run(params, x).output, x, atol=1e-3)
    readout = params["readout"]
    np.testing.assert_allclose(readout.T @ readout, np.eye(10), atol=1e-12)
    assert params["c1f"].std() == pytest.approx(200**-0.5, rel=0.05)


def test_lifting_is_the_transpose_of_the_readout():
    model = RevMLP(8, 1, 20, 3)
    params, error = tensors(model), torch.randn(5, 3, dtype=torch.float64)
    expected = np.einsum("nk,dk->nd", error, params["readout"])
    np.testing.assert_allclose(model.lift(params, error), expected, rtol=1e-12)
    bare = RevMLP(8, 1, 20, None)
    assert bare.lift({}, error) is error


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_run_has_the_same_bits_alone_and_beside_others(model, dtype):
    runs = [tensors(model, seed, dtype=dtype) for seed in range(5)]
    x = inputs(model, 7, dtype=dtype)
    together = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
    out = model.apply(together, x.expand(5, *x.shape))
    for pair in ((0, 1), (3, 4), (4, 2)):
        some = {name: value[list(pair)] for name, value in together.items()}
        assert torch.equal(model.apply(some, x.expand(2, *x.shape)), out[list(pair)])
    np.testing.assert_allclose(out[0], model.apply(runs[0], x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((7, 2, 10), "must be even, not 7; append a column of zeros"),
        ((0, 2, 10), "must be even"),
        ((8, 0, 10), "positive"),
        ((8, 2, 0), "positive"),
        ((8, 2, 10, 9), "between 1 and 8 outputs, not 9"),
        ((8, 2, 10, 2, "gelu"), "activations are relu, tanh"),
    ],
)
def test_impossible_networks_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        RevMLP(*sizes)
