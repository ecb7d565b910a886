"""gRPC messages on their way to JSON."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from google.protobuf.message import DecodeError

from proxy.codec.grpc import PREFIX_BYTES
from proxy.transcoding.json_printer import JsonPrinter
from proxy.transcoding.methods import Method
from proxy.transcoding.status import TranscodeError

_PREFIX: Final = struct.Struct("!BI")
#: What Envoy says of a message that is cut off, the commonest way to be unreadable.
_UNREADABLE: Final = "unexpected EOF"


class FrameReader:
    """Takes gRPC frames apart; compressed messages are refused. Raises `TranscodeError`."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def kept(self) -> int:
        """How many bytes wait for the rest of their message."""
        return len(self._data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now, without their prefixes."""
        buffer = self._data
        buffer += data
        while len(buffer) >= PREFIX_BYTES:
            flags, length = _PREFIX.unpack_from(buffer)
            if flags:
                raise TranscodeError(f"Unsupported gRPC frame flag: {flags}", "INTERNAL")
            end = PREFIX_BYTES + length
            if len(buffer) < end:
                return
            message = bytes(buffer[PREFIX_BYTES:end])
            del buffer[:end]
            yield message

    def finish(self) -> None:
        """No more will come; a message that is not whole is an error."""
        buffer = self._data
        if not buffer:
            return
        if len(buffer) < PREFIX_BYTES:
            raise TranscodeError("Incomplete gRPC frame header received", "INTERNAL")
        expected = _PREFIX.unpack_from(buffer)[1]
        raise TranscodeError(
            f"Incomplete gRPC frame expected size: {expected} actual size: {len(buffer) - PREFIX_BYTES}",
            "INTERNAL",
        )


class ResponseTranslator:
    """Feed it gRPC frames, get JSON: one value, a list, or values `delimited` by "newline" or as events ("sse").

    Of a method that does not stream only the first message counts. Raises `TranscodeError`.
    """

    def __init__(self, method: Method, printer: JsonPrinter, delimited: str) -> None:
        self._method = method
        self._printer = printer
        self._delimited = delimited if method.server_streaming else "none"
        self._frames = FrameReader()
        self._first = True
        self._finished = False

    @property
    def kept(self) -> int:
        """How many bytes wait for the rest of their message."""
        return self._frames.kept

    def feed(self, data: bytes) -> bytes:
        """The JSON of the messages that are whole now."""
        if self._finished:
            return b""
        made = []
        for message in self._frames.feed(data):
            made.append(self._delimit(self._text(message)))
            if not self._method.server_streaming:
                self._finished = True
                break
        return "".join(made).encode("utf-8")

    def finish(self) -> bytes:
        """No more will come."""
        if self._finished:
            return b""
        self._frames.finish()
        self._finished = True
        if self._delimited != "":
            return b""
        return b"[]" if self._first else b"]"

    def _text(self, data: bytes) -> str:
        try:
            return self._printer.print(self._method.response.FromString(data))
        except (DecodeError, ValueError, TypeError, RecursionError):
            raise TranscodeError(_UNREADABLE) from None

    def _delimit(self, text: str) -> str:
        match self._delimited:
            case "none":
                return text
            case "sse":
                return f"data: {text}\n\n"
            case "newline":
                return f"{text}\n"
        separator = "[" if self._first else ","
        self._first = False
        return separator + text
