"""`envoy.filters.listener.proxy_protocol`: the addresses that a load balancer saw, from its header."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from msgspec import Struct

from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import ConnectionInfo
from proxy.codec.proxy_protocol import FILTER_STATE, ProxyData
from proxy.config.context import CompileContext
from proxy.filters.api import ListenerFacts
from proxy.filters.listener.api import DONE, REJECT, Inspection, ListenerFilterFactory
from proxy.filters.listener.proxy_header import (
    V1_SIGNATURE,
    V2_SIGNATURE,
    MalformedHeaderError,
    ProxyHeader,
    read_proxy_header,
    version_of,
)

_METADATA = "envoy.filters.listener.proxy_protocol"
_LEGACY_STATS = "downstream_cx_proxy_proto_error"
_INCLUDE_ALL = 0
_DYNAMIC_METADATA = 0


class ProxyProtocolConfig(Struct, frozen=True):
    """`rules` map the type of a TLV to (namespace, key) of dynamic metadata; `passed` None passes on all types."""

    stat_prefix: str
    optional: bool
    rules: dict[int, tuple[str, str]]
    passed: frozenset[int] | None
    versions: frozenset[int]


class ProxyProtocolStats(StatGroup):
    """`proxy_proto.[<stat_prefix>.]*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("not_found_allowed", "not_found_disallowed")

    not_found_allowed: int
    not_found_disallowed: int


class VersionStats(StatGroup):
    """`proxy_proto.[<stat_prefix>.]versions.<v1 or v2>.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("disallowed", "error", "found")

    disallowed: int
    error: int
    found: int


class LegacyStats(StatGroup):
    """The one counter that has no prefix."""

    COUNTERS: ClassVar[tuple[str, ...]] = (_LEGACY_STATS,)

    downstream_cx_proxy_proto_error: int


class ProxyProtocolFilter:
    """The filter; see `proxy.filters.listener.api.ListenerFilter`."""

    def __init__(self, config: ProxyProtocolConfig, services: WorkerServices) -> None:
        self.config = config
        prefix = f"proxy_proto.{config.stat_prefix}." if config.stat_prefix else "proxy_proto."
        self.general = services.stats.shared(ProxyProtocolStats, prefix)
        self.legacy = services.stats.shared(LegacyStats, "")
        self.versions = {
            version: services.stats.shared(VersionStats, f"{prefix}versions.v{version}.")
            for version in (1, 2)
        }

    def accept(self, connection: ConnectionInfo, transport: asyncio.BaseTransport) -> Inspection:
        """It always needs bytes."""
        del transport
        return _ProxyInspection(self, connection)


class _ProxyInspection:
    """One connection; see `proxy.filters.listener.api.Inspection`."""

    __slots__ = ("_connection", "_filter", "consumed")

    def __init__(self, of: ProxyProtocolFilter, connection: ConnectionInfo) -> None:
        self._filter = of
        self._connection = connection
        self.consumed = 0

    def feed(self, data: bytes) -> int:
        """See `Inspection.feed`."""
        of = self._filter
        config = of.config
        if config.optional and not self._may_be_header(data):
            of.general.not_found_allowed += 1
            return DONE
        version = version_of(data)
        if version and version not in config.versions:
            of.versions[version].found += 1
            of.versions[version].disallowed += 1
            return REJECT
        try:
            header = read_proxy_header(data)
        except MalformedHeaderError as error:
            if error.version:
                of.versions[error.version].error += 1
            else:
                of.general.not_found_disallowed += 1
            of.legacy.downstream_cx_proxy_proto_error += 1
            return REJECT
        if isinstance(header, int):
            return header
        of.versions[header.version].found += 1
        self.consumed = header.size
        self._apply(header)
        return DONE

    def _may_be_header(self, data: bytes) -> bool:
        versions = self._filter.config.versions
        return (2 in versions and data[: len(V2_SIGNATURE)] == V2_SIGNATURE[: len(data)]) or (
            1 in versions and data[: len(V1_SIGNATURE)] == V1_SIGNATURE[: len(data)]
        )

    def _apply(self, header: ProxyHeader) -> None:
        connection, config = self._connection, self._filter.config
        if header.remote is not None and header.local is not None:
            if header.local != connection.local_address:
                connection.local_address = header.local
                connection.local_address_restored = True
            connection.remote_address = header.remote
        passed = config.passed
        tlvs = tuple(one for one in header.tlvs if passed is None or one[0] in passed)
        data = ProxyData(connection.remote_address, connection.local_address, tlvs)
        connection.filter_state = {**connection.filter_state, FILTER_STATE: data}
        for kind, value in header.tlvs:
            rule = config.rules.get(kind)
            if rule is not None:
                namespace, key = rule
                metadata = connection.dynamic_metadata
                fields = {**metadata.get(namespace, {}), key: _text(value)}
                connection.dynamic_metadata = {**metadata, namespace: fields}


def _text(value: bytes) -> str:
    """As Envoy cleans text for a Struct: each byte that is not part of UTF-8 becomes a "!"."""
    return value.decode("utf-8", "surrogateescape").translate(_NOT_TEXT)


_NOT_TEXT = dict.fromkeys(range(0xDC80, 0xDD00), "!")


def _compile(message: Any, path: str, ctx: CompileContext) -> ProxyProtocolConfig:
    versions = frozenset({1, 2}) - {number + 1 for number in message.disallowed_versions}
    if not versions:
        ctx.problem(
            f"{path}.disallowed_versions",
            "Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed.",
        )
    if message.tlv_location != _DYNAMIC_METADATA:
        ctx.problem(f"{path}.tlv_location", "only DYNAMIC_METADATA is supported")
    passed: frozenset[int] | None = frozenset()
    if message.HasField("pass_through_tlvs"):
        through = message.pass_through_tlvs
        passed = (
            None if through.match_type == _INCLUDE_ALL else frozenset(one & 255 for one in through.tlv_type)
        )
    return ProxyProtocolConfig(
        stat_prefix=message.stat_prefix,
        optional=message.allow_requests_without_proxy_protocol,
        rules={
            rule.tlv_type: (rule.on_tlv_present.metadata_namespace or _METADATA, rule.on_tlv_present.key)
            for rule in message.rules
        },
        passed=passed,
        versions=versions,
    )


def _create(
    config: ProxyProtocolConfig, services: WorkerServices, listener: ListenerFacts
) -> ProxyProtocolFilter:
    del listener
    return ProxyProtocolFilter(config, services)


FACTORY = ListenerFilterFactory(
    name="envoy.filters.listener.proxy_protocol",
    type_name="envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
    compile=_compile,
    create=_create,
)
