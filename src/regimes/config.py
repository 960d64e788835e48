"""Models of the YAML files under ``config/``, and errors that a user can act on.

Reading stops at the first mistake with one `ConfigError`: file and line, key,
value, what is allowed, and the nearest valid name. Nothing here imports torch
or xarray: the Snakefile reads configuration each time it is parsed.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import math
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from regimes.data.catalog import CATALOG

Scale = Literal["smoke", "laptop", "images", "gpu", "paper"]
SCALES: tuple[str, ...] = get_args(Scale)
# Scales at which only some experiments have runs: figures that lack theirs are left out.
PARTIAL_SCALES = ("images",)
WHOLE_SCALES = tuple(scale for scale in SCALES if scale not in PARTIAL_SCALES)
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=80)]
FigureName = Annotated[str, Field(pattern=r"^[a-z0-9_A]+$", max_length=80)]
STUDIES = Path(__file__).parent / "studies"  # their code
ClaimName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_]+$", max_length=80)]  # no file is named so


# Beyond these no file of a person is; they keep a damaged or hostile one from filling the memory.
LARGEST_FILE = 2**24  # bytes
DEEPEST = 32  # levels of nesting
MOST_VALUES = 200_000  # in one file, after aliases
LARGEST_INTEGER = 2**63 - 1
LONGEST_MESSAGE = 3000  # characters
LONGEST_VALUE = 100  # characters of a value that a message shows

VARIABLES = (
    "REGIMES_DATA",
    "REGIMES_CACHE",
    "REGIMES_LEASES",
    "REGIMES_DEVICE",
    "REGIMES_OFFLINE",
    "REGIMES_CHECKPOINT_SECONDS",
)
DEVICES = ("auto", "cpu", "cuda")
YES, NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


class ConfigError(Exception):
    """A mistake in a configuration file or request; the message is for the user.

    It is one printable line of bounded length, whatever the files hold.
    """

    def __init__(self, message: str):
        text = printable(str(message))
        if len(text) > LONGEST_MESSAGE:
            text = f"{text[: LONGEST_MESSAGE - 600]} ... {text[-500:]}"
        super().__init__(text)


def printable(text: str) -> str:
    """Text without line breaks and control characters, which are written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def shown(value: Any) -> str:
    """Value as a message shows it: as Python writes it, long ones shortened."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """Text of at most `LONGEST_VALUE` characters, the middle left out."""
    half = LONGEST_VALUE // 2 - 2
    return text if len(text) <= LONGEST_VALUE else f"{text[:half]}...{text[-half:]}"


def nearest(name: object, valid: Iterable[str]) -> str:
    """Return a hint naming the closest valid name, or all of them if none is close."""
    valid = sorted(map(str, valid))
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return "valid: " + ", ".join(valid) if valid else "none are defined"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunSettings(_Strict):
    """Base of every study's run settings: frozen, validated, one seed.

    Attributes
    ----------
    TABLES
        For a setting that names an entry of a module-level dict, that dict as
        ``"module:NAME"``: only named entries count towards the run's code
        fingerprint (`regimes.fingerprint`).
    START
        Whether the training function takes a start point: "never", "may", "must".
    """

    TABLES: ClassVar[dict[str, str]] = {}
    START: ClassVar[str] = "never"

    # No setting is infinite or not a number; runs with such would not compare equal to themselves.
    model_config = ConfigDict(allow_inf_nan=False)

    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(description="seed of the run")

    @classmethod
    def expand(cls, point: dict[str, Any]) -> Iterable[dict[str, Any]]:
        """Runs that one point of a grid stands for; the point itself unless a study says more.

        A study overrides this where one axis depends on others, such as a window of learning
        rates that moves with another setting. It raises ValueError for the user's mistakes.
        """
        return [point]

    def pretrained(self) -> str | None:
        """Network of torchvision whose weights the run reads (`regimes.data.files.weights`)."""
        return None


class ScaleConfig(_Strict):
    """The runs of one experiment at one scale: a union of grids.

    In a grid a list is an axis, a scalar a constant, ``{from, to, step}`` an evenly spaced axis
    with both ends, and ``seeds: k`` stands for the seeds 0 to k-1.
    """

    settings: dict[str, Any] = {}
    grids: Annotated[list[dict[str, Any]], Field(min_length=1)]


class Experiment(_Strict):
    """A named sweep of runs."""

    title: str
    train: Name = Field(description="kind of run: a name in the study's settings.KINDS")
    split: str = Field(description="setting whose values get a results file each")
    start: Name | None = Field(None, description="start point: a name in the study's starts")
    settings: dict[str, Any] = {}
    scales: dict[Scale, Scale | ScaleConfig]

    @model_validator(mode="after")
    def _aliases(self) -> Experiment:
        for scale, value in self.scales.items():
            if isinstance(value, str) and not isinstance(self.scales.get(value), ScaleConfig):
                raise ValueError(f"scale {scale} refers to {value}, which has no grids of its own")
        return self

    def at(self, scale: str) -> ScaleConfig | None:
        """Grids at a scale (following an alias), or None where it has none."""
        value = self.scales.get(scale)
        return self.scales[value] if isinstance(value, str) else value


class Start(_Strict):
    """What runs of one experiment hand on to runs of others, for instance final weights."""

    title: str
    experiment: Name
    keep: Annotated[list[str], Field(min_length=1, description="variables that are handed on")]


class Analysis(_Strict):
    """A measurement on finished runs; its module bears its name."""

    title: str
    experiments: list[Name] = []
    only: dict[Name, Annotated[list[Scale], Field(min_length=1)]] = Field(
        default={}, description="experiments that are read at some scales only"
    )

    @model_validator(mode="after")
    def _only_listed(self) -> Analysis:
        for name in self.only:
            if name not in self.experiments:
                raise ValueError(f"only: '{name}' is none of the experiments of this analysis")
        return self

    def reads(self, experiment: str, scale: str) -> bool:
        """Whether a listed experiment is read at a scale."""
        return scale in self.only.get(experiment, [scale])


class Figure(_Strict):
    """A figure or table; its module bears its name."""

    title: str
    caption: str
    analyses: Annotated[list[Name], Field(min_length=1)]


class Claim(_Strict):
    """One number of the paper and the interval in which it is expected."""

    id: ClaimName
    figure: FigureName
    statement: str
    quantity: str
    expected: tuple[float, float]
    scales: Annotated[list[Scale], Field(min_length=1)]
    source: str
    seeds: Annotated[int, Field(ge=1)]
    delicate: bool = False
    explanation: str | dict[Scale, str] = Field(
        "", description="why a verdict other than reproduced comes about at laptop or other scales"
    )

    def explained(self, scale: str) -> str:
        """Explanation of the verdict at a scale; plain text is about the laptop scale."""
        if isinstance(self.explanation, str):
            return self.explanation if scale == "laptop" else ""
        return self.explanation.get(scale, "")

    @field_validator("expected")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if math.isnan(value[0]) or math.isnan(value[1]) or value[0] > value[1]:
            raise ValueError("expected must be [low, high] with low <= high")
        return value


class Paper(_Strict):
    """Citation of the paper that a study redraws."""

    title: str
    authors: str
    venue: str


class Study(_Strict):
    """One file ``config/studies/<study>.yaml``."""

    study: Name
    title: str
    paper: Paper
    experiments: dict[Name, Experiment]
    starts: dict[Name, Start] = {}
    analyses: dict[Name, Analysis]
    figures: dict[FigureName, Figure]
    claims: list[Claim]


class Main(_Strict):
    """The file ``config/config.yaml``."""

    scale: Scale = Field("laptop", description="scale of the target figures/all")
    studies: Annotated[list[Name], Field(min_length=1)] = Field(
        description="studies, in the order of the gallery"
    )
    data: str = Field("data", description="folder of the image data sets")
    substitutes: dict[Name, Name] = Field(
        default={}, description="data sets that are to be used in place of others"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("studies")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("a study is listed twice")
        return value

    @field_validator("data")
    @classmethod
    def _folder(cls, value: str) -> str:
        wrong = _no_folder(value)
        if wrong:
            raise ValueError(wrong)
        return value


def _no_folder(path: str) -> str:
    """Why a path cannot be that of a folder of data, empty if it can."""
    if not path.strip():
        return "must be the path of a folder, not empty"
    if not path.isprintable() or set(path) & set("{}"):
        return "must be the path of a folder without braces and control characters"
    if path.startswith("~"):
        return "must be the path of a folder; write your home folder in full instead of ~"
    if any(len(os.fsencode(part)) > 255 for part in path.split("/")) or len(path) > 3000:
        return "must be the path of a folder; it is too long for one"
    try:
        if os.path.lexists(path) and not os.path.isdir(path):
            return "is no folder"
    except OSError as error:
        return f"cannot be looked at ({error.strerror or error})"
    return ""


def check_environment(variables: Mapping[str, str] | None = None) -> None:
    """Check the environment variables of the project before anything depends on them.

    Parameters
    ----------
    variables
        Those of this process, unless others are given.

    Raises
    ------
    ConfigError
        Names the variable, its value and what it can be.
    """
    variables = os.environ if variables is None else variables
    checks: dict[str, Callable[[str], str]] = {
        "REGIMES_DATA": lambda text: text and _no_folder(text),
        "REGIMES_CACHE": lambda text: text and _no_folder(text),
        "REGIMES_LEASES": lambda text: text and _no_folder(text.removeprefix("~/") or "."),
        "REGIMES_DEVICE": lambda text: "" if text in DEVICES else nearest(text, DEVICES),
        "REGIMES_OFFLINE": lambda text: (
            "" if text.lower() in (*YES, *NO) else "1 forbids downloads, 0 allows them"
        ),
        "REGIMES_CHECKPOINT_SECONDS": _no_seconds,
    }
    for name in VARIABLES:
        wrong = checks[name](variables[name]) if name in variables else ""
        if wrong:
            raise ConfigError(
                f"environment variable {name}: got {shown(variables[name])}: {wrong}; "
                "mend or unset it"
            )


def _no_seconds(text: str) -> str:
    """Why text is no time between two checkpoints, empty if it is one or none is given."""
    try:
        wrong = text != "" and not float(text) >= 0
    except ValueError:
        wrong = True
    return "must be a number of seconds from 0 on, or inf for no checkpoints" if wrong else ""


class _Loader(yaml.CSafeLoader):
    """Safe YAML that refuses repeated keys and remembers the line of every key."""


# YAML 1.1 reads 1e-6 as text; the field writes it as a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


_TAG = "tag:yaml.org,2002:"
_MERGE_TAG = f"{_TAG}merge"
_KEY_TAGS = {f"{_TAG}str", _MERGE_TAG}
_VALUE_TAGS = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str")}
# Characters that turn the direction of what follows: a line then shows something else than it is.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


class _Wrong(Exception):
    """Something wrong at a line of a YAML file."""

    def __init__(self, node: yaml.Node | yaml.Event, message: str):
        super().__init__(message)
        self.line = node.start_mark.line + 1


class _Reading:
    """Plain data of the nodes of a YAML file, and the line of every key.

    Aliases are followed only as far as `DEEPEST` and `MOST_VALUES` allow.
    """

    def __init__(self, loader: _Loader):
        self.loader = loader
        self.lines: dict[tuple, int] = {}
        self.open: set[int] = set()  # nodes that contain the one that is read
        self.known: dict[int, dict[str, tuple[yaml.Node, yaml.Node]]] = {}  # pairs of mappings
        self.count = 0

    def value(self, node: yaml.Node, path: tuple = ()) -> Any:
        self.lines[path] = node.start_mark.line + 1
        self.count += 1
        if self.count > MOST_VALUES:
            raise _Wrong(node, f"has more than {MOST_VALUES} values once its aliases are expanded")
        if len(path) > DEEPEST:
            raise _Wrong(node, f"is nested more than {DEEPEST} levels deep")
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        with self.inside(node):
            if isinstance(node, yaml.MappingNode):
                result = {}
                for name, (key_node, value_node) in self.pairs(node, path).items():
                    where = (*path, name)
                    result[name] = self.value(value_node, where)
                    self.lines[where] = key_node.start_mark.line + 1
                return result
            self.plain(node, "seq", "list")
            return [self.value(each, (*path, i)) for i, each in enumerate(node.value)]

    @contextlib.contextmanager
    def inside(self, node: yaml.Node) -> Iterator[None]:
        """Refuse to enter a node from within itself."""
        if id(node) in self.open:
            raise _Wrong(node, "not valid YAML (an alias stands for something that contains it)")
        self.open.add(id(node))
        try:
            yield
        finally:
            self.open.remove(id(node))

    @staticmethod
    def plain(node: yaml.Node, tag: str, what: str) -> None:
        if node.tag != _TAG + tag:
            raise _Wrong(node, f"not valid YAML (tag {_tag(node)}); write a plain {what}")

    def pairs(self, node: yaml.MappingNode, path: tuple) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Nodes of keys and values by key; merged keys first, so that own keys win."""
        if id(node) in self.known:
            return self.known[id(node)]
        self.plain(node, "map", "mapping")
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _KEY_TAGS:
                text = key_node.value if isinstance(key_node, yaml.ScalarNode) else "in brackets"
                raise _Wrong(key_node, f"key {shown(text)} is not text; put it into quotes")
            if key_node.tag == _MERGE_TAG:
                several = isinstance(value_node, yaml.SequenceNode)
                for each in value_node.value if several else [value_node]:
                    if not isinstance(each, yaml.MappingNode):
                        raise _Wrong(each, "<< merges mappings and nothing else")
                    with self.inside(each):
                        for name, pair in self.pairs(each, path).items():
                            merged.setdefault(name, pair)
                continue
            name = _text(key_node)
            if name in own:
                raise _Wrong(
                    key_node,
                    f"key '{shortened(name)}' stands twice in "
                    f"{shortened('.'.join(map(str, path))) or 'the file'}; keep one of them",
                )
            own[name] = (key_node, value_node)
        self.known[id(node)] = {**merged, **own}
        return self.known[id(node)]

    def scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag == f"{_TAG}timestamp":
            raise _Wrong(node, f"got {shown(node.value)}, a date; put it into quotes")
        if node.tag not in _VALUE_TAGS:
            raise _Wrong(
                node, f"not valid YAML (tag {_tag(node)}); write plain text, a number, true or null"
            )
        if node.tag == f"{_TAG}str":
            return _text(node)
        if node.tag not in (f"{_TAG}int", f"{_TAG}float"):
            try:
                return self.loader.construct_object(node)
            except KeyError:  # a tag that asks for a kind which the text is not of
                raise _Wrong(node, f"got {shown(node.value)}, no {_tag(node)}") from None
        return self.number(node)

    def number(self, node: yaml.ScalarNode) -> int | float:
        text = node.value
        # YAML 1.1 counts in sixties where there is a colon, and in eights after a zero.
        if ":" in text or re.match(r"[-+]?0[0-9_]+$", text):
            raise _Wrong(
                node, f"got {shown(text)}; write a number without colons and leading zeros"
            )
        try:
            value = self.loader.construct_object(node)
        except (ValueError, LookupError):  # also whole numbers of thousands of digits
            raise _Wrong(node, f"got {shown(text)}, no number that can be read") from None
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise _Wrong(node, f"got {shown(text)}; whole numbers are at most {LARGEST_INTEGER}")
        if isinstance(value, float) and math.isinf(value) and "inf" not in text.lower():
            raise _Wrong(node, f"got {shown(text)}; numbers are at most 1.7e308")
        return value


