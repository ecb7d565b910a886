"""Runs the HTTP filters of one stream: the request up the chain, the response back down.

As in Envoy, a filter that stops the head still sees the data that follows; when it lets data pass, the head
goes on first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.filters.api import FilterStatus, HttpFilter, StreamCallbacks

if TYPE_CHECKING:
    from proxy.hcm.stream_state import StreamState

#: (name in the config, maker of the stream's filter).
FilterMaker = tuple[str, Callable[[StreamCallbacks], HttpFilter]]


class FilterManager:
    """See module. `_decoded` and `_encoded` count the filters that have let the head pass."""

    def __init__(self, stream: StreamState, makers: Sequence[FilterMaker]) -> None:
        self._stream = stream
        self._filters: list[HttpFilter] = []
        for name, make in makers:
            one = make(stream)
            one.name = name
            self._filters.append(one)
        self._decoded = 0
        self._encoded = 0
        self._request: tuple[RequestHead, bool] | None = None
        self._response: tuple[ResponseHead, bool] | None = None
        self._held_body: list[bytes] = []
        self._response_ended = False
        self._response_trailers: HeaderMap | None = None

    # -- request

    def decode_headers(self, head: RequestHead, end_stream: bool) -> None:
        """Show the head to the filters, as far as they let it go."""
        self._request = (head, end_stream)
        self._run_decode()

    def _run_decode(self) -> bool:
        """Take the head on from where it stands; tells whether it reached the router."""
        assert self._request is not None
        head, end_stream = self._request
        while self._decoded < len(self._filters):
            one = self._filters[self._decoded]
            self._decoded += 1
            status = one.decode_headers(head, end_stream)
            if self._stream.response_started or self._stream.destroyed:
                return False
            if status is FilterStatus.STOP:
                self._decoded -= 1
                return False
        self._stream.route_request(end_stream)
        return True

    def continue_decoding(self) -> None:
        """The filter that had stopped lets go."""
        if self._decoded < len(self._filters) and not self._stream.destroyed:
            self._decoded += 1
            self._run_decode()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        """Show body bytes to the filters."""
        for position, one in enumerate(self._filters):
            if self._stream.response_complete:
                return
            status, data = one.decode_data(data, end_stream)
            if self._stream.response_complete or status is FilterStatus.STOP:
                return
            if position == self._decoded:
                self._decoded += 1
                if not self._run_decode() and self._decoded < len(self._filters):
                    continue
        self._stream.forward_data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        """Show trailers to the filters."""
        for position, one in enumerate(self._filters):
            if one.decode_trailers(trailers) is FilterStatus.STOP or self._stream.response_complete:
                return
            held = one.take_held()
            if position == self._decoded:
                self._decoded += 1
                self._run_decode()
            if held:
                self._pass_held(position + 1, held)
        self._stream.forward_trailers(trailers)

    def _pass_held(self, position: int, data: bytes) -> None:
        for one in self._filters[position:]:
            status, data = one.decode_data(data, False)
            if self._stream.response_complete or status is FilterStatus.STOP:
                return
        self._stream.forward_data(data, False)

    # -- response

    def encode_headers(self, head: ResponseHead, body: bytes, end_stream: bool) -> None:
        """Show the head, then `body`, to the filters in reverse order."""
        self._response = (head, end_stream and not body)
        if body or not end_stream:
            self._held_body = [body] if body else []
        self._response_ended = end_stream
        self._encoded = 0
        self._run_encode()

    def _run_encode(self) -> None:
        assert self._response is not None
        head, bodyless = self._response
        order = self._filters[::-1]
        while self._encoded < len(order):
            one = order[self._encoded]
            self._encoded += 1
            if one.encode_headers(head, bodyless) is FilterStatus.STOP:
                self._encoded -= 1
                return
        body = b"".join(self._held_body)
        self._held_body = []
        ended = self._response_ended
        if body or (ended and not bodyless):
            passed, body = self._pass_data(body, ended)
            if not passed:
                ended = False
        has_trailers = self._response_trailers is not None
        self._stream.send_head(head, body, ended and not has_trailers)
        if self._response_trailers is not None:
            self.encode_trailers(self._response_trailers)

    def continue_encoding(self) -> None:
        """The filter that had stopped lets go."""
        if self._encoded < len(self._filters) and not self._stream.destroyed:
            self._encoded += 1
            self._run_encode()

    def _pass_data(self, data: bytes, end_stream: bool) -> tuple[bool, bytes]:
        for one in reversed(self._filters):
            status, data = one.encode_data(data, end_stream)
            if status is FilterStatus.STOP:
                return False, b""
        return True, data

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        """Show body bytes to the filters."""
        if not self._stream.response_started:
            self._held_body.append(data)
            self._response_ended = end_stream
            return
        passed, data = self._pass_data(data, end_stream)
        if passed:
            self._stream.send_data(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        """Show trailers to the filters."""
        if not self._stream.response_started:
            self._response_trailers = trailers
            return
        for one in reversed(self._filters):
            if one.encode_trailers(trailers) is FilterStatus.STOP:
                return
        self._stream.send_trailers(trailers)

    def destroy(self) -> None:
        """The stream is over."""
        for one in self._filters:
            one.on_destroy()
