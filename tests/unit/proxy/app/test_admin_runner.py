"""Where the admin server listens, what is written of it, and how it is lent to a process that takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2

from proxy.app import admin_runner
from proxy.app.admin_runner import AdminRunner
from proxy.app.command_line import parse
from proxy.base.address import Address
from proxy.base.errors import UsageError
from proxy.base.stats import StatRegistry


class Server:
    """Keeps the sockets that it was given, and fails to accept on them if told so."""

    made: Server
    broken = False

    def __init__(self, *_facts: Any) -> None:
        self.sockets: list[Any] = []
        Server.made = self

    async def start(self, listening: Any) -> Address:
        if Server.broken:
            raise OSError(24, "too many open files")
        self.sockets.append(listening)
        return Address(path=listening.getsockname())

    def pause(self) -> None:
        self.sockets.pop().close()

    async def close(self) -> None:
        while self.sockets:
            self.sockets.pop().close()


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_runner, "AdminServer", Server)
    monkeypatch.setattr(admin_runner, "ControllerAdminState", lambda controller: controller)
    monkeypatch.setattr(Server, "broken", False)


def controller(path: str, *arguments: str, hot_restart: Any = None) -> Any:
    bootstrap = bootstrap_pb2.Bootstrap()
    if path:
        bootstrap.admin.address.pipe.path = path
    return SimpleNamespace(
        bootstrap=bootstrap,
        options=parse(["-c", "x.yaml", *arguments]),
        stats=SimpleNamespace(registry=StatRegistry()),
        hot_restart=hot_restart,
    )


def run(of: Any, play: Callable[[AdminRunner], Awaitable[None]]) -> None:
    async def whole() -> None:
        runner = AdminRunner(of)
        try:
            await runner.start()
            await play(runner)
        finally:
            await runner.close()

    asyncio.run(whole())


async def nothing(_runner: AdminRunner) -> None:
    """Start and end."""


def test_its_address_is_written_where_asked_and_its_socket_file_goes_with_it(tmp_path: Path) -> None:
    path, written = tmp_path / "admin", tmp_path / "address"

    async def play(_runner: AdminRunner) -> None:
        assert path.is_socket()

    run(controller(str(path), "--admin-address-path", str(written)), play)
    assert written.read_text() == str(path)
    assert not path.exists()


def test_an_address_that_cannot_be_written_or_had_ends_the_start(tmp_path: Path) -> None:
    unwritable = str(tmp_path / "none" / "address")
    with pytest.raises(UsageError, match=f"cannot open admin address output file {unwritable}"):
        run(controller(str(tmp_path / "admin"), "--admin-address-path", unwritable), nothing)
    Server.broken = True
    with pytest.raises(UsageError, match=r"admin: cannot listen on .* too many open files; choose another"):
        run(controller(str(tmp_path / "admin")), nothing)


def test_without_an_address_there_is_no_server_and_the_one_before_still_ends() -> None:
    asked: list[str] = []

    async def take_admin(address: str) -> None:
        asked.append(address)

    async def play(runner: AdminRunner) -> None:
        assert runner.pause() is None
        await runner.go_on()

    run(controller("", hot_restart=SimpleNamespace(take_admin=take_admin)), play)
    assert asked == [""]


def test_a_socket_that_another_process_has_been_given_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "admin"

    async def play(runner: AdminRunner) -> None:
        paused = runner.pause()
        assert paused is not None
        assert paused[1].getsockname() == str(path)
        assert Server.made.sockets == []

    run(controller(str(path)), play)
    assert path.is_socket()


def test_it_goes_on_where_that_process_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "admin"

    async def play(runner: AdminRunner) -> None:
        await runner.go_on()
        assert len(Server.made.sockets) == 1
        runner.pause()
        await runner.go_on()
        assert [one.getsockname() for one in Server.made.sockets] == [str(path)]

    run(controller(str(path)), play)
    assert not path.exists()


def test_that_it_cannot_go_on_is_logged_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(runner: AdminRunner) -> None:
        runner.pause()
        Server.broken = True
        await runner.go_on()

    run(controller(str(tmp_path / "admin")), play)
    assert "the admin server cannot go on: [Errno 24] too many open files" in caplog.text
