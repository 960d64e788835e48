"""Nothing that is read can run code, leave its place, or fill the memory."""

from __future__ import annotations

import ast
import copy
import html.parser
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from regimes import paths, plan, store
from regimes import workflow as front
from regimes.config import Config, ConfigError, load_yaml
from regimes.data import diffusion, files
from regimes.ensemble import checkpoints
from regimes.plot import gallery, style
from regimes.studies.limiting_dynamics import networks
from tests.data.made_images import encoded, expect, make, use, write_parquet

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for folder in ("src", "workflow", "benchmarks")
    for path in (REPOSITORY / folder).rglob("*.py")
)
RULES = [REPOSITORY / "Snakefile", *sorted((REPOSITORY / "workflow").rglob("*.smk"))]
SCALE, STUDY = "laptop", "giant_step"

# ------------------------------------------------------------------ what the code calls

UNPICKLING = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}
FORBIDDEN_CALLS = {
    "eval", "exec", "__import__", "compile", "os.system", "os.popen", "os.execv", "os.execvp",
    "os.spawnl", "pty.spawn", "commands.getoutput", "subprocess.getoutput", "tempfile.mktemp",
    "subprocess.getstatusoutput", "yaml.load", "yaml.load_all", "yaml.unsafe_load",
    "yaml.full_load",
    "pd.read_pickle", "pandas.read_pickle", "torch.hub.load", "shutil.unpack_archive",
    "tarfile.open",
    "torch.serialization.add_safe_globals", "jinja2.Template", "Markup", "markupsafe.Markup",
}  # fmt: skip
FORBIDDEN_METHODS = {
    "extractall",
    "extract",
    "read_pickle",
    "to_pickle",
    "load_state_dict_from_url",
}


def name_of(node: ast.AST) -> str:
    """Dotted name of what is called."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def is_constant(keywords: dict[str, ast.expr], name: str, value: object) -> bool:
    found = keywords.get(name)
    return isinstance(found, ast.Constant) and found.value is value


def complaints(tree: ast.Module) -> Iterator[str]:
    """What a syntax tree does that none of the project's may."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                if module.split(".")[0] in UNPICKLING - {"pickle"}:
                    yield f"{node.lineno}: imports {module}"
                if module == "pickle" and isinstance(node, ast.ImportFrom):
                    yield f"{node.lineno}: imports from pickle"
        # Of pickle only the names of its errors are needed.
        if isinstance(node, ast.Attribute) and name_of(node.value) == "pickle":
            if not node.attr.endswith("Error"):
                yield f"{node.lineno}: pickle.{node.attr}"
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        keywords = {each.arg: each.value for each in node.keywords if each.arg}
        if name in FORBIDDEN_CALLS or name.split(".")[-1] in FORBIDDEN_METHODS:
            yield f"{node.lineno}: calls {name}"
        if name == "torch.load" and not is_constant(keywords, "weights_only", True):
            yield f"{node.lineno}: torch.load without weights_only=True"
        if name in ("np.load", "numpy.load", "np.lib.format.read_array"):
            if "allow_pickle" in keywords and not is_constant(keywords, "allow_pickle", False):
                yield f"{node.lineno}: {name} with allow_pickle"
        if "shell" in keywords and not is_constant(keywords, "shell", False):
            yield f"{node.lineno}: {name} with shell"
        if name.startswith("subprocess.") and node.args:
            if isinstance(node.args[0], ast.Constant | ast.JoinedStr | ast.BinOp):
                yield f"{node.lineno}: {name} with text for a command"
        if "trust_remote_code" in keywords:
            yield f"{node.lineno}: {name} may run code of others"
        if name.endswith("Environment") and "jinja2" in name:
            if not is_constant(keywords, "autoescape", True):
                yield f"{node.lineno}: {name} without autoescape"


@pytest.mark.parametrize(
    "code",
    [
        "eval(x)", "exec(x)", "__import__(x)", "os.system(x)", "import joblib", "import dill as d",
        "from pickle import loads", "pickle.load(x)", "pickle.loads(x)", "import marshal",
        "torch.load(x)",
        "torch.load(x, weights_only=False)", "torch.load(x, weights_only=flag)",
        "np.load(x, allow_pickle=True)", "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=y)",
        "subprocess.run('ls x')", "subprocess.Popen(f'ls {x}')", "yaml.load(x)",
        "yaml.unsafe_load(x)",
        "archive.extractall(x)", "shutil.unpack_archive(x)", "pd.read_pickle(x)",
        "datasets.load_dataset(x, trust_remote_code=True)", "jinja2.Environment(loader=x)",
    ],
)  # fmt: skip
def test_the_scan_finds_what_it_is_for(code):
    assert list(complaints(ast.parse(code)))


