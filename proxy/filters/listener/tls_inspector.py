"""`envoy.filters.listener.tls_inspector`: what a ClientHello asks for, without touching it."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

from msgspec import Struct

from proxy.base.services import WorkerServices
from proxy.base.stats import Histogram, StatGroup
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.filters.api import ListenerFacts
from proxy.filters.listener.api import DONE, REJECT, Inspection, ListenerFilterFactory
from proxy.filters.listener.client_hello import FOUND, LONGEST, NOT_TLS, HelloReader
from proxy.filters.listener.fingerprints import ja3, ja4

#: What may stand in a ClientHello's version field: TLS 1.0 to 1.3.
_OLDEST_VERSION: Final = 0x0301
_NEWEST_VERSION: Final = 0x0304

METADATA = "envoy.filters.listener.tls_inspector"


class TlsInspectorConfig(Struct, frozen=True):
    """`max_size` is how many bytes a ClientHello and its records may take."""

    ja3: bool = False
    ja4: bool = False
    close_on_error: bool = False
    max_size: int = LONGEST


class TlsInspectorStats(StatGroup):
    """`tls_inspector.*`, shared by all listeners."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "alpn_found",
        "alpn_not_found",
        "client_hello_too_large",
        "sni_found",
        "sni_not_found",
        "tls_found",
        "tls_not_found",
    )
    HISTOGRAMS: ClassVar[dict[str, str]] = {"bytes_processed": "bytes"}

    alpn_found: int
    alpn_not_found: int
    client_hello_too_large: int
    sni_found: int
    sni_not_found: int
    tls_found: int
    tls_not_found: int
    bytes_processed: Histogram


class TlsInspector:
    """The filter; see `proxy.filters.listener.api.ListenerFilter`."""

    def __init__(self, config: TlsInspectorConfig, stats: TlsInspectorStats) -> None:
        self.config = config
        self.stats = stats

    def accept(self, connection: ConnectionInfo, transport: asyncio.BaseTransport) -> Inspection:
        """It always needs bytes."""
        del transport
        return TlsInspection(self, connection)


class TlsInspection(HelloReader):
    """One connection; see `proxy.filters.listener.api.Inspection`."""

    __slots__ = ("_connection", "_filter", "consumed")

    def __init__(self, of: TlsInspector, connection: ConnectionInfo) -> None:
        super().__init__()
        self._filter = of
        self._connection = connection
        self.consumed = 0

    def feed(self, data: bytes, end: int = 0) -> int:
        """See `Inspection.feed`."""
        of = self._filter
        limit = of.config.max_size
        end = min(len(data), limit)
        verdict = super().feed(data, end)
        if verdict == FOUND:
            return self._found()
        stats = of.stats
        if verdict == NOT_TLS:
            stats.bytes_processed.record(self.read)
            stats.tls_not_found += 1
            if of.config.close_on_error:
                if end >= limit:
                    stats.client_hello_too_large += 1
                    self._failed("ClientHelloTooLarge")
                return REJECT
            self._failed("ClientHelloNotDetected")
            return DONE
        if end >= limit:
            stats.bytes_processed.record(end)
            stats.client_hello_too_large += 1
            self._failed("ClientHelloTooLarge")
            return REJECT
        return min(verdict, limit)

    def _found(self) -> int:
        of, connection, hello = self._filter, self._connection, self.hello
        assert hello is not None
        stats = of.stats
        stats.bytes_processed.record(self.read)
        if of.config.ja3:
            connection.ja3_fingerprint = ja3(hello)
        if of.config.ja4:
            connection.ja4_fingerprint = ja4(hello)
        if hello.server_name:
            stats.sni_found += 1
            connection.requested_server_name = hello.server_name
        else:
            stats.sni_not_found += 1
        if not _OLDEST_VERSION <= hello.version <= _NEWEST_VERSION:
            stats.tls_not_found += 1
            return REJECT
        stats.tls_found += 1
        connection.transport_protocol = "tls"
        if hello.protocols:
            stats.alpn_found += 1
            connection.requested_application_protocols = hello.protocols
        else:
            stats.alpn_not_found += 1
        return DONE

    def _failed(self, reason: str) -> None:
        connection = self._connection
        connection.dynamic_metadata = {
            **connection.dynamic_metadata,
            METADATA: {"failure_reason": reason},
        }


def _compile(message: Any, path: str, ctx: CompileContext) -> TlsInspectorConfig:
    largest = message.max_client_hello_size.value if message.HasField("max_client_hello_size") else LONGEST
    if largest > LONGEST:
        ctx.problem(
            f"{path}.max_client_hello_size",
            f"max_client_hello_size of {largest} is greater than maximum of {LONGEST}.",
        )
    return TlsInspectorConfig(
        ja3=message.enable_ja3_fingerprinting.value,
        ja4=message.enable_ja4_fingerprinting.value,
        close_on_error=message.close_connection_on_client_hello_parsing_errors,
        max_size=largest,
    )


def _create(config: TlsInspectorConfig, services: WorkerServices, listener: ListenerFacts) -> TlsInspector:
    del listener
    return TlsInspector(config, services.stats.shared(TlsInspectorStats, "tls_inspector."))


FACTORY = ListenerFilterFactory(
    name="envoy.filters.listener.tls_inspector",
    type_name="envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    compile=_compile,
    create=_create,
    only_detects=lambda config: not config.close_on_error,
)
