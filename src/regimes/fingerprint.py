"""Code fingerprints: what a result depends on, by meaning rather than by text.

A fingerprint hashes the syntax trees of a module and of every module of this
package that it imports, without comments, docstrings and layout. Modules that
only carry data about (`config` and what it is made of, `plan`, `store`) stand outside; a format
number represents them (`regimes.plan.FORMAT`). `ensemble.probing`, which only
forecasts, and `journal`, which only tells, are outside too.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from regimes.messages import ConfigError

PACKAGE = "regimes"
OUTSIDE = {
    f"{PACKAGE}.{name}"
    for name in (
        "config messages environment yaml_files plan store fingerprint data.files ensemble.probing "
        "journal"
    ).split()
}
SOURCE = Path(__file__).resolve().parent


def _file(module: str) -> Path | None:
    """Source file of a module of this package, None if there is none."""
    path = SOURCE.joinpath(*module.split(".")[1:])
    if path.is_dir():
        path = path / "__init__.py"
    else:
        path = path.with_suffix(".py")
    return path if path.is_file() else None


@functools.cache
def _tree(module: str) -> ast.Module:
    path = _file(module)
    if path is None:
        raise ModuleNotFoundError(f"no module {module} in {SOURCE}")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as error:
        raise ConfigError(f"{path}, line {error.lineno}: {error.msg}; mend this line") from None
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                del body[0]
    return tree


@functools.cache
def imports(module: str) -> frozenset[str]:
    """Modules of this package that a module imports, anywhere in its source."""
    found: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(
        name
        for name in found
        if name.split(".")[0] == PACKAGE and name not in OUTSIDE and _file(name) is not None
    )


def closure(modules: Iterable[str]) -> set[str]:
    """Modules reachable by imports, the given ones included."""
    todo, seen = list(modules), set()
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo.extend(imports(module))
    return seen


@functools.cache
def _module_digest(module: str, tables: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    tree = _tree(module)
    kept = dict(tables)
    parts = []
    for node in tree.body:
        name = _assigned(node)
        if name in kept and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if not isinstance(key, ast.Constant) or str(key.value) in kept[name]:
                    parts.append(f"{name}[{ast.dump(key) if key else '**'}]={ast.dump(value)}")
        else:
            parts.append(ast.dump(node))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _assigned(node: ast.stmt) -> str | None:
    """Name that a plain module-level assignment binds."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        return target.id if isinstance(target, ast.Name) else None
    return None


def digests(
    modules: Iterable[str], entries: Mapping[str, set[str]] | None = None
) -> dict[str, str]:
    """Hash of each of some modules and of all that they import, by name.

    Parameters
    ----------
    modules, entries
        As for `of_modules`.
    """
    tables: dict[str, dict[str, tuple[str, ...]]] = {}
    for table, names in (entries or {}).items():
        module, name = table.split(":")
        tables.setdefault(module, {})[name] = tuple(sorted(names))
    return {
        module: _module_digest(module, tuple(sorted(tables.get(module, {}).items())))
        for module in sorted(closure(modules))
    }


def of_modules(modules: Iterable[str], entries: Mapping[str, set[str]] | None = None) -> str:
    """Fingerprint of modules and all that they import.

    Parameters
    ----------
    modules
        Dotted names, e.g. ``regimes.studies.giant_step.experiments``.
    entries
        ``"module:NAME"`` -> keys of that module-level dict which matter; its
        other entries do not count.

    Returns
    -------
    str
        64 hex digits.
    """
    lines = [f"{module} {found}" for module, found in digests(modules, entries).items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
