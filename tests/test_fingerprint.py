"""Fingerprints follow meaning: imports yes, comments no."""

from __future__ import annotations

from pathlib import Path

import pytest

from regimes import fingerprint


@pytest.fixture
def package(tmp_path: Path, monkeypatch) -> Path:
    """A small package in place of this one."""
    files = {
        "__init__.py": "",
        "a.py": "from regimes import b\n\ndef f(x):\n    '''Doc.'''\n    return b.g(x)\n",
        "b.py": "import math\n\ndef g(x):\n    # comment\n    return math.sqrt(x)\n",
        "c.py": "X = 1\n",
        "store.py": "Y = 1\n",
        "table.py": "SCALE = 2\nT = {'one': lambda x: SCALE * x, 'two': lambda x: x + 1}\n",
        "user.py": "from regimes.table import T\nfrom regimes import store\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(fingerprint, "SOURCE", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget():
    for cached in (fingerprint._tree, fingerprint.imports, fingerprint._module_digest):
        cached.cache_clear()


def after(package, file, old, new, modules=("regimes.a",), entries=None):
    before = fingerprint.of_modules(modules, entries)
    path = package / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    forget()
    return fingerprint.of_modules(modules, entries) != before


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("b.py", "# comment", "# another", False),
        ("b.py", "math.sqrt(x)", "math.sqrt( x )", False),
        ("a.py", "'''Doc.'''", "'''Other.'''", False),
        ("b.py", "math.sqrt(x)", "math.sqrt(2 * x)", True),
        ("a.py", "b.g(x)", "b.g(x) + 1", True),
        ("c.py", "X = 1", "X = 2", False),
    ],
)
def test_what_counts(package, file, old, new, changes):
    assert after(package, file, old, new) == changes


def test_closure_follows_imports_and_leaves_out_the_carriers(package):
    assert fingerprint.closure(["regimes.a"]) == {"regimes.a", "regimes.b", "regimes"}
    assert "regimes.store" not in fingerprint.closure(["regimes.user"])


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("SCALE * x", "SCALE * x * x", True),
        ("x + 1", "x + 2", False),
        ("'two'", "'three': lambda x: x, 'two'", False),
        ("SCALE = 2", "SCALE = 3", True),
    ],
)
def test_only_named_entries_of_a_table_count(package, old, new, changes):
    entries = {"regimes.table:T": {"one"}}
    assert after(package, "table.py", old, new, ("regimes.user",), entries) == changes


def test_unknown_module_is_an_error(package):
    with pytest.raises(ModuleNotFoundError, match=r"regimes\.none"):
        fingerprint.of_modules(["regimes.none"])


def test_a_new_target_retrains_nothing_and_an_edited_one_does():
    source = fingerprint.SOURCE / "studies/giant_step/functions.py"
    assert '"plus"' in source.read_text()
    entries = {"regimes.studies.giant_step.functions:TARGETS": {"plus"}}
    other = {"regimes.studies.giant_step.functions:TARGETS": {"minus"}}
    module = ["regimes.studies.giant_step.experiments"]
    assert fingerprint.of_modules(module, entries) != fingerprint.of_modules(module, other)


def test_training_does_not_depend_on_figures_or_claims():
    modules = fingerprint.closure(["regimes.studies.giant_step.experiments"])
    assert not [m for m in modules if "figures" in m or "claims" in m or "plot" in m]


@pytest.mark.parametrize("layer", ["theory", "claims"])
def test_theory_and_claims_import_no_torch(layer):
    for module in fingerprint.closure([f"regimes.studies.giant_step.{layer}"]):
        assert "import torch" not in fingerprint._file(module).read_text(), module
