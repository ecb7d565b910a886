"""Regular expressions with RE2's syntax, meaning and linear time, at the cost of `re` where possible.

Texts are those of the data path: `str` decoded as latin-1. A character is a byte of the wire, for RE2 too, which
Envoy tells to read latin-1. RE2 is called only where `proxy.base.backtracking` finds no proof that the standard
library does the same; its answers are remembered for short texts in a bounded memo.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Final

import re2

from proxy.base.backtracking import translate
from proxy.base.reporting import Reporter

#: Answers remembered per regex, and the longest text that is remembered: about 80 kB for one regex at most.
_MEMO_ENTRIES: Final = 256
_MEMO_TEXT: Final = 256

_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.encoding = re2.Options.Encoding.LATIN1

_REWRITE: Final = re.compile(r"\\(?:([0-9])|(\\))?")


class Regex:
    """One compiled pattern. Never raises on any text."""

    __slots__ = ("_fast_match", "_fast_search", "_slow", "_slow_full_match", "pattern")

    def __init__(self, pattern: str) -> None:
        """Raises `re2.error` for what RE2 refuses."""
        self.pattern: Final = pattern
        self._slow: Any = re2.compile(pattern.encode(), _OPTIONS)
        translation = translate(pattern)
        self._fast_match: Callable[[str], Any] | None = None
        self._fast_search: re.Pattern[str] | None = None
        if translation is not None:
            if translation.full_match:
                self._fast_match = translation.compiled.fullmatch
            if translation.search:
                self._fast_search = translation.compiled
        self._slow_full_match = functools.lru_cache(_MEMO_ENTRIES)(self._ask_re2)

    @property
    def groups(self) -> int:
        """The number of capturing groups, 0 to 99 or so."""
        return int(self._slow.groups)

    @property
    def program_size(self) -> int:
        """RE2's measure of the size of the pattern, which Envoy limits by runtime."""
        return int(self._slow.programsize)

    def full_match(self, text: str) -> bool:
        """Whether the whole of `text` matches."""
        fast = self._fast_match
        if fast is not None and "\n" not in text:
            return fast(text) is not None
        if len(text) > _MEMO_TEXT:
            return self._ask_re2(text)
        return self._slow_full_match(text)

    def _ask_re2(self, text: str) -> bool:
        return self._slow.fullmatch(text.encode("latin-1")) is not None

    def search(self, text: str) -> bool:
        """Whether some part of `text` matches."""
        fast = self._fast_search
        if fast is not None and "\n" not in text:
            return fast.search(text) is not None
        return self._slow.search(text.encode("latin-1")) is not None

    def groups_of(self, text: str) -> tuple[str, ...] | None:
        """The groups of a full match, "" for one that took no part; None if `text` does not match."""
        fast = self._fast_match
        if fast is not None and "\n" not in text:
            match = fast(text)
            return None if match is None else match.groups("")
        match = self._slow.fullmatch(text.encode("latin-1"))
        return None if match is None else tuple(group.decode("latin-1") for group in match.groups(b""))

    def sub(self, text: str, substitution: Substitution) -> str:
        """`text` with every match replaced, as RE2's GlobalReplace does."""
        fast = self._fast_search
        if fast is not None and "\n" not in text:
            return fast.sub(substitution.expand, text)
        return self._sub_slow(text.encode("latin-1"), substitution).decode("latin-1")

    def _sub_slow(self, text: bytes, substitution: Substitution) -> bytes:
        pieces = []
        position = 0
        previous_end = -1
        for match in self._slow.finditer(text):
            start, end = match.span()
            if start == end == previous_end:
                continue  # RE2 allows no empty match at the end of the last one
            pieces.append(text[position:start])
            pieces.append(substitution.expand_bytes(match))
            position = previous_end = end
        pieces.append(text[position:])
        return b"".join(pieces)


class Substitution:
    r"""The replacement text of a rewrite: `\0` to `\9` are groups, `\\` is a backslash."""

    __slots__ = ("_parts", "constant")

    def __init__(self, parts: tuple[str | int, ...]) -> None:
        self._parts = parts
        self.constant: Final = (
            "".join(part for part in parts if isinstance(part, str))
            if all(isinstance(part, str) for part in parts)
            else None
        )

    def expand(self, match: re.Match[str]) -> str:
        """The replacement for one match of `re`."""
        if self.constant is not None:
            return self.constant
        return "".join([part if isinstance(part, str) else match[part] or "" for part in self._parts])

    def expand_bytes(self, match: Any) -> bytes:
        """The replacement for one match of RE2 in bytes."""
        return b"".join(
            part.encode("latin-1") if isinstance(part, str) else match[part] or b"" for part in self._parts
        )


def wire_text(text: str) -> str:
    """Configured text as the data path holds it: its UTF-8 bytes decoded as latin-1."""
    return text if text.isascii() else text.encode().decode("latin-1")


def compile_regex(pattern: str, path: str, ctx: Reporter) -> Regex | None:
    """Compile, or report what RE2 says is wrong with `pattern` and return None."""
    try:
        regex = Regex(pattern)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        ctx.problem(path, reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason))
        return None
    limit = ctx.runtime.integer("re2.max_program_size.error_level", 100)
    if regex.program_size > limit:
        ctx.problem(
            path,
            f"RE2 program size of {regex.program_size} > max program size of {limit} set for the error level "
            "threshold (runtime re2.max_program_size.error_level)",
        )
        return None
    return regex


def compile_substitution(text: str, regex: Regex, path: str, ctx: Reporter) -> Substitution:
    """Compile RE2 rewrite syntax. What is wrong with it only warns, because Envoy accepts it and RE2 goes on.

    A group that `regex` does not have makes RE2 replace nothing; a bad escape ends the replacement text.
    """
    parts: list[str | int] = []
    position = 0
    text = wire_text(text)
    for escape in _REWRITE.finditer(text):
        parts.append(text[position : escape.start()])
        position = escape.end()
        digit, backslash = escape.groups()
        if digit is not None:
            parts.append(int(digit))
        elif backslash is not None:
            parts.append("\\")
        else:
            ctx.warning(path, r"a backslash must be followed by a digit or a backslash; the rest is ignored")
            position = len(text)
            break
    parts.append(text[position:])
    highest = max((int(group) for group in re.findall(r"\\([0-9])", text)), default=0)
    if highest > regex.groups:
        reason = (
            f"\\{highest} is used, but the regex has {regex.groups} capturing groups; nothing is replaced"
        )
        ctx.warning(path, reason)
        parts = [0]
    return Substitution(tuple(part for part in parts if part != ""))
