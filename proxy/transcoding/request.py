"""A JSON request on its way to gRPC messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import EncodeError

from proxy.codec.grpc import prefix
from proxy.transcoding.json_reader import JsonObject, JsonReader
from proxy.transcoding.message_writer import MessageWriter
from proxy.transcoding.methods import Method
from proxy.transcoding.plain_json import parse_plain
from proxy.transcoding.status import TranscodeError
from proxy.transcoding.weaver import FieldPath, under, weave

#: What the text of a message may end in, for it to be worth a try.
_ENDINGS: Final = frozenset({b"}", b"]"})


class RequestTranslator:
    """Feed it JSON bytes, get framed messages. Raises `TranscodeError`.

    `body` is where the JSON belongs in the message: "" or "*" for the message itself. `bindings` go into the first
    message. `waiting` is how many bytes came in since the last whole message.

    The items of a stream leave one by one. A single message is read when it may be whole, and what is wrong with
    it is told when all of it is there.
    """

    def __init__(
        self,
        method: Method,
        writer: MessageWriter,
        body: str,
        bindings: Sequence[tuple[FieldPath, str]],
        *,
        refuse_collisions: bool,
    ) -> None:
        self._method = method
        self._writer = writer
        self._body = body
        self._bindings = bindings
        self._refuse_collisions = refuse_collisions
        self._made: list[bytes] = []
        self._done = False
        self._text = bytearray()
        self._reader = JsonReader(self._take, streaming=method.client_streaming)
        self.waiting = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes in."""
        if self._done:
            return b""
        self.waiting += len(data)
        if self._method.client_streaming:
            self._reader.feed(data)
        else:
            self._text += data
            if data.rstrip()[-1:] in _ENDINGS:
                self._try()
        return self._give()

    def _try(self) -> None:
        try:
            value = parse_plain(bytes(self._text))
        except ValueError:
            return
        self._take(value)

    def finish(self) -> bytes:
        """No more will come."""
        if not self._done:
            self._reader.feed(bytes(self._text))
            self._reader.finish()
        self.waiting = 0
        return self._give()

    def _give(self) -> bytes:
        if not self._made:
            return b""
        made = b"".join(self._made)
        self._made.clear()
        self._text.clear()
        self.waiting = 0
        return made

    def _take(self, value: Any) -> None:
        message = self._message(value)
        self._made.append(prefix(len(message)) + message)
        self._done = not self._method.client_streaming

    def _message(self, value: Any) -> bytes:
        value, collision = weave(
            under(self._body, value), self._bindings, refuse_collisions=self._refuse_collisions
        )
        self._bindings = ()
        message = self._method.request()
        self._writer.write(message, value)
        if collision:
            raise TranscodeError(collision)
        return _serialised(message)


def bound_message(method: Method, writer: MessageWriter, bindings: Sequence[tuple[FieldPath, str]]) -> bytes:
    """The serialised message with nothing but the bindings in it. Raises `TranscodeError`."""
    message = method.request()
    writer.write(message, weave(JsonObject(), bindings, refuse_collisions=False)[0])
    return _serialised(message)


def _serialised(message: Any) -> bytes:
    try:
        made: bytes = message.SerializeToString()
    except EncodeError:
        missing = message.FindInitializationErrors()
        raise TranscodeError(f": missing field {missing[0] if missing else ''}") from None
    return made
