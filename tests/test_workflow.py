"""Helpers of the Snakefile."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regimes import folders, paths, plan
from regimes import workflow as front
from regimes.config import Config, ConfigError

REPOSITORY = Path(__file__).resolve().parents[1]
STUDY, EXPERIMENT = "exact_gauss_newton", "optimizer_switch"


def test_checkpoints_of_batches_that_are_not_planned_are_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config(REPOSITORY)
    planned = next(iter(plan.batches(config, STUDY, EXPERIMENT, "smoke")))
    gone = [
        paths.checkpoints("smoke", STUDY, EXPERIMENT, "optimizer_gone"),
        paths.checkpoints("smoke", STUDY, EXPERIMENT, f"{planned}.other_123"),
        paths.checkpoints("smoke", STUDY, "experiment_that_is_gone", planned),
    ]
    kept = [
        paths.checkpoints("smoke", STUDY, EXPERIMENT, planned),
        paths.checkpoints("laptop", STUDY, EXPERIMENT, "optimizer_gone"),
        paths.checkpoints("smoke", "study_that_is_not_listed", EXPERIMENT, planned),
        f"results/smoke/{STUDY}/runs/{EXPERIMENT}/optimizer_gone",
        f"elsewhere/smoke/{STUDY}/runs/{EXPERIMENT}/optimizer_gone.partial",
    ]
    for folder in [*gone, *kept]:
        Path(folder).mkdir(parents=True)
        (Path(folder) / "identity.json").write_text("{}")
    results = Path(paths.batch("smoke", STUDY, EXPERIMENT, "optimizer_gone"))
    results.write_text("of an experiment as it was")
    assert sorted(map(str, front.clear_checkpoints(config, {"smoke"}))) == sorted(gone)
    assert [folder for folder in gone if Path(folder).exists()] == []
    assert [folder for folder in kept if not (Path(folder) / "identity.json").exists()] == []
    assert results.exists()
    assert front.clear_checkpoints(config, {"smoke"}) == []


@pytest.mark.parametrize("targets", [set(), {"figures/all"}, {"figures/images/all"}, {"gallery"}])
def test_a_scale_without_any_figure_is_refused(targets, tmp_path):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    main = tmp_path / "config/config.yaml"
    lines = [
        "studies: [giant_step]" if line.startswith("studies:") else line
        for line in main.read_text().replace("scale: laptop", "scale: images").splitlines()
    ]
    main.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError) as error:
        front.check_targets(Config(tmp_path), frozenset(targets), frozenset({"gallery"}))
    for word in (f"{main}:", "giant_step", "'images'", "smoke, laptop, gpu, paper"):
        assert word in str(error.value)
    assert front.check_targets(Config(tmp_path), frozenset({"figures/smoke/all"}), frozenset())


@pytest.mark.parametrize(
    ("options", "looks"),
    [
        ("", False),
        ("--dry-run", True),
        ("--report report.html", True),
        ("--report report.html --report-after-run", False),
    ],
)
def test_commands_that_only_look(options, looks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = ["snakemake", "--cores", "1", "figures/all", *options.split()]
    monkeypatch.setattr(sys, "argv", call)
    front._arguments.cache_clear()
    try:
        assert front.command_line() == (frozenset({"figures/all"}), looks)
    finally:
        front._arguments.cache_clear()


def test_a_file_system_without_locks_is_no_other_call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    held = front.hold_folder()
    with pytest.raises(front.AnotherCall):
        front.hold_folder()
    held.close()
    lock = tmp_path / ".snakemake/locks/0.input.lock"
    lock.parent.mkdir()
    for code in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EAGAIN, errno.EACCES):

        def refuse(*_, code=code):
            raise OSError(code, os.strerror(code))

        lock.touch()
        monkeypatch.setattr(fcntl, "flock", refuse)
        if code in (errno.EAGAIN, errno.EACCES):
            with pytest.raises(front.AnotherCall):
                front.hold_folder()
            continue
        assert front.hold_folder() is None
        said = capsys.readouterr().err
        assert said.startswith(f"no lock for this folder ({os.strerror(code)})")
        assert said.count("\n") == 1
        assert lock.exists()  # it may be that of a living call
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    front.hold_folder().close()
    assert not lock.exists()


def test_files_of_others_are_named(tmp_path, monkeypatch):
    """Only their owner may date them, however open the folder is."""

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.chdir(tmp_path)
    file = Path("results/smoke/toy/runs/decays/rate_1.nc")
    file.parent.mkdir(parents=True)
    file.touch()
    os.utime(file, (time.time() + 1000,) * 2)
    monkeypatch.setattr(os, "utime", refuse)
    with pytest.raises(folders.NotWritable) as caught:
        folders.date_back({"smoke"})
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / file} is dated in the future and cannot be dated now")
    assert "Operation not permitted" in message and "owner" in message
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert folders.date_back({"smoke"}) == 1


@pytest.mark.parametrize("place", ["metadata", "incomplete", "incomplete/"])
def test_records_that_take_no_marks_are_named(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config(REPOSITORY)
    for name in plan.batches(config, STUDY, EXPERIMENT, "smoke"):
        file = Path(paths.batch("smoke", STUDY, EXPERIMENT, name))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    Path(".snakemake").mkdir()
    if place == "incomplete/":  # belongs to another user

        def refuse(path, *_, **__):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(Path, "write_text", refuse)
    else:
        Path(".snakemake", place).touch()
    with pytest.raises(folders.NotWritable) as caught:
        folders.distrust(config, {"smoke"})
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/.snakemake: .snakemake/{place}") and "chown" in message


def test_a_job_without_a_folder_has_failed(tmp_path):
    script = REPOSITORY / "profiles/cluster-generic/status.sh"
    done = subprocess.run(["sh", script, "gone"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "failed\n")


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_cleaning_reaches_behind_the_link_to_a_larger_disk(tmp_path):
    home, disk = tmp_path / "home", tmp_path / "disk"
    for folder in (home / "figures", home / "logs", disk / "laptop"):
        folder.mkdir(parents=True)
    (home / "results").symlink_to(disk)
    other = tmp_path / "other"  # a link within: what it points to is not the pipeline's
    other.mkdir()
    (disk / "other").symlink_to(other)
    for file in (disk / "laptop/a.nc", disk / "README.md", home / "figures/all", other / "kept"):
        file.touch()
    subprocess.run(["make", "-sf", REPOSITORY / "Makefile", "clean"], cwd=home, check=True)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {
        "home", "home/figures", "home/results", "disk", "disk/README.md", "other", "other/kept",
    }  # fmt: skip


JOB = (
    "import os, sys, time; from regimes.__main__ import _die_with_parent; _die_with_parent();"
    "time.sleep(0.6); print('lives', 'REGIMES_PARENT' in os.environ)"
)


@pytest.mark.parametrize(
    ("names", "lives"),
    [
        ("$$:$PPID", False),
        # What another process has named, or nothing, says nothing: it ends no job.
        ("1:$PPID", True),
        ("", True),
    ],
)
def test_a_job_ends_whose_parent_was_gone_before_it_began(names, lives, tmp_path):
    """As when Snakemake is killed while Python starts: the shell is there, its parent goes."""
    shell = f': > ready; sleep 0.5; export REGIMES_PARENT="{names}"; exec "$0" -c "$1"'
    caller = 'bash -c "$0" "$@" & until [ -e ready ]; do sleep 0.02; done'
    done = subprocess.run(
        ["bash", "-c", caller, shell, sys.executable, JOB],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,  # until the last that has these ends
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("lives False\n" if lives else "", "")


def test_a_job_whose_parent_lives_goes_on():
    command = 'exec env REGIMES_PARENT=$$:$PPID "$0" -c "$1"'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, JOB],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "lives False\n"
    assert "env REGIMES_PARENT=$$:$PPID" in (REPOSITORY / "Snakefile").read_text()
