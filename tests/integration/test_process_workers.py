"""What an operator relies on when processes die: nothing is refused, nothing stays behind."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.configs import bootstrap, listener, typed
from tests.support.outrider import Outrider

ECHO = {"name": "echo", "typed_config": typed("envoy.extensions.filters.network.echo.v3.Echo")}


@pytest.fixture
def outrider() -> Iterator[Outrider]:
    with Outrider(bootstrap([listener([ECHO])]), arguments=()) as proxy:
        yield proxy


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers(proxy: Outrider) -> list[int]:
    (fork_server,) = children(proxy.pid)
    return children(fork_server)


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def echo(port: int, timeout: float = 5.0) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(b"ping")
        return connection.recv(4)


def test_a_killed_worker_is_replaced_within_a_second_and_no_connection_is_refused(outrider: Outrider) -> None:
    refused: list[str] = []
    answered: list[float] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                if echo(outrider.port) == b"ping":
                    answered.append(time.monotonic())
            except ConnectionRefusedError as error:
                refused.append(str(error))
            except OSError:
                # An accepted connection that dies with its worker.
                continue

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert eventually(lambda: len(answered) > 50)
        (worker,) = workers(outrider)
        killed_at = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        assert eventually(lambda: bool(answered) and answered[-1] > killed_at + 0.05)
        back_after = min(moment for moment in answered if moment > killed_at + 0.05) - killed_at
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert refused == []
    assert back_after < 1.0
    assert workers(outrider) != [worker]
    assert f"worker process {worker} was killed by SIGKILL" in outrider.log()


def test_workers_go_on_without_their_fork_server_and_a_new_one_replaces_it(outrider: Outrider) -> None:
    (fork_server,) = children(outrider.pid)
    (worker,) = children(fork_server)
    os.kill(fork_server, signal.SIGKILL)
    assert eventually(lambda: "the fork server has died" in outrider.log())
    assert echo(outrider.port) == b"ping"
    os.kill(worker, signal.SIGKILL)
    assert eventually(lambda: len(children(outrider.pid)) == 1 and len(workers(outrider)) == 1)
    assert echo(outrider.port) == b"ping"
    assert outrider.stop() == 0


def test_nothing_is_left_when_the_controller_is_killed(outrider: Outrider) -> None:
    processes = [outrider.pid, *children(outrider.pid), *workers(outrider)]
    os.kill(outrider.pid, signal.SIGKILL)
    outrider.process.wait(5)
    assert eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in processes[1:]))


def test_a_worker_that_keeps_dying_is_restarted_ever_more_slowly(outrider: Outrider) -> None:
    killed: set[int] = set()
    for _ in range(3):
        assert eventually(lambda: bool(set(workers(outrider)) - killed))
        (worker,) = set(workers(outrider)) - killed
        os.kill(worker, signal.SIGKILL)
        killed.add(worker)
    assert eventually(lambda: "because it is failure 3 in a row" in outrider.log())
    assert echo(outrider.port) == b"ping"
