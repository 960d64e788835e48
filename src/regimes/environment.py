"""Environment variables of the project, checked before anything depends on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from regimes.messages import ConfigError, nearest, shown

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


def no_folder(path: str) -> str:
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
        "REGIMES_DATA": lambda text: text and no_folder(text),
        "REGIMES_CACHE": lambda text: text and no_folder(text),
        "REGIMES_LEASES": lambda text: text and no_folder(text.removeprefix("~/") or "."),
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
