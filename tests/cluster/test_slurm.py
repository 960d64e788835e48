"""Jobs on a real SLURM: submitted, two at once, cancelled, left behind; GPUs given to training."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster import single_node
from tests.workflow.conftest import Checkout, add_toy, copy_code

# One after another in one process: they share a cluster of two CPUs.
pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("cluster")]

SLURM = [
    "--workflow-profile=profiles/slurm",
    # Look often: jobs take seconds here.
    "--slurm-init-seconds-before-status-checks=1",
    "--seconds-between-status-checks=1",
]
Job = dict[str, str]


@dataclass
class Cluster:
    """A running SLURM, and what it was seen to do."""

    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """Output of one of SLURM's commands."""
        done = subprocess.run(
            [single_node.find(command[0]), *command[1:]],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout

    def jobs(self, state: str = "RUNNING") -> list[Job]:
        """What SLURM knows of its jobs in a state."""
        lines = self.ask("scontrol", "show", "job", "--oneliner").splitlines()
        found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
        return [job for job in found if job.get("JobState") == state]


@dataclass
class Seen:
    """What was seen while a call ran."""

    cluster: Cluster
    act: Callable[[list[Job]], object] = lambda running: None
    most: int = 0  # jobs at once
    jobs: dict[str, Job] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look at the running jobs until it is over."""
        while not self.over.wait(0.3):
            running = self.cluster.jobs()
            self.most = max(self.most, len(running))
            self.jobs |= {job["JobId"]: job for job in running}
            self.act(running)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch in the background."""
        thread = threading.Thread(target=self.watch)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A SLURM with one node, two CPUs and two pretended GPUs."""
    with contextlib.ExitStack() as stack:
        # Not pytest's folder: the path of a socket must be short.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm"))
        try:
            found = stack.enter_context(single_node.running(Path(folder, "node")))
        except single_node.NoCluster as reason:
            pytest.skip(f"{reason} (on Debian: apt-get install slurm-wlm munge, then as root)")
        yield Cluster(found)


def plugins() -> dict[str, str]:
    """Environment in which Snakemake finds the plugins: not all its calls need to import them."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        return {}
    apart = Path(sys.prefix, "cluster")
    if not apart.exists():
        pytest.skip("the plugins for clusters are not installed (make .venv/cluster)")
    return {"PYTHONPATH": str(apart)}


def checkout(root: Path, prepare: Callable[[Path], None] = add_toy) -> Checkout:
    root.mkdir()
    copy_code(root)
    prepare(root)
    return Checkout(root, plugins())


def submit(cluster: Cluster, place: Checkout, *targets: str, **variables: str):
    environment = cluster.environment | variables
    return place.start(*targets, *SLURM, environment=environment, start_new_session=True)


def wait_for(condition: Callable[[], object], seconds: float = 90.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")


def digests(place: Checkout) -> dict[str, str]:
    """Hashes of results and figures; what tells of times and machines lies beside them."""
    kinds = (".nc", ".csv", ".pdf", ".png")
    found = place.state("results", "figures")
    return {name: digest for name, (_, digest) in found.items() if name.endswith(kinds)}


# --- A real study: jobs at once, one of them cancelled --------------------------------------------

FIGURE = "figures/smoke/giant_step/fig1.pdf"
BATCH = "results/laptop/feature_strength/runs/loss_curves/depth_3.nc"


@dataclass
class Submitted:
    """A call that came to its end."""

    place: Checkout
    output: str
    code: int
    seen: Seen
    cancelled: list[Job]


@pytest.fixture(scope="module")
def submitted(cluster, tmp_path_factory) -> Submitted:
    """Figures of a study and a longer batch, which is cancelled once it has a checkpoint."""
    place = checkout(tmp_path_factory.mktemp("slurm") / "place", lambda root: None)
    checkpoints = (place.root / BATCH).with_suffix(".partial")
    cancelled: list[Job] = []

    def cancel(running: list[Job]) -> None:
        job = next((job for job in running if "loss_curves" in job["Comment"]), None)
        if job and not cancelled and list(checkpoints.glob("*.pt")):
            cluster.ask("scancel", job["JobId"])
            cancelled.append(job)

    seen = Seen(cluster, cancel)
    with seen.watching():
        call = submit(cluster, place, FIGURE, BATCH, REGIMES_CHECKPOINT_SECONDS="0.3")
        output, _ = call.communicate(timeout=400)
    return Submitted(place, output, call.returncode, seen, cancelled)


def test_targets_are_built_by_submitted_jobs(submitted):
    """Had a job tried to hold the folder, which the call holds, it would have failed."""
    assert submitted.code == 0, submitted.output
    assert (submitted.place.root / FIGURE).stat().st_size > 0
    comments = {job["Comment"] for job in submitted.seen.jobs.values()}
    rules = {comment.split("_wildcards_")[0] for comment in comments}
    assert rules == {"rule_train_batch", "rule_analyse"}  # drawing is not worth a job
    assert "rule_train_batch_wildcards_laptop_feature_strength_loss_curves_depth_3" in comments


def test_two_jobs_are_in_flight_at_once(submitted):
    assert submitted.seen.most == 2


def test_jobs_ask_for_what_the_rules_say(submitted):
    for job in submitted.seen.jobs.values():
        assert job["JobName"].startswith("regimes_")
        assert "gpu" not in job.get("TresPerJob", "")  # at these scales
        assert job["Requeue"] == "1"
        assert 0 < int(re.match(r"\d+", job["MinMemoryNode"])[0])
        assert job["TimeLimit"] != "UNLIMITED"
        assert f"{submitted.place.root}/logs/slurm/" in job["StdOut"]


def test_a_cancelled_job_is_told_of_and_gone_on_with(submitted):
    (job,) = submitted.cancelled
    assert f"SLURM-job '{job['JobId']}' failed, SLURM status is: 'CANCELLED'" in submitted.output
    assert "Traceback" not in submitted.output
    log = submitted.place.root / "logs/laptop/feature_strength/runs/loss_curves/depth_3.log"
    assert "checkpoints of this batch hold" in log.read_text()


def test_results_have_the_bytes_of_a_local_run(submitted, tmp_path):
    local = checkout(tmp_path / "local", lambda root: None)
    local.run(FIGURE, BATCH)
    assert digests(local) == digests(submitted.place)


def test_nothing_is_left_of_jobs_that_succeeded(submitted):
    left = sorted((submitted.place.root / "logs/slurm").rglob("*.log"))
    assert [log.stem for log in left] == [submitted.cancelled[0]["JobId"]]
    assert not list((submitted.place.root / "results").rglob("*.partial"))


# --- GPUs -----------------------------------------------------------------------------------------


def add_gpu_scale(root: Path) -> None:
    """Give the toy study a scale that is meant for GPUs."""
    add_toy(root)
    path = root / "config/studies/toy.yaml"
    text = path.read_text().replace("      smoke: {", "      gpu: smoke\n      smoke: {")
    path.write_text(text)


def test_each_training_job_has_a_gpu_of_its_own(cluster, tmp_path):
    place = checkout(tmp_path / "place", add_gpu_scale)
    seen = Seen(cluster)
    with seen.watching():
        call = submit(cluster, place, "figures/gpu/all", TOY_PAUSE="4")
        output, _ = call.communicate(timeout=300)
    assert call.returncode == 0, output
    assert (place.root / "figures/gpu/all").exists()
    asked = {
        (j["Comment"].split("_wildcards_")[0], j.get("TresPerJob")) for j in seen.jobs.values()
    }
    assert asked == {("rule_train_batch", "gres:gpu:1"), ("rule_analyse", None)}
    logs = sorted((place.root / "logs/gpu/toy/runs").rglob("*.log"))
    assert sorted(re.search(r"GPU (\w+)", log.read_text())[1] for log in logs) == ["0", "1"]


# --- Snakemake is killed, its jobs are not --------------------------------------------------------


def test_a_job_left_behind_and_its_successor_do_not_train_the_same(cluster, tmp_path):
    target = "results/smoke/toy/runs/decays/rate_1.nc"
    place = checkout(tmp_path / "place")
    log = place.root / "logs/smoke/toy/runs/decays/rate_1.log"
    call = submit(cluster, place, target, TOY_PAUSE="10")
    wait_for(lambda: log.exists() and "training" in log.read_text())
    os.killpg(call.pid, signal.SIGKILL)
    call.communicate(timeout=60)
    (left,) = cluster.jobs()
    again = submit(cluster, place, target)
    output, _ = again.communicate(timeout=200)
    assert again.returncode == 0, output
    assert "training" not in log.read_text()  # the job that was left behind has done it
    assert left["JobId"] not in {job["JobId"] for job in cluster.jobs()}
    local = checkout(tmp_path / "local")
    local.run(target)
    assert digests(local) == digests(place)


def test_an_interrupted_call_cancels_its_jobs(cluster, tmp_path):
    place = checkout(tmp_path / "place")
    call = submit(cluster, place, "results/smoke/toy/runs/decays/rate_1.nc", TOY_PAUSE="60")
    wait_for(cluster.jobs)
    call.send_signal(signal.SIGINT)
    output, _ = call.communicate(timeout=60)
    assert call.returncode != 0, output
    wait_for(lambda: not cluster.jobs(), 10)
