"""Faults of disks, clocks, files and memory, each injected: the right result or one clear error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import xarray as xr

from regimes.ensemble import checkpoints
from regimes.folders import NEEDED
from tests.workflow.conftest import SNAKEMAKE, Checkout
from tests.workflow.test_failures import BATCH, jobs_of, slow_down, wait_for

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

RUNS = "results/laptop/toy/runs"
LAST, OTHER = "results/laptop/toy/last.nc", "results/laptop/toy/other.nc"
CODE = "src/regimes/studies/toy"


def digests(checkout: Checkout) -> dict[str, str]:
    """Hash of every result and figure, without files that name the time."""
    found = checkout.state("results", "figures")
    named = (".json", ".html", ".lock")
    return {n: digest for n, (_, digest) in found.items() if not n.endswith(named) and n != ALL}


ALL = "figures/all"


# --- Disks ----------------------------------------------------------------------------------------


class Mounts:
    """A mount namespace of its own: what is mounted in it is gone when the test ends, or is killed.

    Nothing outside sees the mounts; files in them are reached through `root`.
    """

    def __init__(self, root: Path) -> None:
        lacking = [name for name in ("unshare", "nsenter") if shutil.which(name) is None]
        if lacking:
            pytest.skip(f"needs {', '.join(lacking)} to have mounts of its own")
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._holder = subprocess.Popen(
            [
                "unshare",
                "--mount",
                *user,
                "sh",
                "-ec",
                "mount -t tmpfs x /mnt; echo ready; exec cat",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self._holder.stdout.readline() != "ready\n":
            pytest.skip(f"needs mounts of its own: {self._holder.stderr.read().strip()}")
        self._enter = ["nsenter", "--target", str(self._holder.pid), "--mount"]
        self._enter += ["--user", "--preserve-credentials"] if user else []
        self.folder = root
        self.root = Path(f"/proc/{self._holder.pid}/root{root}")

    def close(self) -> None:
        self._holder.stdin.close()
        self._holder.wait()

    def sh(self, script: str) -> None:
        done = subprocess.run(
            [*self._enter, "sh", "-ec", f"cd {self.folder}; {script}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run(self, *targets: str, fails: bool = False, cores: int = 2) -> str:
        return self._call([SNAKEMAKE, "--cores", str(cores), *targets], fails)

    def job(self, *arguments: str, fails: bool = False) -> str:
        return self._call([sys.executable, "-m", "regimes", *arguments], fails)

    def _call(self, command: list, fails: bool) -> str:
        done = subprocess.run(
            [*self._enter, "sh", "-c", f'cd {self.folder}; exec "$@"', "sh", *map(str, command)],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(self.folder),
                "COLUMNS": "200",
                "PYTHONPATH": f"{self.folder}/src",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout


@pytest.fixture
def mounts(fresh: Checkout) -> Iterator[Mounts]:
    """Mounts over folders of a checkout with nothing built."""
    found = Mounts(fresh.root)
    yield found
    found.close()


def litter(root: Path) -> list[str]:
    """Temporary files, and files set aside."""
    left = [*root.rglob(".*.tmp*"), *root.rglob("*.bad")]
    return [str(path) for path in left if ".snakemake" not in path.parts]


def fits(path: Path) -> None:
    """A netCDF file is whole: it can be read to its end."""
    with xr.open_dataset(path) as dataset:
        dataset.load()


def test_without_the_means_for_mounts_their_tests_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="needs unshare, nsenter"):
        Mounts(tmp_path)


def room_for(files: Iterable[Path]) -> int:
    """Bytes that files take in memory: whole pages."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(-(-path.stat().st_size // page) * page for path in files)


def test_a_full_disk_ends_in_one_message_and_with_room_the_same_call_completes(mounts, built):
    *others, batch = sorted((built.root / RUNS).rglob("*.nc"))
    sidecars = [path.with_suffix(".json") for path in others]
    results = room_for([*others, *sidecars]) + room_for([batch]) // 2  # all batches but one
    drawn = [path for path in (built.root / "figures/laptop/toy").iterdir() if path.is_file()]
    figures = room_for(drawn) - max(room_for([path]) for path in drawn)  # all figures but one
    assert others and min(results, figures) > NEEDED  # so that work begins
    mounts.sh("mkdir results figures")
    mounts.sh(f"mount -t tmpfs -o size={results} tmpfs results")
    # One job at a time: what one cannot write is free again before the next begins.
    output = mounts.run("figures/all", fails=True, cores=1)
    logs = "".join(path.read_text() for path in (mounts.root / "logs").rglob("*.log"))
    messages = [line for line in logs.splitlines() if line.startswith("regimes: ")]
    assert messages and "Traceback" not in output + logs
    for message in messages:
        assert "results/laptop/toy" in message and ".nc cannot be written" in message
        assert "the disk is full" in message and "MB are free" in message
        assert "make room there and run the same command again" in message
        assert message in output
    whole = list((mounts.root / "results").rglob("*.nc"))
    assert whole
    for path in whole:
        fits(path)
    assert litter(mounts.root) == []

    mounts.sh("cat /dev/zero > results/rest || true")
    began = time.monotonic()
    output = mounts.run("figures/all", fails=True)
    assert f"{mounts.folder}/results: the disk is full" in output  # before any job
    assert "Traceback" not in output and time.monotonic() - began < 60

    mounts.sh("rm results/rest; mount -o remount,size=4m results")
    mounts.sh(f"mkdir -p figures; mount -t tmpfs -o size={figures} tmpfs figures")
    output = mounts.run("figures/all", fails=True)  # and now the other disk
    assert "figures/laptop/toy/" in output and "the disk is full" in output
    assert litter(mounts.root) == []
    mounts.sh("mount -o remount,size=4m figures")
    mounts.run("figures/all")
    assert digests(Checkout(mounts.root)) == digests(built)


