from __future__ import annotations

import json

import pytest

from tests.support.admin_state import FakeAdminState, ask


@pytest.fixture
def state() -> FakeAdminState:
    state = FakeAdminState()
    for number in range(3):
        state.event_log.record("e", {"cluster": "c"}, f"number {number}")
    return state


def test_decisions_are_lines_oldest_first(state: FakeAdminState) -> None:
    status, _, text = ask(state, "/events")
    assert status == 200
    assert [line.partition(" ")[2] for line in text.splitlines()] == [
        f"e cluster=c: number {number}" for number in range(3)
    ]


def test_only_the_newest_if_so_asked(state: FakeAdminState) -> None:
    _, content_type, text = ask(state, "/events?n=2&format=json")
    assert content_type == "application/json"
    assert [event["reason"] for event in json.loads(text)["events"]] == ["number 1", "number 2"]
    assert ask(state, "/events?n=0")[2] == ""


@pytest.mark.parametrize("query", ["n=x", "n=-1", "n=", "n=99999999999999999999", "format=xml"])
def test_what_is_no_number_or_format_is_refused(state: FakeAdminState, query: str) -> None:
    assert ask(state, f"/events?{query}")[0] == 400
