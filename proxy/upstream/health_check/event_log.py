"""Lines of the health check event log: `data.core.v3.HealthCheckEvent` as JSON, with fields in Envoy's order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format

from proxy.base.address import Address
from proxy.upstream.health_check.verdict import Event, Failure
from proxy.upstream.host import Locality

#: Those that tell more than that they happened.
_WITH_FAILURE = frozenset({Event.EJECT, Event.FAILURE})
_WITH_FIRST = frozenset({Event.ADD, Event.FAILURE})
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
