"""A checkout with a toy study, built once and copied for each test."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from filelock import FileLock

REPOSITORY = Path(__file__).resolve().parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


@dataclass
class Checkout:
    """A copy of the repository's code in which tests edit, run and look."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        """Start snakemake with a bare PATH and no activated environment."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.root), "COLUMNS": "200"}
        environment |= self.variables | options.pop("environment", {})
        return subprocess.Popen(
            [str(SNAKEMAKE), *arguments],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def run(self, *targets: str, fails: bool = False, cores: int = 2) -> str:
        """Run snakemake to its end and return what it printed."""
        process = self.start("--cores", str(cores), *targets)
        output, _ = process.communicate(timeout=1500)
        assert (process.returncode != 0) == fails, output
        return output

    def regimes(self, *arguments: str, fails: bool = False) -> str:
        """Run one of the pipeline's own commands with the code of this checkout."""
        done = subprocess.run(
            [sys.executable, "-m", "regimes", *arguments],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root / "src"), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def state(self, *folders: str) -> dict[str, tuple[int, str]]:
        """Modification time and hash of every file below folders."""
        found = {}
        for folder in folders:
            for path in sorted((self.root / folder).rglob("*")):
                if path.is_file():
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    found[str(path.relative_to(self.root))] = (path.stat().st_mtime_ns, digest)
        return found

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace text that must be there."""
        path = self.root / file
        text = path.read_text()
        assert old in text, f"{old!r} not in {file}"
        path.write_text(text.replace(old, new, 1))

    def changed(self, action: Callable[[], object], *folders: str) -> set[str]:
        """Files that an action wrote, added or removed, the logs apart."""
        before = self.state(*(folders or ("results", "figures")))
        action()
        after = self.state(*(folders or ("results", "figures")))
        return {
            name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
        }


def copy_code(root: Path) -> None:
    """Copy what a clone holds, without results."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "workflow", "config", "profiles"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=ignore)
    shutil.copy2(REPOSITORY / "Snakefile", root)


def add_toy(root: Path) -> None:
    """Put the toy study in place of the real ones."""
    toy = Path(__file__).parent / "toy"
    shutil.rmtree(root / "config/studies")
    (root / "config/studies").mkdir()
    shutil.copy2(toy / "toy.yaml", root / "config/studies/toy.yaml")
    shutil.copytree(
        toy,
        root / "src/regimes/studies/toy",
        ignore=shutil.ignore_patterns("__pycache__", "*.yaml"),
    )
    main = root / "config/config.yaml"
    lines = main.read_text().splitlines()
    lines = ["studies: [toy]" if line.startswith("studies:") else line for line in lines]
    main.write_text("\n".join(lines) + "\n")


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    """A checkout with the toy study, nothing built."""
    root = tmp_path / "fresh"
    root.mkdir()
    copy_code(root)
    add_toy(root)
    return Checkout(root)


def build_once(
    factory: pytest.TempPathFactory, name: str, target: str, prepare: Callable[[Path], None]
) -> Path:
    """Folder of a checkout with a target built, shared by all tests and workers of this call."""
    shared = factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    root = shared / name
    with FileLock(str(shared / f"{name}.lock")):
        if not (shared / f"{name}.done").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            copy_code(root)
            prepare(root)
            Checkout(root).run(target)
            (shared / f"{name}.done").touch()
    return root


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose toy figures are built."""
    return build_once(tmp_path_factory, "built", "figures/all", add_toy)


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Checkout:
    """A copy of the built checkout."""
    shutil.copytree(built_once, tmp_path / "checkout")
    return Checkout(tmp_path / "checkout")
