"""How the control plane and the proxy get on: `/ready` in JSON, `/xds`, `/csds`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from proxy.admin.discovered import Discovered, Missing, Readiness, Refusal, Snapshot
from proxy.admin.http import JSON, AdminRequest, AdminResponse, from_pieces, message_dict, searchable
from proxy.admin.json_pieces import indented, list_pieces, message_pieces, object_pieces
from proxy.admin.redact import redact
from proxy.admin.state import AdminState
from xds_client.api import StreamStatus
from xds_client.resource_types import ResourceType


async def ready(request: AdminRequest, state: AdminState) -> AdminResponse:
    """Text as Envoy's: the state, 200 only when live.

    In JSON also what is missing. There 200 means more: nothing that was promised before the proxy went live is
    missing, such as a secret that did not come in time.
    """
    name = state.server_facts().state
    if request.parameters.get("format") != "json":
        return AdminResponse(f"{name}\n", 200 if name == "LIVE" else 503)
    readiness = state.readiness()
    is_ready = name == "LIVE" and not any(one.blocking for one in readiness.missing)
    tree = {"state": name, "ready": is_ready, **_readiness(readiness)}
    return AdminResponse(indented(tree) + "\n", 200 if is_ready else 503, JSON)


def _readiness(readiness: Readiness) -> dict[str, Any]:
    now = time.time()
    tree: dict[str, Any] = {"missing": [_missing(one, now) for one in readiness.missing]}
    refused = readiness.refused
    if refused is not None and refused.refusal is not None:
        named = {"type": refused.type.type_url, "name": refused.name}
        tree["last_nack"] = {**named, **_refusal(refused.refusal)}
    if readiness.streams:
        tree["streams"] = [_stream(one) for one in readiness.streams]
    if readiness.snapshot is not None:
        tree["snapshot"] = _snapshot(readiness.snapshot, now)
    return tree


def _missing(one: Missing, now: float) -> dict[str, Any]:
    tree: dict[str, Any] = {"kind": one.kind, "name": one.name, "since": _moment(one.since)}
    tree["seconds"] = _seconds(now - one.since)
    if one.waiting_for:
        tree["waiting_for"] = list(one.waiting_for)
    tree["blocking"] = one.blocking
    return tree


def _refusal(one: Refusal) -> dict[str, Any]:
    tree = {"version": one.version, "path": one.path, "reason": one.reason, "at": _moment(one.at)}
    return {key: value for key, value in tree.items() if value}


def _snapshot(one: Snapshot, now: float) -> dict[str, Any]:
    tree: dict[str, Any] = {"path": one.path, "in_use": bool(one.in_use)}
    if one.in_use:
        tree["confirmed"] = _moment(one.confirmed)
        tree["age_seconds"] = _seconds(now - one.confirmed)
        tree["resources"] = {kind.name.lower(): count for kind, count in one.in_use}
    if one.saved:
        tree["saved"] = _moment(one.saved)
    return tree


def _stream(one: StreamStatus) -> dict[str, Any]:
    tree: dict[str, Any] = {"source": one.source, "server": one.target, "connected": one.connected}
    if one.connected:
        tree["connected_since"] = _moment(one.connected_since)
    if one.identifier:
        tree["identifier"] = one.identifier
    if one.last_error:
        tree["last_error"] = one.last_error
    if one.next_retry:
        tree["next_retry"] = _moment(one.next_retry)
    return tree


async def xds(request: AdminRequest, state: AdminState) -> AdminResponse:
    """Streams, types and resources of control planes: what is in use, what was refused and why, what is awaited."""
    regex = request.regex("filter", "Invalid re2 regex\n{error}\n")
    kind = request.parameters.get("type", "").upper()
    if kind and kind not in ResourceType.__members__:
        known = ", ".join(one.lower() for one in ResourceType.__members__)
        return AdminResponse(f"type: one of {known}\n", 400)
    chosen = (
        one
        for one in state.discovered()
        if (not kind or one.type.name == kind) and (regex is None or regex.search(searchable(one.name)))
    )
    readiness = state.readiness()
    if request.parameters.get("format") != "json":
        return AdminResponse(from_pieces(_xds_lines(readiness, state, chosen)))
    fields = [
        ("streams", [indented([_stream(one) for one in readiness.streams], 1)]),
        ("types", [indented([_type(one) for one in state.discovered_types()], 1)]),
        ("resources", list_pieces(([indented(_resource(one), 2)] for one in chosen), 1)),
    ]
    if readiness.snapshot is not None:
        fields.insert(1, ("snapshot", [indented(_snapshot(readiness.snapshot, time.time()), 1)]))
    return AdminResponse(from_pieces(_line(object_pieces(fields, 0))), content_type=JSON)


def _xds_lines(readiness: Readiness, state: AdminState, chosen: Iterator[Discovered]) -> Iterator[str]:
    now = time.time()
    for stream in readiness.streams:
        tree = _stream(stream)
        yield _text_line("stream", tree.pop("source"), tree)
    if readiness.snapshot is not None:
        tree = _snapshot(readiness.snapshot, now)
        yield _text_line("snapshot", tree.pop("path"), tree)
    for one in state.discovered_types():
        tree = _type(one)
        yield _text_line("type", tree.pop("type"), tree)
    for resource in chosen:
        tree = _resource(resource)
        yield _text_line(tree.pop("type"), tree.pop("name"), tree)


def _text_line(kind: str, name: str, tree: dict[str, Any]) -> str:
    facts = " ".join(
        f"{key}={value if isinstance(value, str) and _is_plain(value) else json.dumps(value, ensure_ascii=False)}"
        for key, value in tree.items()
    )
    return f"{kind} {name} {facts}\n"


def _is_plain(text: str) -> bool:
    return bool(text) and not any(mark in text for mark in ' "=\n')


def _type(one: Any) -> dict[str, Any]:
    tree = {
        "type": one.type.name.lower(),
        "source": one.source,
        "version": one.version,
        "rejected_version": one.refused_version,
        "rejected_reason": one.refused_reason,
    }
    return {key: value for key, value in tree.items() if value}


def _resource(one: Discovered) -> dict[str, Any]:
    now = time.time()
    tree: dict[str, Any] = {
        "type": one.type.name.lower(),
        "name": one.name,
        "source": one.source,
        "status": "WARMING" if one.warming and one.refusal is None else one.status.name,
    }
    if one.version:
        tree["version"] = one.version
    if one.updated:
        tree["updated"] = _moment(one.updated)
        tree["age_seconds"] = _seconds(now - one.updated)
    if one.waiting_since:
        tree["waiting_seconds"] = _seconds(now - one.waiting_since)
    if one.waiting_for:
        tree["waiting_for"] = list(one.waiting_for)
    if one.from_snapshot:
        tree["from_snapshot"] = True
    if one.refusal is not None:
        tree.update((f"rejected_{key}", value) for key, value in _refusal(one.refusal).items())
    return tree


async def csds(_request: AdminRequest, state: AdminState) -> AdminResponse:
    """`envoy.service.status.v3.ClientStatusResponse` with one `ClientConfig`: this proxy's."""
    # Imported late: its messages would cost every controller memory, and few are asked.
    from proxy.admin.client_status import xds_configs

    node = state.server_facts().node
    fields: list[tuple[str, Any]] = []
    if node is not None:
        fields.append(("node", [indented(message_dict(node), 3)]))
    entries = (message_pieces(one, 4, redact) for one in xds_configs(state))
    fields.append(("generic_xds_configs", list_pieces(entries, 3)))
    config = list_pieces([object_pieces(fields, 2)], 1)
    return AdminResponse(from_pieces(_line(object_pieces([("config", config)], 0))), content_type=JSON)


def _line(pieces: Iterator[str]) -> Iterator[str]:
    yield from pieces
    yield "\n"


def _moment(seconds: float) -> str:
    """RFC 3339 in milliseconds, "" for never."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(value: float) -> float:
    return round(max(0.0, value), 1)
