"""The controller's view of its workers: starts them, talks to them, replaces those that die.

A worker is known to be dead when its channel reaches end of file, which the kernel does at once however it
died. Its listening sockets stay open here, so that connections wait in their queues for the replacement.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from proxy.app import fork_server
from proxy.app.ipc import MAX_SOCKETS, Channel, FrameReader, Message, encode, send_blocking

logger = logging.getLogger("proxy.app.worker_table")

# A worker that lived this long did not die of its configuration; the next one starts without delay.
HEALTHY_SECONDS: Final = 10.0
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 5.0
# A configuration that never let a worker become ready, tried this often, is reported and ends the process.
MAX_FAILED_STARTS: Final = 5
QUERY_SECONDS: Final = 2.0


class WorkerHandle:
    """One worker process, from the request to fork it until its channel closes."""

    def __init__(self, index: int, generation: int, started_at: float) -> None:
        self.index = index
        self.generation = generation
        self.started_at = started_at
        self.process = 0
        self.reaped = False
        self.connected = False
        self.ready = False
        self.connections = 0
        self.accepted = 0
        self.accepted_lately = False
        self.channel: Channel
        self.handles: socket.socket
        self.unsent_handles: deque[tuple[bytes, list[int]]] = deque()
        self.queries: dict[int, asyncio.Future[Any]] = {}

    def send(self, message: Message) -> None:
        """Queue a message."""
        self.channel.send(message)

    def __repr__(self) -> str:
        state = "ready" if self.ready else "starting"
        return f"<worker {self.index} pid {self.process} {state}, {self.connections} connections>"


class WorkerTable:
    """All workers. `configure` is called with each new one to send it what it needs; `on_message` gets the
    rest.

    `on_lost` is called when a worker has gone, before its replacement starts; `on_hopeless` when no worker
    can be kept alive.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        count: int,
        server: fork_server.ForkServer,
        shared_memory: tuple[int, ...],
        settings: Callable[[], dict[str, Any]],
    ) -> None:
        self._loop = loop
        self._count = count
        self.fork_server = server
        self._control = server.control
        self._control_reader = FrameReader()
        self._shared_memory = shared_memory
        self._settings = settings
        self._handles: dict[int, WorkerHandle] = {}
        self._failures = [0] * count
        self._generation = 0
        self._query = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._ending = False
        self._ever_ready = False
        self._all_gone = asyncio.Event()
        self.configure: Callable[[WorkerHandle], None] = lambda _handle: None
        self.on_message: Callable[[WorkerHandle, Message], None] = lambda _handle, _message: None
        self.on_lost: Callable[[WorkerHandle], None] = lambda _handle: None
        self.on_hopeless: Callable[[str], None] = lambda _reason: None

    def start(self) -> None:
        """Ask for every worker."""
        self._watch_control()
        for index in range(self._count):
            self._spawn(index)

    def alive(self) -> list[WorkerHandle]:
        """Workers that exist and have been configured."""
        return [handle for handle in self._handles.values() if handle.connected]

    @property
    def all_ready(self) -> bool:
        """Whether every worker has said that it accepts connections."""
        return len(self._handles) == self._count and all(handle.ready for handle in self._handles.values())

    def broadcast(self, message: Message) -> None:
        """The same message to every worker, encoded once."""
        frame = encode(message)
        for handle in self.alive():
            handle.channel.send_frame(frame)
            if handle.channel.hopeless:
                logger.error(
                    "worker %d (pid %d) has stopped reading; killing it", handle.index, handle.process
                )
                _kill(handle.process)

    def process_ids(self) -> list[int]:
        """This process, the fork server and the workers."""
        return [
            os.getpid(),
            self.fork_server.process,
            *(handle.process for handle in self.alive() if handle.process),
        ]

    async def ask(self, *question: Any) -> dict[int, Any]:
        """Worker index → answer. A worker that does not answer within two seconds is left out."""
        self._query += 1
        number = self._query
        waiting: dict[int, asyncio.Future[Any]] = {}
        for handle in self.alive():
            if handle.ready:
                future = self._loop.create_future()
                handle.queries[number] = waiting[handle.index] = future
                handle.send(("ask", number, *question))
        if waiting:
            await asyncio.wait(waiting.values(), timeout=QUERY_SECONDS)
        for handle in self.alive():
            handle.queries.pop(number, None)
        answers: dict[int, Any] = {}
        for index, future in waiting.items():
            if future.done() and not future.cancelled():
                answers[index] = future.result()
            else:
                future.cancel()
        return answers

    def pass_sockets(self, handle: WorkerHandle, key: str, sockets: list[socket.socket]) -> None:
        """Give a worker the listening sockets of a listener; they stay open here too."""
        for start in range(0, len(sockets), MAX_SOCKETS):
            part = sockets[start : start + MAX_SOCKETS]
            handle.unsent_handles.append((key.encode(), [sock.fileno() for sock in part]))
        self._send_handles(handle)

    def end(self) -> None:
        """Tell every worker to stop and start no more."""
        self._ending = True
        for timer in self._timers.values():
            timer.cancel()
        self.broadcast(("stop",))

    async def wait_until_gone(self, seconds: float) -> None:
        """Wait for the last worker to end, or for the time to pass."""
        if self._handles:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), seconds)

    def kill(self) -> None:
        """End workers that did not stop."""
        for handle in self._handles.values():
            _kill(handle.process)

    async def close(self) -> None:
        """Release everything; workers end by themselves when their channel closes."""
        self._ending = True
        self._loop.remove_reader(self._control)
        self._control.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for handle in self._handles.values():
            if handle.connected:
                handle.channel.close()
            handle.handles.close()

    def _spawn(self, index: int) -> None:
        self._timers.pop(index, None)
        if self._ending:
            return
        self._generation += 1
        handle = WorkerHandle(index, self._generation, self._loop.time())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        handle.handles, their_handles = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        handle.handles.setblocking(False)
        handle.channel = Channel(
            lambda message: self._received(handle, message), lambda: self._channel_lost(handle)
        )
        self._handles[index] = handle
        request = ("fork", index, handle.generation, 2 + len(self._shared_memory), self._settings())
        descriptors = (theirs.fileno(), their_handles.fileno(), *self._shared_memory)
        try:
            send_blocking(self._control, request, descriptors)
        except OSError:
            # The fork server has just died; the loss shows on the channel as end of file and is tried again.
            logger.warning("the fork server did not take the request for worker %d", index)
        theirs.close()
        their_handles.close()
        task = self._loop.create_task(self._connect(handle, ours), name=f"connect worker {index}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, handle: WorkerHandle, sock: socket.socket) -> None:
        await self._loop.create_unix_connection(lambda: handle.channel, sock=sock)
        handle.connected = True
        if self._ending:
            handle.send(("stop",))
            return
        self.configure(handle)

    def _received(self, handle: WorkerHandle, message: Message) -> None:
        match message[0]:
            case "answer":
                future = handle.queries.pop(message[1], None)
                if future is not None and not future.done():
                    future.set_result(message[2])
            case "hello":
                handle.process = message[1]
            case "ready":
                handle.ready = self._ever_ready = True
                self.on_message(handle, message)
            case _:
                self.on_message(handle, message)

    def _channel_lost(self, handle: WorkerHandle) -> None:
        if self._handles.get(handle.index) is not handle:
            return
        del self._handles[handle.index]
        handle.connected = False
        _remove_writer(self._loop, handle.handles)
        handle.handles.close()
        for future in handle.queries.values():
            future.cancel()
        # End of file is certain proof only of a closed channel; no half-dead worker may keep accepting.
        if not handle.reaped:
            _kill(handle.process)
        self.on_lost(handle)
        if self._ending:
            if not self._handles:
                self._all_gone.set()
            return
        lived = self._loop.time() - handle.started_at
        failures = self._failures[handle.index] = (
            0 if lived >= HEALTHY_SECONDS else self._failures[handle.index] + 1
        )
        if failures >= MAX_FAILED_STARTS and not self._ever_ready:
            self.on_hopeless(f"worker {handle.index} ended {failures} times before it was ready")
            return
        delay = restart_delay(failures)
        logger.error(
            "worker %d (pid %d) has gone after %.1f s; starting another on the same sockets%s",
            handle.index,
            handle.process,
            lived,
            f" in {delay:.1f} s, because it is failure {failures} in a row" if delay else "",
        )
        if delay:
            self._timers[handle.index] = self._loop.call_later(delay, self._spawn, handle.index)
        else:
            self._spawn(handle.index)

    def _send_handles(self, handle: WorkerHandle) -> None:
        queue = handle.unsent_handles
        while queue:
            key, descriptors = queue[0]
            try:
                socket.send_fds(handle.handles, [key], descriptors)
            except BlockingIOError:
                self._loop.add_writer(handle.handles, self._send_handles, handle)
                return
            except OSError as error:
                logger.debug("worker %d takes no sockets: %s", handle.index, error)
                queue.clear()
                break
            queue.popleft()
        _remove_writer(self._loop, handle.handles)

    def _watch_control(self) -> None:
        self._control.setblocking(True)
        self._loop.add_reader(self._control, self._read_control)

    def _read_control(self) -> None:
        try:
            data = self._control.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._fork_server_lost()
            return
        for message in self._control_reader.feed(data):
            if message[0] == "forked":
                _kind, index, generation, process = message
                handle = self._handles.get(index)
                if handle is not None and handle.generation == generation:
                    handle.process = process
            elif message[0] == "died":
                self._reaped(message[1], message[2])

    def _reaped(self, process: int, code: int) -> None:
        for handle in self._handles.values():
            if handle.process == process:
                handle.reaped = True
        # At the end we kill workers ourselves: one that has said its last word need not clean up.
        if not self._ending or code not in {0, -signal.SIGKILL}:
            logger.warning("worker process %d %s", process, _how_it_ended(code))

    def _fork_server_lost(self) -> None:
        self._loop.remove_reader(self._control)
        self._control.close()
        if self._ending:
            return
        logger.error("the fork server has died; starting another (running workers go on)")
        os.waitpid(self.fork_server.process, 0)
        self.fork_server = fork_server.restart()
        self._control = self.fork_server.control
        self._control_reader = FrameReader()
        self._watch_control()


def restart_delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row: none after the first, then doubling, with jitter."""
    if failures <= 1:
        return 0.0
    doubled: float = _FIRST_DELAY * 2 ** min(failures - 2, 16)
    return min(_LONGEST_DELAY, doubled) * random.uniform(0.8, 1.2)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _kill(process: int) -> None:
    if process > 0:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            return


def _remove_writer(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    if sock.fileno() >= 0:
        loop.remove_writer(sock)
