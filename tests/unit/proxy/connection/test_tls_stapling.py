"""What is stapled when."""

from __future__ import annotations

import pytest

from proxy.connection.tls_stapling import (
    LENIENT_STAPLING,
    MUST_STAPLE,
    STRICT_STAPLING,
    Staple,
    StapleAction,
    answers,
    choose_action,
    demands_staple,
)

GOOD = Staple(b"response", 100.0)


@pytest.mark.parametrize(
    ("policy", "staple", "now", "action"),
    [
        (LENIENT_STAPLING, GOOD, 100.0, StapleAction.STAPLE),
        (LENIENT_STAPLING, GOOD, 100.1, StapleAction.OMIT),
        (LENIENT_STAPLING, None, 0.0, StapleAction.OMIT),
        (STRICT_STAPLING, GOOD, 99.0, StapleAction.STAPLE),
        (STRICT_STAPLING, GOOD, 101.0, StapleAction.FAIL),
        (STRICT_STAPLING, None, 0.0, StapleAction.OMIT),
        (MUST_STAPLE, GOOD, 101.0, StapleAction.FAIL),
        (MUST_STAPLE, None, 0.0, StapleAction.FAIL),
    ],
)
def test_the_policy_decides(policy: int, staple: Staple | None, now: float, action: StapleAction) -> None:
    assert choose_action(policy, staple, now) == action


def test_a_certificate_that_demands_a_response_must_have_one() -> None:
    answer = answers(LENIENT_STAPLING, {b"usual": (GOOD, False), b"strict": (GOOD, True)}, lambda: 200.0)
    assert answer(b"usual") == (StapleAction.OMIT, b"")
    assert answer(b"strict") == (StapleAction.FAIL, b"")
    assert answer(b"unknown") == (StapleAction.OMIT, b"")
    assert answers(LENIENT_STAPLING, {b"usual": (GOOD, False)}, lambda: 50.0)(b"usual")[1] == b"response"


def test_the_bytes_of_the_feature_alone_demand_nothing() -> None:
    assert not demands_staple(b"no certificate \x2b\x06\x01\x05\x05\x07\x01\x18")
