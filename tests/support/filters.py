"""HTTP filters of one stream, run by the real filter manager between a client and a router that take notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.grpc import is_grpc
from proxy.filters.api import HttpFilter, StreamCallbacks
from proxy.hcm.filter_manager import FilterManager
from proxy.hcm.local_reply import make_local_reply
from tests.support.streams import START, connection

Maker = Callable[[StreamCallbacks], HttpFilter]


class FilteredStream:
    """One stream. `request` and `response` list what has passed all filters.

    An entry is ("head", head), ("data", bytes), ("trailers", dict) or ("end",). `replies` has the details of
    local replies, `pauses` what was asked of the peers: "client", "client resumed", "upstream" and so on.
    """

    def __init__(
        self,
        *makers: Maker,
        limit: int = 1024,
        overrides: Mapping[str, Any] | None = None,
        cluster: Any = None,
        protocol: str = "HTTP/1.1",
    ) -> None:
        self.info = StreamInfo(connection(buffer_limit=limit), START)
        self.info.protocol = protocol
        self.request: list[tuple[Any, ...]] = []
        self.response: list[tuple[Any, ...]] = []
        self.replies: list[str] = []
        self.pauses: list[str] = []
        self.rerouted = 0
        self.destroyed = False
        self.asks_grpc = False
        self.manager: Any = SimpleNamespace(stats=SimpleNamespace(rs_too_large=0))
        self.connection: Any = SimpleNamespace(
            pause_reading=lambda: self.pauses.append("client"),
            resume_reading=lambda: self.pauses.append("client resumed"),
        )
        self._overrides = overrides or {}
        self._cluster = cluster
        stream: Any = self
        self.filters = FilterManager(
            stream, [(f"filter{number}", make) for number, make in enumerate(makers)]
        )

    # -- what a test plays

    def begin(
        self, *, end_stream: bool = False, path: str = "/", method: str = "POST", **fields: str
    ) -> None:
        """A request head; underscores in the names of fields stand for hyphens."""
        headers = HeaderMap([(name.replace("_", "-"), value) for name, value in fields.items()])
        self.info.request = RequestHead(method, path, "host", headers)
        self.asks_grpc = is_grpc(headers.get("content-type", ""))
        self.filters.decode_headers(self.info.request, end_stream)

    def respond(
        self, status: int = 200, body: bytes = b"", *, end_stream: bool = False, **fields: str
    ) -> None:
        """A response head, perhaps with a body."""
        headers = HeaderMap([(name.replace("_", "-"), value) for name, value in fields.items()])
        self.info.response_code = status
        self.info.response = ResponseHead(status, headers)
        self.filters.encode_headers(self.info.response, body, end_stream)

    def finish(self) -> None:
        """The stream is over."""
        self.destroyed = True
        self.filters.destroy()

    # -- what it reads

    @property
    def request_body(self) -> bytes:
        return b"".join(entry[1] for entry in self.request if entry[0] == "data")

    @property
    def response_body(self) -> bytes:
        return b"".join(entry[1] for entry in self.response if entry[0] == "data")

    @property
    def response_head(self) -> ResponseHead:
        head: ResponseHead = self.response[0][1]
        return head

    @property
    def response_trailers(self) -> dict[str, str] | None:
        """The trailers that the client got, None if it got none."""
        return next((entry[1] for entry in self.response if entry[0] == "trailers"), None)

    # -- what the filter manager and the filters call

    @property
    def route(self) -> Any:
        return None

    def route_config(self, name: str) -> Any:
        return self._overrides.get(name)

    def route_configs(self, name: str) -> tuple[Any, ...]:
        return (self._overrides[name],) if name in self._overrides else ()

    def route_cluster(self) -> Any:
        return self._cluster

    def clear_route_cache(self) -> None:
        self.rerouted += 1

    def route_request(self, end_stream: bool) -> None:
        self.request.append(("head", self.info.request))
        if end_stream:
            self.request.append(("end",))

    def forward_data(self, data: bytes, end_stream: bool) -> None:
        self.request.append(("data", data))
        if end_stream:
            self.request.append(("end",))

    def forward_trailers(self, trailers: HeaderMap) -> None:
        self.request.append(("trailers", dict(trailers)))

    def send_head(self, head: ResponseHead, body: bytes, end_stream: bool) -> None:
        self.response.append(("head", head))
        if body:
            self.response.append(("data", body))
        self._after_sending(end_stream)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        self.response.append(("data", data))
        self._after_sending(end_stream)

    def send_trailers(self, trailers: HeaderMap) -> None:
        self.response.append(("trailers", dict(trailers)))
        self._after_sending(True)

    def _after_sending(self, end_stream: bool) -> None:
        if end_stream:
            if self.response[-1][0] != "trailers":
                self.response.append(("end",))
            self.finish()

    def on_client_paused(self) -> None:
        self.pauses.append("upstream")

    def on_client_resumed(self) -> None:
        self.pauses.append("upstream resumed")

    def local_reply(
        self,
        status: int,
        body: str,
        details: str,
        flags: int = 0,
        modify: Callable[[HeaderMap], None] | None = None,
        grpc_status: int | None = None,
    ) -> None:
        del flags
        self.replies.append(details)
        self.info.response_code = status
        head, encoded = make_local_reply(
            status, body, self.info, None, modify, grpc_status, asks_grpc=self.asks_grpc
        )
        if not self.filters.responding:
            self.filters.encode_headers(head, encoded, True)
        elif self.response:
            self.response.append(("reset",))
            self.finish()
        else:
            self.send_head(head, encoded, True)