def test_the_scan_lets_safe_calls_pass():
    code = (
        "import pickle\ntorch.load(x, weights_only=True)\nnp.load(x, mmap_mode='r')\n"
        "subprocess.run([a, b], check=True)\nre.compile(x)\nexcept_ = pickle.UnpicklingError\n"
    )
    assert list(complaints(ast.parse(code))) == []


def test_no_code_unpickles_evaluates_or_calls_a_shell():
    assert len(SOURCES) > 60
    found = [
        f"{path.relative_to(REPOSITORY)}:{complaint}"
        for path in SOURCES
        for complaint in complaints(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_every_loader_of_yaml_is_a_safe_one():
    for path in SOURCES:
        for loader in re.findall(r"yaml\.(\w*Loader\w*)", path.read_text(encoding="utf-8")):
            assert loader in ("CSafeLoader", "SafeLoader"), path


def test_pages_trust_no_text():
    for path in (REPOSITORY / "src").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*(safe|tojson|urlize|xmlattr)\b|autoescape", text), path
        # Quoted attributes only: escaping protects nothing in bare ones.
        assert not re.search(r"=\{\{", text), path


# ------------------------------------------------------------------ shell commands of the rules

QUOTED = {"ROOT:q", "log:q", "output:q"}
# Hexadecimal digits, numbers, names that patterns allow, and what the Snakefile quotes itself.
PLAIN = {
    "PYTHON", "params.code", "params.digest", "params.generation", "params.studies", "params.scale",
}  # fmt: skip
WILDCARDS = {"scale", "study", "experiment", "batch", "start", "analysis", "figure", "generated"}


def shell_lines() -> list[str]:
    """Shell commands of all rules."""
    found = []
    for path in RULES:
        for block in re.findall(r"\n    shell:\n((?:        .*\n)+)", path.read_text() + "\n"):
            found.append("".join(re.findall(r'"([^"]*)"', block)))
    return found


def test_values_in_shell_commands_are_quoted_or_harmless():
    lines = shell_lines()
    assert len(lines) > 8
    for line in lines:
        for name in re.findall(r"\{([^{}]*)\}", line):
            kind, _, wildcard = name.partition(".")
            known = name in QUOTED | PLAIN or (kind == "wildcards" and wildcard in WILDCARDS)
            assert known, f"{name} in {line}"
    assert "shlex.quote(sys.executable)" in RULES[0].read_text()


def test_rules_run_no_python_text_and_no_other_scripts():
    for path in RULES:
        text = path.read_text()
        assert not re.search(r"^\s*(run|script|notebook|cwl|wrapper):", text, re.MULTILINE), path
        assert not re.search(r"\b(eval|exec|os\.system|pickle)\b\s*\(", text), path


def test_wildcards_are_names():
    """None of their patterns lets anything pass that a shell or a path would read otherwise."""
    patterns: dict[str, list[str]] = {}
    for path in RULES:
        for name, text in re.findall(r'^\s+(\w+)=f?"([^"]*)",?$', path.read_text(), re.MULTILINE):
            if name in WILDCARDS:
                patterns.setdefault(name, []).append(text)
    assert WILDCARDS - {"scale", "study", "generated"} <= set(patterns)
    for name, texts in patterns.items():
        for text in texts:  # a look-ahead, then one class of letters
            assert re.fullmatch(r"(\(\?!.*\))?(table)?\[a-z0-9_A?\][+*]", text), (name, text)
    odd = ["", "a/b", "..", "a b", "a;b", "$a", "`a`", "a\n", "-a", "a'b", 'a"b', "ä"]
    choice = re.compile(front.either(["smoke", "a.b"]))
    assert not any(choice.fullmatch(text) for text in [*odd, "axb", "smoke\n"])


# ------------------------------------------------------------------ crafted files


class Evil:
    """Its unpickling makes a file."""

    def __init__(self, flag: Path):
        self.flag = flag

    def __reduce__(self):
        return os.mkdir, (str(self.flag),)


@pytest.fixture
def flag(tmp_path) -> Path:
    """Folder that a crafted file would make; the fixture shows that such a file works."""
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Evil(proof)))
    assert proof.exists()
    return tmp_path / "run by a file"


