"""`strftime` with Envoy's additions, formatted once a second.

Beside what `strftime` knows: `%s` seconds since the epoch; `%f`, `%1f` to `%9f` digits of the second;
`%E3S`, `%E*S`, `%E3f`, `%E*f` seconds and their fraction as in absl (a star drops trailing zeros); `%E4Y`,
`%Ez`, `%ET`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from proxy.formatter.parse import FormatError
from proxy.formatter.wire import to_wire

_NEWLINE = re.compile(r"%[-_0^#]*[1-9]*(E|O)?n")
#: What changes within a second.
_FRACTION = re.compile(r"%(?:E(?P<digits>[0-9]{1,2}|\*)(?P<kind>[Sf])|(?P<plain>[1-9])?f)|%%")
#: What `time.strftime` does differently from absl or does not know at all.
_SPECIAL = re.compile(r"%(?:%|s|E?z|:z|Z|ET|E4Y)")


class DateFormat:
    """One compiled format. Not thread-safe: it remembers the second that it formatted last.

    `render` takes seconds since the epoch and gives wire text; it counts in microseconds, like Envoy's clock. An
    empty `text` means `2026-01-31T23:59:59.000Z`, in local time with the offset in place of the `Z`.
    """

    __slots__ = ("_fractions", "_local", "_millisecond", "_pieces", "_rendered", "_second", "_text", "render")

    def __init__(self, text: str, *, local: bool = False) -> None:
        if _NEWLINE.search(text):
            raise FormatError("a time format must not contain a newline")
        self._local = local
        self._pieces: list[str] = []
        self._fractions: list[tuple[str, str]] = []
        self._split(text or ("%Y-%m-%dT%H:%M:%S.%3f%z" if local else "%Y-%m-%dT%H:%M:%S.%3fZ"))
        self._second = -1
        self._millisecond = -1
        self._rendered: list[str] = []
        self._text = ""
        #: The text for a moment in seconds since the epoch.
        self.render: Callable[[float], str] = (
            self._render_milliseconds if self._fractions == [("3", "")] else self._render
        )

    def _split(self, text: str) -> None:
        """Cut `text` into pieces that live a second and the fractions between them."""
        piece, position = "", 0
        for match in _FRACTION.finditer(text):
            if match[0] == "%%":
                continue
            piece += text[position : match.start()]
            position = match.end()
            digits = match["digits"] or match["plain"] or "9"
            if match["kind"] == "S":
                piece += "%S"
            self._pieces.append(piece)
            self._fractions.append((digits, "." if match["kind"] == "S" else ""))
            piece = ""
        self._pieces.append(piece + text[position:])

    def _render_milliseconds(self, moment: float) -> str:
        """The commonest kind; under load many streams begin in the same millisecond."""
        millisecond = int(moment * 1000.0 + 0.0005)
        if millisecond != self._millisecond:
            rendered = self._of_second(millisecond // 1000)
            self._text = f"{rendered[0]}{millisecond % 1000:03d}{rendered[1]}"
            self._millisecond = millisecond
        return self._text

    def _of_second(self, second: int) -> list[str]:
        if second != self._second:
            self._rendered = [self._render_piece(piece, second) for piece in self._pieces]
            self._second = second
        return self._rendered

    def _render(self, moment: float) -> str:
        microseconds = round(moment * 1_000_000)
        rendered = self._of_second(microseconds // 1_000_000)
        fraction = f"{microseconds % 1_000_000:06d}"
        parts = [rendered[0]]
        for (digits, point), piece in zip(self._fractions, rendered[1:], strict=True):
            shown = fraction.rstrip("0") if digits == "*" else fraction.ljust(int(digits), "0")[: int(digits)]
            if shown:
                parts.append(point + shown)
            elif not point and digits == "*":
                parts.append("0")
            parts.append(piece)
        return "".join(parts)

    def _render_piece(self, piece: str, second: int) -> str:
        moment = time.localtime(second) if self._local else time.gmtime(second)

        def special(match: re.Match[str]) -> str:
            match match[0]:
                case "%%":
                    return "%%"
                case "%s":
                    return str(second)
                case "%Z":
                    return moment.tm_zone if self._local else "UTC"
                case "%z":
                    return offset_text(moment.tm_gmtoff or 0, "")
                case "%ET":
                    return "T"
                case "%E4Y":
                    return f"{moment.tm_year:04d}"
                case _:
                    return offset_text(moment.tm_gmtoff or 0, ":")

        # What `strftime` refuses, absl lets through.
        parts = _SPECIAL.sub(special, piece).split("\0")
        return to_wire("\0".join([time.strftime(part, moment) if part else "" for part in parts]))


def offset_text(seconds: int, separator: str) -> str:
    """`+0130`, or `+01:30` with a separator, for an offset east of UTC."""
    minutes = abs(seconds) // 60
    return f"{'-' if seconds < 0 else '+'}{minutes // 60:02d}{separator}{minutes % 60:02d}"
