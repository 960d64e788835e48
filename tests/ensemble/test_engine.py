"""Training of many runs at once: against a plain loop, divergence, observations, independence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regimes import journal
from regimes.config import ConfigError
from regimes.data.streams import numpy_stream, stream_seed
from regimes.data.tasks import GaussianMixture, OnlineStream, Samples
from regimes.ensemble import engine
from regimes.ensemble.losses import LOSSES
from regimes.ensemble.networks import FunctionalNetwork, LayeredNetwork
from regimes.ensemble.updates import UPDATES
from regimes.nn.mlp import MLP

MODEL = MLP(64, 16, 3)
STEPS, BATCH = 30, 16


def program(gamma, eta, seeds=(0, 1), group=None, dtype=torch.float64, steps=STEPS):
    """Runs with these feature strengths and learning rates, and their stream."""
    drawn = [MODEL.initial(lambda n, s=s: numpy_stream(s, "w", n)) for s in seeds]
    start = {n: torch.from_numpy(np.stack([d[n] for d in drawn])).to(dtype) for n in drawn[0]}
    gamma, eta = (torch.tensor(v, dtype=dtype) for v in (gamma, eta))
    group = torch.arange(len(gamma)) % len(seeds) if group is None else torch.tensor(group)
    runs = engine.Runs(start, group, torch.arange(len(seeds)), gamma, 16 * eta)
    named = [stream_seed(s, "batches") for s in seeds]
    return runs, OnlineStream(GaussianMixture(), named, BATCH, steps, dtype=dtype)


def network(loss="mse"):
    return LayeredNetwork(3, LOSSES[loss])


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_equals_a_plain_loop_over_single_networks(loss):
    runs, stream = program([0.5, 1.0, 20.0], [0.5, 3.0, 30.0])
    found = engine.train(network(loss), UPDATES["sgd"], stream, runs)
    for run, (gamma, rate) in enumerate(zip(runs.gamma, runs.rate, strict=True)):
        which = int(runs.group[run])
        params = {n: p[which].clone().requires_grad_() for n, p in runs.start.items()}
        frozen = {n: p[which] for n, p in runs.start.items()}
        optimizer = torch.optim.SGD(params.values(), lr=float(rate))
        for step, (x, targets) in enumerate(stream):
            f = (MODEL.apply(params, x[which]) - MODEL.apply(frozen, x[which])) / gamma
            value = LOSSES[loss].value(f, targets[which])
            np.testing.assert_allclose(found.loss[run, step], float(value.detach()), rtol=1e-9)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()


def test_any_pure_model_trains_like_the_network_written_by_hand():
    runs, stream = program([0.5, 1.0, 20.0], [0.5, 3.0, 30.0])
    by_hand = engine.train(network(), UPDATES["sgd"], stream, runs)
    functional = FunctionalNetwork(MODEL.apply, LOSSES["mse"])
    other = engine.train(functional, UPDATES["sgd"], stream, runs)
    np.testing.assert_allclose(by_hand.loss, other.loss, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_and_their_divergence_change_no_bit(dtype):
    torch.set_num_threads(1)
    alone = engine.train(network(), UPDATES["sgd"], *reversed(program(
        [1.0, 1.0], [3.0, 3.0], group=[0, 0], dtype=dtype, steps=70)))  # fmt: skip
    gamma, eta = [1.0, 1e-3, 1.0, 1e-3, 5.0], [3.0, 1e6, 2.0, 1e4, 4.0]
    runs, stream = program(gamma, eta, group=[0, 0, 1, 1, 1], dtype=dtype, steps=70)
    mixed = engine.train(network(), UPDATES["sgd"], stream, runs)
    assert np.array_equal(alone.loss[0], mixed.loss[0])
    assert (mixed.diverged_at >= 0).tolist() == [False, True, False, True, False]


def test_divergence_is_marked_at_the_first_bad_loss():
    seen = []
    runs, stream = program([1e-3, 1.0], [1e6, 1.0], steps=50)
    watch = engine.Observation(
        range(0, 51, 5), lambda state: seen.append(len(state.lanes)) or {"one": state.gamma}
    )
    found = engine.train(network(), UPDATES["sgd"], stream, runs, [watch])
    at = found.diverged_at[0]
    assert at > 0 and found.diverged_at[1] == -1
    assert np.isfinite(found.loss[0, :at]).all() and np.isnan(found.loss[0, at:]).all()
    assert np.isfinite(found.loss[1]).all()
    observed = found.observed[0]["one"]
    steps = np.arange(0, 51, 5)
    assert np.array_equal(np.isnan(observed[0]), steps > at)
    assert (observed[1] == 1.0).all()


def test_steps_and_runs_that_are_alive_are_told_to_the_journal(monkeypatch):
    told = []
    begin = journal.training
    monkeypatch.setattr(journal, "training", lambda *a: told.append(begin(*a)) or told[-1])
    runs, stream = program([1e-3, 1.0, 1.0], [1e6, 1.0, 1.0], steps=50)
    engine.train(network(), UPDATES["sgd"], stream, runs)
    assert [(t.steps, t.runs, t.step, t.alive) for t in told] == [(50, 3, 49, 2)]


def test_the_last_survivor_and_the_end_of_all():
    runs, stream = program([1e-3, 1e-3, 1.0], [1e6, 1e6, 1.0], steps=50)
    one = engine.train(network(), UPDATES["sgd"], stream, runs)
    assert np.isfinite(one.loss[2]).all() and (one.diverged_at[:2] >= 0).all()
    runs, stream = program([1e-3, 1e-3], [1e6, 1e7], steps=50)
    none = engine.train(network(), UPDATES["sgd"], stream, runs)
    assert (none.diverged_at >= 0).all() and np.isnan(none.loss[:, -1]).all()


def test_step_zero_is_the_untrained_network_and_the_last_step_is_observed():
    runs, stream = program([0.5, 2.0], [1.0, 1.0])
    moved = engine.Observation(
        (0, STEPS),
        lambda s: {"moved": (s.params["w1"] - s.runs.start["w1"][s.group]).abs().amax((1, 2))},
    )
    found = engine.train(network(), UPDATES["sgd"], stream, runs, [moved])
    assert (found.observed[0]["moved"][:, 0] == 0).all()
    assert (found.observed[0]["moved"][:, 1] > 0).all()
    np.testing.assert_allclose(found.loss[:, 0], 0.1, rtol=1e-12)


def test_one_run_alone_is_refused():
    runs, stream = program([1.0], [1.0], seeds=(0, 1), group=[0])
    with pytest.raises(ValueError, match="at least 2"):
        engine.train(network(), UPDATES["sgd"], stream, runs)


def test_a_stream_that_would_run_dry_stops_before_training():
    data = Samples(torch.zeros(100, 64), torch.zeros(100, dtype=torch.long), 10)
    OnlineStream(data, [0], 10, 10)
    with pytest.raises(ConfigError, match="has 100 samples and the runs ask for 110"):
        OnlineStream(data, [0], 10, 11)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_captured_step_gives_the_same_trajectories_on_a_gpu(functional, dtype):
    """Also beside a run that diverges, and in a second call with the same network."""
    gamma, eta = [0.5, 1.0, 20.0, 1e-3], [0.5, 3.0, 30.0, 1e6]
    runs, stream = program(gamma, eta, dtype=dtype, steps=60)
    model = FunctionalNetwork(MODEL.apply, LOSSES["mse"]) if functional else network()
    plain = engine.train(model, UPDATES["sgd"], stream, runs)
    there = engine.Runs(
        {n: p.cuda() for n, p in runs.start.items()},
        *(v.cuda() for v in (runs.group, runs.stream, runs.gamma, runs.rate)),
    )

    class Moved(OnlineStream):
        def __iter__(self):
            for x, targets in stream:
                yield x.cuda(), targets.cuda()

    moved = Moved(GaussianMixture(), stream.seeds, BATCH, 60)
    for _ in range(2):
        found = engine.train(model, UPDATES["sgd"], moved, there)
        assert (found.diverged_at >= 0).tolist() == [False, False, False, True]
        np.testing.assert_allclose(found.loss[:3], plain.loss[:3], rtol=1e-3)


def test_a_step_keeps_what_capture_relies_on():
    """Parameters are updated in their own memory, and inputs are not changed."""
    runs, stream = program([0.5, 1.0], [0.5, 3.0])
    x, targets = next(iter(stream))
    for model in (network(), FunctionalNetwork(MODEL.apply, LOSSES["mse"])):
        trained = engine._Program(model, UPDATES["sgd"], runs)
        before = {name: value.data_ptr() for name, value in trained.params.items()}
        copies = x.clone(), targets.clone(), trained.params["w1"].clone()
        first = trained.step(x, targets)[0].clone()
        assert {name: value.data_ptr() for name, value in trained.params.items()} == before
        assert torch.equal(x, copies[0]) and torch.equal(targets, copies[1])
        # Restoring the parameters in place, as after a warm-up, gives the same step again.
        trained.params["w1"].copy_(copies[2])
        for name in set(before) - {"w1"}:
            start = model.prepare(runs.start)[name].index_select(0, runs.group)
            trained.params[name].copy_(start)
        assert torch.equal(trained.step(x, targets)[0], first)


def test_everything_observed_is_there_even_if_all_runs_diverge():
    runs, stream = program([1e-3, 1e-3], [1e6, 1e7], steps=50)
    at_end = engine.Observation((50,), lambda state: {"kernel": state.params["w1"]})
    found = engine.train(network(), UPDATES["sgd"], stream, runs, [at_end])
    assert found.observed[0]["kernel"].shape == (2, 1, 64, 16)
    assert np.isnan(found.observed[0]["kernel"]).all()