class Killed(Exception):
    """The job was killed."""


def test_a_crafted_checkpoint_runs_nothing_and_counts_as_damaged(flag, tmp_path, capsys):
    folder = tmp_path / "batch.partial"
    begun = []

    def train(runs):
        call = checkpoints.call()
        begun.append(call.state)
        call.save({"step": 7, "weights": torch.ones(3)})
        raise Killed

    def start():
        with pytest.raises(Killed), checkpoints.kept(folder, 0.0, {"code": "0"}):
            checkpoints.program(["a run"], train)

    start(), start()
    assert begun[0] is None and begun[1]["step"] == 7  # so that the last start reads the file
    (pointer,) = [p for p in folder.glob("*_1.json")]
    about = json.loads(pointer.read_text())
    path = folder / about["state"]["file"]
    torch.save({"step": 7, "weights": Evil(flag)}, path)
    about["state"]["sha256"] = store.file_digest(path)  # whoever wrote the file can do that too
    pointer.write_text(json.dumps(about))
    start()
    assert begun[2] is None and "is damaged" in capsys.readouterr().out
    assert not flag.exists()


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_crafted_weights_run_nothing(form, flag, tmp_path, monkeypatch):
    path = tmp_path / "resnet18-00000000.pth"
    if form == "torch":
        torch.save({"conv1.weight": Evil(flag)}, path)
    else:
        path.write_bytes(pickle.dumps(Evil(flag)))
    monkeypatch.setattr(files, "weights", lambda name: path)
    with pytest.raises(ConfigError, match="download torchvision's weights"):
        networks.torchvision_weights(types.SimpleNamespace(model="resnet18"), None)
    assert not flag.exists()


def test_a_crafted_generator_runs_nothing(flag, tmp_path):
    path = tmp_path / "generator.pt"
    torch.save({"origin": "{}", "model": Evil(flag)}, path)
    (resume,) = [
        each.resume
        for each in vars(diffusion).values()
        if isinstance(each, type) and "resume" in vars(each)
    ]
    with pytest.raises(ConfigError, match="is no checkpoint"):
        resume(types.SimpleNamespace(), path, "{}")
    assert not flag.exists()


