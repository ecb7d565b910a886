"""One try of a request for a tunnel: an upgrade, or CONNECT.

Nothing that the client sends early goes out before the host has accepted: to a host that has not, it would be the
next request. Envoy holds it likewise.
"""

from __future__ import annotations

from proxy.base.headers import HeaderMap
from proxy.codec.messages import ParsedResponse
from proxy.router.upstream_request import PoolLookup, UpstreamRequest

_SWITCHING_PROTOCOLS = 101


class TunnelRequest(UpstreamRequest):
    """See module. `_accepted` tells that bytes may pass; until then they wait in `_early`."""

    _accepted = False
    _ends_early = False
    _early_bytes = 0

    def start(self, pools: PoolLookup, *, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        self._early: list[bytes] = []
        self._ends_early = end_stream
        super().start(pools, end_stream=False)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        if self._accepted:
            super().send_data(data, end_stream)
            return
        if self.over or self._ends_early:
            return
        self._ends_early = end_stream
        if data:
            self._early.append(data)
            self._early_bytes += len(data)
            if self._early_bytes > self.cluster.config.buffer_limit:
                self._stream.on_upstream_write_paused()

    def send_trailers(self, trailers: HeaderMap) -> None:
        """See `UpstreamRequest`: a tunnel has none."""
        del trailers
        self.send_data(b"", True)

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        status = response.head.status
        if 200 <= status < 300 if self.method == "CONNECT" else status == _SWITCHING_PROTOCOLS:
            self._let_pass()
        super().on_response(response, body, end_stream)

    def _let_pass(self) -> None:
        self._accepted = True
        early = b"".join(self._early)
        self._early.clear()
        if self._early_bytes > self.cluster.config.buffer_limit:
            self._stream.on_upstream_write_resumed()
        if early or self._ends_early:
            super().send_data(early, self._ends_early)
