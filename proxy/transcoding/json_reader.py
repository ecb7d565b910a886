"""Reads JSON text as it comes, as leniently as Envoy: bare keys, single quotes, trailing commas, raw controls.

Values are `JsonObject`, list, str, int, float, bool and None. A number that fits no 64-bit integer is a float.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

from proxy.transcoding.status import TranscodeError

#: Of objects and lists in each other.
MAX_DEPTH: Final = 100
#: Bytes of text shown to either side of an error.
_CONTEXT: Final = 20
#: Longer text that is cut off in a number or key is read again when there is twice as much: the work stays linear.
_LONG: Final = 4096

_SPACE: Final = re.compile(rb"[ \t\n\v\f\r]*")
_PLAIN: Final = {0x22: re.compile(rb'[^"\\]*'), 0x27: re.compile(rb"[^'\\]*")}
_KEY: Final = re.compile(rb"[A-Za-z_$][A-Za-z0-9_$]*")
_NUMBER: Final = re.compile(rb"[-+0-9.eEx]+")
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{4}")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
#: The commonest entries and items, with the comma that follows them: read in one step.
_QUICK: Final = rb'(?:"([^"\\]*)"|(-?(?:0|[1-9][0-9]{0,17}))|(true|false|null))[ \t\n\r]*,'
_QUICK_ITEM: Final = re.compile(rb"[ \t\n\r]*" + _QUICK)
_QUICK_ENTRY: Final = re.compile(
    rb'[ \t\n\r]*(?:"([^"\\]*)"|([A-Za-z_$][A-Za-z0-9_$]*))[ \t\n\r]*:[ \t\n\r]*' + _QUICK
)
_REAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ESCAPES: Final = {0x62: "\b", 0x66: "\f", 0x6E: "\n", 0x72: "\r", 0x74: "\t", 0x76: "\v"}
_WORDS: Final = ((b"true", True), (b"false", False), (b"null", None))
_WORD_VALUES: Final = dict(_WORDS)
_UNKNOWN: Final = "Unexpected token."
#: More than a 64-bit integer can have; Python refuses to read thousands.
_MOST_DIGITS: Final = 24


class JsonObject:
    """The entries of an object in order; a key may come twice."""

    __slots__ = ("entries",)

    def __init__(self, entries: list[tuple[str, Any]] | None = None) -> None:
        self.entries = entries or []


class _MoreNeededError(Exception):
    """The text ends in the middle of something that may go on."""


class JsonReader:
    """Feed it, then `finish` it. `emit` gets the root value.

    With `streaming` the root must be a list, and `emit` gets each of its items as soon as it is whole; that the
    root is something else is an error. Raises `TranscodeError`.
    """

    def __init__(self, emit: Callable[[Any], None], *, streaming: bool = False) -> None:
        self._emit = emit
        self._streaming = streaming
        self._rest = bytearray()
        #: The least length of the rest at which it is looked at again.
        self._worth_reading = 0
        self._text = b""
        self._at = 0
        #: Where to go on if more text is needed.
        self._start = 0
        self._finishing = False
        self._open: list[JsonObject | list[Any]] = []
        self._keys: list[str] = []
        self._expect: Callable[[], None] | None = self._value
        self._seen = False
        #: Of a string that is cut off: its quote, 0 for none, and what was read of it.
        self._quote = 0
        self._pieces: list[str] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes in."""
        if not data:
            return
        self._seen = True
        if self._rest:
            self._rest += data
            if len(self._rest) < self._worth_reading:
                return
            data = bytes(self._rest)
        self._read(data)

    def _read(self, data: bytes) -> None:
        try:
            data.decode("utf-8")
            valid = len(data)
        except UnicodeDecodeError as error:
            valid = error.start
        self._text, self._at, self._finishing = data[:valid], 0, False
        self._run()
        self._skip()
        if self._expect is None and self._at < valid:
            raise self._failure("Parsing terminated before end of input.")
        self._rest = bytearray(data[self._at :])
        self._worth_reading = 2 * len(self._rest) if len(self._rest) > _LONG else 0

    def finish(self) -> None:
        """No more will come. No input at all is an empty object."""
        if not self._seen:
            self.feed(b"{}")
            return
        if self._expect is None and not self._rest:
            return
        if self._worth_reading:
            self._read(bytes(self._rest))
        self._text, self._at, self._finishing = bytes(self._rest), 0, True
        try:
            self._rest.decode("utf-8")
        except UnicodeDecodeError:
            raise self._failure("Encountered non UTF-8 code points.") from None
        self._run()
        self._skip()
        if self._at < len(self._text):
            raise self._failure("Parsing terminated before end of input.")

    def _run(self) -> None:
        while self._expect is not None:
            if not self._quote:
                self._skip()
            self._start = self._at
            try:
                self._expect()
            except _MoreNeededError:
                if not self._quote:
                    self._at = self._start
                return

    # -- what may come next

    def _value(self) -> None:
        self._take_value("Expected a value.")

    def _take_value(self, expected: str) -> None:
        first = self._first(expected)
        if first in b"\"'":
            self._store(self._string())
        elif first == b"{":
            self._begin(JsonObject())
        elif first == b"[":
            self._begin([])
        elif first in b"-0123456789":
            self._store(self._number())
        else:
            self._store(self._word(expected))

    def _list_item(self) -> None:
        container = self._open[-1]
        streams = self._streaming and len(self._open) == 1
        if isinstance(container, list) and not streams and not self._quote:
            while (match := _QUICK_ITEM.match(self._text, self._at)) is not None:
                container.append(_quick_value(*match.groups()))
                self._start = self._at = match.end()
            self._skip()
        expected = "Expected a value or ] within an array."
        if self._first(expected) == b"]":
            self._end()
        else:
            self._take_value(expected)

    def _after_item(self) -> None:
        self._comma_or(b"]", self._list_item, "Expected , or ] after array value.")

    def _entry(self) -> None:
        if not self._quote:
            self._quick_entries()
        expected = "Expected an object key or }."
        first = self._first(expected)
        if first == b"}":
            self._end()
            return
        if first in b"\"'":
            key = self._string()
        else:
            match = _KEY.match(self._text, self._at)
            if match is None:
                if first not in b"-0123456789{[]:,":
                    self._unknown(expected)
                raise self._failure(expected)
            if match.end() == len(self._text) and not self._finishing:
                raise _MoreNeededError
            key = match[0].decode()
            self._at = match.end()
            if key in {"true", "false", "null"}:
                raise self._failure(expected)
        self._keys.append(key)
        self._expect = self._colon

    def _quick_entries(self) -> None:
        container = self._open[-1]
        assert isinstance(container, JsonObject)
        while (match := _QUICK_ENTRY.match(self._text, self._at)) is not None:
            quoted, bare, *value = match.groups()
            if quoted is None and bare in _WORD_VALUES:
                break
            key: bytes = bare if quoted is None else quoted
            container.entries.append((key.decode("utf-8"), _quick_value(*value)))
            self._start = self._at = match.end()
        self._skip()

    def _colon(self) -> None:
        expected = "Expected : between key:value pair."
        if self._first(expected) != b":":
            raise self._failure(expected)
        self._at += 1
        self._expect = self._value

    def _after_entry(self) -> None:
        self._comma_or(b"}", self._entry, "Expected , or } after key:value pair.")

    def _comma_or(self, closing: bytes, following: Callable[[], None], expected: str) -> None:
        first = self._first(expected)
        if first == closing:
            self._end()
        elif first == b",":
            self._at += 1
            self._expect = following
        else:
            raise self._failure(expected)

    # -- values and their places

    def _begin(self, container: JsonObject | list[Any]) -> None:
        if self._streaming and not self._open and isinstance(container, JsonObject):
            raise TranscodeError("Expected an array instead of an object")
        if len(self._open) >= MAX_DEPTH:
            key = self._keys[-1] if isinstance(self._open[-1], JsonObject) else ""
            raise TranscodeError(f"Message too deep. Max recursion depth reached for key '{key}'")
        self._at += 1
        self._open.append(container)
        self._expect = self._entry if isinstance(container, JsonObject) else self._list_item

    def _end(self) -> None:
        self._at += 1
        container = self._open.pop()
        if self._streaming and not self._open:
            self._expect = None
        else:
            self._store(container)

    def _store(self, value: Any) -> None:
        if not self._open:
            if self._streaming:
                raise TranscodeError("Expected an array instead of a scalar value.")
            self._expect = None
            self._emit(value)
            return
        container = self._open[-1]
        if isinstance(container, JsonObject):
            container.entries.append((self._keys.pop(), value))
            self._expect = self._after_entry
        else:
            self._expect = self._after_item
            if self._streaming and len(self._open) == 1:
                self._emit(value)
            else:
                container.append(value)

    # -- tokens

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _first(self, expected: str) -> bytes:
        if self._quote:
            return b'"'
        first = self._text[self._at : self._at + 1]
        if not first:
            if not self._finishing:
                raise _MoreNeededError
            raise self._failure(f"Unexpected end of string. {expected}")
        return first

    def _unknown(self, expected: str) -> None:
        if not self._finishing:
            raise _MoreNeededError
        raise self._failure(expected)

    def _word(self, expected: str) -> Any:
        text, at = self._text, self._at
        for word, value in _WORDS:
            if text.startswith(word, at):
                self._at += len(word)
                return value
        if _KEY.match(text, at) is None and text[at] not in b"]}:,":
            # Envoy waits for the end here, in case that more text makes sense of it.
            self._unknown(expected)
        if not self._finishing and len(text) - at < 5:
            raise _MoreNeededError
        raise self._failure(_UNKNOWN)

    def _number(self) -> int | float:
        match = _NUMBER.match(self._text, self._at)
        assert match is not None
        if match.end() == len(self._text) and not self._finishing:
            raise _MoreNeededError
        text = match[0].decode()
        floating = "." in text or "e" in text or "E" in text
        if not floating:
            digits = text.removeprefix("-")
            if len(digits) >= 2 and digits[0] == "0":
                raise self._failure("Octal/hex numbers are not valid JSON values.")
            if len(text) <= _MOST_DIGITS and _INTEGER.fullmatch(text):
                number = int(text)
                if -(1 << 63) <= number < 1 << 64:
                    self._at = match.end()
                    return number
        if not _REAL.fullmatch(text):
            raise self._failure("Unable to parse number.")
        real = float(text)
        if math.isinf(real):
            raise self._failure("Number exceeds the range of double.")
        self._at = match.end()
        return real

    def _string(self) -> str:
        text = self._text
        if not self._quote:
            self._quote = text[self._at]
            self._at += 1
        plain = _PLAIN[self._quote]
        pieces = self._pieces
        while True:
            match = plain.match(text, self._at)
            assert match is not None
            self._at = match.end()
            pieces.append(match[0].decode("utf-8"))
            if self._at >= len(text) - (text[self._at : self._at + 1] == b"\\"):
                if not self._finishing:
                    raise _MoreNeededError
                raise self._failure("Closing quote expected in string.")
            if text[self._at] == self._quote:
                self._at += 1
                self._quote = 0
                self._pieces = []
                return "".join(pieces)
            escaped = text[self._at + 1]
            if escaped == 0x75:
                pieces.append(self._unicode_escape())
            else:
                width = _utf8_width(escaped)
                plain_text = text[self._at + 1 : self._at + 1 + width].decode("utf-8")
                pieces.append(_ESCAPES.get(escaped, plain_text))
                self._at += 1 + width

    def _unicode_escape(self) -> str:
        code = self._hex(self._at + 2, "Illegal hex string.")
        end = self._at + 6
        if 0xD800 <= code <= 0xDBFF:
            if self._text[end : end + 2] != b"\\u" and len(self._text) >= end + 6:
                raise self._failure("Missing low surrogate.")
            low = self._hex(end + 2, "Missing low surrogate.")
            if not 0xDC00 <= low <= 0xDFFF:
                raise self._failure("Invalid low surrogate.")
            code = 0x10000 + ((code & 0x3FF) << 10 | (low & 0x3FF))
            end += 6
        elif 0xDC00 <= code <= 0xDFFF:
            raise self._failure("Invalid unicode code point.")
        self._at = end
        return chr(code)

    def _hex(self, at: int, cut_off: str) -> int:
        if len(self._text) < at + 4:
            if not self._finishing:
                raise _MoreNeededError
            raise self._failure(cut_off)
        match = _HEX.match(self._text, at)
        if match is None:
            raise self._failure("Invalid escape sequence.")
        return int(match[0], 16)

    def _failure(self, message: str) -> TranscodeError:
        at = self._at
        begin = max(at - _CONTEXT, 0)
        segment = self._text[begin : at + _CONTEXT].decode("utf-8", "surrogateescape")
        return TranscodeError(f"{message}\n{segment}\n{' ' * (at - begin)}^")


def _quick_value(text: bytes | None, number: bytes | None, word: bytes | None) -> Any:
    if text is not None:
        return text.decode("utf-8")
    return int(number) if number is not None else _WORD_VALUES[word or b"null"]


def _utf8_width(first: int) -> int:
    if first < 0xC0:
        return 1
    return 2 if first < 0xE0 else 3 if first < 0xF0 else 4