def test_crafted_arrays_run_nothing(flag, tmp_path, monkeypatch):
    crafted = np.array([Evil(flag)], dtype=object)
    np.savez(tmp_path / "part-0.npz", images=crafted, label=np.zeros(1, int))
    with pytest.raises(ConfigError, match="no archive with images"):
        diffusion._check_part(tmp_path / "part-0.npz", (1, 1, 28, 28))
    folder = use(monkeypatch, tmp_path / "data")
    source = expect(monkeypatch, "mnist")
    make(folder, "mnist")
    held = files.decoded(source, "train")
    (kept,) = [p for p in files.cache().glob("mnist-train-*.npy") if "label" not in p.name]
    np.save(kept, crafted)
    assert files.decoded(source, "train").digest == held.digest  # decoded anew
    assert not flag.exists()


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir [{flag}]",
        "!!python/object/new:os.mkdir [{flag}]",
        "!!python/object/apply:os.mkdir {{args: [{flag}]}}",
        "!!python/name:os.mkdir",
        "!!python/module:antigravity",
        "&a !!python/object/apply:os.mkdir [{flag}]",
    ],
)
def test_yaml_runs_nothing(tag, flag, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"a: {tag.format(flag=json.dumps(str(flag)))}\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_yaml(path)
    assert not flag.exists() and "antigravity" not in sys.modules


def test_a_table_of_much_more_than_fits_is_a_bad_file(tmp_path):
    """In a process of little memory: a crafted file may claim what it does not hold."""
    import netCDF4

    path = tmp_path / "huge.nc"
    with netCDF4.Dataset(path, "w") as handle:
        handle.createDimension("run", 2**20)
        handle.createDimension("step", 2**20)
        variable = handle.createVariable("value", "f8", ("run", "step"), chunksizes=(1024, 1024))
        variable.long_name, variable.units = "value", "1"
        handle.sha256 = "0" * 64
    assert path.stat().st_size < 100_000
    code = (
        "import resource, sys; from regimes import store\n"
        "resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))\n"
        "try:\n    store.read_netcdf(sys.argv[1])\n"
        "except store.BadFile as error:\n    print('refused', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("refused"), done.stderr[-500:]
    assert not path.exists() and path.with_name("huge.nc.bad").exists()


# ------------------------------------------------------------------ data sets


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return use(monkeypatch, tmp_path)


def spoilt(folder: Path, source, content: bytes) -> None:
    """Put an image into the first file of the training part."""
    make(folder, source.name)
    path = sorted((folder / source.name).glob("train-*.parquet"))[0]
    count = store_rows(path)
    pixels = np.zeros(source.shape, np.uint8)
    images = [content, *([encoded(pixels)] * (count - 1))]
    write_parquet(path, images, {source.image: [], source.label: [0] * count})


def store_rows(path: Path) -> int:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(path).metadata.num_rows


def bomb(width: int, height: int) -> bytes:
    """Some kilobytes that are an image of very many black pixels."""
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, "PNG", optimize=False, compress_level=9)
    return stream.getvalue()


def other_format(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 32)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cifar10", bomb(30_000, 30_000), "can be decoded|30000 x 30000"),
        ("cifar10", bomb(5000, 5000), "image of 5000 x 5000 pixels"),
        ("imagenet", bomb(12_000, 11_000), "pixels are too many"),
        # Its reader starts another program.
        ("cifar10", other_format("EPS"), "no known image format"),
        ("cifar10", other_format("TIFF"), "no known image format"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_images_that_unpack_to_much_or_are_of_other_kinds_are_not_decoded(
    name, content, message, folder, monkeypatch
):
    source = expect(monkeypatch, name)
    spoilt(folder, source, content)

    def never(self):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(Image.Image, "load", never)
    with pytest.raises(ConfigError, match=message) as caught:
        files.decoded(source, "train")
    assert "\n" not in str(caught.value)


def archive(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as handle:
        for name, content in members.items():
            handle.writestr(f"{name}.npy", content)


def header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": kind, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


@pytest.mark.parametrize(
    ("images", "label"),
    [
        (header((10**15, 32, 32, 3)), header((10**15,), "<i8")),
        (header((-1, 32, 32, 3)), header((-1,), "<i8")),
        (header((10, 32, 32, 3)), header((10,), "<i8")),
        (header((2, 32, 32, 3)) + bytes(6144), header((2**27,), "<i8") + bytes(2**20)),
        (header((2, 32, 32, 3)), header((2,), "|O")),
        (b"\x93NUMPY\x01\x00\x10\x00{'a': 1}       \n", header((2,), "<i8")),
        (b"", b""),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535, header((2,), "<i8")),
    ],
)
def test_crafted_archives_are_refused_in_one_message(images, label, folder, monkeypatch):
    source = expect(monkeypatch, "cifar5m")
    make(folder, "cifar5m")
    archive(folder / "cifar5m/cifar5m_part3.npz", X=images, Y=label)
    with pytest.raises(ConfigError):
        files.decoded(source, "train")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["cifar10", "cifar5m"])
def test_garbled_files_are_refused_in_one_message_or_decoded(name, seed, folder, monkeypatch):
    """Any bytes of a file may be others; only what has a digest can be told from the original."""
    source = expect(monkeypatch, name)
    make(folder, name)
    path = sorted((folder / name).glob("*train*" if name == "cifar10" else "*part*"))[0]
    rng = np.random.default_rng(seed)
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    # The head and the tail, where the tables of contents are, and some places between.
    where = np.concatenate(
        [
            rng.integers(0, 64, 2),
            len(content) - 1 - rng.integers(0, 400, 3),
            rng.integers(0, len(content), 3),
        ]
    )
    content[where] = rng.integers(0, 256, len(where))
    path.write_bytes(content.tobytes())
    try:
        files.decoded(source, "train")
    except ConfigError as error:
        assert str(path.parent) in str(error)


def test_what_is_fetched_is_pinned_and_never_code():
    """Revisions are commits; what comes is compared with digests or statistics."""
    from regimes.data.catalog import CATALOG

    for source in CATALOG.values():
        if source.hub is not None and not source.hub.gated:
            assert re.fullmatch("[0-9a-f]{40}", source.hub.revision), source.name
            assert all(source.digests) or source.moments is not None, source.name
    text = (REPOSITORY / "src/regimes/data/files.py").read_text()
    assert text.count("load_dataset(") == 1 and "revision=source.hub.revision" in text
    assert not re.search(
        r"urlopen|requests\.|urlretrieve|http://", "".join(p.read_text() for p in SOURCES)
    )


def test_a_changed_download_is_refused(folder, monkeypatch):
    make(folder, "mnist")  # noise under the name of MNIST
    source = expect(monkeypatch, "mnist", digests=("0" * 64, "0" * 64))
    with pytest.raises(ConfigError, match="not those of MNIST: SHA-256 of the pixels"):
        files.decoded(source, "train")


# ------------------------------------------------------------------ links in the results


def test_links_are_not_followed_where_checkpoints_are_removed(tmp_path, monkeypatch):
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    for name in ("linked", "inner", "of_experiment/x.partial"):
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "kept").write_text("of the user's")
    runs = work / f"results/smoke/{STUDY}/runs"
    (runs / "gone/x.partial").mkdir(parents=True)
    (runs / "gone/x.partial/inner").symlink_to(elsewhere / "inner")
    (runs / "gone/link.partial").symlink_to(elsewhere / "linked")
    (runs / "gone/dangling.partial").symlink_to(elsewhere / "not there")
    (runs / "gone/file.partial").write_text("no folder")
    (runs / "of_experiment").symlink_to(elsewhere / "of_experiment")
    monkeypatch.chdir(work)
    removed = front.clear_checkpoints(Config(REPOSITORY), {"smoke"})
    assert sorted(p.name for p in removed) == ["dangling.partial", "link.partial", "x.partial"]
    assert sorted(p.name for p in (runs / "gone").iterdir()) == ["file.partial"]
    assert len(list(elsewhere.rglob("kept"))) == 3


