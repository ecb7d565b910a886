"""Guesses at what a misspelt name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the closest known name, or an empty text when none is close."""
    by_lower = {name.lower(): name for name in known}
    plain = word.lower().replace("-", "_")
    close = difflib.get_close_matches(plain[:100], by_lower, n=1, cutoff=0.7)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""
