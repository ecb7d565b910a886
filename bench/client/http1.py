"""A lane of HTTP/1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.client.lane import ConnectionLane
from proxy.base.errors import ProtocolError
from proxy.codec.http1_body import BodyDecoder, ChunkedDecoder, UntilCloseDecoder
from proxy.codec.http1_fields import find_head_end
from proxy.codec.http1_response import Http1Response, ResponseParser

if TYPE_CHECKING:
    from bench.client.load import Load

#: Parsed heads that are kept by their bytes; replies differ in their dates mostly.
_MOST_HEADS: Final = 512


class Http1Lane(ConnectionLane):
    """Strict as the proxy's own client side; pipelines nothing."""

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self._parser: ResponseParser = load.parser
        self._heads: dict[bytes, Http1Response] = load.heads
        self._buffer = b""
        self._response: Http1Response | None = None
        self._body: BodyDecoder | None = None
        #: Bytes of the body still to come where its length is known.
        self._left = 0

    def begin_reply(self) -> None:
        """See `ConnectionLane`."""
        self._buffer = b""
        self._response = self._body = None

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.load.tally.received += len(data)
        if not self.sent:
            # Nothing was asked: a stray reply, or a 408 before the close. The next request takes a new connection.
            self.drop()
            return
        try:
            self._receive(data)
        except ProtocolError:
            self.fail("protocol")

    def _receive(self, data: bytes) -> None:
        while self._response is None:
            data = self._buffer + data if self._buffer else data
            end = find_head_end(data)
            if end < 0:
                if data:
                    self._parser.check_start(data)
                self._buffer = data
                return
            self._buffer = b""
            head, data = data[:end], data[end:]
            response = self._heads.get(head)
            if response is None:
                response = self._parser.parse(head)
                if len(self._heads) >= _MOST_HEADS:
                    self._heads.clear()
                self._heads[head] = response
            if response.head.status == 101:
                raise ProtocolError("upgrade")
            if response.head.status < 200:
                continue
            self._response = response
            if response.bodyless or self.request.head:
                self._left = 0
            elif response.chunked:
                self._body = ChunkedDecoder()
            elif response.content_length >= 0:
                self._left = response.content_length
            else:
                self._body = UntilCloseDecoder()
        if self._body is not None:
            _, rest = self._body.feed(data)
            if self._body.done:
                self._complete(rest)
        elif len(data) >= self._left:
            self._complete(data[self._left :])
        else:
            self._left -= len(data)

    def _complete(self, rest: bytes) -> None:
        response = self._response
        assert response is not None
        status = response.head.status
        failure = "" if status < 400 else f"status {status // 100}xx"
        self.finish(str(status), failure, keep=response.keep_alive and not rest)

    def end_of_reply(self) -> bool:
        """See `ConnectionLane`."""
        if not isinstance(self._body, UntilCloseDecoder):
            return False
        self._complete(b"")
        return True
