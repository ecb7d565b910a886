"""`outrider demo`, all processes real."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from proxy.demo.plan import PORT_SPAN
from tests.support.client import get
from tests.support.outrider import ROOT, Outrider
from tests.support.ports import free_port

TIMEOUT = 40.0


class Demo:
    """The running demo; its output goes to a pseudo-terminal."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._output = b""
        self._terminal, slave = os.openpty()
        os.set_blocking(self._terminal, False)
        try:
            self.process = subprocess.Popen(
                [*Outrider.command(), "demo", "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=slave,
                stderr=slave,
                cwd=ROOT,
            )
        finally:
            os.close(slave)

    def text(self) -> str:
        with contextlib.suppress(OSError):
            while data := os.read(self._terminal, 1 << 16):
                self._output += data
        return self._output.decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._terminal)

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + TIMEOUT
        while True:
            found = re.search(pattern, self.text())
            if found:
                return found
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


def first_port() -> int:
    """The first of enough free ports."""
    while True:
        port = free_port()
        with socket.socket() as probe:
            if all(probe.connect_ex(("127.0.0.1", port + step)) for step in range(PORT_SPAN + 1)):
                return port


@contextlib.contextmanager
def running(port: int = 0) -> Iterator[Demo]:
    demo = Demo(port or first_port())
    try:
        yield demo
    finally:
        demo.close()


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with running() as started:
        started.wait_for("Ctrl-C ends everything")
        yield started
        started.stop()


def body(port: int, service: int) -> str:
    return get(port, f"/service/{service}").response.body.decode()


def test_replicas_of_each_service_answer_in_turn(demo: Demo) -> None:
    for service in (1, 2):
        bodies = [body(demo.port, service) for _ in range(3)]
        assert all(f"(service {service})!" in text for text in bodies)
        assert len({text.split(" replica ")[1] for text in bodies}) == 3


def test_a_taken_port_is_named_with_the_remedy(demo: Demo) -> None:
    with running(demo.port) as other:
        assert other.process.wait(TIMEOUT) == 1
        assert f"port {demo.port}, for the edge proxy: Address already in use" in other.text()
        assert "--port 18000" in other.text()


def test_the_count_of_requests_is_shown(demo: Demo) -> None:
    get(demo.port, "/service/1")
    demo.wait_for(r"requests: edge [1-9]\d*, service1 \d+, service2 \d+")


def test_a_replica_that_dies_ends_the_demo_with_its_name() -> None:
    with running() as demo:
        demo.wait_for("Ctrl-C ends everything")
        pid = int(body(demo.port, 1).rpartition("pid ")[2])
        os.kill(pid, signal.SIGKILL)
        assert demo.process.wait(20) == 1
        assert f"(pid {pid}) was killed by SIGKILL" in demo.text()
        assert_free(demo.port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(number: signal.Signals) -> None:
    with running() as demo:
        demo.wait_for("Ctrl-C ends everything")
        assert demo.stop(number) == 0
        assert_free(demo.port)


def assert_free(port: int) -> None:
    for step in range(PORT_SPAN + 1):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port + step)) != 0, port + step
