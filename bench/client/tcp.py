"""A lane of plain TCP or TLS: a payload goes out, and so many bytes must come back."""

from __future__ import annotations

from bench.client.lane import ConnectionLane


class TcpLane(ConnectionLane):
    """Expects the payload back as it was (an echo), or `expect` bytes whatever they are."""

    _left = 0

    def begin_reply(self) -> None:
        """See `ConnectionLane`."""
        expect = self.load.options.expect_bytes
        self._left = len(self.request.data) if expect is None else expect

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        size = len(data)
        self.load.tally.received += size
        if not self.sent:
            self.drop()
            return
        if size > self._left:
            self.fail("protocol")
            return
        if self.load.options.expect_bytes is None:
            payload = self.request.data
            at = len(payload) - self._left
            if data != payload[at : at + size]:
                self.fail("protocol")
                return
        self._left -= size
        if not self._left:
            self.finish("")
