"""YAML files as plain data with the line of every key, and nothing that such files can do else."""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from regimes.messages import ConfigError, shortened, shown

# Beyond these no file of a person is; they keep a damaged or hostile one from filling the memory.
LARGEST_FILE = 2**24  # bytes
DEEPEST = 32  # levels of nesting
MOST_VALUES = 200_000  # in one file, after aliases
LARGEST_INTEGER = 2**63 - 1


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
        raise ConfigError(
            f"{shown_path(path)}{line}: not valid YAML ({shortened(problem)})"
        ) from None
    except _Wrong as error:
        raise ConfigError(f"{shown_path(path)}:{error.line}: {error}") from None
    except ValueError as error:  # half of a pair of code units, for instance
        raise ConfigError(f"{shown_path(path)}: not valid YAML ({shortened(str(error))})") from None
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
            raise ConfigError(f"{shown_path(path)}: cannot be read (it is {what})")
        if status.st_size > LARGEST_FILE:
            raise ConfigError(
                f"{shown_path(path)}: has {status.st_size} bytes; at most {LARGEST_FILE} are read"
            )
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError as error:
        why = "a link to a file that is not there" if path.is_symlink() else error.strerror
        raise ConfigError(f"{shown_path(path)}: cannot be read ({why})") from None
    except OSError as error:
        raise ConfigError(f"{shown_path(path)}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{shown_path(path)}: is not UTF-8 text (byte {error.start + 1}); save it as UTF-8"
        ) from None


def shown_path(path: Path) -> Path:
    """Path as a user would type it: relative where it lies below the working directory."""
    for form in (os.path.abspath, os.path.realpath):  # the first one follows no links
        if (known := Path(form(path))).is_relative_to(Path.cwd()):
            return known.relative_to(Path.cwd())
    return path
