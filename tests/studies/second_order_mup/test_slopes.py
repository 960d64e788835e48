"""Powers of the width after one step, and steps without matrices of the width's size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from regimes.optim import decompositions, kronecker, shampoo
from regimes.studies.second_order_mup import theory
from regimes.studies.second_order_mup.experiments import train
from regimes.studies.second_order_mup.settings import Train

WIDTHS = (64, 128, 256, 512)
SEEDS = 3
BASE = {
    "data": "digits", "samples": 64, "model": "mlp", "base_width": 64, "activation": "tanh",
    "lr": 0.1, "steps": 1, "precision": "double", "layers_at": "ends",
}  # fmt: skip
OPTIMIZERS = {
    "sgd": {},
    "kfac": {"damping_rule": "rescaled", "damping": 0.1, "fisher": "ggn"},
    "shampoo": {"damping_rule": "largest", "damping": 1e-4},
    "adam": {"lr": 1e-3},
}
# At the base width outputs are of order one, which muP makes of order 1 / sqrt(M) beyond it.
MULTIPLIER = {"sp": 1.0, "mup": 1 / 8}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "parameterization"),
    list(itertools.product(OPTIMIZERS, MULTIPLIER)),
)
def test_one_step_changes_layers_by_the_predicted_power_of_the_width(optimizer, parameterization):
    given = BASE | OPTIMIZERS[optimizer]
    given |= {"optimizer": optimizer, "parameterization": parameterization}
    given |= {"output_multiplier": MULTIPLIER[parameterization]}
    some = [
        Train.model_validate(given | {"width": width, "seed": seed})
        for width in WIDTHS
        for seed in range(SEEDS)
    ]
    change = train(some)["dWh"].isel(layer_step=1).values.reshape(len(WIDTHS), SEEDS, 3)
    found = np.polyfit(np.log(WIDTHS), np.log(change).mean(1), 1)[0]
    expected = np.array(theory.optimizer_slopes(optimizer, parameterization), dtype=float)
    np.testing.assert_allclose(found, expected, atol=0.2)


@pytest.fixture
def sizes(monkeypatch):
    """Shorter sides of the matrices that optimizers multiply or decompose, by function."""
    seen: dict[str, int] = {}

    def noted(name, matrix):
        seen[name] = max(seen.get(name, 0), min(matrix.shape[-2:]))

    def watched(module, name, what):
        original = getattr(module, name)

        def function(*given):
            result = original(*given)
            noted(name, given[0] if what == "argument" else result)
            return result

        monkeypatch.setattr(module, name, function)

    for module in (kronecker, shampoo):
        watched(module, "product", "result")
        for name in ("eigh", "eigenvalues", "thin_svd", "cholesky", "cholesky_solve"):
            # What a module has of this name is its own function or the decomposition.
            if getattr(module, name, None) is getattr(decompositions, name):
                watched(module, name, "argument")
    return seen


# Signals: ten columns for each of 16 examples.
WIDE = [
    ({"optimizer": "kfac", **OPTIMIZERS["kfac"]}, 160),
    ({"optimizer": "shampoo", **OPTIMIZERS["shampoo"]}, 64),  # inputs
]


def wide_step(width, **more):
    """One step on 16 examples."""
    given = {"width": width, "seed": 0, "samples": 16, "parameterization": "mup"}
    given |= {"precision": "single", "probe_samples": 4}
    return train([Train.model_validate(BASE | given | more)]).isel(run=0, layer_step=1)


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "largest"), WIDE)
def test_wide_layers_never_meet_a_matrix_of_their_size(optimizer, largest, sizes):
    change = wide_step(4096, **optimizer)["dWh"]
    assert (change > 0).all() and np.isfinite(change).all()
    assert {"product", "cholesky" if largest > 64 else "thin_svd"} <= set(sizes)
    assert max(sizes.values()) <= largest, sizes


@pytest.mark.parametrize(("optimizer", "largest"), WIDE)
def test_averages_need_such_matrices(optimizer, largest, sizes):
    """What the test above looks for would be seen."""
    wide_step(256, **optimizer, ema=0.5)
    assert max(sizes.values()) >= 256 > largest
