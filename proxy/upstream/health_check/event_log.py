"""What is told of checks: lines of the event log, which are `data.core.v3.HealthCheckEvent` as JSON with fields in
Envoy's order, and changes of a host's health in words.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf import json_format

from proxy.base.address import Address
from proxy.upstream.health_check.config import HealthCheckConfig
from proxy.upstream.health_check.verdict import Event, Failure
from proxy.upstream.host import Locality

#: Those that tell more than that they happened.
_WITH_FAILURE = frozenset({Event.EJECT, Event.FAILURE})
_WITH_FIRST = frozenset({Event.ADD, Event.FAILURE})
_CAUSES: Final = {
    Failure.ACTIVE: "its answer is not the expected one",
    Failure.PASSIVE: "it said so in an answer",
    Failure.NETWORK: "no connection, or it ended before the answer",
    Failure.NETWORK_TIMEOUT: "no answer",
}
#: Where the event stands among the other fields.
_BEFORE_TIMESTAMP = frozenset({Event.EJECT, Event.ADD})


def event_line(
    event: Event,
    kind: str,
    cluster: str,
    address: Address,
    now: float,
    locality: Locality,
    metadata: Any = None,
    *,
    failure: Failure = Failure.ACTIVE,
    status: int = 0,
    first: bool = False,
) -> str:
    """One line with its end. `kind` is HTTP, TCP or GRPC; `now` is in Unix seconds; `status` that of HTTP, or 0."""
    told: dict[str, Any] = {}
    if event in _WITH_FAILURE:
        told["failure_type"] = failure.name
    if event in _WITH_FIRST:
        told["first_check"] = first
    if event in _WITH_FAILURE:
        told["http_status_code"] = status
    line: dict[str, Any] = {
        "health_checker_type": kind,
        "host": _address(address),
        "cluster_name": cluster,
    }
    if event in _BEFORE_TIMESTAMP:
        line[event.value] = told
    line["timestamp"] = _timestamp(now)
    if event not in _BEFORE_TIMESTAMP and event is not Event.SUCCESS:
        line[event.value] = told
    if metadata is not None:
        line["metadata"] = json_format.MessageToDict(metadata, preserving_proto_field_name=True)
    line["locality"] = {"region": locality.region, "zone": locality.zone, "sub_zone": locality.sub_zone}
    if event is Event.SUCCESS:
        line[event.value] = told
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n"


def change_in_words(
    event: Event,
    check: HealthCheckConfig,
    *,
    failure: Failure = Failure.ACTIVE,
    status: int = 0,
    first: bool = False,
) -> tuple[str, str] | None:
    """(what, why) for an event that changed a host's health; None for others, and for hosts that begin well."""
    if event is Event.EJECT or (event is Event.FAILURE and first):
        cause = f"its answer has status {status}" if status else _CAUSES[failure]
        if failure is Failure.NETWORK_TIMEOUT:
            cause += f" within {check.timeout:g} s"
        rest = "at the first check" if first else f"unhealthy_threshold is {check.unhealthy_threshold}"
        return "health_check_failed", f"{cause}; {rest}"
    if event is Event.ADD and not first:
        return (
            "health_check_passed",
            f"healthy_threshold is {check.healthy_threshold}, so many checks went well",
        )
    if event is Event.DEGRADED:
        return "health_check_degraded", "its answer says so (x-envoy-degraded)"
    if event is Event.NO_LONGER_DEGRADED:
        return "health_check_no_longer_degraded", "its answer no longer says so (x-envoy-degraded)"
    return None


def _address(address: Address) -> dict[str, Any]:
    if address.listener_name:
        return {
            "envoy_internal_address": {
                "server_listener_name": address.listener_name,
                "endpoint_id": address.endpoint_id,
            }
        }
    if address.path:
        return {"pipe": {"path": address.path, "mode": 0}}
    return {
        "socket_address": {
            "protocol": "TCP",
            "address": address.ip,
            "port_value": address.port,
            "resolver_name": "",
            "ipv4_compat": False,
            "network_namespace_filepath": "",
        }
    }


def _timestamp(now: float) -> str:
    text = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z").replace(".000Z", "Z")
