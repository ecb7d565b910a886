from __future__ import annotations

import logging

import pytest

from proxy.base.event_log import MOST_EVENTS, EventLog


def test_the_newest_are_kept() -> None:
    log = EventLog(lambda: 0.0)
    for number in range(MOST_EVENTS + 5):
        log.record("e", {}, str(number))
    assert [event.reason for event in log.last(2)] == [str(MOST_EVENTS + 3), str(MOST_EVENTS + 4)]
    assert len(log.last()) == MOST_EVENTS
    assert log.last()[0].reason == "5"
    assert log.last(0) == []


def test_a_decision_is_one_line_of_the_log_too(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLog(lambda: 60.0)
    with caplog.at_level(logging.INFO, "outrider.events"):
        log.record("outlier_ejection", {"cluster": "a\nb", "host": "1.2.3.4:5"}, "5 of 5", 30.25)
    text = "outlier_ejection cluster=a b host=1.2.3.4:5: 5 of 5; until 1970-01-01T00:01:30.250Z"
    assert [record.getMessage() for record in caplog.records] == [text]
    (event,) = log.last()
    assert event.text == text
    assert event.fields() == {
        "time": "1970-01-01T00:01:00Z",
        "event": "outlier_ejection",
        "cluster": "a b",
        "host": "1.2.3.4:5",
        "reason": "5 of 5",
        "until": "1970-01-01T00:01:30.250Z",
    }


def test_an_end_that_nobody_knows_is_not_told() -> None:
    log = EventLog(lambda: 60.0)
    log.record("drain", {}, "asked to")
    assert log.last()[0].text == "drain: asked to"
    assert "until" not in log.last()[0].fields()
