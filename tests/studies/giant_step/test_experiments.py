from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from regimes.data.streams import GaussianRows, stream_seed
from regimes.studies.giant_step import algorithm, experiments
from regimes.studies.giant_step.experiments import KINDS, train
from regimes.studies.giant_step.functions import TARGETS
from regimes.studies.giant_step.record import VARIABLES
from regimes.studies.giant_step.settings import GiantSteps

SMALL = {"dimension": 16, "width": 8, "batch_factor": 4.0, "test_size": 300}


def runs(count=3, targets=("minus",), **settings):
    settings = SMALL | settings
    return [GiantSteps(seed=s, target=t, **settings) for s in range(count) for t in targets]


def same(one: xr.Dataset, other: xr.Dataset) -> list[str]:
    """Names of variables that differ in any bit."""
    assert set(one) == set(other)
    return [name for name in one if one[name].values.tobytes() != other[name].values.tobytes()]


# --------------------------------------------------------------------------------- one run, dense


def data(seed, *names, dimension):
    batch = GaussianRows([stream_seed(seed, *names)], names[-1], dimension, chunk=1024)
    return np.concatenate([z[0].numpy().copy() for z in batch]).astype(np.float64)


def transcription(run: GiantSteps):
    """Algorithm 1 for one ReLU run as written in the paper: numpy, float64, one batch at a time."""
    d, p, n, seed = run.dimension, run.width, run.batch_size, run.seed
    teacher = algorithm.teacher_directions(seed, 2, d)
    w = algorithm.initial_rows(seed, run.rows, p, d, run.symmetric)
    a = algorithm.initial_readout(seed, run.readout, p, run.symmetric)

    def label(z, linear=None):
        y = TARGETS[run.target](*(z @ teacher.T).T)
        return y if linear is None else y - linear[0] - z @ linear[1]

    def linear_part(z):
        return (label(z).mean(), label(z) @ z / len(z)) if run.preprocess else None

    weights, gradients, online = [w], [], []
    for step in range(1, run.steps + 1):
        z = data(seed, "batch", step, n, dimension=d)
        y = label(z, linear_part(z))
        h = z @ w.T
        residual = y - np.maximum(h, 0) @ a / np.sqrt(p)
        online.append(np.mean(residual**2))
        factor = residual if run.residual == "full" else y
        gradients.append(((h > 0) * factor[:, None] * a / np.sqrt(p)).T @ z / n)
        w = w + run.learning_rate * gradients[-1]
        weights.append(w)

    test = data(seed, "test", run.test_size, dimension=d)
    errors = np.empty(
        (3, run.steps + 1, len(run.ridge_batch_sizes or (n,)), len(run.ridge_strengths))
    )
    for b, size in enumerate(run.ridge_batch_sizes or (n,)):
        names = ("batch", run.steps, n) if run.ridge_data == "same" else ("ridge", size)
        z = data(seed, *names, dimension=d)
        linear = linear_part(z)
        y = label(z, linear)
        for step, w in enumerate(weights):
            phi, test_phi = (np.maximum(x @ w.T, 0) / np.sqrt(p) for x in (z, test))
            for s, strength in enumerate(run.ridge_strengths):
                c = np.linalg.solve(phi.T @ phi + strength * np.eye(p), phi.T @ y)
                output = test_phi @ c
                errors[:, step, b, s] = [
                    np.mean((label(test, linear) - output) ** 2),
                    np.mean((y - phi @ c) ** 2),
                    np.mean((label(test, linear_part(test)) - output) ** 2),
                ]
    return teacher, np.stack(weights), np.stack(gradients), np.array(online), errors


@pytest.mark.parametrize(
    "settings",
    [
        {"readout": "hypercube", "ridge_batch_sizes": (5, 30)},
        {"rows": "gauss", "readout": "gauss", "symmetric": False, "ridge_data": "same"},
        {"preprocess": True, "residual": "labels", "learning_rate_rule": "width"},
        {"preprocess": True, "ridge_data": "same", "symmetric": False},
    ],
)
def test_against_a_transcription_in_numpy(settings):
    chosen = runs(2, steps=3, ridge_strengths=(0.1, 1.0), **settings)
    found = train(chosen)
    for index, run in enumerate(chosen):
        record = found.isel(run=index)
        teacher, weights, gradients, online, errors = transcription(run)
        close = {"rtol": 2e-4, "atol": 2e-4}
        assert np.allclose(record.w_dot_teacher, weights @ teacher.T, **close)
        assert np.allclose(record.w_norm, np.linalg.norm(weights, axis=2), **close)
        scale = np.abs(gradients).max()
        assert np.allclose(record.g_dot_teacher[1:] / scale, gradients @ teacher.T / scale, **close)
        norms = np.linalg.norm(gradients, axis=2)
        assert np.allclose(record.g_norm[1:] / scale, norms / scale, **close)
        assert np.allclose(record.online_error[1:], online, **close)
        assert np.allclose(record.test_error, errors[0], **close)
        assert np.allclose(record.train_error, errors[1], **close)
        if run.preprocess:
            assert np.allclose(record.test_error_leak, errors[2], **close)


