"""Requests that are malformed, ambiguous, oversized or merely odd: a table for every place where parsers differ.

Smuggling works where two readers see different messages, so each table walks one ambiguity through all of its
spellings. A case is bytes for one connection; nothing here says what the right answer is: real Envoy does. The
preface of HTTP/2 is not here, because it chooses another codec.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.conformance.request_fields import every_byte, fields, folds, limits, pipelines
from tests.conformance.request_framing import both_framings, chunks, codings, lengths, trailers
from tests.conformance.request_lines import hosts, start_lines, targets
from tests.conformance.request_parts import Named


@dataclass(frozen=True)
class Case:
    """One connection's worth of bytes."""

    name: str
    data: bytes


TABLES = {
    "lengths": lengths,
    "both_framings": both_framings,
    "codings": codings,
    "chunks": chunks,
    "trailers": trailers,
    "every_byte": every_byte,
    "folds": folds,
    "fields": fields,
    "start_lines": start_lines,
    "targets": targets,
    "hosts": hosts,
    "limits": limits,
    "pipelines": pipelines,
}


def cases(table: Callable[[], Named]) -> list[Case]:
    """The cases of a table; a name that comes twice gets a number."""
    seen: dict[str, int] = {}
    found = []
    for name, data in table():
        seen[name] = number = seen.get(name, 0) + 1
        found.append(Case(name if number == 1 else f"{name} #{number}", data))
    return found
