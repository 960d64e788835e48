"""Analyses, claims and figures hold on the grids of every scale, also of those not run here.

The trajectories are made up: random numbers in the shapes that training would give.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from regimes import claims, jobs, plan, store
from regimes.config import WHOLE_SCALES, Config
from regimes.plot import style
from regimes.studies.giant_step.claims import MEASURES
from regimes.studies.giant_step.functions import directions

CONFIG = Config(Path(__file__).resolve().parents[3])
STUDY = CONFIG.studies["giant_step"]
NEURONS = 64  # kept few: shapes along the other dimensions are those of the scale
NAMED = {"long_name": "made up", "units": "1"}


def made_up(runs, rng):
    """Random results of runs of equal shape."""
    run, count = runs[0], len(runs)
    neurons, steps, r = min(run.width, NEURONS), run.steps + 1, directions(run.target)

    def numbers(*shape):
        return rng.uniform(0.2, 0.8, (count, *shape))

    per_neuron = ("run", "step", "neuron")
    found = {
        "w_dot_teacher": ((*per_neuron, "direction"), numbers(steps, neurons, r)),
        "w_norm": (per_neuron, numbers(steps, neurons)),
        "g_dot_teacher": ((*per_neuron, "direction"), numbers(steps, neurons, r)),
        "g_norm": (per_neuron, 2 * numbers(steps, neurons)),
        "readout_weight": (("run", "neuron"), rng.choice([-1.0, 1.0], (count, neurons))),
    }
    if run.ridge_strengths:
        sizes = run.ridge_batch_sizes or (run.batch_size,)
        found["ridge_strength"] = (("run", "ridge"), np.tile(run.ridge_strengths, (count, 1)))
        found["ridge_batch_size"] = (("run", "ridge_batch"), np.tile(sizes, (count, 1)))
        errors = ["test_error", *["test_error_leak"] * run.preprocess]
        errors += ["test_error_surrogate"] * run.surrogate
        for name in errors:
            values = numbers(steps, len(sizes), len(run.ridge_strengths))
            found[name] = (("run", "step", "ridge_batch", "ridge"), values)
    if run.spectrum:
        values = np.sort(numbers(run.width // 2))[:, ::-1]
        found["g_singular_values"] = (("run", "singular_value"), values)
        found["right_dot_teacher"] = (("run", "direction"), numbers(r))
        found["spike_right_cosine"] = (("run",), numbers())
    found = {name: (dims, values, NAMED) for name, (dims, values) in found.items()}
    return xr.Dataset(found, coords={"step": ("step", np.arange(steps), NAMED)})


def experiment(name, scale):
    """All runs of an experiment at a scale, with made-up results."""
    rng = np.random.default_rng(0)
    parts = []
    for batch in plan.batches(CONFIG, "giant_step", name, scale).values():
        shapes = {}
        for run in batch.runs:
            key = (run.width, run.steps, directions(run.target), run.surrogate, run.batch_size)
            shapes.setdefault(key, []).append(run)
        parts += [
            jobs.with_hyperparameters(made_up(runs, rng), batch.kind, runs)
            for runs in shapes.values()
        ]
    return store.join_runs(parts)


@pytest.fixture(scope="module", params=WHOLE_SCALES)
def analysed(request):
    """Scale, and all analyses on made-up results."""
    scale = request.param
    found = {}
    for name, entry in STUDY.analyses.items():
        module = importlib.import_module(f"regimes.studies.giant_step.analyses.{name}")
        found[name] = module.analyse({e: experiment(e, scale) for e in entry.experiments})
    return scale, found


def test_analyses_can_be_stored(analysed, tmp_path):
    for name, dataset in analysed[1].items():
        store.write_netcdf(tmp_path / f"{name}.nc", dataset, {"seeds": json.dumps([1, 1])})
        assert set(store.read_netcdf(tmp_path / f"{name}.nc").data_vars) == set(dataset.data_vars)


def test_every_claim_of_the_scale_gives_a_number(analysed):
    scale, analyses = analysed
    table = claims.table(STUDY, MEASURES, analyses, scale)
    judged = table[table["verdict"] != claims.NOT_TESTABLE]
    assert len(judged) == (
        0 if scale == "smoke" else sum(scale in claim.scales for claim in STUDY.claims)
    )
    # Made-up curves need not cross where a claim looks for a crossing.
    known = judged[~judged["claim"].str.contains("crossing")]
    assert known["measured"].astype(float).map(np.isfinite).all()
    assert (known["seeds"] >= 1).all()


@pytest.mark.parametrize("figure", STUDY.figures)
@pytest.mark.filterwarnings("error")
def test_every_figure_draws(analysed, figure, tmp_path):
    scale, analyses = analysed
    module = importlib.import_module(f"regimes.studies.giant_step.figures.{figure}")
    with style.applied():
        drawn = module.draw({name: analyses[name] for name in STUDY.figures[figure].analyses})
        style.footer(drawn, scale, [[1, 2]], "0" * 32)
        style.save(drawn, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
