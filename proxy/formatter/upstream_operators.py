"""Operators on the cluster, the host and the connection that a stream was sent to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.base.stream_info import StreamInfo
from proxy.formatter.spec import Facts, OperatorSpec, fact


def _cluster(info: StreamInfo) -> str | None:
    cluster = info.upstream_cluster
    if cluster is None:
        return None
    name: str = cluster.config.stat_name
    return name


def _cluster_raw(info: StreamInfo) -> str | None:
    return None if info.upstream_cluster is None else info.upstream_cluster.name


def _address_of(host: Any) -> str:
    text: str = host.address.text
    return text


def _name_of(host: Any) -> str:
    return host.hostname or _address_of(host)


def without_port(name: str) -> str:
    """A host name or address text without its `:port`; brackets of IPv6 go with it."""
    head, colon, port = name.rpartition(":")
    if not colon or not port.isdigit() or (":" in head and not head.endswith("]")):
        return name
    return head


def _of_host(describe: Callable[[Any], str]) -> OperatorSpec:
    return fact(lambda info: None if info.upstream_host is None else describe(info.upstream_host), kept=True)


def _of_attempts(describe: Callable[[Any], str]) -> OperatorSpec:
    def listed(info: StreamInfo) -> str | None:
        hosts = info.attempted_hosts or (() if info.upstream_host is None else (info.upstream_host,))
        return ",".join(describe(host) for host in hosts) or None

    return fact(listed)


def _connections_attempted(info: StreamInfo) -> str | None:
    if info.attempted_connection_ids:
        return ",".join(map(str, info.attempted_connection_ids))
    return None if info.upstream_connection_id is None else str(info.upstream_connection_id)


OPERATORS: dict[str, OperatorSpec] = {
    "UPSTREAM_HOST": _of_host(_address_of),
    "UPSTREAM_HOST_NAME": _of_host(_name_of),
    "UPSTREAM_HOST_NAME_WITHOUT_PORT": _of_host(lambda host: without_port(_name_of(host))),
    "UPSTREAM_HOSTS_ATTEMPTED": _of_attempts(_address_of),
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT": _of_attempts(lambda host: without_port(_address_of(host))),
    "UPSTREAM_HOST_NAMES_ATTEMPTED": _of_attempts(_name_of),
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": _of_attempts(lambda host: without_port(_name_of(host))),
    "UPSTREAM_CLUSTER": fact(_cluster),
    "UPSTREAM_CLUSTER_RAW": fact(_cluster_raw, kept=True),
    "UPSTREAM_PROTOCOL": fact(lambda info: info.upstream_protocol, facts=Facts.UPSTREAM),
    "UPSTREAM_CONNECTION_ID": fact(lambda info: info.upstream_connection_id or 0, facts=Facts.UPSTREAM),
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED": fact(_connections_attempted, facts=Facts.UPSTREAM),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": fact(lambda info: info.attempt_count),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": fact(
        lambda info: (info.upstream_transport_failure_reason or "").replace(" ", "_") or None
    ),
    "UPSTREAM_DETECTED_CLOSE_TYPE": fact(
        lambda info: None if info.upstream_connection_id is None else info.upstream_close_type,
        facts=Facts.UPSTREAM,
    ),
    "UPSTREAM_LOCAL_CLOSE_REASON": fact(lambda info: info.upstream_local_close_reason),
}