def test_results_on_another_disk_are_tidied_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "disk" / "smoke" / STUDY / "runs/gone/x.partial").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/results").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(tmp_path / "work")
    assert len(front.clear_checkpoints(Config(REPOSITORY), {"smoke"})) == 1
    assert list((tmp_path / "disk").rglob("*.partial")) == []


# ------------------------------------------------------------------ the page and the pictures

INJECTIONS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '" onload="alert(1)',
    "javascript:alert(1)",
    '<a href="javascript:alert(1)">x</a>',
    "]]></style></title><svg/onload=alert(1)>",
    "<!-- ", "--><b>", "&lt;b&gt;", "{{ 7 * 7 }}{% raw %}", "<iframe src=//x>", "\0<x>",
    "</table></details>",
]  # fmt: skip


class Structure(html.parser.HTMLParser):
    """Elements with the names of their attributes, addresses, and text of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.elements, self.addresses, self.text = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, tuple(sorted(name for name, _ in attributes))))
        self.addresses += [value for name, value in attributes if name in ("href", "src")]

    def handle_endtag(self, tag):
        self.elements.append((f"/{tag}", ()))

    def handle_comment(self, data):
        self.elements.append(("comment", ()))

    def handle_decl(self, decl):
        self.elements.append((f"declaration {decl}", ()))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def one_study(tmp_path, monkeypatch) -> Config:
    """Configuration of one study; the working directory is empty."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "checkout/config")
    main = tmp_path / "checkout/config/config.yaml"
    main.write_text(re.sub("studies: .*", f"studies: [{STUDY}]", main.read_text()))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return Config(tmp_path / "checkout")


def sidecars(config: Config) -> list[Path]:
    """Sidecars of all batches of the study."""
    return [
        Path(paths.batch(SCALE, STUDY, experiment, name)).with_suffix(".json")
        for experiment, definition in config.studies[STUDY].experiments.items()
        if definition.at(SCALE) is not None
        for name in plan.batches(config, STUDY, experiment, SCALE)
    ]


