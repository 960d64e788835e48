"""Messages for the user: errors of one printable line, values that fit into it, nearest names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

LONGEST_MESSAGE = 3000  # characters
LONGEST_VALUE = 100  # characters of a value that a message shows


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
