"""What the proxy is and how it fares: `/ready`, `/server_info`, `/clusters`, `/listeners` and the like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from envoy.admin.v3 import certs_pb2, clusters_pb2, init_dump_pb2, listeners_pb2, memory_pb2, server_info_pb2

from proxy.admin.histograms import number
from proxy.admin.http import (
    JSON,
    AdminRequest,
    AdminResponse,
    from_pieces,
    message_dict,
    searchable,
)
from proxy.admin.json_pieces import indented, list_pieces, object_pieces
from proxy.admin.memory import read_memory
from proxy.admin.state import AdminState, ClusterStatus, HostStatus, Thresholds
from proxy.config.address_message import set_address

_HOST_COUNTERS: Final = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_HOST_GAUGES: Final = ("cx_active", "rq_active", "rq_pending_active")

#: Envoy's health flags → fields of HostHealthStatus.
_EDS_STATUSES: Final = {"/failed_eds_health": 2, "/eds_status_draining": 3, "/degraded_eds_health": 5}
_HEALTH_FIELDS: Final = {
    "/failed_active_hc": "failed_active_health_check",
    "/failed_outlier_check": "failed_outlier_check",
    "/degraded_active_hc": "failed_active_degraded_check",
    "/pending_dynamic_removal": "pending_dynamic_removal",
    "/pending_active_hc": "pending_active_hc",
    "/excluded_via_immediate_hc_fail": "excluded_via_immediate_hc_fail",
    "/active_hc_timeout": "active_hc_timeout",
}


def json_response(message: Any, *, defaults: bool = False) -> AdminResponse:
    """A small message, whole."""
    return AdminResponse(indented(message_dict(message, defaults=defaults)) + "\n", content_type=JSON)


async def server_info(_request: AdminRequest, state: AdminState) -> AdminResponse:
    """`envoy.admin.v3.ServerInfo`."""
    facts = state.server_facts()
    info = server_info_pb2.ServerInfo(
        version=facts.version,
        state=server_info_pb2.ServerInfo.State.Value(facts.state),
        hot_restart_version=facts.hot_restart_version,
    )
    info.uptime_current_epoch.FromSeconds(int(facts.uptime))
    info.uptime_all_epochs.FromSeconds(int(facts.uptime_all_epochs))
    if facts.options is not None:
        info.command_line_options.CopyFrom(facts.options)
    if facts.node is not None:
        info.node.CopyFrom(facts.node)
    return json_response(info, defaults=True)


async def hot_restart_version(_request: AdminRequest, state: AdminState) -> AdminResponse:
    """Text without a line end, as in Envoy."""
    return AdminResponse(state.server_facts().hot_restart_version)


async def memory(_request: AdminRequest, state: AdminState) -> AdminResponse:
    """`envoy.admin.v3.Memory` of all processes together, each shared page counted once."""
    sizes = read_memory(state.process_ids())
    return json_response(
        memory_pb2.Memory(
            allocated=sizes.private,
            heap_size=sizes.heap,
            total_physical_bytes=sizes.physical,
        ),
        defaults=True,
    )


async def certs(_request: AdminRequest, state: AdminState) -> AdminResponse:
    """`envoy.admin.v3.Certificates`."""
    from proxy.admin.certificates import certificate_details  # see there

    message = certs_pb2.Certificates()
    for loaded in state.certificates():
        entry = message.certificates.add()
        entry.ca_cert.extend(certificate_details(loaded.ca, loaded.ca_path))
        entry.cert_chain.extend(certificate_details(loaded.chain, loaded.chain_path, loaded.staple))
    return json_response(message, defaults=True)


async def init_dump(request: AdminRequest, state: AdminState) -> AdminResponse:
    """`envoy.admin.v3.UnreadyTargetsDumps`: what listeners wait for."""
    message = init_dump_pb2.UnreadyTargetsDumps()
    mask = request.parameters.get("mask", "")
    for manager, targets in state.unready_targets().items():
        if targets and mask in {"", "listener"}:
            message.unready_targets_dumps.add(name=manager, target_names=list(targets))
    return json_response(message)


async def listeners(request: AdminRequest, state: AdminState) -> AdminResponse:
    """`name::address` lines, or `envoy.admin.v3.Listeners`."""
    statuses = state.listener_statuses()
    if request.parameters.get("format") != "json":
        lines = [f"{status.name}::{address}\n" for status in statuses for address in status.addresses]
        return AdminResponse("".join(lines))
    message = listeners_pb2.Listeners()
    for status in statuses:
        entry = message.listener_statuses.add(name=status.name)
        for position, address in enumerate(status.addresses):
            set_address(entry.additional_local_addresses.add() if position else entry.local_address, address)
    return json_response(message)


async def clusters(request: AdminRequest, state: AdminState) -> AdminResponse:
    """`name::...` lines, or `envoy.admin.v3.Clusters`."""
    regex = request.regex("filter", "Invalid re2 regex\n{error}\n")
    chosen = (
        status
        for status in await state.cluster_statuses()
        if regex is None or regex.search(searchable(status.name))
    )
    if request.parameters.get("format") != "json":
        return AdminResponse(from_pieces(_cluster_text(status) for status in chosen))
    items = ([indented(message_dict(_cluster_message(status)), 2)] for status in chosen)
    return AdminResponse(from_pieces(_cluster_list(items)), content_type=JSON)


def _cluster_list(items: Iterator[Iterable[str]]) -> Iterator[str]:
    first = next(items, None)
    if first is None:
        yield "{}\n"
        return

    def whole() -> Iterator[Iterable[str]]:
        yield first
        yield from items

    yield from object_pieces([("cluster_statuses", list_pieces(whole(), 1))], 0)
    yield "\n"


def _threshold_lines(name: str, priority: str, limits: Thresholds) -> Iterator[str]:
    yield f"{name}::{priority}_priority::max_connections::{limits.max_connections}\n"
    yield f"{name}::{priority}_priority::max_pending_requests::{limits.max_pending_requests}\n"
    yield f"{name}::{priority}_priority::max_requests::{limits.max_requests}\n"
    yield f"{name}::{priority}_priority::max_retries::{limits.max_retries}\n"


def _cluster_text(status: ClusterStatus) -> str:
    name = status.name
    lines = [f"{name}::observability_name::{status.observability_name or name}\n"]
    if status.outlier is not None:
        titles = ("success_rate_average", "success_rate_ejection_threshold")
        for title, value in zip(
            (*titles, *(f"local_origin_{title}" for title in titles)), status.outlier, strict=True
        ):
            lines.append(f"{name}::outlier::{title}::{value:g}\n")
    lines.extend(_threshold_lines(name, "default", status.default))
    lines.extend(_threshold_lines(name, "high", status.high))
    lines.append(f"{name}::added_via_api::{_lower(status.added_via_api)}\n")
    for host in status.hosts:
        lines.extend(f"{name}::{host.address}::{key}::{value}\n" for key, value in _host_values(host))
    return "".join(lines)


def _lower(value: bool) -> str:
    return "true" if value else "false"


def _host_values(host: HostStatus) -> Iterator[tuple[str, object]]:
    for stat in sorted((*_HOST_COUNTERS, *_HOST_GAUGES)):
        yield stat, host.stats.get(stat, 0)
    yield "hostname", host.hostname
    yield "health_flags", "".join(host.health_flags) or "healthy"
    yield "weight", host.weight
    yield "region", host.region
    yield "zone", host.zone
    yield "sub_zone", host.sub_zone
    yield "canary", _lower(host.canary)
    yield "priority", host.priority
    yield "success_rate", number(float(host.success_rate))
    yield "local_origin_success_rate", number(float(host.local_origin_success_rate))


def _cluster_message(status: ClusterStatus) -> Any:
    message = clusters_pb2.ClusterStatus(
        name=status.name,
        added_via_api=status.added_via_api,
        observability_name=status.observability_name or status.name,
        eds_service_name=status.eds_service_name,
    )
    for priority, limits in enumerate((status.default, status.high)):
        entry = message.circuit_breakers.thresholds.add(priority=priority)
        entry.max_connections.value = limits.max_connections
        entry.max_pending_requests.value = limits.max_pending_requests
        entry.max_requests.value = limits.max_requests
        entry.max_retries.value = limits.max_retries
    if status.outlier is not None:
        _, threshold, _, local_threshold = status.outlier
        if threshold > 0:
            message.success_rate_ejection_threshold.value = threshold
        if local_threshold > 0:
            message.local_origin_success_rate_ejection_threshold.value = local_threshold
    for host in status.hosts:
        _fill_host(message.host_statuses.add(), host)
    return message


def _fill_host(message: Any, host: HostStatus) -> None:
    set_address(message.address, host.address)
    for stat in _HOST_COUNTERS:
        message.stats.add(name=stat, value=host.stats.get(stat, 0))
    for stat in _HOST_GAUGES:
        message.stats.add(name=stat, value=host.stats.get(stat, 0), type=1)
    health = message.health_status
    health.eds_health_status = 1
    for flag in host.health_flags:
        if flag in _EDS_STATUSES:
            health.eds_health_status = _EDS_STATUSES[flag]
        elif flag in _HEALTH_FIELDS:
            setattr(health, _HEALTH_FIELDS[flag], True)
    message.hostname = host.hostname
    message.weight = host.weight
    message.priority = host.priority
    message.locality.region, message.locality.zone, message.locality.sub_zone = (
        host.region,
        host.zone,
        host.sub_zone,
    )
    message.locality.SetInParent()
    if host.success_rate >= 0:
        message.success_rate.value = host.success_rate
    if host.local_origin_success_rate >= 0:
        message.local_origin_success_rate.value = host.local_origin_success_rate
