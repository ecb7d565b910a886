"""Splits a format into literals and commands. Source: Envoy's `SubstitutionFormatParser`."""

from __future__ import annotations

import re

from msgspec import Struct

from proxy.base.digits import UINT64, whole_number

#: Envoy's own expression; `.` does not match a newline, so an argument cannot contain one.
_COMMAND = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%")


class FormatError(Exception):
    """Why a format is refused; never leaves this package (compile functions turn it into a problem)."""


class Command(Struct, frozen=True):
    """One `%NAME(argument):max_length%`; a missing argument is "", as in Envoy."""

    name: str
    argument: str
    max_length: int | None


def parse(text: str) -> list[str | Command]:
    """Literals (with `%%` unescaped) and commands in order; no two literals stand side by side."""
    parts: list[str | Command] = []
    literal = ""
    position = 0
    while position < len(text):
        percent = text.find("%", position)
        if percent < 0:
            literal += text[position:]
            break
        literal += text[position:percent]
        if text.startswith("%%", percent):
            literal += "%"
            position = percent + 2
            continue
        match = _COMMAND.match(text, percent)
        length = whole_number(match[3], UINT64) if match is not None and match[3] else None
        if match is None or (match[3] and length is None):
            raise FormatError(
                f"no valid command at position {percent} of {text!r}"
                " (a command reads %NAME%, %NAME(ARGUMENT)% or %NAME(ARGUMENT):LENGTH%;"
                " a literal percent sign is written %%)"
            )
        if literal:
            parts.append(literal)
            literal = ""
        parts.append(Command(match[1], match[2] or "", length))
        position = match.end()
    if literal:
        parts.append(literal)
    return parts
