"""Many small conversations at once, for the corpora: thousands of cases in seconds.

Each case has a connection of its own from a loopback address of its own, which is how the origin's requests and
the access log are matched to it whatever the bytes do to the request (`BATCH_FIELDS`, `BATCH_LOG`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

from tests.support.compare import masked
from tests.support.configs import Json
from tests.support.http2_client import Http2Client
from tests.support.http2_frames import FrameReader
from tests.support.http_text import Message, parse_request, parse_responses
from tests.support.origin import Answer

#: Names the case to the origin; goes into `request_headers_to_add` of the route configuration.
CASE_FIELD = "x-case"
BATCH_FIELDS: list[Json] = [
    {"header": {"key": CASE_FIELD, "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}}
]
BATCH_LOG = (
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"
    " %PROTOCOL% %REQ(:METHOD)% %REQ(:PATH):80% %REQ(:AUTHORITY):80% in=%BYTES_RECEIVED% out=%BYTES_SENT%"
)

_SWITCHING = b"HTTP/1.1 101"
_VARYING = re.compile(rb"(?:date|x-envoy-upstream-service-time): [^\r\n]*\r\n")
_REQUEST_LINE = re.compile(rb"([A-Z]+) [^\r\n]* HTTP/1\.[01]\r?\n")


@dataclass
class Talk:
    """What one case brought. `end` is "closed", "reset" or "open" (nobody closed while we watched)."""

    data: bytes = b""
    end: str = "open"
    upstream: list[Message] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def forwarded(self) -> list[Message]:
        """The requests that reached the upstream whole, and had to be whole to get there."""
        return [message for message in self.upstream if message.complete]

    def view(self, sent: bytes, methods: Sequence[str] | None = None) -> dict[str, object]:
        """What is compared, with everything that varies from run to run masked."""
        responses, rest = parse_responses(self.data, methods or _methods(sent), ended=self.end != "open")
        return {
            "responses": [_view(message) for message in responses],
            "rest": _VARYING.sub(b"", rest),
            "end": self.end,
            "upstream": self._upstream_view(responses),
            "log": self.log,
        }

    def _upstream_view(self, responses: Sequence[Message]) -> list[object]:
        """A request that was refused half-way has reached the upstream or not, as the timing wanted."""
        refused = bool(responses) and responses[-1].status in {400, 408, 413, 431}
        return [_view(message) for message in self.upstream if message.complete or not refused]


def _view(message: Message) -> tuple[object, ...]:
    fields = sorted(masked(message.fields))
    return (message.start, fields, message.body, message.trailers, message.complete)


@dataclass
class Http2Talk(Talk):
    """What one case of HTTP/2 brought. How its last packets meet decides whether a close looks like a reset.

    `in_pieces` says that the request had several frames: if it was refused in a later one, the first ones may have
    reached the upstream, as a whole request even, if they could be one.
    """

    client: dict[str, Any] = field(default_factory=dict)
    in_pieces: bool = False

    def view(self, sent: bytes, methods: Sequence[str] | None = None) -> dict[str, object]:
        """See `Talk.view`."""
        del sent, methods
        client = {**self.client, "end": None, "open": self.client["end"] == "open"}
        return {"client": client, "upstream": [_view(one) for one in self.forwarded], "log": self.log}

    @property
    def forwarded(self) -> list[Message]:
        """See `Talk`."""
        answered = any(heads for heads, *_ in self.client["streams"].values())
        return super().forwarded if answered or not self.in_pieces else []


def case_address(index: int) -> str:
    """The loopback address of case number `index` (below 64,000)."""
    return f"127.77.{index // 250}.{index % 250 + 1}"


class BatchOrigin:
    """An origin for a thousand connections: answers each whole request, and keeps all bytes.

    An `Answer` counts with its pieces, pause and end. Behind bytes that switch protocols all bytes are kept.
    """

    def __init__(self, answer: Callable[[Message], bytes | Answer]) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._messages: list[Message] = []
        self._left: dict[int, bytes] = {}
        self._tunnels: dict[int, Message] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="batch-origin", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accepted, sock=self._socket, limit=1 << 20)
        await self._stop.wait()
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)
        current = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not current]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Known from here on, so that an end before the task's first step closes the connection too."""
        self._writers.add(writer)
        task = self._loop.create_task(self._connection(reader, writer), name="batch-connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        try:
            while more := await reader.read(1 << 20):
                data += more
                while (message := _parsed(data)) is not None and message.complete:
                    data = data[len(message.raw) :]
                    with self._lock:
                        self._messages.append(message)
                    answer = self._answer(message)
                    if await self._send(writer, answer):
                        return
                    if isinstance(answer, bytes) and answer.startswith(_SWITCHING):
                        await self._tunnel(reader, message, data)
                        return
                with self._lock:
                    self._left[id(writer)] = data
        except OSError:
            pass
        finally:
            with self._lock:
                if message := self._incomplete(self._left.pop(id(writer), b"")):
                    self._messages.append(message)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _tunnel(self, reader: asyncio.StreamReader, request: Message, data: bytes) -> None:
        """Whatever comes after an upgrade is a message of the case, without an end."""
        fields = [(CASE_FIELD, request.get(CASE_FIELD) or "")]
        while True:
            with self._lock:
                tunnel = self._tunnels.setdefault(id(reader), Message("tunnel", fields, complete=False))
                tunnel.body += data
            data = await reader.read(1 << 20)
            if not data:
                return

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, answer: bytes | Answer) -> bool:
        """Whether that was the end of the connection."""
        if isinstance(answer, bytes):
            answer = Answer(answer)
        pieces = (answer.pieces,) if isinstance(answer.pieces, bytes) else answer.pieces
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(answer.pause)
            writer.write(piece)
        if answer.end == "open":
            return False
        await writer.drain()
        if answer.end == "reset":
            # What was written goes out first; a reset may overtake it all the same, so wait until it is read.
            await asyncio.sleep(answer.pause)
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        else:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return True

    @staticmethod
    def _incomplete(data: bytes) -> Message | None:
        if not data:
            return None
        return _parsed(data) or Message("unexplained", [], data, complete=False)

    def take(self) -> dict[str, list[Message]]:
        """Case address → the requests that came since the last call, in order, broken ones included; under "" what
        belongs to no case."""
        found: dict[str, list[Message]] = {}
        with self._lock:
            messages, self._messages = self._messages, []
            left = [self._incomplete(data) for data in self._left.values()]
            self._left.clear()
            messages += self._tunnels.values()
            self._tunnels.clear()
        for message in [*messages, *filter(None, left)]:
            found.setdefault(message.get(CASE_FIELD) or "", []).append(message)
        return found

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


