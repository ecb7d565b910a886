"""`envoy.filters.listener.http_inspector`: whether plain text is HTTP, and which version, by its first line."""

from __future__ import annotations

import asyncio
import re
from typing import Any, ClassVar, Final

from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.filters.api import ListenerFacts
from proxy.filters.listener.api import DONE, REJECT, Decision, Inspection, ListenerFilterFactory

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LONGEST_LINE: Final = 64 * 1024
_REQUEST_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~\w-]+[ \t]+[^ \t]+[ \t]+HTTP/(\d\.\d)[ \t\r]*\Z")
_OLD_REQUEST_LINE: Final = re.compile(rb"GET[ \t]+[^ \t\r]+[ \t\r]*\Z")  # HTTP/0.9


class HttpInspectorStats(StatGroup):
    """`http_inspector.*`, shared by all listeners."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "http10_found",
        "http11_found",
        "http2_found",
        "http_not_found",
        "read_error",
    )

    http10_found: int
    http11_found: int
    http2_found: int
    http_not_found: int
    read_error: int


class HttpInspector:
    """The filter; see `proxy.filters.listener.api.ListenerFilter`."""

    def __init__(self, stats: HttpInspectorStats) -> None:
        self._stats = stats

    def accept(self, connection: ConnectionInfo, transport: asyncio.BaseTransport) -> Inspection | Decision:
        """Bytes are needed unless they are known to be encrypted."""
        del transport
        if connection.transport_protocol != "raw_buffer":
            return Decision.CONTINUE
        return _HttpInspection(self._stats, connection)


class _HttpInspection:
    """One connection; see `proxy.filters.listener.api.Inspection`."""

    __slots__ = ("_connection", "_searched", "_stats", "consumed")

    def __init__(self, stats: HttpInspectorStats, connection: ConnectionInfo) -> None:
        self._stats = stats
        self._connection = connection
        self._searched = 0
        self.consumed = 0

    def feed(self, data: bytes) -> int:
        """See `Inspection.feed`."""
        stats = self._stats
        if data.startswith(_PREFACE):
            stats.http2_found += 1
            self._connection.requested_application_protocols = ("h2c",)
            return DONE
        if _PREFACE.startswith(data):
            return len(_PREFACE)
        if data[0] in b"\r\n":
            stats.http_not_found += 1
            return DONE
        end = data.find(b"\n", self._searched, _LONGEST_LINE)
        if end < 0:
            self._searched = len(data)
            if len(data) < _LONGEST_LINE:
                return len(data) + 1
            stats.read_error += 1
            return REJECT
        line = _REQUEST_LINE.match(data[:end])
        if line is None and _OLD_REQUEST_LINE.match(data[:end]) is None:
            stats.http_not_found += 1
        elif line is not None and line[1] == b"1.1":
            stats.http11_found += 1
            self._connection.requested_application_protocols = ("http/1.1",)
        else:
            stats.http10_found += 1
            self._connection.requested_application_protocols = ("http/1.0",)
        return DONE


def _compile(message: Any, path: str, ctx: CompileContext) -> None:
    del message, path, ctx  # the message has no field


def _create(config: None, services: WorkerServices, listener: ListenerFacts) -> HttpInspector:
    del config, listener
    return HttpInspector(services.stats.shared(HttpInspectorStats, "http_inspector."))


FACTORY = ListenerFilterFactory(
    name="envoy.filters.listener.http_inspector",
    type_name="envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    compile=_compile,
    create=_create,
    only_detects=lambda config: True,  # noqa: ARG005
)
