"""Path templates of `google.api.http`: `/v1/{name=shelves/*}/books/**:verb`, and URL unescaping.

Source: google/api/http.proto ("Path template syntax"), with the leniencies of grpc-httpjson-transcoding.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from msgspec import Struct

_ANY: Final = frozenset({"*", "**"})
_LITERAL: Final = re.compile(r"[^/:}]+")
_FIELD_PATH: Final = re.compile(r"[^.}=]+(?:\.[^.}=]+)*")


class TemplateError(ValueError):
    """Not a path template."""


class Variable(Struct, frozen=True):
    """The segments from `start` up to `end` bind to the field at `field_path`.

    A negative `end` counts from the end of the path, where -1 is the end itself: there is a `**` in between.
    """

    field_path: tuple[str, ...]
    start: int
    end: int


class HttpTemplate(Struct, frozen=True):
    """A template taken apart; `verb` is "" if it has none."""

    segments: tuple[str, ...]
    verb: str
    variables: tuple[Variable, ...]


def parse_template(text: str) -> HttpTemplate:
    """Raises `TemplateError`."""
    if text == "/":
        return HttpTemplate((), "", ())
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._segments: list[str] = []
        self._variables: list[tuple[tuple[str, ...], int, int, bool]] = []

    def parse(self) -> HttpTemplate:
        self._expect("/")
        self._parse_segments(in_variable=False)
        verb = ""
        if self._peek() == ":":
            self._at += 1
            verb = self._take(_LITERAL)
        if self._at != len(self._text):
            raise TemplateError(self._text)
        self._check_wildcards()
        count = len(self._segments)
        variables = (
            Variable(path, start, end - count - 1 if has_wildcard else end)
            for path, start, end, has_wildcard in self._variables
        )
        return HttpTemplate(tuple(self._segments), verb, tuple(variables))

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise TemplateError(self._text)
        self._at += 1

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise TemplateError(self._text)
        self._at = match.end()
        return match[0]

    def _parse_segments(self, *, in_variable: bool) -> None:
        while True:
            self._parse_segment(in_variable=in_variable)
            if self._peek() != "/":
                return
            self._at += 1

    def _parse_segment(self, *, in_variable: bool) -> None:
        if self._text.startswith("**", self._at):
            self._segments.append("**")
            self._at += 2
        elif self._peek() == "*":
            self._segments.append("*")
            self._at += 1
        elif self._peek() == "{":
            if in_variable:
                raise TemplateError(self._text)
            self._parse_variable()
        else:
            self._segments.append(self._take(_LITERAL))

    def _parse_variable(self) -> None:
        self._expect("{")
        start = len(self._segments)
        path = tuple(self._take(_FIELD_PATH).split("."))
        if self._peek() == "=":
            self._at += 1
            self._parse_segments(in_variable=True)
        else:
            self._segments.append("*")
        self._expect("}")
        end = len(self._segments)
        self._variables.append((path, start, end, "**" in self._segments[start:end]))

    def _check_wildcards(self) -> None:
        """Only fixed segments may follow `**`."""
        if "**" in self._segments:
            first = self._segments.index("**")
            if not _ANY.isdisjoint(self._segments[first + 1 :]):
                raise TemplateError(self._text)


class Unescape(Enum):
    """What is unescaped in a variable of several segments; the numbers are those of `UrlUnescapeSpec`."""

    EXCEPT_RESERVED = 0
    EXCEPT_SLASH = 1
    ALL = 2


_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_RESERVED: Final = frozenset(b"!#$&'()*+,/:;=?@[]")
_KEPT: Final = {
    Unescape.EXCEPT_RESERVED: _RESERVED,
    Unescape.EXCEPT_SLASH: frozenset(b"/"),
    Unescape.ALL: frozenset[int](),
}


def unescape(text: str, spec: Unescape = Unescape.ALL, *, plus: bool = False) -> str:
    """Percent-decoding of a latin-1 text into what its bytes say in UTF-8; other bytes become surrogates.

    With `plus`, a plus sign is a space.
    """
    raw = text.encode("latin-1", "replace")
    if plus:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        kept = _KEPT[spec]

        def decode(match: re.Match[bytes]) -> bytes:
            code = int(match[1], 16)
            return match[0] if code in kept else bytes((code,))

        raw = _ESCAPE.sub(decode, raw)
    return raw.decode("utf-8", "surrogateescape")