def test_a_read_only_folder_is_named_before_any_job(mounts):
    within = f"{RUNS}/decays"
    for name in ("results", "figures", "logs", ".snakemake", within):
        mounts.sh(f"mkdir -p {name}; mount --bind {name} {name}; mount -o remount,ro,bind {name}")
        output = mounts.run("figures/all", fails=True)
        assert f"regimes: {mounts.folder}/{name} cannot be written to" in output
        assert "Traceback" not in output
        if name != within:
            mounts.sh(f"umount {name}")
    # The job's own words, should the folder become so while it runs.
    output = mounts.job("train", "laptop", "toy", "decays", "rate_1", fails=True)
    message = output.splitlines()[-1]
    assert message.startswith(f"regimes: {within}/rate_1.nc cannot be written, in the folder")
    assert "Read-only file system" in message and "Traceback" not in output
    left = [path for path in (mounts.root / "results").rglob("*") if path.is_file()]
    assert left == [] and litter(mounts.root) == []


# --- Files that are not what was written ----------------------------------------------------------


def rot(path: Path, damage: str) -> None:
    """Damage a file as a disk does: its dates stay as they are."""
    dates, content = path.stat(), bytearray(path.read_bytes())
    if damage == "flip":
        with xr.open_dataset(path) as dataset:
            name = next(iter(dataset.data_vars))
            number = dataset[name].values.ravel()[:1].tobytes()
        content[content.index(number)] ^= 1
    path.write_bytes({"flip": content, "truncate": content[:-200], "empty": b""}[damage])
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))


def test_a_damaged_analysis_is_noticed_before_it_is_drawn(built):
    undisturbed, sources = digests(built), {}
    rot(built.root / LAST, "flip")
    rot(built.root / OTHER, "empty")
    rot(built.root / BATCH, "truncate")
    # What is drawn is not drawn again, so nothing reads the files.
    assert built.changed(lambda: built.run("figures/all")) == set()
    for name in ("fig1", "table1"):
        sources[name] = (built.root / CODE / f"figures/{name}.py").read_text()
        built.edit(f"{CODE}/figures/{name}.py", "return figure", "return figure  or 0")
    before = built.state("figures")
    output = built.run("figures/all", fails=True)
    for file in (LAST, OTHER):
        assert f"regimes: {file} is damaged" in output
        assert (built.root / f"{file}.bad").exists() and not (built.root / file).exists()
    after = built.state("figures")
    assert all(after[name] == before[name] for name in after)  # none from damaged numbers
    for name, text in sources.items():
        (built.root / CODE / f"figures/{name}.py").write_text(text)
    # The analysis of the damaged batch needs it; the batch is set aside and trained at the next.
    assert f"regimes: {BATCH} is damaged" in built.run("figures/all", fails=True)
    built.run("figures/all")
    found = {n: d for n, d in digests(built).items() if not n.endswith(".bad")}
    assert found == undisturbed


def test_files_of_older_code_are_refused_however_new_they_look(built):
    batch, kept = f"{RUNS}/decays/rate_1.nc", built.root / "kept"
    kept.mkdir()
    for file in (batch, OTHER):
        shutil.copy(built.root / file, kept)
    built.edit(f"{CODE}/helper.py", "start * np.exp", "2 * start * np.exp")
    built.edit(f"{CODE}/analyses/other.py", "mean()", "mean() * 1.5")
    built.run("figures/all")
    right = digests(built)
    for file in (batch, OTHER):
        shutil.copyfile(kept / Path(file).name, built.root / file)
    output = built.run("figures/all", fails=True)
    for file in (batch, OTHER):
        assert f"regimes: {file} was made by other code" in output
    built.run("figures/all")
    assert {n: d for n, d in digests(built).items() if not n.endswith(".bad")} == right

    # Without Snakemake's records, files of any code would pass for current.
    for file in (batch, OTHER):
        shutil.copyfile(kept / Path(file).name, built.root / file)
    shutil.rmtree(built.root / ".snakemake")
    built.run("figures/all")
    assert {n: d for n, d in digests(built).items() if not n.endswith(".bad")} == right
    assert built.changed(lambda: built.run("figures/all")) == set()