# ------------------------------------------------------------------------------------ the dataset


def test_dataset_layout():
    chosen = [
        *runs(
            1, ("minus", "chain"), steps=2, ridge_strengths=(1.0,), preprocess=True, spectrum=True
        ),
        *runs(1, width=12, steps=1, ridge_strengths=(0.1, 1.0), surrogate=True),
        *runs(1, steps=0),
    ]
    found = train(chosen)
    assert set(found) == set(VARIABLES)
    assert dict(found.sizes) == {
        "run": 4, "step": 3, "neuron": 12, "direction": 3, "ridge": 2, "ridge_batch": 1,
        "singular_value": 4,
    }  # fmt: skip
    for name, (dims, dtype, long_name) in VARIABLES.items():
        assert found[name].dims == ("run", *dims)
        assert found[name].dtype == dtype
        assert found[name].attrs == {"long_name": long_name, "units": "1"}
    assert found.step.values.tolist() == [0, 1, 2]
    assert found.g_norm[:, 0].isnull().all() and found.online_error[:, 0].isnull().all()
    assert found.w_norm[0, :, 8:].isnull().all() and found.w_norm[0, :, :8].notnull().all()
    assert found.w_dot_teacher[0, ..., 2].isnull().all()
    assert found.test_error[2, :2].notnull().all() and found.test_error[2, 2].isnull().all()
    assert found.test_error_leak[2].isnull().all()
    assert found.test_error_surrogate[2, :2].notnull().all()
    assert found.spike_norm[3].isnull() and found.spike_norm[:3].notnull().all()
    assert (found.diverged_at == -1).all()


def test_optional_variables_are_absent_where_no_run_has_them():
    found = set(train(runs(2)))
    assert not any("error" in name for name in found - {"online_error"})
    assert not {"ridge_strength", "g_singular_values", "right_dot_teacher"} & found
    assert KINDS == {"giant_steps": train}


def test_surrogate_is_measured_at_the_first_and_last_step_only():
    found = train(runs(2, steps=3, ridge_strengths=(1.0,), surrogate=True))
    measured = found.test_error_surrogate.notnull().all(["run", "ridge", "ridge_batch"])
    assert measured.values.tolist() == [True, False, False, True]


def test_a_diverged_run_is_nan_from_then_on_and_spares_its_neighbours():
    calm = runs(2, steps=4, ridge_strengths=(1.0,))
    wild = runs(1, ("example1",), steps=4, ridge_strengths=(1.0,), learning_rate_factor=1e12)
    alone, together = train(calm), train([*calm, *wild])
    assert not same(alone, together.isel(run=[0, 1]))
    step = int(together.diverged_at[2])
    assert 1 <= step <= 4
    for name in ("w_norm", "w_dot_teacher", "g_norm", "online_error", "test_error"):
        assert together[name][2, step:].isnull().all()
    assert together.w_norm[2, :step].notnull().all()
    assert together.test_error[2, :step].notnull().all()


# ---------------------------------------------------------------- independence of the neighbours


@pytest.mark.parametrize(
    "settings",
    [
        {
            "ridge_strengths": (1e-6, 1.0),
            "ridge_batch_sizes": (7, 123),
            "surrogate": True,
            "spectrum": True,
        },
        {"preprocess": True, "symmetric": False, "ridge_strengths": (0.1,), "ridge_data": "same"},
        {"activation": "cubic", "ridge_strengths": (1e-3,), "surrogate": True},
    ],
)
@pytest.mark.parametrize("shape", [(16, 8, 4.0), (33, 30, 6.2), (101, 14, 0.3)])
def test_a_run_has_the_same_bits_at_any_width_and_in_any_order(monkeypatch, settings, shape):
    dimension, width, factor = shape
    settings = settings | {"dimension": dimension, "width": width, "batch_factor": factor}
    chosen = runs(3, ("minus", "he124"), steps=2, **settings)
    reference = None
    for widest in (2, 3, 5, 8):
        monkeypatch.setitem(experiments.WIDEST, "cpu", widest)
        for order in (np.arange(6), np.array([3, 1, 4, 0, 5, 2])):
            found = train([chosen[i] for i in order]).isel(run=np.argsort(order))
            reference = found if reference is None else reference
            assert not same(reference, found)


def test_a_run_does_not_depend_on_the_runs_beside_it():
    one = runs(1, steps=1, ridge_strengths=(1.0,))
    others = [
        *runs(2, ("plus", "A", "chain"), steps=1, ridge_strengths=(1.0,)),
        *runs(1, width=6, steps=2),
    ]
    alone = train(one)
    beside = train([*others, *one]).isel(run=[-1], step=slice(2), neuron=slice(8))
    assert not same(alone, beside.isel(direction=slice(2))[list(alone)])


