"""Bad input and the Snakefile itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def refused(checkout, *targets):
    """Output of a call that must end at once, with one message, writing nothing."""
    before = checkout.state("results", "figures") if (checkout.root / "results").exists() else {}
    output = checkout.run(*(targets or ("figures/all",)), fails=True)
    assert "Traceback" not in output
    messages = [line for line in output.splitlines() if not line.startswith("Using workflow")]
    assert len([line for line in messages if line.strip()]) == 1, output
    after = checkout.state("results", "figures") if (checkout.root / "results").exists() else {}
    assert before == after
    return messages[0]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "rate: [0.5, 1.0], seeds: 3",
            "rate: [0.5, -1.0], seeds: 3",
            ["rate", "-1.0", "greater than 0"],
        ),
        ("rate: [0.5, 1.0], seeds: 3", "rate: [0.5, 0.5], seeds: 3", ["rate", "0.5", "twice"]),
        ("rate: [0.5, 1.0], seeds: 3", "rat: [0.5, 1.0], seeds: 3", ["rat", "did you mean 'rate'"]),
        ("rate: [0.5, 1.0], seeds: 3", "rate: [0.5, 1.0], seeds: 0", ["seeds", "0", "1 to 10000"]),
        ("rate: [0.5, 1.0], seeds: 3", "rate: [], seeds: 3", ["rate", "at least one"]),
        (
            "batch_size: 1, seeds: 2}]}\nanalyses",
            "batch_size: -4, seeds: 2}]}\nanalyses",
            ["batch_size", "-4", "greater"],
        ),
        (
            "batch_size: 1, seeds: 2}]}\nanalyses",
            "batch_size: many, seeds: 2}]}\nanalyses",
            ["batch_size", "'many'", "integer"],
        ),
        (
            "settings: {rate: 2.0}",
            "settings: {rate: 2.0, shape: expnential}",
            ["shape", "did you mean 'exponential'"],
        ),
        ("experiments: [more_decays]", "experiments: [more_decay]", ["did you mean 'more_decays'"]),
        (
            "train: decay\n    split: rate",
            "train: decoy\n    split: rate",
            ["train", "decoy", "decay"],
        ),
        ("split: batch_size", "split: batchsize", ["split", "did you mean 'batch_size'"]),
        ("title: Decays", "titel: Decays", ["did you mean 'title'"]),
        (
            "laptop: {grids: [{rate",
            "laptop: {grid: [{rate",
            ["scales.laptop.grid ", "did you mean 'grids'"],
        ),
        ("laptop: {grids: [{rate", "labtop: {grids: [{rate", ["did you mean 'laptop'"]),
        ("  decays:\n", "  De-cays:\n", ["De-cays", "a-z, 0-9"]),
        ("expected: [0.1, 0.2]", "expected: [0.3, 0.2]", ["expected", "low <= high"]),
        ("study: toy\n", "study: toy\nstudy: toy\n", ["study", "twice"]),
        ("title: Toy\n", "title: [Toy\n", ["not valid YAML"]),
    ],
)
def test_bad_configuration_gives_one_message(fresh, old, new, expected):
    fresh.edit("config/studies/toy.yaml", old, new)
    message = refused(fresh)
    assert "config/studies/toy.yaml:" in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("scale: laptop", "scale: labtop", ["scale", "did you mean 'laptop'"]),
        ("studies: [toy]", "studies: [toi]", ["toi", "did you mean 'toy'"]),
        ("device: auto", "device: tpu", ["device", "tpu"]),
        ("device: auto", "devise: auto", ["devise", "did you mean 'device'"]),
    ],
)
def test_bad_main_file(fresh, old, new, expected):
    fresh.edit("config/config.yaml", old, new)
    message = refused(fresh)
    assert "config/config.yaml:" in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("figures/labtop/all", "did you mean 'laptop'"),
        ("figures/laptop/tay/all", "did you mean 'toy'"),
        ("figures/laptop/toy/fig9.pdf", "fig"),
        ("figures/laptop/toy/table1.txt", "did you mean 'table1."),
        ("results/laptop/toy/lost.nc", "did you mean 'last.nc'"),
        ("results/laptop/toy/runs/decay/rate_1.nc", "did you mean 'decays'"),
        ("results/laptop/toy/runs/decays/rate_3.nc", "rate_"),
        ("figurs/all", "did you mean 'figures'"),
    ],
)
def test_unknown_target_names_the_nearest(fresh, target, expected):
    message = refused(fresh, target)
    assert target in message
    assert expected in message


def test_missing_study_file(fresh):
    (fresh.root / "config/studies/toy.yaml").unlink()
    assert "config/studies/toy.yaml" in refused(fresh)


def test_whatever_the_system_refuses_is_one_message(fresh):
    (fresh.root / ".snakemake/regimes.lock").mkdir(parents=True)
    assert ".snakemake/regimes.lock" in refused(fresh)


def test_snakefile_imports_nothing_heavy(fresh):
    probe = (
        "import runpy, sys\n"
        "sys.argv = ['snakemake', '--cores', '1', '--dry-run', 'figures/all']\n"
        "try:\n    runpy.run_module('snakemake', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "heavy = ('torch', 'xarray', 'pandas', 'matplotlib', 'scipy')\n"
        "print('HEAVY', [m for m in heavy if m in sys.modules])\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", probe], cwd=fresh.root, capture_output=True, text=True
    ).stdout
    assert "HEAVY []" in output


def test_rules_are_formatted_and_have_no_run_blocks():
    from tests.workflow.conftest import REPOSITORY

    for path in [REPOSITORY / "Snakefile", *(REPOSITORY / "workflow").rglob("*.smk")]:
        assert "\n    run:" not in path.read_text()
