from __future__ import annotations

from typing import Any

from proxy.filters.api import HttpFilter
from proxy.hcm.filter_manager import after_gates


class Gate:
    """Lets pass unless `decided` is something."""

    def __init__(self, asked: list[str], decided: Any = None) -> None:
        self._asked = asked
        self._decided = decided

    def __call__(self, callbacks: Any) -> HttpFilter:
        return HttpFilter(callbacks)

    def gate(self, callbacks: Any, name: str) -> Any:
        del callbacks
        self._asked.append(name)
        return self._decided


STREAM: Any = object()


def test_nothing_is_left_where_all_gates_let_pass() -> None:
    asked: list[str] = []
    assert after_gates((("a", Gate(asked)), ("b", Gate(asked))), STREAM) == ()
    assert asked == ["a", "b"]


def test_a_gate_behind_another_filter_is_not_asked() -> None:
    asked: list[str] = []
    rest = (("f", HttpFilter), ("b", Gate(asked)))
    assert after_gates((("a", Gate(asked)), *rest), STREAM) == rest
    assert asked == ["a"]


def test_what_a_gate_has_decided_comes_first_and_later_filters_see_the_request() -> None:
    asked: list[str] = []
    refuses = Gate(asked, HttpFilter)
    last = ("c", Gate(asked))
    found = after_gates((("a", Gate(asked)), ("b", refuses), last), STREAM)
    assert found == (("b", HttpFilter), last)
    assert asked == ["a", "b"]
