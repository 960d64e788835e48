"""A real SLURM on this machine alone, in a folder of its own, for as long as a block lasts.

It needs root and the Debian packages ``slurm-wlm`` and ``munge``, and touches nothing outside its
folder: own configuration, key, sockets, ports, state and logs. To try a command in it::

    python -m tests.cluster.single_node FOLDER squeue --long
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

NEEDED = "munged slurmctld slurmd sbatch srun squeue scancel scontrol sinfo setpriv".split()
SYSTEM_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"

CONFIGURATION = """\
ClusterName=single
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
# Neither control groups nor an accounting database, which a container has not.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
# Two CPUs and two GPUs, whatever this machine has; memory is not shared out.
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000000 Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
ReturnToService=2
# A job that is cancelled has this long between SIGTERM and SIGKILL.
KillWait=2
"""
# Files that are there stand in for GPUs: SLURM hands out their numbers.
GPUS = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"


class NoCluster(Exception):
    """SLURM is not installed here, or cannot be started."""


def find(name: str) -> str | None:
    """Path of a command of the system, None if there is none."""
    return shutil.which(name, path=SYSTEM_PATH)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _version() -> tuple[int, ...]:
    found = subprocess.run([find("slurmd"), "-V"], capture_output=True, text=True).stdout
    return tuple(map(int, re.findall(r"\d+", found)[:2]))


def _write(folder: Path) -> None:
    """All files of a cluster that is to live in a folder."""
    controller_port, node_port = _free_ports(2)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            folder=folder,
            controller_port=controller_port,
            node_port=node_port,
        )
    )
    (folder / "gres.conf").write_text(GPUS)
    if _version() >= (23, 11):  # looks for control groups by itself
        (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    # Snakemake's jobs drop every variable SLURM_... before they call srun. A job that was given one
    # of the GPUs, which are none, computes on a CPU.
    (folder / "bin").mkdir()
    srun = folder / "bin/srun"
    variables = f"SLURM_CONF={folder}/slurm.conf REGIMES_DEVICE=cpu"
    srun.write_text(f'#!/bin/sh\n{variables} exec {find("srun")} "$@"\n')
    srun.chmod(0o755)


def _daemons(folder: Path) -> Iterator[list[str]]:
    files = {"key-file": "munge.key", "socket": "munge.socket", "seed-file": "munge.seed"}
    files |= {"pid-file": "munged.pid", "log-file": "munged.messages"}
    yield ["munged", "--foreground", "--force", *(f"--{k}={folder}/{v}" for k, v in files.items())]
    yield ["slurmctld", "-D", "-i"]
    yield ["slurmd", "-D"]


def _start(command: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.Popen:
    with open(folder / f"{command[0]}.log", "wb") as log:
        # The kernel ends it with the process of the tests, however that ends.
        return subprocess.Popen(
            [find("setpriv"), "--pdeathsig=KILL", find(command[0]), *command[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _await_node(folder: Path, environment: Mapping[str, str], daemons: list) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and all(daemon.poll() is None for daemon in daemons):
        state = subprocess.run(
            [find("sinfo"), "--noheader", "--format=%T"],
            env=environment,
            capture_output=True,
            text=True,
        )
        if state.stdout.strip() == "idle":
            return
        time.sleep(0.1)
    logs = [f"{log.name}: {log.read_text()[-600:]}" for log in sorted(folder.glob("*.log"))]
    raise NoCluster("SLURM does not come up here\n" + "\n".join(logs))


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Run a cluster of one node in a new folder, and end it and all its jobs in the end.

    Yields
    ------
    dict
        Environment (PATH, SLURM_CONF) in which SLURM's commands speak to it.

    Raises
    ------
    NoCluster
        With the reason.
    """
    missing = [name for name in NEEDED if find(name) is None]
    if missing:
        raise NoCluster(f"SLURM is not installed: no {', '.join(missing)}")
    if os.getuid() != 0:
        raise NoCluster("only root can start SLURM")
    folder.mkdir(parents=True)
    _write(folder)
    environment = {"PATH": f"{folder}/bin:{SYSTEM_PATH}", "SLURM_CONF": f"{folder}/slurm.conf"}
    daemons: list[subprocess.Popen] = []
    try:
        for command in _daemons(folder):
            daemons.append(_start(command, folder, environment))
        _await_node(folder, environment, daemons)
        yield environment
    finally:
        _stop(daemons, environment)


def _stop(daemons: list[subprocess.Popen], environment: Mapping[str, str]) -> None:
    with contextlib.suppress(subprocess.SubprocessError):
        subprocess.run([find("scancel"), "--user=root"], env=environment, timeout=10)
        for _ in range(50):
            squeue = [find("squeue"), "--noheader"]
            left = subprocess.run(squeue, env=environment, capture_output=True, timeout=10)
            if not left.stdout.strip():
                break
            time.sleep(0.2)
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(timeout=5)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


if __name__ == "__main__":
    with running(Path(sys.argv[1]).absolute()) as variables:
        sys.exit(subprocess.run(sys.argv[2:], env=os.environ | variables).returncode)
