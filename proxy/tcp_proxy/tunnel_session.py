"""A client's connection whose bytes go through a tunnel."""

from __future__ import annotations

from typing import ClassVar

from proxy.tcp_proxy.session import TcpSession
from proxy.tcp_proxy.tunnel import TunnelUpstream


class TunnelSession(TcpSession):
    """See module. The pool counts what goes upstream."""

    __slots__ = ()

    upstream_class: ClassVar[type] = TunnelUpstream

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        write = self._write
        if write is None:
            self._hold(data)
            return
        size = len(data)
        self.last_active = self.now()
        self.bytes_received += size
        self.stats.downstream_cx_rx_bytes_total += size
        write(data)

    def tell(self, key: str, fields: list[tuple[str, str]]) -> None:
        """Keep fields of the host's answer in the filter state, as a `core.v3.HeaderMap`."""
        headers = {"headers": [{"key": name, "value": value} for name, value in fields]}
        self.connection.filter_state = {**self.connection.filter_state, key: headers}
