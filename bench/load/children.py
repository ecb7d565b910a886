"""Pinned child processes that never outlive the run."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.load.ports import free_port

_START_TIMEOUT: Final = 120.0


@functools.cache
def cpus() -> tuple[set[int], set[int]]:
    """CPUs for the proxy and for everything else; the same set twice on a machine with a single CPU.

    Taken from what this process may use at the first call.
    """
    available = sorted(os.sched_getaffinity(0))
    return {available[0]}, set(available[1:]) or {available[0]}


@contextlib.contextmanager
def pinned(to: set[int]) -> Iterator[None]:
    """Processes started inside run on these CPUs only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, to)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """A child in its own session; leaving the context ends it with everything that it started."""

    def __init__(
        self, command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=None if environment is None else {**os.environ, **environment},
            )
        self.pid = self._process.pid

    def check(self) -> None:
        """RuntimeError with its output if it has ended."""
        if self._process.poll() is not None:
            text = self.log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.returncode}:\n{text}")

    def close(self) -> None:
        """SIGTERM, three seconds, SIGKILL to the group."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(3)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def wait_until(true: Callable[[], bool], process: Process, timeout: float = _START_TIMEOUT) -> None:
    """Poll every 5 ms; RuntimeError if `process` ends or the time is over."""
    deadline = time.monotonic() + timeout
    while not true():
        process.check()
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"not ready after {timeout:g} s: {process.log.read_text(errors='replace')[-3000:]}"
            )
        time.sleep(0.005)


def status(port: int, path: str, host: str, tls: ssl.SSLContext | None = None, sni: str = "127.0.0.1") -> int:
    """Status of one GET over HTTP/1.1, 0 if there was no answer. `sni` is also where it connects to."""
    if tls is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    else:
        connection = http.client.HTTPSConnection(sni, port, timeout=2, context=tls)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


@contextlib.contextmanager
def running(module: str, *arguments: str) -> Iterator[int]:
    """A server of this package on the CPUs of the load generator, called with `--port`; yields its port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-origin-") as directory, pinned(cpus()[1]):
        process = Process(
            [sys.executable, "-m", f"bench.load.{module}", "--port", str(port), *arguments],
            Path(directory) / "log.txt",
        )
        try:
            wait_until(lambda: _accepts(port), process, 20)
            yield port
        finally:
            process.close()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True
