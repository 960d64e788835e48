"""SIGKILL of jobs, of Snakemake and of both at random moments; a run that diverges; a real study."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from regimes import store
from tests.workflow.conftest import SNAKEMAKE, Checkout
from tests.workflow.test_giant_step import smoke  # noqa: F401 - the fixture, built once for both

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("giant_step")]

TARGET = "figures/smoke/giant_step/all"
SEED = 8
JOBS = ("train", "analyse", "judge", "draw", "manifest")


@dataclass(frozen=True)
class Kill:
    """One kill: of whom, in which phase, and when in it.

    Attributes
    ----------
    victim : str
        ``job``, ``snakemake`` or ``both``.
    phase : str
        ``start`` (no job yet), a job's name, or ``between``: a figure with one of its files written.
    files : int
        New files after the kill before, which are waited for.
    delay : float
        Seconds after the phase is met.
    """

    victim: str
    phase: str
    files: int
    delay: float


def planned() -> list[Kill]:
    """Kills in the order of the phases; their moments are drawn at random."""
    draw = random.Random(SEED)
    phases = {"start": 2, "train": 11, "analyse": 4, "draw": 4, "between": 3}
    names = [phase for phase, count in phases.items() for _ in range(count)]
    victims = ["job", "snakemake", "both"] * (len(names) // 3)
    draw.shuffle(victims)
    return [
        Kill(
            "snakemake" if phase == "start" else victim,
            phase,
            files={"train": draw.randint(0, 10), "draw": draw.randint(0, 2)}.get(phase, 0),
            delay={"start": 2.0, "train": 2.0, "between": 0.0}.get(phase, 1.0) * draw.random(),
        )
        for phase, victim in zip(names, victims, strict=True)
    ]


def running(root: Path) -> list[tuple[psutil.Process, str]]:
    """Jobs of a checkout that are at work, and their names."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        if str(root) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found += [(process, name) for name in JOBS if name in command[:8]]
    return found


def finished(root: Path) -> int:
    """Files under their final names."""
    folders = [root / "results", root / "figures"]
    return sum(not path.name.startswith(".") for f in folders for path in f.rglob("*.*"))


def half_drawn(root: Path) -> bool:
    """Whether a figure is being drawn whose PDF is there and whose PNG is not."""
    return any((root / "figures").rglob(".*.tmp.png"))


def met(kill: Kill, root: Path, before: int) -> bool:
    """Whether the moment of a kill has come, its delay apart."""
    if kill.phase == "start":
        return True
    if kill.phase == "between":
        return half_drawn(root)
    if finished(root) < before + kill.files:
        return False
    return any(name == kill.phase for _, name in running(root))


def comparable(root: Path) -> dict[str, str]:
    """Hash of every file that must not depend on what happened on the way.

    Left out are those that tell the times of the jobs: the sidecars of batches (``<batch>.json``:
    seconds, dates and memory of each start) and the page, which shows them. Of the manifest the
    hashes of figures and their inputs count, not how often it was written.
    """
    found = {}
    for folder in ("results", "figures"):
        for path in sorted((root / folder).rglob("*")):
            name = str(path.relative_to(root))
            sidecar = path.suffix == ".json" and path.with_suffix(".nc").exists()
            if path.is_file() and not sidecar and path.name not in ("index.html", "all"):
                found[name] = store.file_digest(path)
    manifest = json.loads((root / TARGET).read_text())
    return found | manifest["figures"] | {f"in {n}": d for n, d in manifest["inputs"].items()}