def _tag(node: yaml.Node) -> str:
    return shortened(str(node.tag).replace(_TAG, "!!"))


def _text(node: yaml.ScalarNode) -> str:
    """Text of a node.

    Raises
    ------
    _Wrong
        If it holds control characters, other than line breaks and tabs, or such as turn text round.
    """
    text = node.value
    # Format characters and blanks of all kinds are not "printable" and do no harm; escapes do.
    if not text.isprintable():
        for letter in text:
            kind = unicodedata.category(letter)
            if (kind == "Cc" and letter not in "\n\t") or kind == "Cs" or _TURNING.match(letter):
                raise _Wrong(node, f"got {shown(text)}: holds the control character {letter!a}")
    return text


def _check_depth(text: str) -> None:
    """Refuse deep nesting before it is read: the library would overflow the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise _Wrong(event, f"is nested more than {DEEPEST} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def load_yaml(path: Path) -> tuple[Any, dict[tuple, int]]:
    """Read a YAML file into plain data and the line number of every key path.

    Plain data are mappings with text as keys, lists, text, numbers, true, false and null: other
    tags, dates, and numbers that YAML reads in another way than people are refused.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, repeats a key, is nested too deep or too large.
    """
    text = _content(path)
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            reading = _Reading(loader)
            data = reading.value(node) if node is not None else {}
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{_shown(path)}{line}: not valid YAML ({shortened(problem)})") from None
    except _Wrong as error:
        raise ConfigError(f"{_shown(path)}:{error.line}: {error}") from None
    except ValueError as error:  # half of a pair of code units, for instance
        raise ConfigError(f"{_shown(path)}: not valid YAML ({shortened(str(error))})") from None
    return data, reading.lines


def _content(path: Path) -> str:
    """Text of a file.

    Raises
    ------
    ConfigError
        If it cannot be read, is no plain file, too large, or not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no plain file"
            raise ConfigError(f"{_shown(path)}: cannot be read (it is {what})")
        if status.st_size > LARGEST_FILE:
            raise ConfigError(
                f"{_shown(path)}: has {status.st_size} bytes; at most {LARGEST_FILE} are read"
            )
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError as error:
        why = "a link to a file that is not there" if path.is_symlink() else error.strerror
        raise ConfigError(f"{_shown(path)}: cannot be read ({why})") from None
    except OSError as error:
        raise ConfigError(f"{_shown(path)}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{_shown(path)}: is not UTF-8 text (byte {error.start + 1}); save it as UTF-8"
        ) from None


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[tuple, str]:
    """Turn the first error of a pydantic validation into (key path, message)."""
    # A misspelt key also leaves the right one missing: name the misspelling.
    errors = error.errors()
    # Where a scale is a mapping, that it could have been a name is no help.
    errors = [e for e in errors if not _is_other_branch(e)] or errors
    first = min(errors, key=lambda e: e["type"] == "missing")
    # pydantic adds union member names to the location; keep the keys of the file.
    location = tuple(p for p in first["loc"] if p not in ("ScaleConfig", "[key]", "function-after"))
    location = tuple(p for p in location if not str(p).startswith(("literal[", "tuple[")))
    kind, value = first["type"], first.get("input")
    if kind == "extra_forbidden":
        names = _fields_at(model, location[:-1])
        return location, f"is not a known key; {nearest(location[-1], names)}"
    if kind == "missing":
        return location, "is missing"
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        return location, f"got {shown(value)}; {nearest(value, names)}{_read_as(value)}"
    if kind == "string_pattern_mismatch":
        letters = "a-z, A-Z" if location[-1:] == ("id",) else "a-z"
        letters = "a-z, A" if location[:1] == ("figures",) and len(location) == 2 else letters
        return location, f"got {shown(value)}: only {letters}, 0-9 and _ are allowed"
    message = first["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    if kind == "value_error" and isinstance(value, dict):
        return location, message
    hint = _read_as(value) if kind == "string_type" else ""
    return location, f"got {shown(value)}: {message[0].lower()}{message[1:]}{hint}"


def _read_as(value: Any) -> str:
    """Reminder of what YAML makes of some words."""
    if not isinstance(value, bool):
        return ""
    return " (yes, no, on and off mean true and false; put them into quotes)"


def _is_other_branch(error: dict[str, Any]) -> bool:
    return error["type"] == "literal_error" and isinstance(error.get("input"), dict)


def _fields_at(model: type[BaseModel], location: tuple) -> list[str]:
    """Field names of the model found by following a key path."""
    current: Any = model
    for key in location:
        if _is_model(current):
            field = current.model_fields.get(key)
            current = field.annotation if field else None
        else:  # dict[name, model] or list[model]
            current = (get_args(current) or (None,))[-1]
        while current is not None and get_origin(current) in (Union, UnionType, Annotated):
            current = next((a for a in get_args(current) if _is_model(a)), None)
    return list(current.model_fields) if _is_model(current) else []


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _place(path: Path, lines: Mapping[tuple, int], location: tuple) -> str:
    """File, line and dotted key of a location, by its longest known prefix."""
    for end in range(len(location), -1, -1):
        if location[:end] in lines:
            break
    line = lines.get(location[:end])
    key = ".".join(shortened(str(part)) for part in location)
    return f"{_shown(path)}{f':{line}' if line and location else ''}: {key or 'the file'}"


def _shown(path: Path) -> Path:
    """Path as a user would type it: relative where it lies below the working directory."""
    for form in (os.path.abspath, os.path.realpath):  # the first one follows no links
        if (known := Path(form(path))).is_relative_to(Path.cwd()):
            return known.relative_to(Path.cwd())
    return path


def _read(path: Path, model: type[BaseModel]) -> tuple[Any, dict[tuple, int]]:
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{_shown(path)}: must be a mapping of keys to values")
    try:
        return model.model_validate(data), lines
    except ValidationError as error:
        location, message = explain(error, model)
        raise ConfigError(f"{_place(path, lines, location)} {message}") from None


class Config:
    """All configuration of a checkout.

    Parameters
    ----------
    root
        Folder that holds ``config/``.
    only
        The one study that is read, for a job that needs no other; empty for all.

    Attributes
    ----------
    main : Main
    studies : dict[str, Study]
        In the order of ``config/config.yaml``.
    """

    def __init__(self, root: Path | str = ".", only: str = ""):
        self.root = Path(root)
        self.folder = self.root / "config"
        self.main, self._main_lines = _read(self.folder / "config.yaml", Main)
        self._check_substitutes()
        available = [p.stem for p in sorted((self.folder / "studies").glob("*.yaml"))]
        self.studies: dict[str, Study] = {}
        self._lines: dict[str, dict[tuple, int]] = {}
        for i, study in enumerate(self.main.studies):
            if study not in available:
                raise self.main_error(
                    ("studies", i),
                    f"got '{study}': there is no config/studies/{study}.yaml; "
                    f"{nearest(study, available)}",
                )
            self._check_code(i, study)
            if only not in ("", study):
                continue
            self.studies[study], self._lines[study] = _read(self.path(study), Study)
            self._check_references(study)
        if only and only not in self.studies:
            raise ConfigError(f"study: got '{only}'; {nearest(only, self.main.studies)}")

    def path(self, study: str) -> Path:
        """File of a study's configuration."""
        return self.folder / "studies" / f"{study}.yaml"

    def error(self, study: str, location: tuple, message: str) -> ConfigError:
        """Return an error that points at a key of a study's file."""
        place = _place(self.path(study), self._lines[study], location)
        return ConfigError(f"{place} {message}")

    def main_error(self, location: tuple, message: str) -> ConfigError:
        """Return an error that points at a key of ``config/config.yaml``."""
        place = _place(self.folder / "config.yaml", self._main_lines, location)
        return ConfigError(f"{place} {message}")

    def kinds(self, study: str) -> dict[str, type[RunSettings]]:
        """Run settings models of a study, by kind."""
        return importlib.import_module(f"regimes.studies.{study}.settings").KINDS

    def _check_code(self, index: int, study: str) -> None:
        """A study has code, and a name that no file of the pipeline bears."""
        known = [p.parent.name for p in STUDIES.glob("*/settings.py")]
        if study not in known:
            raise self.main_error(
                ("studies", index),
                f"got '{study}': there is no src/regimes/studies/{study}/settings.py; "
                f"{nearest(study, known)}",
            )
        if study == "all":
            raise self.main_error(
                ("studies", index), "got 'all': figures/<scale>/all is a file; name it differently"
            )

    def _check_substitutes(self) -> None:
        """Substitutes and what they stand for are image data sets."""
        for name, other in self.main.substitutes.items():
            for each in (name, other):
                if each not in CATALOG:
                    raise self.main_error(
                        ("substitutes", name),
                        f"got '{each}': no image data set; {nearest(each, CATALOG)}",
                    )

    def _check_modules(self, study: str) -> None:
        """Each analysis and figure needs the module that bears its name."""
        folder = STUDIES / study
        for section in ("analyses", "figures"):
            present = [p.stem for p in (folder / section).glob("*.py") if p.stem != "__init__"]
            for name in getattr(self.studies[study], section):
                if name not in present:
                    raise self.error(
                        study,
                        (section, name),
                        f"has no module src/regimes/studies/{study}/{section}/{name}.py; "
                        f"{nearest(name, present)}",
                    )

    def _check_file_names(self, study: str) -> None:
        """No two files have one name, also where capital letters do not count."""
        config = self.studies[study]
        taken = {"claims": "the claims table", "all": "the manifest"}  # that have logs
        for section, what in (("analyses", "analysis"), ("figures", "figure")):
            for name in getattr(config, section):
                if name.lower() in taken:
                    raise self.error(
                        study,
                        (section, name),
                        f"has the name of {taken[name.lower()]}; their logs would be one file",
                    )
                taken[name.lower()] = f"the {what} {name}"

    def _check_starts(self, study: str) -> None:
        """Start points exist, have runs where they are needed, and do not go round in circles."""
        experiments, starts = self.studies[study].experiments, self.studies[study].starts
        for name, entry in starts.items():
            if entry.experiment not in experiments:
                raise self.error(
                    study,
                    ("starts", name, "experiment"),
                    f"got '{entry.experiment}': unknown; {nearest(entry.experiment, experiments)}",
                )
        for name, experiment in experiments.items():
            where = ("experiments", name, "start")
            takes = self.kinds(study)[experiment.train].START
            if experiment.start is None and takes == "must":
                raise self.error(
                    study, where[:2], f"has no start; runs of kind {experiment.train} need one"
                )
            if experiment.start is not None and takes == "never":
                raise self.error(study, where, f"runs of kind {experiment.train} take no start")
            if experiment.start is not None and experiment.start not in starts:
                raise self.error(
                    study,
                    where,
                    f"got '{experiment.start}': unknown; {nearest(experiment.start, starts)}",
                )
        for name, experiment in experiments.items():
            passed, current = [name], experiment
            while current.start is not None:
                before = starts[current.start].experiment
                if before in passed:
                    circle = " -> ".join([*passed, before])
                    raise self.error(
                        study, ("experiments", name, "start"), f"goes round in a circle: {circle}"
                    )
                for scale in current.scales:
                    if experiments[before].at(scale) is None:
                        raise self.error(
                            study,
                            ("experiments", passed[-1], "scales", scale),
                            f"starts from {before}, which has no scale '{scale}'",
                        )
                passed.append(before)
                current = experiments[before]

    def _check_references(self, study: str) -> None:
        config = self.studies[study]
        if config.study != study:
            raise self.error(study, ("study",), f"got '{config.study}': must be '{study}'")
        kinds = self.kinds(study)
        for name, experiment in config.experiments.items():
            if experiment.train not in kinds:
                raise self.error(
                    study,
                    ("experiments", name, "train"),
                    f"got '{experiment.train}'; {nearest(experiment.train, kinds)}",
                )
            fields = kinds[experiment.train].model_fields
            if experiment.split not in fields:
                raise self.error(
                    study,
                    ("experiments", name, "split"),
                    f"got '{shortened(experiment.split)}', not a setting of {experiment.train}; "
                    f"{nearest(experiment.split, fields)}",
                )
        self._check_starts(study)
        self._check_file_names(study)
        self._check_modules(study)
        used = {
            "analyses": ("experiments", config.experiments),
            "figures": ("analyses", config.analyses),
        }
        for section, (field, valid) in used.items():
            for name, entry in getattr(config, section).items():
                for i, reference in enumerate(getattr(entry, field)):
                    if reference not in valid:
                        raise self.error(
                            study,
                            (section, name, field, i),
                            f"got '{reference}': unknown; {nearest(reference, valid)}",
                        )
        seen: set[str] = set()
        for i, claim in enumerate(config.claims):
            if claim.figure not in config.figures:
                raise self.error(
                    study,
                    ("claims", i, "figure"),
                    f"got '{claim.figure}': unknown; {nearest(claim.figure, config.figures)}",
                )
            if claim.id in seen:
                raise self.error(study, ("claims", i, "id"), f"got '{claim.id}': stands twice")
            seen.add(claim.id)


@functools.cache
def load(root: Path | str = ".", only: str = "") -> Config:
    """Read and check the configuration of a checkout and the environment (once per process).

    Parameters
    ----------
    root, only
        As for `Config`.

    Raises
    ------
    ConfigError
        For the first mistake in a file or an environment variable.
    """
    check_environment()
    if os.pathsep in str(Path(root).resolve()):
        raise ConfigError(
            f"{Path(root).resolve()}: the path of this folder has a '{os.pathsep}', at which "
            "PYTHONPATH would be divided; rename or move it"
        )
    return Config(root, only)
