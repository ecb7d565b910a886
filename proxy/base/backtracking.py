"""Decides whether the standard library's `re` may stand in for RE2 on a pattern.

RE2 takes linear time but costs several microseconds to call from Python; `re` costs a tenth of that but
backtracks. A pattern may use `re` only if it is proven here that (a) both engines give it the same meaning
on latin-1 text without line feeds and (b) backtracking stays linear on any text. The proof is conservative:
whatever it does not understand is left to RE2.

The proof of (b): the parse tree is multiplied out into flat sequences of single-character repeats, without
alternatives. In such a sequence, a repeat whose characters cannot begin what follows is *fixed*: giving back
a character always fails at once. A sequence is linear if all repeats are fixed, or if one is not and what
follows it has a small bounded length. A trailing `.*` ends the search wherever it is reached, so it is left
out.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from re import _constants, _parser  # type: ignore[attr-defined]  # the only way to the parse tree
from typing import Any, Final

from msgspec import Struct

sre: Any = _constants

#: Escapes that RE2 and `re` read differently, or that only one of them knows.
_FOREIGN_SYNTAX: Final = re.compile(r"\\[0-9sSpPQECBN]|\[:|\{,|\(\?[A-Za-z]*[mUu]")
#: Sequences after multiplying out; more means the pattern is left to RE2.
_MAX_SEQUENCES: Final = 64
#: Items in one sequence.
_MAX_ITEMS: Final = 256
#: Characters that may follow a repeat which is not fixed.
_MAX_TAIL: Final = 64

#: Length of a match that is looked for at every place of a text.
_MAX_UNANCHORED: Final = 24

_ALL: Final = (1 << 256) - 1
_LINE_FEED: Final = 1 << 10
_DIGITS: Final = sum(1 << code for code in range(48, 58))
_UPPER: Final = sum(1 << code for code in range(65, 91))
_LOWER: Final = _UPPER << 32
_WORD: Final = _DIGITS | _UPPER | _LOWER | 1 << 95
_CATEGORIES: Final = {
    sre.CATEGORY_DIGIT: _DIGITS,
    sre.CATEGORY_NOT_DIGIT: _ALL & ~_DIGITS,
    sre.CATEGORY_WORD: _WORD,
    sre.CATEGORY_NOT_WORD: _ALL & ~_WORD,
}
_UNLIMITED: Final = 1 << 30


class _Item(Struct, frozen=True):
    """`low` to `high` characters out of `chars`, a bit mask over latin-1; the start of the text if 0."""

    chars: int
    low: int = 1
    high: int = 1


_Sequence = tuple[_Item, ...]
_ANCHOR: Final = _Item(0, 0, 0)
_ANYTHING: Final = _Item(_ALL & ~_LINE_FEED, 0, _UNLIMITED)


class _UnprovenError(Exception):
    """The pattern has something that the proof does not cover."""


class Translation(Struct, frozen=True):
    """`compiled` is equal to RE2 on latin-1 text without line feeds.

    `full_match` and `search` tell for which use its time was proven linear; searching includes replacing.
    """

    compiled: re.Pattern[str]
    full_match: bool
    search: bool


def translate(pattern: str) -> Translation | None:
    """The standard library's equal of an RE2 `pattern` (known to be valid), or None if there is no proof."""
    if not pattern.isascii() or _FOREIGN_SYNTAX.search(pattern):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = _parser.parse(pattern, re.ASCII)
            compiled = re.compile(pattern, re.ASCII)
    except (re.error, Warning, OverflowError, RecursionError):
        return None
    try:
        sequences = _flatten(tree, bool(tree.state.flags & re.IGNORECASE))
    except (_UnprovenError, RecursionError):
        return None
    full_match = all(_linear(sequence) for sequence in sequences)
    search = (
        compiled.match("") is None
        and tree.getwidth()[0] > 0
        and all(_linear_search(sequence) for sequence in sequences)
    )
    return Translation(compiled, full_match, search) if full_match or search else None


def _flatten(tree: Iterable[Any], fold: bool) -> list[_Sequence]:
    sequences: list[_Sequence] = [()]
    for operation, argument in tree:
        sequences = _product(sequences, _choices(operation, argument, fold))
    return sequences


