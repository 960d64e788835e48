"""Settings of networks: windows of learning rates, rules, conventions, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from regimes.studies.feature_strength.settings import Network

BASE = {
    "depth": 3, "width": 64, "stream": "gmm30", "batch_size": 64, "steps": 500, "loss": "mse",
    "log10_gamma": 0.0, "seed": 0,
}  # fmt: skip


def network(**changes):
    return Network.model_validate(BASE | changes)


def window(top, bottom, step=0.25, **changes):
    point = BASE | changes | {"eta_window": {"top": top, "bottom": bottom, "step": step}}
    return [values["log10_eta"] for values in Network.expand(point)]


def test_window_follows_the_edges_of_each_loss():
    assert window(2, -1, 0.5, log10_gamma=-3)[0] == -7 and window(2, -1, log10_gamma=-3)[-1] == -4
    assert window(2, -1, log10_gamma=3)[0] == 2 and window(2, -1, log10_gamma=3)[-1] == 4
    cross = {"loss": "cross_entropy"}
    assert window(3.5, -1.5, log10_gamma=-2, **cross)[-1] == 1.5
    assert window(3.5, -1.5, log10_gamma=-2, **cross)[0] == -5.5
    sign = window(0, -2, optimizer="sign", log10_gamma=3)
    assert sign[0] == -1 and sign[-1] == 1


@given(st.floats(-5, 5), st.integers(2, 6), st.sampled_from(["mse", "cross_entropy"]))
def test_windows_lie_on_one_grid(log10_gamma, depth, loss):
    found = np.array(window(2.5, -1.25, log10_gamma=log10_gamma, depth=depth, loss=loss))
    np.testing.assert_allclose(found * 4, np.round(found * 4), atol=1e-9)
    np.testing.assert_allclose(np.diff(found), 0.25)


def test_window_mistakes_are_named():
    with pytest.raises(ValueError, match="needs numbers top, bottom and step"):
        list(Network.expand(BASE | {"eta_window": {"top": 1}}))
    with pytest.raises(ValueError, match="eta_window.step: input should be greater than 0"):
        window(1, 0, step=0)
    for bad in ("1", [0.5], None):
        with pytest.raises(ValueError, match="eta_window.step: input should be a valid number"):
            window(1, 0, step=bad)
    with pytest.raises(ValueError, match="holds no learning rate at log10_gamma = 3"):
        window(1, 2, log10_gamma=3)
    with pytest.raises(ValueError, match="drop log10_eta and eta_rule"):
        window(1, 0, eta_rule="power")
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        window(1, 0, depth=0)
    with pytest.raises(ValueError, match="eta_window needs log10_gamma"):
        point = {"depth": 3, "loss": "mse", "eta_window": {"top": 1, "bottom": 0, "step": 1}}
        list(Network.expand(point))


def test_learning_rate_rules():
    assert network(log10_eta=-2, eta_factor=3).eta() == pytest.approx(0.03)
    assert network(eta_rule="power", log10_gamma=-2).eta() == pytest.approx(1e-4)
    assert network(eta_rule="power", log10_gamma=3, eta_factor=10).eta() == pytest.approx(1e3)
    assert network(eta_rule="gamma", log10_gamma=3).eta() == pytest.approx(1e3)
    # lr = N eta = 2 m / lambda_0
    assert 64 * network(eta_rule="sharpness", eta_factor=4).eta(50.0) == pytest.approx(8 / 50)


def test_double_precision_below_a_hundredth():
    assert [network(log10_gamma=g).double for g in (-3, -2.5, -2, 0)] == [True, True, False, False]
    assert (
        network(precision="float64").double
        and not network(precision="float32", log10_gamma=-4).double
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stream": "mnist1m", "steps": 10_000, "batch_size": 128}, "never repeated"),
        ({"architecture": "cnn"}, "needs a stream of images"),
        ({"architecture": "cnn", "stream": "templates"}, "is 4 by convention"),
        ({"architecture": "vit", "stream": "templates", "width": 30}, "multiple of heads"),
        ({"architecture": "cnn", "stream": "gmm30_patches", "depth": 4}, "at least 10 pixels"),
        ({"architecture": "vit", "stream": "gmm30_patches", "patch": 5}, "does not divide"),
        ({"kernel_points": 700}, "must not exceed points"),
        ({"test_at": "now and then"}, "test_at: 'now and then' is no schedule"),
        ({"stream": "gmm31"}, "Input should be"),
    ],
)
def test_mistakes_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        network(**changes)
