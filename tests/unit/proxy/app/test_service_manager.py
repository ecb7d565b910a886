from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.app.service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        path = str(tmp_path / "notify")
        listening.bind(path)
        listening.setblocking(False)
        yield listening, path


def test_it_says_what_systemd_wants_to_hear(manager: tuple[socket.socket, str]) -> None:
    listening, path = manager
    service = ServiceManager({"NOTIFY_SOCKET": path}, now=lambda: 1_234_567_890)
    service.ready("serving")
    service.reloading()
    service.alive()
    service.stopping("draining")
    assert [listening.recv(1000).decode() for _ in range(4)] == [
        "READY=1\nSTATUS=serving",
        "RELOADING=1\nMONOTONIC_USEC=1234567\nSTATUS=reloading",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=draining",
    ]
    service.close()


def test_nobody_who_listens_is_no_error(tmp_path: Path) -> None:
    for place in (str(tmp_path / "nothing"), "@nothing/at/all", "vsock:2:1", ""):
        service = ServiceManager({"NOTIFY_SOCKET": place})
        service.ready("serving")
        service.close()


def test_a_manager_that_does_not_read_stops_nothing(manager: tuple[socket.socket, str]) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": manager[1]})
    for _ in range(2000):
        service.alive()
    service.close()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({}, None),
    ],
)
def test_signs_of_life_are_due_twice_in_the_time_of_the_watchdog(
    environment: dict[str, str], seconds: float | None
) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": "/run/systemd/notify", **environment})
    assert service.watchdog_seconds == seconds