def test_runs_of_one_seed_share_their_start_and_start_seed_replaces_it():
    found = train(
        [
            GiantSteps(seed=1, target="minus", **SMALL),
            GiantSteps(seed=1, target="plus", **SMALL | {"batch_factor": 8.0}),
            GiantSteps(seed=2, target="minus", start_seed=1, **SMALL),
            GiantSteps(seed=2, target="minus", **SMALL),
        ]
    )
    start = found.w_dot_teacher[:, 0].values
    assert np.array_equal(start[0], start[1]) and np.array_equal(start[0], start[2])
    assert not np.array_equal(start[0], start[3])
    assert np.array_equal(found.readout_weight[0], found.readout_weight[2])
    assert found.spike_norm[2] != found.spike_norm[0]


# ------------------------------------------------------------------------------------- the paper


def test_one_third_of_the_gradient_is_aligned_at_n_equal_to_d():
    chosen = [
        GiantSteps(seed=s, target="he1", dimension=512, width=64, test_size=100) for s in range(40)
    ]
    found = train(chosen)
    cosine = found.g_dot_teacher[:, 1, :, 0] / found.g_norm[:, 1]
    assert float((cosine**2).mean()) == pytest.approx(1 / 3, abs=0.02)


def test_staircase_target_learns_its_second_direction_at_the_second_step():
    settings = {"dimension": 256, "width": 64, "steps": 3, "readout": "hypercube"}
    found = train(runs(3, ("z1_z1z2", "z1_z2z3"), learning_rate_rule="width", **settings))
    cosine = ((found.w_dot_teacher / found.w_norm) ** 2).mean("neuron")
    staircase = cosine[0::2].mean("run")
    assert staircase[1, 0] > 0.12 and staircase[1, 1] < 5 / 256
    assert staircase[3, 1] > 3 * staircase[1, 1]
    assert (cosine[1::2, :, 1:].mean("run") < 0.012).all()


def test_spike_of_the_first_gradient():
    # Section 2.5(e) at d = n = 512, p = 256: p s1/sqrt(p/2) = 0.694, formula 0.707.
    found = train(
        runs(3, dimension=512, width=256, batch_factor=1, readout="hypercube", spectrum=True)
    )
    top = found.g_singular_values[:, 0] * 256 / np.sqrt(128)
    assert np.allclose(top, found.spike_norm / 2, rtol=0.05)
    assert float(top.mean()) == pytest.approx(0.70, rel=0.06)
    assert (found.spike_right_cosine > 0.98).all()
    ratio = found.g_singular_values[:, 0] / found.g_singular_values[:, 1]
    assert (ratio > 3.5).all()


def test_surrogate_predicts_the_test_error():
    settings = {"dimension": 200, "width": 150, "ridge_strengths": (1.0,), "test_size": 4000}
    found = train(
        runs(
            6, ("A", "B"), steps=1, surrogate=True, ridge_batch_sizes=(100, 800),
            learning_rate_rule="width", learning_rate_factor=2.0, **settings
        )
    )  # fmt: skip
    for target in (0, 1):
        real, surrogate = (
            found[name][target::2].mean("run") for name in ("test_error", "test_error_surrogate")
        )
        assert np.allclose(surrogate / real, 1, atol=0.05)


def test_one_step_halves_the_error_of_frozen_features():
    # Figure A.1 at d = 128, p = 64, n = d^2: T = 1..6 from 0.245 down to 0.146; frozen features
    # reach the plateau 0.609 of section 2.7, averaged over W.
    found = train(
        runs(
            10, ("he124",), dimension=128, width=64, batch_factor=1, batch_exponent=2, steps=6,
            rows="gauss", readout="hypercube", symmetric=False, ridge_strengths=(1.0,),
            test_size=10_000,
            learning_rate_factor=0.5 * 12 / np.sqrt(128),
        )
    )  # fmt: skip
    error = found.test_error.mean("run").squeeze()
    assert float(error[0]) == pytest.approx(0.609, abs=0.04)
    assert float(error[1]) == pytest.approx(0.245, abs=0.06)
    assert float(error[6]) == pytest.approx(0.146, abs=0.05)


# ----------------------------------------------------------------------------------------- memory

PEAK = """
import sys
from regimes.studies.giant_step.experiments import train
from regimes.studies.giant_step.settings import GiantSteps
factor, d, p = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
runs = [
    GiantSteps(seed=s, target="plus", dimension=d, width=p, batch_factor=factor, batch_exponent=2)
    for s in range(2)
]
found = train(runs)
assert found.w_norm.notnull().all()
# Not ru_maxrss: on Linux it starts from the peak of the process that started this one.
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e6)
"""


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def peak_gigabytes(factor, dimension, width):
    command = [sys.executable, "-c", PEAK, *map(str, (factor, dimension, width))]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@needs_proc
def test_memory_does_not_grow_with_the_batch():
    # 16 times the samples, 65 thousand: Z alone would need 67 MB more per run.
    assert peak_gigabytes(1, 256, 16) < peak_gigabytes(1 / 16, 256, 16) + 0.03


@needs_proc
@pytest.mark.slow
def test_a_million_samples_fit_in_three_gigabytes():
    # d = 512, p = 1024, n = 4 d^2 = 1,048,576: Z alone would need 2.1 GB per run.
    assert peak_gigabytes(4, 512, 1024) < 1.5
