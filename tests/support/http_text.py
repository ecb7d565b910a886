"""A lenient parser of HTTP/1 messages for tests: it shows what is there and never repairs anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Fields = list[tuple[str, str]]


@dataclass
class Message:
    """One request or response. `start` is the first line; `complete` says that its body is all there."""

    start: str
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    complete: bool = True
    raw: bytes = b""

    def get(self, name: str) -> str | None:
        """The first value of a field, by name in any case."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        """Every value of a field, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def status(self) -> int:
        """The status code of a response, 0 for anything else."""
        parts = self.start.split(" ", 2)
        return int(parts[1]) if self.start.startswith("HTTP/") and parts[1:] and parts[1].isdigit() else 0

    @property
    def method(self) -> str:
        return self.start.split(" ", 1)[0]

    @property
    def target(self) -> str:
        parts = self.start.split(" ")
        return parts[1] if len(parts) > 1 else ""


def parse_fields(block: bytes) -> Fields:
    """Field lines as they stand; a line without a colon gets the value ''."""
    fields = []
    for line in block.decode("latin-1").split("\r\n"):
        if line:
            name, _, value = line.partition(":")
            fields.append((name, value.strip(" \t")))
    return fields


def _chunked(data: bytes) -> tuple[bytes, Fields, int] | None:
    """Body, trailers and length of a chunked body; None if it is not whole yet."""
    body, at = b"", 0
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(data[at:line_end].split(b";")[0], 16)
        at = line_end + 2
        if size == 0:
            if data.startswith(b"\r\n", at):
                return body, [], at + 2
            end = data.find(b"\r\n\r\n", at)
            return None if end < 0 else (body, parse_fields(data[at : end + 2]), end + 4)
        if len(data) < at + size + 2:
            return None
        body += data[at : at + size]
        at += size + 2


def _take(data: bytes, *, bodiless: bool, until_close: bool, ended: bool) -> Message | None:
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    start, _, block = data[:head_end].partition(b"\r\n")
    message = Message(start.decode("latin-1"), parse_fields(block))
    rest = data[head_end + 4 :]
    used = 0
    encoding = (message.get("transfer-encoding") or "").lower()
    length = message.get("content-length")
    if bodiless:
        pass
    elif "chunked" in encoding:
        chunked = _chunked(rest)
        if chunked is None:
            message.body, used, message.complete = rest, len(rest), False
        else:
            message.body, message.trailers, used = chunked
    elif length is not None and length.isdigit():
        used = min(int(length), len(rest))
        message.body, message.complete = rest[:used], used == int(length)
    elif until_close:
        message.body, used, message.complete = rest, len(rest), ended
    message.raw = data[: head_end + 4 + used]
    return message


def parse_request(data: bytes) -> Message | None:
    """The first request in `data`, None while its head is not whole."""
    return _take(data, bodiless=False, until_close=False, ended=False)


def parse_responses(
    data: bytes, methods: Sequence[str], *, ended: bool = False
) -> tuple[list[Message], bytes]:
    """The responses in `data` and the bytes after them.

    `methods` are those of the requests, in order, because HEAD and CONNECT change what a body is; `ended`
    says that the connection was closed behind `data`. Informational responses are listed like others.
    """
    found: list[Message] = []
    waiting = list(methods)
    while data and waiting:
        method = waiting[0]
        head = data[: data.find(b" ") + 4].split(b" ")
        status = int(head[1]) if head[1:] and head[1].isdigit() else 0
        informational = 100 <= status < 200 and status != 101
        tunnel = status == 101 or (method == "CONNECT" and 200 <= status < 300)
        bodiless = informational or tunnel or method == "HEAD" or status in (204, 304)
        try:
            message = _take(data, bodiless=bodiless, until_close=True, ended=ended)
        except ValueError:
            break
        if message is None:
            break
        found.append(message)
        data = data[len(message.raw) :]
        if not message.complete or tunnel:
            break
        if not informational:
            waiting.pop(0)
    return found, data