class Calls:
    """Calls of Snakemake for the target, one after the other, each until it ends or is killed."""

    def __init__(self, root: Path) -> None:
        self.root, self.output = root, root / "output.txt"
        self._process: subprocess.Popen | None = None

    def ensure(self) -> None:
        """Start another call if there is none: kills of jobs let one end without its target."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None and self._process.returncode == 0:
            # All is made before the last kill: make analyses and figures again.
            shutil.rmtree(self.root / "figures")
            for path in (self.root / "results/smoke/giant_step").glob("*.nc"):
                path.unlink()
        with self.output.open("a") as output:
            self._process = subprocess.Popen(
                [str(SNAKEMAKE), "--cores", "2", TARGET],
                cwd=self.root,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.root), "COLUMNS": "200"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> bool:
        """Kill the call; whether it was running."""
        alive = self._process.poll() is None
        self._process.kill()
        self._process.wait()
        return alive

    def wait(self) -> None:
        """Wait for the end of the last call."""
        self._process.wait(timeout=1200)


def strike(kill: Kill, calls: Calls) -> list[str]:
    """Kill once the moment has come, and tell who was at work: jobs, or ``start``."""
    root, before = calls.root, finished(calls.root)
    while True:
        calls.ensure()
        if not met(kill, root, before):
            time.sleep(0.005 if kill.phase == "between" else 0.05)
            continue
        time.sleep(kill.delay)
        jobs = running(root)
        if not jobs and kill.phase != "start":
            continue  # it has ended meanwhile
        done = kill.victim != "job" and calls.kill()
        if kill.victim != "snakemake" and jobs:
            aimed = [job for job in jobs if job[1] == kill.phase] or jobs
            with contextlib.suppress(psutil.NoSuchProcess):
                random.Random(SEED).choice(aimed)[0].kill()
                done = True
        if kill.victim != "job":
            wait_without_jobs(root)
        if done:
            return [name for _, name in jobs] or ["start"]


@pytest.mark.timeout(2400)
def test_killed_at_random_moments_it_ends_with_the_files_of_an_undisturbed_run(
    smoke,  # noqa: F811
    tmp_path,
):
    root = tmp_path / "killed"
    root.mkdir()
    for name in ("src", "workflow", "config", "profiles"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(smoke.root / name, root / name, ignore=ignored)
    shutil.copy2(smoke.root / "Snakefile", root)
    checkout, calls, began = Checkout(root), Calls(root), time.monotonic()
    hit, victims, at = Counter(), Counter(), []
    for kill in planned():
        hit.update(strike(kill, calls))
        victims[kill.victim] += 1
        at.append(finished(root))
    assert sum(victims.values()) >= 20 and min(victims.values()) >= 4, victims
    assert {"start", "train", "analyse", "draw"} <= set(hit), hit
    assert len(set(at)) > 10  # spread over the whole of it
    calls.wait()
    checkout.run(TARGET)
    print(f"{victims} with {hit} at work, in {time.monotonic() - began:.0f} s")
    assert comparable(root) == comparable(smoke.root)
    left = [*(root / "results").rglob(".*"), *(root / "figures").rglob(".*")]
    assert [p for p in left if p.is_file()] == []
    assert not [*root.rglob("*.bad"), *(root / "results").rglob("*.partial")]
    assert checkout.changed(lambda: checkout.run(TARGET)) == set()
    assert "Traceback" not in calls.output.read_text()


def wait_without_jobs(root: Path) -> None:
    """Wait until the jobs of a killed Snakemake have noticed it."""
    limit = time.monotonic() + 60
    while running(root):
        assert time.monotonic() < limit, "jobs outlive the call that started them"
        time.sleep(0.05)


WILD = "learning_rate_factor: 1.0e+12"
DIVERGED = {
    "constant_lr_divergence": ("0.75", "[0.5, 0.75]", "0.5", "error_constant"),
    "error_vs_batch_he124": ("0.7", "[0.7, 1, 1.5, 2]", "[1, 1.5, 2]", "error"),
}


def test_a_run_that_diverges_is_marked_and_spares_the_others(smoke, tmp_path):  # noqa: F811
    """Seed 1 of one batch exponent, in an experiment of a claim and in one that is drawn."""
    shutil.copytree(smoke.root, tmp_path / "wild", symlinks=True)
    checkout, old = Checkout(tmp_path / "wild"), {}
    figure, twin = (f"figures/smoke/giant_step/figA1.{suffix}" for suffix in ("png", "pdf"))
    before = (checkout.root / figure).read_bytes()
    for name, (wild, axis, rest, _) in DIVERGED.items():
        old[name] = store.read_netcdf(checkout.root / batch_of(name, wild))
        checkout.edit(
            "config/studies/giant_step.yaml",
            f"grids: [{{batch_exponent: {axis}, seeds: 2}}]",
            f"grids: [{{batch_exponent: {rest}, seeds: 2}}, {{batch_exponent: {wild}, seed: 0}},"
            f" {{batch_exponent: {wild}, seed: 1, {WILD}}}]",
        )
    checkout.run(figure, twin)
    analysis = store.read_netcdf(checkout.root / "results/smoke/giant_step/batch_exponent.nc")
    for name, (wild, _, _, variable) in DIVERGED.items():
        new = store.read_netcdf(checkout.root / batch_of(name, wild))
        assert list(new["seed"].values) == [0, 1]
        calm, step = map(int, new["diverged_at"].values)
        assert calm == -1 and 1 <= step < new.sizes["step"], name
        error = new["test_error"].values
        assert np.isnan(error[1, step:]).all() and np.isfinite(error[1, :step]).all()
        for each in old[name].data_vars:
            assert new[each].values[0].tobytes() == old[name][each].values[0].tobytes(), each
        own = {"constant_exponent": float(wild), "batch_exponent": float(wild), "target": "he124"}
        shown = analysis[variable].sel(seed=1)
        shown = shown.sel({dim: own[dim] for dim in shown.dims if dim in own})
        assert np.isfinite(shown.values).all()
        assert (shown.values[step:] == shown.values[step - 1]).all()  # its last finite error
    said = analysis["error_constant"].attrs["long_name"]
    assert "last finite value once diverged" in said
    assert (checkout.root / figure).read_bytes() != before
    log = (checkout.root / "logs/smoke/giant_step/figA1.log").read_text()
    assert "Warning" not in log and "Traceback" not in log


def batch_of(experiment: str, exponent: str) -> str:
    name = f"batch_exponent_{exponent.replace('.', 'p')}"
    return f"results/smoke/giant_step/runs/{experiment}/{name}.nc"