def _methods(sent: bytes) -> list[str]:
    """The methods of all requests in the bytes, wherever they start."""
    return [name.decode() for name in _REQUEST_LINE.findall(sent)] or ["GET"]


def _parsed(data: bytes) -> Message | None:
    try:
        return parse_request(data)
    except ValueError:
        return None


async def _talk(
    port: int, source: str, pieces: Sequence[bytes], patience: float, quiet: float, pause: float
) -> Talk:
    """One conversation; ends when the peer closes, after `quiet` seconds of silence behind whole responses,
    or after `patience` seconds of silence otherwise."""
    loop = asyncio.get_running_loop()
    talk = Talk()
    methods = _methods(b"".join(pieces))
    with socket.socket() as raw:
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.bind((source, 0))
        await loop.sock_connect(raw, ("127.0.0.1", port))
        sending = loop.create_task(_send(raw, pieces, pause), name="batch-send")
        announced = False
        try:
            while True:
                responses, _ = parse_responses(talk.data, methods)
                answered = bool(responses) and responses[-1].complete
                if answered and not announced and _says_close(responses[-1]):
                    announced = True
                    await _finish(sending)
                    with contextlib.suppress(OSError):
                        raw.shutdown(socket.SHUT_WR)
                whole = sending.done() and answered and not announced
                try:
                    data = await asyncio.wait_for(loop.sock_recv(raw, 1 << 20), quiet if whole else patience)
                except TimeoutError:
                    break
                except ConnectionError:
                    talk.end = "reset"
                    break
                if not data:
                    talk.end = "closed"
                    break
                talk.data += data
        finally:
            await _finish(sending)
    return talk


def _says_close(message: Message) -> bool:
    return any("close" in value.lower() for value in message.all("connection"))


async def _finish(task: asyncio.Task[None]) -> None:
    if not task.done():
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _send(raw: socket.socket, pieces: Sequence[bytes], pause: float) -> None:
    loop = asyncio.get_running_loop()
    for number, piece in enumerate(pieces):
        if number:
            await asyncio.sleep(pause)
        with contextlib.suppress(OSError):
            await loop.sock_sendall(raw, piece)


async def _gather(jobs: Sequence[Callable[[], Awaitable[Talk]]], parallel: int) -> list[Talk]:
    gate = asyncio.Semaphore(parallel)

    async def one(job: Callable[[], Awaitable[Talk]]) -> Talk:
        async with gate:
            return await job()

    return await asyncio.gather(*(one(job) for job in jobs))


def run_batch(
    ports: Sequence[int],
    cases: Sequence[Sequence[bytes]],
    *,
    first: int = 0,
    parallel: int = 250,
    patience: float = 1.0,
    quiet: float = 0.3,
    pause: float = 0.005,
) -> list[list[Talk]]:
    """Every case (its pieces) against every port at the same time: one list of talks per port.

    `first` is the number of the first case, which chooses the loopback addresses.
    """

    async def main() -> list[list[Talk]]:
        return list(
            await asyncio.gather(
                *(
                    _gather(
                        [
                            lambda port=port, index=index, pieces=pieces: _talk(  # type: ignore[misc]
                                port, case_address(first + index), pieces, patience, quiet, pause
                            )
                            for index, pieces in enumerate(cases)
                        ],
                        parallel,
                    )
                    for port in ports
                )
            )
        )

    return asyncio.run(main())


def run_http2_batch(
    ports: Sequence[int],
    cases: Sequence[Sequence[bytes]],
    *,
    first: int = 0,
    parallel: int = 16,
    patience: float = 1.0,
    quiet: float = 0.1,
) -> list[list[Talk]]:
    """As `run_batch`, of frames on stream 1 behind a greeting that both sides have acknowledged."""

    def talk(port: int, index: int, pieces: Sequence[bytes]) -> Talk:
        with Http2Client(port, source=case_address(first + index), timeout=patience) as client:
            client.settle(5)
            client.send(b"".join(pieces))
            client.read(1)
            # Whether the connection goes on is part of the answer.
            client.settle(quiet)
            frames = FrameReader().feed(b"".join(pieces))
            return Http2Talk(client=client.summary(), in_pieces=len(frames) > 1)

    with ThreadPoolExecutor(parallel) as pool:
        jobs = [
            [pool.submit(talk, port, index, pieces) for index, pieces in enumerate(cases)] for port in ports
        ]
        return [[job.result() for job in of_port] for of_port in jobs]
