"""What counts as the same reply, and how a difference is shown.

Names of fields are compared with their case, values exactly, the order of different fields not at all. Values
that cannot agree (dates, generated ids, durations) are replaced by a word that says what they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.client import Reply
from tests.support.http_text import Fields, Message

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
_MASKED = {
    "date": (_DATE, "<date>"),
    "x-request-id": (_UUID, "<uuid>"),
    "x-envoy-upstream-service-time": (re.compile(r"\d+"), "<ms>"),
}


@dataclass(frozen=True)
class Difference:
    """One place where the two disagree, such as `response.field.server`."""

    where: str
    envoy: object
    outrider: object

    def __str__(self) -> str:
        return f"{self.where}\n    Envoy:    {self.envoy!r}\n    Outrider: {self.outrider!r}"


class DiffersError(AssertionError):
    """Envoy and Outrider behave differently in a way that known_differences.yaml does not list."""

    def __init__(self, differences: Sequence[Difference], context: str = "") -> None:
        self.differences = tuple(differences)
        super().__init__("\n".join([f"{len(differences)} difference(s) {context}", *map(str, differences)]))


def masked(fields: Iterable[tuple[str, str]]) -> Fields:
    """Fields with the values that change from run to run replaced."""
    result = []
    for name, value in fields:
        pattern, word = _MASKED.get(name.lower(), (None, ""))
        result.append((name, pattern.sub(word, value) if pattern else value))
    return result


def _by_name(fields: Fields) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in masked(fields):
        found.setdefault(name, []).append(value)
    return found


def diff_fields(where: str, envoy: Fields, outrider: Fields) -> list[Difference]:
    """Differences of two field lists as multimaps, in the order of names."""
    ours, theirs = _by_name(outrider), _by_name(envoy)
    return [
        Difference(f"{where}.{name}", theirs.get(name), ours.get(name))
        for name in sorted({*ours, *theirs})
        if theirs.get(name) != ours.get(name)
    ]


def diff_messages(where: str, envoy: Message | None, outrider: Message | None) -> list[Difference]:
    """Differences of start line, fields, body (without chunk framing), trailers and completeness."""
    if envoy is None or outrider is None:
        if envoy is outrider:
            return []
        return [Difference(where, envoy and envoy.raw, outrider and outrider.raw)]
    found = _diff_values(where, ("start", "body", "complete"), envoy, outrider)
    found += diff_fields(f"{where}.field", envoy.fields, outrider.fields)
    found += diff_fields(f"{where}.trailer", envoy.trailers, outrider.trailers)
    return found


def diff_lists(where: str, envoy: Sequence[Message], outrider: Sequence[Message]) -> list[Difference]:
    """Differences of two sequences of messages; `where` gets a number only when there are several."""
    if len(envoy) != len(outrider):
        starts = [message.start for message in envoy], [message.start for message in outrider]
        return [Difference(f"{where}.count", starts[0], starts[1])]
    found = []
    for number, (theirs, ours) in enumerate(zip(envoy, outrider, strict=True)):
        found += diff_messages(f"{where}[{number}]" if len(envoy) > 1 else where, theirs, ours)
    return found


def diff_replies(envoy: Reply, outrider: Reply) -> list[Difference]:
    """Differences of what a client saw, the end of the connection included."""
    return [
        *diff_lists("response", envoy.responses, outrider.responses),
        *_diff_values("connection", ("end", "rest"), envoy, outrider),
    ]


def _diff_values(where: str, names: Sequence[str], envoy: Any, outrider: Any) -> list[Difference]:
    return [
        Difference(f"{where}.{name}", getattr(envoy, name), getattr(outrider, name))
        for name in names
        if getattr(envoy, name) != getattr(outrider, name)
    ]
