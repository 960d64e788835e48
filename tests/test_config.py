"""Reading configuration: values, lines, hints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes.config import Config, ConfigError, load_yaml, nearest

REPOSITORY = Path(__file__).resolve().parents[1]


def write(tmp_path, text):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    return path


def test_lines_of_keys_are_remembered(tmp_path):
    data, lines = load_yaml(write(tmp_path, "a:\n  b: 1\n  c: [1,\n    2]\n"))
    assert data == {"a": {"b": 1, "c": [1, 2]}}
    assert lines[("a", "b")] == 2
    assert lines[("a", "c", 1)] == 4


def test_scientific_notation_is_a_number(tmp_path):
    data, _ = load_yaml(write(tmp_path, "a: 1e-6\nb: -2.5E3\nc: 1e6x\n"))
    assert data == {"a": 1e-6, "b": -2500.0, "c": "1e6x"}


def test_merge_keys_work_and_own_keys_win(tmp_path):
    data, _ = load_yaml(write(tmp_path, "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n"))
    assert data["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "stands twice"),
        ("a: {b: 1, b: 2}\n", "'b' stands twice in a"),
        ("a: [1\n", "not valid YAML"),
        ("1: a\n", "not text"),
        ("a: !!python/object:os.system x\n", "not valid YAML"),
        ("a: !thing x\n", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_bad_yaml_is_refused_with_file_and_reason(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_yaml(write(tmp_path, text))
    assert "some.yaml" in str(caught.value)


def test_missing_file_and_wrong_encoding(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_yaml(tmp_path / "latin.yaml")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        load_yaml(path)
    except ConfigError:
        pass


def test_nearest_name():
    assert nearest("labtop", ["laptop", "gpu"]) == "did you mean 'laptop'?"
    assert nearest("xyz", ["laptop", "gpu"]) == "valid: gpu, laptop"


def test_repository_configuration_is_valid():
    config = Config(REPOSITORY)
    assert list(config.studies) == config.main.studies


@pytest.mark.parametrize(
    ("substitutes", "wrong"),
    [("{cifar11: cifar10_jpeg}", "cifar11"), ("{mnist: mnst, cifar10: cifar10_jpeg}", "mnst")],
)
def test_substitutes_are_image_data_sets(substitutes, wrong, tmp_path):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    main = tmp_path / "config/config.yaml"
    main.write_text(main.read_text().replace("substitutes: {}", f"substitutes: {substitutes}"))
    with pytest.raises(
        ConfigError, match=f"got '{wrong}': no image data set; did you mean"
    ) as error:
        Config(tmp_path)
    assert (
        f"config.yaml:{main.read_text()[: main.read_text().index(wrong)].count(chr(10)) + 1}: "
        in (str(error.value))
    )


def test_every_figure_has_caption_and_module():
    config = Config(REPOSITORY)
    for study, entry in config.studies.items():
        folder = REPOSITORY / "src/regimes/studies" / study
        for figure, definition in entry.figures.items():
            assert len(definition.caption) > 60, figure
            assert (folder / "figures" / f"{figure}.py").exists(), figure
        for analysis in entry.analyses:
            assert (folder / "analyses" / f"{analysis}.py").exists(), analysis


def test_reading_the_configuration_imports_nothing_heavy():
    """Every job and every call of Snakemake reads it first."""
    code = (
        "import sys; from regimes.config import Config; from regimes import plan;"
        f"config = Config({str(REPOSITORY)!r});"
        "[plan.lineage(config, 'laptop', s, a)"
        " for s, e in config.studies.items() for a in e.analyses];"
        "print([m for m in ('torch', 'xarray', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LIGHT = ("analyses", "figures")


def test_theory_analyses_figures_and_claims_import_no_torch():
    for study, entry in Config(REPOSITORY).studies.items():
        names = ["theory", "claims"]
        names += [f"{section}.{name}" for section in LIGHT for name in getattr(entry, section)]
        modules = [f"regimes.studies.{study}.{name}" for name in names]
        code = f"import importlib, sys; [importlib.import_module(m) for m in {modules!r}];"
        code += "print('torch' in sys.modules)"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert found.stdout.strip() == "False", (study, found.stderr)


def test_a_job_reads_the_configuration_of_its_study_alone():
    root = Path(__file__).resolve().parents[1]
    assert list(Config(root, "limiting_dynamics").studies) == ["limiting_dynamics"]
    with pytest.raises(ConfigError, match="study: got 'limiting'.*limiting_dynamics"):
        Config(root, "limiting")