def _product(left: list[_Sequence], right: list[_Sequence]) -> list[_Sequence]:
    if len(left) * len(right) > _MAX_SEQUENCES:
        raise _UnprovenError
    joined = [first + second for first in left for second in right]
    if any(len(sequence) > _MAX_ITEMS for sequence in joined):
        raise _UnprovenError
    return joined


def _choices(operation: Any, argument: Any, fold: bool) -> list[_Sequence]:
    """What one node of the tree may match, as alternatives."""
    if operation in {sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN}:
        return [(_Item(_characters(operation, argument, fold)),)]
    if operation is sre.SUBPATTERN:
        _, added, removed, content = argument
        if added or removed:
            raise _UnprovenError
        return _flatten(content, fold)
    if operation is sre.BRANCH:
        found = [sequence for branch in argument[1] for sequence in _flatten(branch, fold)]
        if len(found) > _MAX_SEQUENCES:
            raise _UnprovenError
        return found
    if operation in {sre.MAX_REPEAT, sre.MIN_REPEAT}:
        return _repeated(argument[0], argument[1], argument[2], fold)
    if operation is sre.AT:
        if argument in {sre.AT_BEGINNING, sre.AT_BEGINNING_STRING}:
            return [(_ANCHOR,)]
        if argument in {sre.AT_END, sre.AT_END_STRING, sre.AT_BOUNDARY}:
            return [()]
    raise _UnprovenError


def _repeated(low: int, high: Any, content: Any, fold: bool) -> list[_Sequence]:
    unlimited = high is sre.MAXREPEAT
    if len(content) == 1 and content[0][0] in {sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN}:
        chars = _characters(content[0][0], content[0][1], fold)
        return [(_Item(chars, low, low), _Item(chars, 0, _UNLIMITED if unlimited else int(high) - low))]
    if unlimited or high > 1:
        # A group that repeats may match in more ways than its length, and may capture differently.
        raise _UnprovenError
    once = _flatten(content, fold)
    return once if low == high else [*once, ()]


def _characters(operation: Any, argument: Any, fold: bool) -> int:
    if operation is sre.ANY:
        return _ALL & ~_LINE_FEED
    if operation is sre.LITERAL:
        return _folded(1 << argument, fold)
    if operation is sre.NOT_LITERAL:
        return _ALL & ~_folded(1 << argument, fold)
    chars = 0
    negated = False
    for kind, value in argument:
        if kind is sre.NEGATE:
            negated = True
        elif kind is sre.LITERAL:
            chars |= 1 << value
        elif kind is sre.RANGE:
            chars |= (1 << value[1] + 1) - (1 << value[0])
        elif kind is sre.CATEGORY and value in _CATEGORIES:
            chars |= _CATEGORIES[value]
        else:
            raise _UnprovenError
    chars = _folded(chars, fold)
    return _ALL & ~chars if negated else chars


def _folded(chars: int, fold: bool) -> int:
    if not fold:
        return chars
    if chars >> 128:
        # The engines fold letters beyond ASCII differently.
        raise _UnprovenError
    return chars | (chars & _UPPER) << 32 | (chars & _LOWER) >> 32


def _linear(sequence: _Sequence) -> bool:
    """Whether matching this sequence against a whole text takes linear time."""
    items = list(sequence)
    while items and items[-1] == _ANYTHING:
        items.pop()
    loose = [position for position, item in enumerate(items) if not _fixed(items, position)]
    if not loose:
        return True
    return len(loose) == 1 and sum(item.high for item in items[loose[0] + 1 :]) <= _MAX_TAIL


def _fixed(items: list[_Item], position: int) -> bool:
    item = items[position]
    if item.low == item.high:
        return True
    following = 0
    for later in items[position + 1 :]:
        following |= later.chars
        if later.low:
            break
    return not item.chars & following


def _linear_search(sequence: _Sequence) -> bool:
    """Whether finding this sequence anywhere in a text takes linear time."""
    bounded = sum(item.high for item in sequence) <= _MAX_UNANCHORED
    return (bounded or sequence[0] is _ANCHOR) and _linear(sequence)
