"""What is rebuilt, and what is not, after a change: Snakemake run for real."""

from __future__ import annotations

import json
import time

import pytest
import xarray as xr

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

RUNS = "results/laptop/toy/runs"
CODE = "src/regimes/studies/toy"
# Rewritten with each manifest: they list hashes or name the day.
MANIFEST = {"figures/all"}


def runs(path):
    with xr.open_dataset(path) as dataset:
        return dataset.load()


def test_nothing_to_do_when_all_is_current(built):
    assert built.changed(lambda: built.run("figures/all")) == set()


def test_deleted_figure_makes_all_stale_and_only_it_is_rebuilt(built):
    figure = built.root / "figures/laptop/toy/fig2.png"
    content = figure.read_bytes()
    figure.unlink()
    touched = built.changed(lambda: built.run("figures/all"))
    twin = "figures/laptop/toy/fig2.pdf"
    assert touched == {"figures/laptop/toy/fig2.png", twin, *MANIFEST}
    assert figure.read_bytes() == content
    assert built.changed(lambda: built.run("figures/all")) == set()


@pytest.mark.parametrize("lost", ["results/laptop/claims.csv", "figures/laptop/index.html"])
def test_deleted_table_or_page_is_rebuilt(built, lost):
    (built.root / lost).unlink()
    touched = built.changed(lambda: built.run("figures/all"))
    assert {lost} <= touched <= {lost, *MANIFEST}
    assert built.changed(lambda: built.run("figures/all")) == set()


def test_new_value_on_the_split_axis_trains_only_the_new_batch(built):
    built.edit(
        "config/studies/toy.yaml", "rate: [0.5, 1.0], seeds: 3", "rate: [0.5, 1.0, 2.0], seeds: 3"
    )
    touched = built.changed(lambda: built.run("figures/all"), "results/laptop/toy/runs")
    assert touched == {f"{RUNS}/decays/rate_2.nc", f"{RUNS}/decays/rate_2.json"}


def test_new_seed_trains_only_the_new_runs_and_keeps_old_bits(built):
    path = built.root / RUNS / "decays/rate_1.nc"
    old = runs(path)
    built.edit(
        "config/studies/toy.yaml", "rate: [0.5, 1.0], seeds: 3", "rate: [0.5, 1.0], seeds: 5"
    )
    built.run("figures/all")
    new = runs(path)
    assert new.sizes["run"] == 5
    assert new["value"].isel(run=slice(3)).values.tobytes() == old["value"].values.tobytes()
    sessions = json.loads(path.with_suffix(".json").read_text())["sessions"]
    assert [session["trained"] for session in sessions] == [3, 2]


def test_topped_up_file_equals_one_trained_at_once(built, fresh):
    for checkout in (built, fresh):
        checkout.edit(
            "config/studies/toy.yaml", "rate: [0.5, 1.0], seeds: 3", "rate: [0.5, 1.0], seeds: 4"
        )
        checkout.run(f"{RUNS}/decays/rate_1.nc")
    name = f"{RUNS}/decays/rate_1.nc"
    assert (built.root / name).read_bytes() == (fresh.root / name).read_bytes()


def test_removed_value_trains_nothing(built):
    built.edit(
        "config/studies/toy.yaml", "rate: [0.5, 1.0], seeds: 3", "rate: [0.5, 1.0], seeds: 2"
    )
    built.run("figures/all")
    path = built.root / RUNS / "decays/rate_1.nc"
    assert runs(path).sizes["run"] == 2
    sessions = json.loads(path.with_suffix(".json").read_text())["sessions"]
    assert [session["trained"] for session in sessions] == [3, 0]


def test_editing_a_figure_redraws_it_and_trains_nothing(built):
    built.edit(f"{CODE}/figures/fig1.py", '"o"', '"s"')
    touched = built.changed(lambda: built.run("figures/all"))
    assert touched == {"figures/laptop/toy/fig1.pdf", "figures/laptop/toy/fig1.png", *MANIFEST}


def test_editing_comments_and_docstrings_of_training_reruns_nothing(built):
    built.edit(f"{CODE}/helper.py", "# A comment that a test edits.", "# Another comment.")
    built.edit(f"{CODE}/helper.py", '"""Exponential decay."""', '"""Decay, exponentially."""')
    built.edit(f"{CODE}/experiments.py", "STEPS = 4", "STEPS  =  4  # steps")
    assert built.changed(lambda: built.run("figures/all")) == set()


def test_editing_training_logic_retrains_all_that_depends_on_it(built):
    built.edit(
        f"{CODE}/helper.py", "start * np.exp(-rate * step)", "start * np.exp(-rate * step) * 1"
    )
    touched = built.changed(lambda: built.run("figures/all"), "results")
    assert {name for name in touched if name.endswith("rate_1.nc")}
    assert {name for name in touched if "more_decays" in name and name.endswith(".nc")}


def test_editing_an_analysis_reruns_it_and_its_figures_only(built):
    built.edit(f"{CODE}/analyses/other.py", "mean()", "mean() * 1.5")
    touched = built.changed(lambda: built.run("figures/all"))
    assert not {name for name in touched if "/runs/" in name}
    assert "results/laptop/toy/other.nc" in touched
    assert "results/laptop/toy/last.nc" not in touched
    assert not {name for name in touched if "fig1" in name or "fig2" in name}


def test_single_figure_trains_only_what_it_needs(fresh):
    fresh.run("figures/laptop/toy/table1.pdf")
    assert not (fresh.root / RUNS / "decays").exists()
    assert (fresh.root / "figures/laptop/toy/table1.csv").exists()
    assert not (fresh.root / "figures/all").exists()


def test_scales_lie_side_by_side(built):
    touched = built.changed(lambda: built.run("figures/smoke/all"))
    assert touched
    assert all("/smoke/" in name for name in touched)
    table = (built.root / "results/smoke/claims.csv").read_text()
    assert "not testable" in table


def test_study_target_also_gives_table_and_page(fresh):
    fresh.run("figures/laptop/toy/all")
    assert "toy_ratio" in (fresh.root / "results/laptop/claims.csv").read_text()
    page = (fresh.root / "figures/laptop/index.html").read_text()
    assert "toy/fig1.png" in page
    assert "it decays" in page


def test_cores_change_no_byte(built, fresh):
    fresh.run("figures/all", cores=1)
    for folder in ("results", "figures"):
        one, two = fresh.state(folder), built.state(folder)
        assert {n: d for n, (_, d) in one.items() if not n.endswith((".json", ".html"))} == {
            n: d for n, (_, d) in two.items() if not n.endswith((".json", ".html"))
        }


def test_start_up_is_short(built):
    def seconds(*arguments):
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            process = built.start(*arguments)
            process.communicate()
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds("--cores", "all", "figures/all") <= seconds("--version") + 2


def test_failed_analysis_leaves_no_stale_figure_behind(built):
    built.edit(f"{CODE}/analyses/other.py", "mean()", "mean() * wrong")
    built.run("figures/all", fails=True)
    built.edit(f"{CODE}/analyses/other.py", "mean() * wrong", "mean() * 3")
    before = built.state("figures")
    built.run("figures/laptop/toy/table1.pdf")
    table = "figures/laptop/toy/table1.csv"
    assert built.state("figures")[table] != before[table]


def test_deleted_analysis_is_rebuilt(built):
    (built.root / "results/laptop/toy/other.nc").unlink()
    built.run("figures/all")
    assert (built.root / "results/laptop/toy/other.nc").exists()
