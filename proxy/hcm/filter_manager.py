"""Runs the HTTP filters of one stream: the request up the chain, the response back down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.filters.api import FilterStatus, HttpFilter, StreamCallbacks
from proxy.hcm.filter_path import FilterPath

if TYPE_CHECKING:
    from proxy.hcm.stream_state import StreamState

#: (name in the config, maker of the stream's filter).
FilterMaker = tuple[str, Callable[[StreamCallbacks], HttpFilter]]


class _Decoding(FilterPath):
    """The way of the request, to the router."""

    def __init__(
        self, stream: StreamState, filters: Sequence[HttpFilter], limit: int, response: _Encoding
    ) -> None:
        super().__init__(filters, limit)
        self._stream = stream
        self._response = response
        self.request: RequestHead

    def _on_the_way(self, place: int) -> int:
        return place

    def _given_up(self) -> bool:
        return self._response.complete or self._stream.destroyed

    def _show_head(self, one: HttpFilter, end_stream: bool) -> FilterStatus:
        return one.decode_headers(self.request, end_stream)

    def _show_data(self, one: HttpFilter, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        return one.decode_data(data, end_stream)

    def _show_trailers(self, one: HttpFilter, trailers: HeaderMap) -> FilterStatus:
        return one.decode_trailers(trailers)

    def _send_head(self, end_stream: bool) -> None:
        self._stream.route_request(end_stream)

    def _send_data(self, data: bytes, end_stream: bool) -> None:
        self._stream.forward_data(data, end_stream)

    def _send_trailers(self, trailers: HeaderMap) -> None:
        self._stream.forward_trailers(trailers)

    def _note_trailers(self, trailers: HeaderMap) -> None:
        self._stream.info.request_trailers = trailers

    def _refuse(self) -> None:
        self._stream.local_reply(413, "Payload Too Large", "request_payload_too_large")

    def _pause(self) -> None:
        self._stream.connection.pause_reading()

    def _unpause(self) -> None:
        self._stream.connection.resume_reading()

    def clear(self) -> None:
        """See `FilterPath`."""
        super().clear()
        if self._paused:
            self._paused = False
            self._unpause()


class _Encoding(FilterPath):
    """The way of the response, from the router or from wherever it was made up, to the client."""

    def __init__(self, stream: StreamState, filters: Sequence[HttpFilter], limit: int) -> None:
        super().__init__(filters, limit)
        self._stream = stream
        self.response: ResponseHead

    def _on_the_way(self, place: int) -> int:
        return len(self._stopped) - 1 - place

    def _given_up(self) -> bool:
        return self._stream.destroyed

    def _show_head(self, one: HttpFilter, end_stream: bool) -> FilterStatus:
        return one.encode_headers(self.response, end_stream)

    def _show_data(self, one: HttpFilter, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        return one.encode_data(data, end_stream)

    def _show_trailers(self, one: HttpFilter, trailers: HeaderMap) -> FilterStatus:
        return one.encode_trailers(trailers)

    def _send_head(self, end_stream: bool) -> None:
        self._stream.send_head(self.response, b"", end_stream)

    def _send_data(self, data: bytes, end_stream: bool) -> None:
        self._stream.send_data(data, end_stream)

    def _send_trailers(self, trailers: HeaderMap) -> None:
        self._stream.send_trailers(trailers)

    def _note_trailers(self, trailers: HeaderMap) -> None:
        self._stream.info.response_trailers = trailers

    def _refuse(self) -> None:
        self._stream.manager.stats.rs_too_large += 1
        self._stream.local_reply(500, "Internal Server Error", "response_payload_too_large")

    def _pause(self) -> None:
        self._stream.on_client_paused()

    def _unpause(self) -> None:
        self._stream.on_client_resumed()


def after_gates(makers: tuple[FilterMaker, ...], stream: StreamCallbacks) -> tuple[FilterMaker, ...]:
    """The filters that a stream still has to pass once those at the front have let it pass at once.

    Without any left the stream goes the way of one without filters.
    """
    for place, (name, make) in enumerate(makers):
        gate = getattr(make, "gate", None)
        if gate is None:
            return makers[place:]
        decided = gate(stream, name)
        if decided is not None:
            return (name, decided), *makers[place + 1 :]
    return ()


class FilterManager:
    """See module; a `FilterChain`."""

    def __init__(self, stream: StreamState, makers: Sequence[FilterMaker]) -> None:
        filters = []
        for place, (name, make) in enumerate(makers):
            one = make(stream)
            one.name = name
            one.chain = self
            one.place = place
            filters.append(one)
        limit = stream.info.connection.buffer_limit
        self._filters = filters
        self.leaves_requests = all(one.leaves_requests for one in filters)
        self.encoding = _Encoding(stream, filters[::-1], limit)
        self.decoding = _Decoding(stream, filters, limit, self.encoding)

    @property
    def responding(self) -> bool:
        """Whether a response has begun its way to the client, though it may not have left."""
        return self.encoding.begun

    def decode_headers(self, head: RequestHead, end_stream: bool) -> None:
        """The request head has come."""
        self.decoding.request = head
        self.decoding.head(end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        """Bytes of the request body have come."""
        self.decoding.data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        """Trailers of the request have come, which end it."""
        self.decoding.end(trailers)

    def encode_headers(self, head: ResponseHead, body: bytes, end_stream: bool) -> None:
        """A response head has come, with what there is of the body."""
        encoding = self.encoding
        encoding.response = head
        encoding.head(end_stream and not body)
        if body:
            encoding.data(body, end_stream)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        """Bytes of the response body have come."""
        self.encoding.data(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        """Trailers of the response have come, which end it."""
        self.encoding.end(trailers)

    def destroy(self) -> None:
        """The stream is over."""
        for one in self._filters:
            one.on_destroy()
        # They refer to this.
        self._filters = []
        self.decoding.clear()
        self.encoding.clear()
