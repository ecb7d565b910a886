from __future__ import annotations

import json

import pytest
from envoy.data.cluster.v3 import outlier_detection_event_pb2
from google.protobuf import json_format

from proxy.upstream.outlier.causes import Cause
from proxy.upstream.outlier.detector import Action, Decision
from proxy.upstream.outlier.event_log import event_line

HOST = ("10.0.0.1:80", 0)


def test_the_line_of_an_ejection_is_that_of_envoy() -> None:
    decision = Decision(Action.EJECTED, HOST, Cause.CONSECUTIVE_5XX, 1, "")
    assert event_line(decision, "origin", 1795416551.0859) == (
        '{"type":"CONSECUTIVE_5XX","timestamp":"2026-11-23T06:49:11.085Z","cluster_name":"origin",'
        '"upstream_url":"10.0.0.1:80","action":"EJECT","num_ejections":1,"enforced":true,'
        '"eject_consecutive_event":{}}\n'
    )


def test_the_end_of_an_ejection_tells_how_long_it_was() -> None:
    decision = Decision(Action.UNEJECTED, HOST, Cause.CONSECUTIVE_5XX, 2, "", since=31.9)
    line = event_line(decision, "origin", 0.0)
    assert line is not None
    event = json.loads(line)
    assert (event["action"], event["secs_since_last_action"], event["enforced"]) == ("UNEJECT", "31", False)
    assert event["timestamp"] == "1970-01-01T00:00:00Z"
    assert not any(key.startswith("eject_") for key in event)


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("action", [Action.EJECTED, Action.NOT_ENFORCED])
def test_every_line_is_an_event_of_the_proto(cause: Cause, action: Action) -> None:
    decision = Decision(action, HOST, cause, 3, "", 5.0, 30.0, average=90.9, threshold=52.5, rate=50.5)
    line = event_line(decision, "origin", 1.5)
    assert line is not None
    event = json_format.Parse(line, outlier_detection_event_pb2.OutlierDetectionEvent())
    assert event.WhichOneof("event") is not None
    assert outlier_detection_event_pb2.OutlierEjectionType.Name(event.type) == cause.type_name
    assert event.enforced == (action is Action.EJECTED)
    if cause is Cause.SUCCESS_RATE:
        rates = event.eject_success_rate_event
        assert (rates.host_success_rate, rates.cluster_average_success_rate) == (50, 90)
        assert rates.cluster_success_rate_ejection_threshold == 52


def test_what_envoy_does_not_write_has_no_line() -> None:
    assert event_line(Decision(Action.NO_ROOM, HOST, Cause.CONSECUTIVE_5XX, 0, ""), "origin", 0.0) is None
