"""Pressure and several workers: each of them does what the controller decides, also one that comes later."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.configs import cluster, http_proxy, route
from tests.support.origin import HELLO, Origin
from tests.support.outrider import Outrider

GET: Final = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
TYPES: Final = "type.googleapis.com/envoy.extensions.resource_monitors"
FILE: Final = "envoy.resource_monitors.injected_resource"
HEAP: Final = "envoy.resource_monitors.fixed_heap"
WORKERS: Final = 3


class Several(Outrider):
    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", str(WORKERS), "-l", "info", "--disable-hot-restart"]


class Proxy:
    """One with a file of pressure; further `actions` go by it, or by the heap."""

    def __init__(self, directory: Path, *actions: str, resource: str = FILE, **listener_fields: Any) -> None:
        self._file = directory / "pressure"
        self.set(0.0)
        monitors = [
            (FILE, f"{TYPES}.injected_resource.v3.InjectedResourceConfig", {"filename": str(self._file)}),
            (HEAP, f"{TYPES}.fixed_heap.v3.FixedHeapConfig", {"max_heap_size_bytes": 1 << 20}),
        ]
        manager = {
            "refresh_interval": "0.05s",
            "resource_monitors": [
                {"name": name, "typed_config": {"@type": kind, **fields}} for name, kind, fields in monitors
            ],
            "actions": [
                {
                    "name": f"envoy.overload_actions.{action}",
                    "triggers": [{"name": resource, "threshold": {"value": 0.9}}],
                }
                for action in actions
            ],
        }
        self.origin = Origin()
        self.origin.script(HELLO)
        config = http_proxy(
            routes=[route()],
            clusters=[cluster("origin", self.origin.port)],
            overload_manager=manager,
            listener_fields=listener_fields,
        )
        self.proxy = Several(config)
        self._actions = actions

    def set(self, value: float) -> None:
        self._file.write_text(str(value))

    def pressed(self, value: float, percent: int) -> None:
        """Set the pressure, and wait until it is known."""
        self.set(value)
        until(lambda: self.proxy.stats("overload.")[f"overload.{FILE}.pressure"] == percent)
        time.sleep(0.1)

    def statuses(self, times: int = 12) -> set[int]:
        """Of requests on connections of their own, which go to all workers."""
        return {exchange(self.proxy.port, GET).status for _ in range(times)}

    def close(self) -> None:
        self.proxy.close()
        self.origin.close()


def children_of(pid: int) -> list[str]:
    return [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    made: list[Proxy] = []

    def starts(*actions: str, **fields: Any) -> Proxy:
        made.append(Proxy(tmp_path, *actions, **fields))
        return made[-1]

    yield starts
    for one in made:
        one.close()


def test_every_worker_refuses_requests_and_a_new_one_does_too(start: Callable[..., Proxy]) -> None:
    one = start("stop_accepting_requests")
    assert one.statuses() == {200}
    one.pressed(0.95, 95)
    assert one.statuses() == {503}
    (server,) = [int(pid) for pid in children_of(one.proxy.pid) if children_of(int(pid))]
    workers = children_of(server)
    assert len(workers) == WORKERS
    os.kill(int(workers[0]), signal.SIGKILL)
    until(lambda: one.proxy.stats("server.worker_restarted") == {"server.worker_restarted": 1})
    time.sleep(0.5)
    assert one.statuses(30) == {503}
    one.pressed(0.1, 10)
    assert one.statuses() == {200}


def test_no_worker_accepts_while_connections_are_to_wait(start: Callable[..., Proxy]) -> None:
    one = start("stop_accepting_connections")
    for _ in range(3):
        one.pressed(0.95, 95)
        clients = [socket.create_connection(("127.0.0.1", one.proxy.port), 5) for _ in range(2 * WORKERS)]
        for client in clients:
            client.sendall(GET)
        time.sleep(0.3)
        for client in clients:
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
        one.pressed(0.0, 0)
        for client in clients:
            client.settimeout(5)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            client.close()


def test_a_listener_may_stand_aside(start: Callable[..., Proxy]) -> None:
    actions = ("stop_accepting_requests", "stop_accepting_connections", "reject_incoming_connections")
    one = start(*actions, bypass_overload_manager=True)
    one.pressed(0.95, 95)
    assert one.statuses() == {200}


def test_the_memory_of_the_processes_is_the_heap(start: Callable[..., Proxy]) -> None:
    one = start("stop_accepting_requests", resource=HEAP)
    until(lambda: one.proxy.stats("overload.")[f"overload.{HEAP}.pressure"] > 1000)
    time.sleep(0.1)
    assert one.statuses() == {503}
    told = one.proxy.stats("overload.")[f"overload.{HEAP}.pressure"]
    assert one.proxy.admin("/memory")[0] == 200
    assert 1000 < told < 100_000


def test_a_proxy_that_waits_ends_when_told_to(start: Callable[..., Proxy]) -> None:
    one = start("stop_accepting_connections")
    one.pressed(0.95, 95)
    assert one.proxy.stop() == 0