def page_with(text: str, config: Config) -> str:
    """Page on which a text stands wherever text can come from outside the code."""
    study = config.studies[STUDY]
    figures = {
        name: entry.model_copy(update={"title": text, "caption": text})
        for name, entry in study.figures.items()
    }
    experiments = {
        name: entry.model_copy(update={"title": text}) for name, entry in study.experiments.items()
    }
    paper = study.paper.model_copy(update={"title": text, "authors": text, "venue": text})
    other = copy.copy(config)
    changes = {"title": text, "paper": paper, "figures": figures, "experiments": experiments}
    other.studies = {STUDY: study.model_copy(update=changes)}
    figure = next(iter(figures))
    store.write_text(paths.figure(SCALE, STUDY, figure, "png"), "")
    row = dict.fromkeys(["claim", "statement", "source", "expected", "verdict", "note"], text)
    row |= {"study": STUDY, "figure": figure, "seeds": 3}
    row |= {"measured": 1.0, "ci_low": 0.5, "ci_high": 2.0}
    Path(paths.claims(SCALE)).parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([row]).to_csv(paths.claims(SCALE), index=False)
    session = dict.fromkeys(["hardware", "host", "commit"], text)
    session |= {"wall_seconds": 2.0, "peak_memory_mb": 1.0}
    for path in sidecars(config):
        store.write_json(path, {"sessions": [session]})
    return gallery.render(other, SCALE)


def test_no_text_on_the_page_becomes_markup(one_study):
    plain = Structure(page_with("harmless", one_study))
    assert len(plain.elements) > 50
    for text in (*INJECTIONS[:4], "".join(INJECTIONS), "".join(reversed(INJECTIONS))):
        page = page_with(text, one_study)
        found = Structure(page)
        assert found.elements == plain.elements, text
        assert found.addresses == plain.addresses, text
        assert "<script" not in page.lower()
    assert not any(re.match(r"\s*(javascript|data|https?|//)", each) for each in plain.addresses)


def test_sidecars_that_are_not_what_was_written_spoil_no_page(one_study):
    store.write_text(paths.figure(SCALE, STUDY, "fig1", "png"), "")
    odd = [
        "", "[]", "null", "1", '{"sessions": 1}', '{"sessions": {"a": 1}}', '{"sessions": [{}]}',
        '{"sessions": [1, null, "x", []]}',
        '{"sessions": [{"wall_seconds": "long", "peak_memory_mb": null, "commit": 7}]}',
        '{"sessions": [{"wall_seconds": NaN, "peak_memory_mb": Infinity, "hardware": ["x"]}]}',
        '{"sessions": [{"wall_seconds": -1e400, "peak_memory_mb": true}]}',
    ]  # fmt: skip
    figure = one_study.studies[STUDY].figures["fig1"]
    read = one_study.studies[STUDY].analyses[figure.analyses[0]].experiments
    shown = [path for path in sidecars(one_study) if path.parent.name in read]
    for text in odd:
        for path in shown:
            store.write_text(path, text)
        page = gallery.render(one_study, SCALE)
        assert "trained in 0.0 s" in page and "0 MB" in page, text


def test_pictures_carry_no_names_dates_or_places(tmp_path, monkeypatch):
    """Neither PDF nor PNG tells who made it where, and no text gets out of its place."""
    from matplotlib.figure import Figure

    monkeypatch.setenv("USER", "somebody")
    for text in (")>> endobj <</JS (app.alert(1))>>", "(((", "\\", "a\nb", "<script>"):
        for suffix in ("pdf", "png"):
            figure = Figure()
            figure.text(0.1, 0.5, text, parse_math=False)
            style.save(figure, tmp_path / f"x.{suffix}")
            content = (tmp_path / f"x.{suffix}").read_bytes()
            for word in (b"somebody", b"/JavaScript", b"/JS", b"CreationDate", b"tEXtSoftware"):
                assert word not in content, (text, word)
            assert str(tmp_path).encode() not in content


# ------------------------------------------------------------------ a folder with an odd name


@pytest.mark.workflow
@pytest.mark.slow
def test_the_pipeline_works_in_a_folder_with_an_odd_name(tmp_path):
    from tests.workflow.conftest import Checkout, add_toy, copy_code

    root = tmp_path / 'odd \'name $x; touch evil; `touch evil` & "q" #'
    root.mkdir()
    copy_code(root)
    add_toy(root)
    checkout = Checkout(root)
    checkout.run("figures/smoke/toy/fig1.pdf")
    assert (root / "figures/smoke/toy/fig1.pdf").exists()
    assert list(tmp_path.rglob("evil")) == []