# --- Clocks and locks -----------------------------------------------------------------------------


def date(root: Path, seconds: float) -> None:
    for folder in ("results", "figures", "config", "src", ".snakemake"):
        for path in (root / folder).rglob("*"):
            os.utime(path, (seconds, seconds))


def test_dates_of_files_mislead_nothing(built):
    undisturbed = digests(built)
    date(built.root, time.time() + 86400)  # the clock was set back by a day
    locks = built.root / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.input.lock").write_text("config/config.yaml\n")  # of a call that was killed
    (locks / "0.output.lock").write_text(f"{BATCH}\n")
    (built.root / ".snakemake/regimes.lock").write_text("99999\n")
    before = {name: digest for name, (_, digest) in built.state("results", "figures").items()}
    assert "dated in the future" in built.run("figures/all")
    after = {name: digest for name, (_, digest) in built.state("results", "figures").items()}
    assert before == after
    date(built.root, time.time() + 86400)
    built.edit(f"{CODE}/analyses/other.py", "mean()", "mean() * 1.5")
    touched = built.changed(lambda: built.run("figures/all"))
    values = digests(built)
    assert {OTHER, "figures/laptop/toy/table1.csv"} <= {
        name for name in values if values[name] != undisturbed[name]
    }
    assert not {name for name in values if "fig1" in name and values[name] != undisturbed[name]}
    assert touched and built.changed(lambda: built.run("figures/all")) == set()

    date(built.root, time.time() - 40 * 365 * 86400)
    built.edit(f"{CODE}/helper.py", "np.exp(-rate", "2 * np.exp(-rate")
    assert BATCH in built.changed(lambda: built.run("figures/all"))
    built.edit(f"{CODE}/helper.py", "2 * np.exp(-rate", "np.exp(-rate")
    built.edit(f"{CODE}/analyses/other.py", "mean() * 1.5", "mean()")
    built.run("figures/all")
    assert digests(built) == undisturbed
    assert built.changed(lambda: built.run("figures/all")) == set()


def test_intervals_are_not_those_of_the_wall_clock():
    assert checkpoints.clock is time.monotonic


def test_two_calls_for_different_targets_follow_one_another(fresh):
    slow_down(fresh)
    call = fresh.start("--cores", "1", BATCH)
    wait_for(lambda: jobs_of(fresh.root))
    other = f"{RUNS}/decays/rate_1.nc"
    assert "another call of the pipeline is running" in fresh.run(other, fails=True)
    call.communicate(timeout=120)
    assert call.returncode == 0
    fresh.run(other)
    fits(fresh.root / BATCH)
    fits(fresh.root / other)


def test_a_file_system_without_locks_makes_the_same_files(fresh, built):
    site = fresh.root.with_name("site")
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import errno, fcntl\n"
        "def flock(*_):\n"
        "    raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = flock\n"
    )
    fresh.variables["PYTHONPATH"] = str(site)
    locks = fresh.root / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text(f"{LAST}\n")
    output = fresh.run(LAST, fails=True)  # whose lock it is, nobody can tell: Snakemake's counts
    assert "no lock for this folder (No locks available)" in output and "--unlock" in output
    fresh.run("--unlock")
    output = fresh.run(LAST)
    assert output.count("no lock for this folder") == 1 and "Traceback" not in output
    assert (fresh.root / LAST).read_bytes() == (built.root / LAST).read_bytes()


# --- Memory ---------------------------------------------------------------------------------------


def test_too_little_memory_is_one_message_and_no_file(fresh):
    elsewhere = fresh.root.with_name("another_disk")  # results may be a link to a larger disk
    elsewhere.mkdir()
    (fresh.root / "results").symlink_to(elsewhere)
    edit = "if settings[0].rate == 0.5:\n        np.ones(10**15)\n    start = ["
    fresh.edit(f"{CODE}/experiments.py", "start = [", edit)
    fresh.edit(
        f"{CODE}/analyses/other.py", "mean = ", "import numpy\n    numpy.ones(10**15)\n    mean = "
    )
    output = fresh.run("figures/all", fails=True)
    for name in ("runs/decays/rate_0p5", "other"):
        log = (fresh.root / f"logs/laptop/toy/{name}.log").read_text()
        message = log.splitlines()[-1]
        assert message.startswith("regimes: not enough memory for this job (Unable to allocate")
        assert "--cores 1" in message and "config/studies/" in message
        assert message in output and "Traceback" not in log
    assert not (elsewhere / "laptop/toy/other.nc").exists()
    assert not (elsewhere / "laptop/toy/runs/decays/rate_0p5.nc").exists()
    fits(elsewhere / "laptop/toy/runs/decays/rate_1.nc")
    assert litter(elsewhere) == []
