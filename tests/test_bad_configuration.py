"""Whatever stands in the configuration, it is refused in one message or means something valid.

No other exception, no hang, no flood of memory, no file outside the folders of the pipeline, and
all before any job runs.
"""

from __future__ import annotations

import copy
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regimes import config as configuration
from regimes import paths, plan
from regimes import workflow as front
from regimes.config import SCALES, Config, ConfigError, Experiment, ScaleConfig

REPOSITORY = Path(__file__).resolve().parents[1]
TOY = REPOSITORY / "tests/workflow/toy"
TOY_STUDY = (TOY / "toy.yaml").read_text()
MAIN = "scale: laptop\nstudies: [toy]\ndata: data\nsubstitutes: {}\ndevice: auto\n"
SECONDS = 5.0  # that reading and planning of the toy study may take at most
LONGEST_FILE_NAME = 255
RULES = frozenset({"all_figures", "gallery", "train_batch"})


def bounded(examples: int) -> Callable:
    """Same examples on every machine, so that a test passes or fails for the code's sake."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Iterator[Path]:
    """A folder with a configuration whose only study is the toy; the working directory."""
    root = tmp_path_factory.mktemp("configured")
    code = root / "code"
    shutil.copytree(TOY, code / "toy", ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
    (root / "work/config/studies").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        import regimes.studies

        patch.setattr(regimes.studies, "__path__", [*regimes.studies.__path__, str(code)])
        patch.setattr(configuration, "STUDIES", code)
        patch.chdir(root / "work")
        yield root / "work"
        for name in [name for name in sys.modules if name.startswith("regimes.studies.toy")]:
            del sys.modules[name]


def in_time(seconds: float, action: Callable[[], Any]) -> Any:
    """Result of a call that must return soon, by the processor's time: others may use it too."""

    def late(number, frame):
        raise AssertionError(f"still at it after {seconds} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return action()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_time_is_that_of_this_process_alone():
    def work():
        while True:
            pass

    in_time(0.1, lambda: time.sleep(0.3))
    with pytest.raises(AssertionError, match="still at it after 0.1 s"):
        in_time(0.1, work)


def check_message(error: ConfigError, begins: tuple[str, ...]) -> str:
    """Message for a person: one printable line that says where."""
    message = str(error)
    assert message.isprintable() and 10 < len(message) < 3100, message
    assert message.startswith(begins), message
    assert "object at 0x" not in message and "Node(" not in message
    return message


def planned_files(config: Config, scale: str) -> list[str]:
    """Every file and folder that jobs of a scale would write."""
    found = [paths.claims(scale), paths.gallery(scale)]
    for study, entry in config.studies.items():
        found += front.study_files(config, scale, study)
        for experiment, definition in entry.experiments.items():
            if definition.at(scale) is not None:
                for name in plan.batches(config, study, experiment, scale):
                    found.append(paths.batch(scale, study, experiment, name))
                    found.append(paths.checkpoints(scale, study, experiment, name))
        found += [paths.start(scale, study, name) for name in entry.starts]
    return found


def check_files(files: list[str]) -> None:
    """Names are plain and short, no two the same, all within the folders of the pipeline."""
    assert len({file.lower() for file in files}) == len(files)
    for file in files:
        parts = file.split("/")
        assert parts[0] in ("results", "figures") and ".." not in parts and "" not in parts, file
        assert set(file) <= set("abcdefghijklmnopqrstuvwxyzA0123456789_./"), file
        # Beside a file lie its temporary, its sidecar and what a damaged one is renamed to.
        assert max(map(len, parts)) < LONGEST_FILE_NAME - 60, file


def outcome(root: Path, seconds: float = SECONDS) -> str | None:
    """Message of the refusal, None if all scales can be planned as far as there are any."""
    before = sorted(root.rglob("*"))

    def attempt() -> str | None:
        try:
            config = Config(root)
        except ConfigError as error:
            return check_message(error, ("config/",))
        messages = []
        for scale in SCALES:
            try:
                front.check_targets(config, frozenset({f"figures/{scale}/all"}), RULES)
            except ConfigError as error:
                messages.append(check_message(error, ("config/", "target ")))
            else:
                check_files(planned_files(config, scale))
        # The toy has no runs at most scales, and its file says nothing else about them.
        lacking = ("has the scale", "no figures at scale")
        return next((m for m in messages if not any(part in m for part in lacking)), None)

    try:
        return in_time(seconds, attempt)
    finally:
        assert sorted(root.rglob("*")) == before


def write(root: Path, study: str | bytes = TOY_STUDY, main: str | bytes = MAIN) -> None:
    for name, content in (("config/studies/toy.yaml", study), ("config/config.yaml", main)):
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        (root / name).write_bytes(content)


# ------------------------------------------------------------------ the tree of a file

RAW = [
    "on", "no", "~", "=", "<<", "017", "0o17", "0x1F", "0b11", "1_000", "1:30", "1:30.5", "1e400",
    "-1e400", ".inf", "-.inf", ".nan", "1e-400", "2020-01-01", "2020-01-01T10:00:00Z", "9" * 30,
    "9" * 4200, "9" * 6000, "-" + "9" * 5000, "!!int x", "!!int ''", "!!float x", "!!bool x",
    "!!null x", "!!str 1", "!!binary aGFsbG8=", "!!timestamp x", "!!set {a, b}", "!!omap [a: 1]",
    "!!pairs [a: 1]", "!!python/object/apply:os.system ['touch evil']", "!!python/name:os.system",
    "!!python/object/new:os.system ['touch evil']", "!custom x", "!custom {a: 1}", "! x", "*gone",
    "&a [*a]", "&a {b: *a}", "&a {<<: *a}", "{<<: 1}", "{<<: [1]}", "{? [a] : b}", "{? {a: b} : c}",
    "{1: 2}", "{~: 2}", "{on: 2}", "{from: 0, to: 1, step: 1e-9}",
    "{from: 0, to: 1e308, step: 1e-300}",
    "{from: -1e308, to: 1e308, step: 1}", "{from: 0, to: 9223372036854775807, step: 1}",
    "{from: 0, to: 1}", "{from: x, to: 1, step: 1}", '"\\0"', '"\\e[31m"', '"\\u202e"', '"\\ud800"',
    "[" * 40 + "]" * 40, "[" * 5000 + "]" * 5000, "{a: " * 40 + "1" + "}" * 40, "[1, 1]",
    "[1, 1.0]",
]  # fmt: skip
NAMES = [
    "", ".", "..", "../x", "../../etc/passwd", "/etc/passwd", "a/b", "a b", "a b;rm -rf", "$(id)",
    "`id`",
    "{scale}", "{x!r}", "%s", "-rf", "A", "DECAYS", "Decays", "dеcays", "decays\u200b", "ﬁg", "ⅷ",
    "ｄecays",  # wide
    "nul", "con", "all", "claims", "runs", "start", "index", "__init__", "last\n", "a\tb",
    "a\0b", "x" * 80, "x" * 81, "x" * 300, "x" * 100_000, "decays", "more_decays", "fig1", "fig2",
    "FIG1",
    "figA", "table1", "last", "other", "toy", "laptop", "smoke", "gpu", "seed", "seeds", "rate",
    "rat",
]  # fmt: skip
VALUES = [
    None, True, False, 0, 1, 2, -1, 3, 10_000, 10_001, 2**31, 2**63 - 1, 2**63, -(2**70), 0.5, -0.5,
    0.0, -0.0, 1e-300, 5e-324, 1e308, float("nan"), float("inf"), "0.5", "nan", "inf", "1e999",
    [], {},
    [[]], [{}], [None], [True], [0, False], ["a", "a"], {"from": 1, "to": 2, "step": 1}, {"a": 1},
    list(range(200)), list(range(20_000)), [1.0, float("nan")], "x" * 70_000, "é" * 300, "\u2028",
    [[1, [2]]],
]  # fmt: skip


def paths_of(tree: Any, path: tuple = ()) -> Iterator[tuple]:
    """Places of a tree of plain data, the root left out."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from paths_of(value, (*path, key))


class Raw(str):
    """Text that stands in the file as it is."""


def dump(tree: Any) -> str:
    """YAML text of plain data, with raw text where there is some."""
    raw: list[str] = []

    def replaced(value: Any) -> Any:
        if isinstance(value, Raw):
            raw.append(value)
            return f"zzraw{len(raw) - 1}zz"
        if isinstance(value, dict):
            return {replaced(key): replaced(each) for key, each in value.items()}
        return [replaced(each) for each in value] if isinstance(value, list) else value

    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        text = yaml.safe_dump(replaced(tree), sort_keys=False, allow_unicode=True, width=10**6)
    finally:
        sys.set_int_max_str_digits(limit)
    for index in reversed(range(len(raw))):
        text = text.replace(f"zzraw{index}zz", raw[index])
    return text


odd_values = st.one_of(
    st.sampled_from(VALUES),
    st.sampled_from(RAW).map(Raw),
    st.sampled_from(NAMES),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=12),
)
odd_names = st.one_of(st.sampled_from(NAMES), st.text(max_size=6))


@st.composite
def mutated(draw, text: str, changes: int = 2) -> str:
    """Text of a file some of whose keys and values are others, gone, or too many."""
    tree = yaml.safe_load(text)
    for _ in range(draw(st.integers(1, changes))):
        path = draw(st.sampled_from(sorted(paths_of(tree), key=str)))
        inner = tree
        for key in path[:-1]:
            inner = inner[key]
        action = draw(st.sampled_from(["replace", "replace", "replace", "delete", "add", "rename"]))
        if action == "delete":
            del inner[path[-1]]
        elif action == "replace" or isinstance(inner, list):
            inner[path[-1]] = copy.deepcopy(draw(odd_values))  # the next change may be within it
        elif action == "add":
            value = draw(st.one_of(odd_values, st.just(inner[path[-1]])))
            inner[draw(odd_names)] = copy.deepcopy(value)
        else:
            inner[draw(odd_names)] = inner.pop(path[-1])
        if not tree or not list(paths_of(tree)):
            break
    return dump(tree)


@bounded(400)
@given(text=mutated(TOY_STUDY))
def test_any_change_of_a_study_is_refused_in_one_message_or_harmless(text, toy):
    write(toy, study=text)
    outcome(toy)


@bounded(120)
@given(text=mutated(MAIN))
def test_any_change_of_the_main_file_is_refused_in_one_message_or_harmless(text, toy):
    write(toy, main=text)
    outcome(toy)


@bounded(150)
@given(data=st.data())
def test_any_edit_of_the_text_is_refused_in_one_message_or_harmless(data, toy):
    text = TOY_STUDY
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        piece = data.draw(
            st.one_of(
                st.text(max_size=4), st.sampled_from(RAW), st.sampled_from("\t:-[]{}&*!|>%@`'\"#")
            )
        )
        text = text[:start] + piece + text[end:]
    write(toy, study=text)
    outcome(toy)


@bounded(60)
@given(content=st.binary(max_size=40), start=st.integers(0, len(TOY_STUDY)))
def test_any_bytes_are_refused_in_one_message_or_harmless(content, start, toy):
    text = TOY_STUDY.encode()
    write(toy, study=text[:start] + content + text[start:])
    outcome(toy)


def test_the_untouched_toy_is_valid(toy):
    """Else all the above would pass for the wrong reason."""
    write(toy)
    assert outcome(toy) is None


# ------------------------------------------------------------------ what must be refused


def with_value(place: str, value: Any) -> str:
    """Study with another value at a dotted place; a new name in brackets renames the key."""
    tree = yaml.safe_load(TOY_STUDY)
    parts = place.split(".") if "/" not in place else place.split(".", 1)
    *way, last = [int(part) if part.isdigit() else part for part in parts]
    inner = tree
    for key in way:
        inner = inner[key]
    inner[last] = value
    return dump(tree)


GRID = "experiments.decays.scales.laptop.grids.0"


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (f"{GRID}.rate", [-1.0], "rate got -1.0"),
        (f"{GRID}.rate", 0, "greater than 0"),
        (f"{GRID}.rate", Raw(".nan"), "finite"),
        (f"{GRID}.rate", Raw(".inf"), "finite"),
        (f"{GRID}.rate", "nan", "finite"),
        (f"{GRID}.rate", Raw("1e400"), "at most 1.7e308"),
        (f"{GRID}.rate", Raw("on"), "yes, no, on and off"),
        (f"{GRID}.rate", Raw("2020-01-01"), "a date"),
        (f"{GRID}.rate", Raw("1:30"), "without colons"),
        (f"{GRID}.batch_size", Raw("017"), "leading zeros"),
        (f"{GRID}.batch_size", Raw("0o17"), "integer"),
        (f"{GRID}.batch_size", True, "number"),
        (f"{GRID}.batch_size", Raw("9" * 5000), "no number that can be read"),
        (f"{GRID}.batch_size", Raw("9" * 4000), "whole numbers are at most"),
        (f"{GRID}.seeds", 10**9, "1 to 10000"),
        (f"{GRID}.seeds", Raw("yes"), "1 to 10000"),
        (f"{GRID}.rate", Raw("!!python/object/apply:os.system ['touch evil']"), "not valid YAML"),
        (f"{GRID}.rate", Raw("!!binary aGk="), "tag !!binary"),
        (f"{GRID}.rate", Raw("!custom 1"), "tag !custom"),
        (f"{GRID}.shape", "x" * 10_000, "did you mean|valid: exponential, linear"),
        (f"{GRID}.rate", {"from": 0, "to": 1, "step": 1e-9}, "at most 10000"),
        (f"{GRID}.rate", {"from": -1e308, "to": 1e308, "step": 1e-300}, "at most 10000"),
        (f"{GRID}.batch_size", list(range(1, 10_002)), "at most 10000"),
        (GRID, {"rate": list(range(1, 9000)), "batch_size": list(range(1, 9000)), "seeds": 9000},
         "8999 x 8999 x 9000 = 728838009000 points"),
        ("experiments.decays.split", "../x", "not a setting"),
        ("experiments.decays.title", Raw('"\\e[31m"'), "control character"),
        ("experiments.decays.title", Raw('"\\u202e"'), "control character"),
        ("figures.FIG1", {"title": "a", "caption": "b", "analyses": ["last"]}, "a-z, A, 0-9"),
        ("figures.figA", {"title": "a", "caption": "b", "analyses": ["last"]}, "has no module"),
        ("figures.all", {"title": "a", "caption": "b", "analyses": ["last"]}, "would be one file"),
        ("analyses.fig1", {"title": "a"}, "logs would be one file"),
        ("analyses.claims", {"title": "a"}, "logs would be one file"),
        ("analyses.x/../../y", {"title": "a"}, "only a-z"),
        ("analyses./etc/passwd", {"title": "a"}, "only a-z"),
        ("experiments.a b;rm -rf", {}, "only a-z|missing"),
        ("experiments.dеcays", {}, "only a-z|missing"),  # a Cyrillic letter
        (f"experiments.{'x' * 81}", {}, "at most 80"),
        ("starts", {"../x": {"title": "a", "experiment": "decays", "keep": ["value"]}}, "only a-z"),
        ("paper", Raw("&a {title: *a, authors: b, venue: c}"), "an alias"),
        ("paper", Raw("[" * 2_000_000), "nested more than 32 levels"),
        ("paper", Raw("\n" + "- " * 200_000), "nested more than 32 levels"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(place, value, expected, toy):
    write(toy, study=with_value(place, value))
    message = outcome(toy)
    assert message is not None and "config/studies/toy.yaml:" in message
    assert any(part in message for part in expected.split("|")), message
    assert len(message) < 600


def bomb(kind: str) -> str:
    """Some lines that would become 10^12 values."""
    lines = [
        "study: toy",
        "settings:",
        "  a0: &a0 {x: 1, y: 2}" if kind == "merge" else "  a0: &a0 [1, 2]",
    ]
    for level in range(1, 13):
        several = ", ".join([f"*a{level - 1}"] * 10)
        text = f"{{<<: [{several}], z{level}: 1}}" if kind == "merge" else f"[{several}]"
        lines.append(f"  a{level}: &a{level} {text}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("kind", ["list", "merge"])
def test_few_aliases_that_stand_for_very_much_are_refused(kind, toy):
    write(toy, study=bomb(kind))
    message = outcome(toy)
    # Merged, they are few again.
    wanted = "once its aliases are expanded" if kind == "list" else "settings is not a known key"
    assert wanted in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is missing"),
        (b"# nothing\n", "is missing"),
        (b"- a\n- b\n", "must be a mapping"),
        (b"text\n", "must be a mapping"),
        (b"---\na: 1\n---\nb: 2\n", "not valid YAML"),
        (b"study: toy\xff\n", "is not UTF-8 text (byte 11)"),
        (b"\xff\xfes\0t\0u\0d\0y\0", "is not UTF-8 text"),
        (b"study:\ttoy\n\tx: 1\n", "not valid YAML"),
        (b"study: toy\nstudy: toy\n", "stands twice"),
        (b"? [a]\n: b\n", "is not text"),
        (b"study: toy\x00", "not valid YAML"),
        (b"x: " + b" " * 2**24, "at most 16777216 are read"),
        (b"%YAML 9.9\n---\nstudy: toy\n", "not valid YAML"),
    ],
)
def test_files_that_are_no_configuration(content, expected, toy):
    write(toy, study=content)
    message = outcome(toy)
    assert message.startswith("config/studies/toy.yaml") and expected in message


def test_a_mark_at_the_beginning_of_a_file_does_no_harm(toy):
    write(toy, study=b"\xef\xbb\xbf" + TOY_STUDY.replace("\n", "\r\n").encode())
    assert outcome(toy) is None


@pytest.mark.parametrize(
    "what", ["nothing", "folder", "dangling", "circle", "pipe", "device", "closed"]
)
@pytest.mark.parametrize("name", ["config/config.yaml", "config/studies/toy.yaml"])
def test_something_else_where_a_file_is_expected(what, name, toy, monkeypatch):
    write(toy)
    path = toy / name
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "dangling":
        path.symlink_to("gone.yaml")
    elif what == "circle":
        path.symlink_to(path.name)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "closed":
        path.write_text("study: toy")
        real = Path.read_text

        def closed(self, *arguments, **options):  # root may read what others may not
            if self == path:
                raise PermissionError(13, "Permission denied")
            return real(self, *arguments, **options)

        monkeypatch.setattr(Path, "read_text", closed)
    try:
        message = outcome(toy)
    finally:
        path.rmdir() if what == "folder" else path.unlink(missing_ok=True)
    assert "toy.yaml" in message if "toy" in name else name in message
    assert "cannot be read" in message or what == "nothing"


def test_a_study_without_code_is_refused(toy):
    (toy / "config/studies/new.yaml").write_text(TOY_STUDY)
    write(toy, main=MAIN.replace("[toy]", "[toy, new]"))
    try:
        assert "no src/regimes/studies/new/settings.py" in outcome(toy)
    finally:
        (toy / "config/studies/new.yaml").unlink()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("scale: laptop", "scale: ../laptop", "scale"),
        ("scale: laptop", "scale: [laptop]", "scale"),
        ("scale: laptop", "scale: on", "quotes"),
        ("[toy]", "[]", "at least 1"),
        ("[toy]", "[../toy]", "only a-z"),
        ("[toy]", "[toy, toy]", "twice"),
        ("[toy]", "[Toy]", "only a-z"),
        ("data: data", "data: ''", "not empty"),
        ("data: data", 'data: "a\\nb"', "control characters"),
        ("data: data", "data: 'd{x}'", "braces"),
        ("data: data", "data: ~/data", "home folder in full"),
        ("data: data", f"data: {'x' * 300}", "too long"),
        ("data: data", "data: config/config.yaml", "is no folder"),
        ("data: data", "data: 5", "string"),
        ("substitutes: {}", "substitutes: {cifar11: cifar10}", "did you mean"),
        ("substitutes: {}", "substitutes: {cifar10: ../x}", "only a-z"),
        ("substitutes: {}", "substitutes: {cifar10: [mnist]}", "string"),
        ("substitutes: {}", "substitutes: [cifar10]", "dictionary"),
        ("substitutes: {}", "substitutes: {cifar10: mnist, cifar10: mnist}", "twice"),
        ("device: auto", "device: cuda:1", "device"),
        ("device: auto", "device: off", "device"),
    ],
)  # fmt: skip
def test_wrong_values_in_the_main_file(old, new, expected, toy):
    assert old in MAIN
    write(toy, main=MAIN.replace(old, new))
    message = outcome(toy)
    assert message.startswith("config/config.yaml:") and expected in message, message


# ------------------------------------------------------------------ the real studies


@pytest.fixture(scope="module")
def real() -> Config:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configuration, "STUDIES", REPOSITORY / "src/regimes/studies")
        return Config(REPOSITORY)


def with_grid(
    config: Config, study: str, experiment: str, scale: str, changed: ScaleConfig
) -> Config:
    """Configuration with other runs in one experiment."""
    other = copy.copy(config)
    entry = config.studies[study]
    definition: Experiment = entry.experiments[experiment].model_copy(
        update={"scales": {scale: changed}}
    )
    experiments = {**entry.experiments, experiment: definition}
    other.studies = config.studies | {study: entry.model_copy(update={"experiments": experiments})}
    return other


@pytest.mark.parametrize(
    "study", [p.stem for p in sorted((REPOSITORY / "config/studies").glob("*"))]
)
@bounded(80)
@given(data=st.data())
def test_any_change_of_the_settings_of_real_studies(study, data, real):
    """Their own checks must not stumble either, whatever a grid holds."""
    entry = real.studies[study]
    experiment = data.draw(st.sampled_from(sorted(entry.experiments)))
    definition = entry.experiments[experiment]
    scale = data.draw(st.sampled_from([s for s in SCALES if definition.at(s) is not None]))
    found = definition.at(scale)
    grid = copy.deepcopy(data.draw(st.sampled_from(found.grids)))
    given_settings = copy.deepcopy(found.settings)
    fields = sorted(real.kinds(study)[definition.train].model_fields)
    plain = st.one_of(
        st.sampled_from(VALUES), st.sampled_from(NAMES), st.integers(-10, 10**18), st.floats()
    )
    for _ in range(data.draw(st.integers(1, 2))):
        target = data.draw(st.sampled_from([grid, given_settings]))
        key = data.draw(
            st.sampled_from([*sorted(target), *fields, "seeds", "eta_window", "epochs"])
        )
        if data.draw(st.integers(0, 4)) == 0:
            target.pop(key, None)
        else:
            target[key] = data.draw(st.one_of(plain, st.lists(plain, max_size=3)))
    changed = ScaleConfig.model_construct(settings=given_settings, grids=[grid])
    other = with_grid(real, study, experiment, scale, changed)

    def attempt() -> None:
        try:
            batches = plan.batches.__wrapped__(other, study, experiment, scale)
        except ConfigError as error:
            assert f"{study}.yaml" in check_message(error, (str(REPOSITORY), "config/"))
        else:
            check_files([paths.batch(scale, study, experiment, name) for name in batches])

    in_time(10, attempt)


def test_a_point_that_stands_for_too_many_runs_is_refused_soon(real):
    """A window of learning rates is an axis whose length its own settings decide."""
    study = "feature_strength"
    experiment, found, grid = next(
        (name, found, grid)
        for name, definition in real.studies[study].experiments.items()
        if (found := definition.at("smoke")) is not None
        for grid in found.grids
        if "eta_window" in grid
    )
    grid = grid | {"eta_window": grid["eta_window"] | {"step": 1e-9}}
    other = with_grid(real, study, experiment, "smoke", found.model_copy(update={"grids": [grid]}))
    with pytest.raises(ConfigError, match="at most|can have 50000 runs"):
        in_time(60, lambda: plan.batches.__wrapped__(other, study, experiment, "smoke"))


# ------------------------------------------------------------------ environment and targets


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("REGIMES_DATA", "a\nb", "control characters"),
        ("REGIMES_DATA", "{x}", "braces"),
        ("REGIMES_DATA", "~/data", "home folder in full"),
        ("REGIMES_DATA", __file__, "is no folder"),
        ("REGIMES_DATA", "x" * 5000, "too long"),
        ("REGIMES_CACHE", __file__, "is no folder"),
        ("REGIMES_CACHE", f"{__file__}/x", ""),
        ("REGIMES_DEVICE", "cdua", "did you mean 'cuda'"),
        ("REGIMES_DEVICE", "", "valid: auto, cpu, cuda"),
        ("REGIMES_DEVICE", "\x1b[31m", "\\x1b[31m"),
        ("REGIMES_OFFLINE", "maybe", "forbids downloads"),
        ("REGIMES_CHECKPOINT_SECONDS", "often", "number of seconds"),
        ("REGIMES_CHECKPOINT_SECONDS", "-1", "number of seconds"),
        ("REGIMES_CHECKPOINT_SECONDS", "nan", "number of seconds"),
        ("REGIMES_CHECKPOINT_SECONDS", "9" * 5000 + "x", "number of seconds"),
        ("REGIMES_LEASES", __file__, "is no folder"),
    ],
)
def test_wrong_environment_variables_are_refused_before_any_job(name, value, expected):
    if not expected:
        configuration.check_environment({name: value})
        return
    with pytest.raises(ConfigError) as error:
        configuration.check_environment({name: value})
    message = check_message(error.value, (f"environment variable {name}: got ",))
    assert expected in message and "unset it" in message and len(message) < 400


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {
            "REGIMES_DATA": "",
            "REGIMES_CACHE": "",
            "REGIMES_OFFLINE": "",
            "REGIMES_CHECKPOINT_SECONDS": "",
        },
        {"REGIMES_DATA": "data folder 'x'", "REGIMES_OFFLINE": "True", "REGIMES_DEVICE": "cpu"},
        {"REGIMES_CHECKPOINT_SECONDS": "inf"},
        {"REGIMES_CHECKPOINT_SECONDS": "0"},
    ],
)
def test_right_environment_variables_are_not(variables):
    configuration.check_environment(variables)


def test_reading_the_configuration_checks_the_environment_and_the_folder(
    toy, tmp_path, monkeypatch
):
    write(toy)
    monkeypatch.setenv("REGIMES_DEVICE", "gpu")
    with pytest.raises(ConfigError, match="REGIMES_DEVICE"):
        configuration.load.__wrapped__(toy)
    monkeypatch.delenv("REGIMES_DEVICE")
    configuration.load.__wrapped__(toy)
    shutil.copytree(toy, tmp_path / "a:b")
    with pytest.raises(ConfigError, match="PYTHONPATH"):
        configuration.load.__wrapped__(tmp_path / "a:b")


TARGETS = [
    "", ".", "/", "//", "..", "../x", "figures", "figures/", "figures//all", "figures/../x",
    "figures/all/",
    "figures/all/x", "./figures/all", "figures/laptop", "figures/laptop/", "figures/laptop/all/x",
    "figures/laptop/index.html/x", "figures/laptop/../laptop/all", "results/laptop/../../etc",
    "results/laptop/claims.csv/x", "results/laptop/toy/", "results/laptop/toy/runs",
    "results/laptop/toy/runs/", "results/laptop/toy/runs/decays", "results/laptop/toy/runs/decays/",
    "results/laptop/toy/runs/decays/../x.nc", "results/laptop/toy/start/x.nc",
    "results/gpu/toy/runs/decays/x.nc",
    "/etc/passwd", "/figures/all", "figures/{scale}/all", "figures/*/all",
    "figures/laptop/toy/fig1.svg",
    "figures/laptop/toy/fig1.pdf ", "a b;rm -rf", "$(id)", "-x", "x" * 100_000, "figures/" * 5000,
    "\0", "\n",
    "\x1b[31m", "figures/laptop/toy/ﬁg1.pdf", "figures/LAPTOP/all", "results/all",
    "results/laptop/all",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=[repr(t[:40]) for t in TARGETS])
def test_bad_targets_are_refused_with_one_message(target, toy):
    write(toy)
    config = Config(toy)
    with pytest.raises(ConfigError) as error:
        front.check_targets(config, frozenset({target}), RULES)
    assert "target '" in check_message(error.value, ("target ", "config/"))


@bounded(150)
@given(
    parts=st.lists(
        st.one_of(odd_names, st.sampled_from(["figures", "results", "laptop", "toy", "all"]))
    )
)
def test_any_target_is_known_or_refused(parts, toy):
    write(toy)
    try:
        front.check_targets(Config(toy), frozenset({"/".join(parts)}), RULES)
    except ConfigError as error:
        check_message(error, ("target ", "config/"))


# ------------------------------------------------------------------ through Snakemake itself


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    from tests.workflow.conftest import Checkout, add_toy, copy_code

    root = tmp_path_factory.mktemp("bad") / "checkout"
    root.mkdir()
    copy_code(root)
    add_toy(root)
    return Checkout(root)


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "variables", "target", "expected"),
    [
        (
            with_value(f"{GRID}.rate", Raw("!!python/object/apply:os.mkdir ['evil']")),
            {},
            "figures/all",
            "config/studies/toy.yaml:",
        ),
        (with_value("paper", Raw("[" * 2_000_000)), {}, "figures/all", "nested more than 32"),
        (bomb("list"), {}, "figures/all", "once its aliases are expanded"),
        (
            with_value(GRID, {"rate": list(range(1, 9000)), "seeds": 9000}),
            {},
            "figures/all",
            "80991000 points",
        ),
        (TOY_STUDY, {"REGIMES_CHECKPOINT_SECONDS": "often"}, "figures/all", "number of seconds"),
        (TOY_STUDY, {"REGIMES_DATA": "{a}\nb"}, "figures/all", "REGIMES_DATA"),
        (TOY_STUDY, {}, "results/laptop/../../etc", "unknown study '..'"),
        (TOY_STUDY, {}, "figures/laptop/toy/\x1b[31mfig1.pdf", "unknown file"),
    ],
)
def test_snakemake_stops_with_one_message_before_any_job(
    study, variables, target, expected, checkout
):
    path = checkout.root / "config/studies/toy.yaml"
    path.write_text(study)
    before = sorted(p for p in checkout.root.parent.rglob("*") if not ignored(p))
    process = checkout.start("--cores", "1", target, environment=variables)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    lines = [line for line in output.splitlines() if line and not line.startswith("Using workflow")]
    assert len(lines) == 1 and lines[0].startswith("regimes: ") and expected in lines[0], output
    assert sorted(p for p in checkout.root.parent.rglob("*") if not ignored(p)) == before


def ignored(path: Path) -> bool:
    """What Snakemake and Python keep for themselves."""
    return bool({".snakemake", "__pycache__", ".cache"} & set(path.parts))
