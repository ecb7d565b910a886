"""Client connections of a manager whose overload manager has load shed points that are asked for each read.

Connections of other managers know nothing of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import ConnectionInfo
from proxy.hcm.http1_connection import Http1ServerConnection
from proxy.hcm.http2_connection import Http2ServerConnection
from proxy.hcm.rejection import Rejection
from proxy.overload.names import CREATING_CODEC, HTTP1_ABORT_DISPATCH
from proxy.overload.view import OverloadView

if TYPE_CHECKING:
    from proxy.hcm.connection_manager import ConnectionManager

_PREFACE = b"PRI * HTTP/2"
_BODY = "Internal Server Error"


class SheddingHttp1Connection(Http1ServerConnection):
    """Of HTTP/1, or of a version that its first bytes will tell."""

    def __init__(self, manager: ConnectionManager, info: ConnectionInfo, view: OverloadView) -> None:
        super().__init__(manager, info)
        self._view = view
        self._heard = False

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        first, self._heard = not self._heard, True
        if self._closed or self._lingering:
            super().data_received(data)
        elif first and self._view.sheds(CREATING_CODEC):
            stats = self.manager.stats
            stats.downstream_cx_rx_bytes_total += len(data)
            stats.downstream_rq_overload_close += 1
            self.close_delayed()
        elif not (first and data.startswith(_PREFACE)) and self._view.sheds(HTTP1_ABORT_DISPATCH):
            self.manager.stats.downstream_cx_rx_bytes_total += len(data)
            self._abort_dispatch()
        else:
            super().data_received(data)

    def _abort_dispatch(self) -> None:
        """Answer what has begun, or would begin now, and close."""
        self.manager.stats.downstream_rq_overload_close += 1
        self._buffer = b""
        self._decoder = None
        if self._stream is not None:
            self._closing = True
            self._stream.local_reply(500, _BODY, "overload", ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
            return
        flags = ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR
        self._reject_head(Rejection(500, "overload", _BODY, flags, close=True))


class SheddingHttp2Connection(Http2ServerConnection):
    """Of HTTP/2, as was agreed on before its first bytes."""

    def __init__(self, manager: ConnectionManager, info: ConnectionInfo, view: OverloadView) -> None:
        super().__init__(manager, info)
        self._view = view
        self._heard = False

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        first, self._heard = not self._heard, True
        if first and self._view.sheds(CREATING_CODEC):
            stats = self.manager.stats
            stats.downstream_cx_rx_bytes_total += len(data)
            stats.downstream_rq_overload_close += 1
            self.close_delayed()
        else:
            super().data_received(data)
