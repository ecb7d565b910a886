"""Both sides of a takeover in one process, without proxies."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proxy.app.command_line import Options, parse
from proxy.app.hot_restart import names, restart, successor
from proxy.app.hot_restart.inherited import InheritedSockets, key_of
from proxy.app.hot_restart.messages import Hello, Refused, Sockets, Welcome, decode_reply, encode
from proxy.app.hot_restart.packets import PacketConnection
from proxy.app.hot_restart.predecessor import NoParentError, Predecessor
from proxy.app.hot_restart.successor import Numbers, SuccessorGate
from proxy.base.address import Address
from proxy.base.errors import UsageError
from proxy.connection.sockets import ListenAddress, open_sockets, start_listening

_NUMBERS = itertools.count(os.getpid() * 1000)


class OldProcess:
    """A `HandOver` that notes what it is asked for."""

    def __init__(self) -> None:
        self.listening: dict[str, list[socket.socket]] = {}
        self.admin: tuple[str, socket.socket] | None = None
        self.asked: list[Any] = []
        self.objects = ""

    def objection(self) -> str:
        return self.objects

    def greeted(self) -> None:
        self.asked.append("greeted")

    def welcome(self) -> Welcome:
        return Welcome(100.5, 4)

    def pass_sockets(self) -> Iterator[tuple[str, list[socket.socket]]]:
        return iter(self.listening.items())

    def pass_admin(self) -> tuple[str, socket.socket] | None:
        return self.admin

    async def numbers(self) -> Numbers:
        return {"requests": 12}, {"active": 3}, 2

    def drain(self, seconds: int, taken: frozenset[str], *, keep: bool) -> None:
        self.asked.append(("drain", seconds, set(taken), keep))

    def let_go(self, taken: frozenset[str]) -> None:
        self.asked.append(("let go", set(taken)))

    def hurry(self) -> None:
        self.asked.append("hurry")

    def go_on(self) -> None:
        self.asked.append("go on")


def options_of(epoch: int, *flags: str) -> Options:
    number = next(_NUMBERS) if not flags else 0
    return parse(["--restart-epoch", str(epoch), "--base-id", str(number % 2**31), *flags])


def run(scenario: Callable[[OldProcess, SuccessorGate, Options], Awaitable[None]]) -> OldProcess:
    """`scenario` beside a process of epoch 0; options are those of its successor."""
    old = OldProcess()
    options = options_of(1)

    async def play() -> None:
        gate = SuccessorGate(
            asyncio.get_running_loop(), names.bind_place(options, options.base_id, 0), 0, old
        )
        try:
            async with asyncio.timeout(20):
                await scenario(old, gate, options)
        finally:
            await gate.close()

    asyncio.run(play())
    return old


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  (what it looks at is no event)
        await asyncio.sleep(0.001)


def listening(workers: int) -> tuple[ListenAddress, list[socket.socket]]:
    made = open_sockets("web", ListenAddress(Address("127.0.0.1", 0)), workers)
    where = ListenAddress(Address(*made[0].getsockname()))
    start_listening("web", where, made)
    return where, made


async def meet(options: Options) -> Predecessor:
    return await asyncio.to_thread(Predecessor.meet, options, options.base_id)


def close(*sockets: socket.socket) -> None:
    for one in sockets:
        one.close()


def test_sockets_numbers_and_the_drain_in_order() -> None:
    async def scenario(old: OldProcess, gate: SuccessorGate, options: Options) -> None:
        where, sockets = listening(3)
        admin_where, (admin,) = listening(1)
        old.listening[key_of(where)] = sockets
        old.admin = (key_of(admin_where), admin)
        predecessor = await meet(options)
        assert predecessor.welcome == Welcome(100.5, 4)
        inherited = await asyncio.to_thread(predecessor.take_sockets)
        taken = inherited.open("web", where, 3)
        assert [one.getsockname() for one in taken] == [one.getsockname() for one in sockets]
        told: list[Any] = []
        predecessor.on_numbers = lambda *numbers: told.append(numbers)
        predecessor.on_gone = lambda: told.append("gone")
        predecessor.watch(asyncio.get_running_loop())
        passed = await predecessor.take_admin()
        assert passed is not None
        assert passed[0] == key_of(admin_where)
        await predecessor.refresh()
        assert told == [({"requests": 12}, {"active": 3})]
        assert predecessor.connections == 2
        predecessor.drain(inherited.claimed, 9, keep=True)
        predecessor.took(["127.0.0.1:1"])
        predecessor.hurry()
        await until(lambda: "hurry" in old.asked)
        gate.tell_last(({"requests": 14}, {}, 0))
        await gate.close()
        await until(lambda: "gone" in told)
        assert told[1:] == [({"requests": 14}, {}), "gone"]
        predecessor.close()
        close(*sockets, *taken, admin, passed[1])
        old.asked.append(key_of(where))

    old = run(scenario)
    address = old.asked.pop()
    assert old.asked == [
        "greeted",
        ("drain", 9, {address}, True),
        ("let go", {"127.0.0.1:1"}),
        "hurry",
    ]


def test_what_came_before_the_old_process_died_is_used() -> None:
    where, sockets = listening(1)
    options = options_of(1)
    with names.bind_place(options, options.base_id, 0) as waiting:
        waiting.setblocking(True)

        def die() -> None:
            connection, _name = waiting.accept()
            connection.recv(65536)
            connection.send(encode(Welcome(1.5, 1)))
            connection.recv(65536)
            socket.send_fds(connection, [encode(Sockets(key_of(where), 1))], [sockets[0].fileno()])
            connection.close()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(die)
            predecessor = Predecessor.meet(options, options.base_id)
            inherited = predecessor.take_sockets()
    (taken,) = inherited.open("web", where, 1)
    assert taken.getsockname() == sockets[0].getsockname()
    predecessor.close()
    close(taken, *sockets)


def test_many_sockets_of_one_address_come_in_several_packets() -> None:
    async def scenario(old: OldProcess, _gate: SuccessorGate, options: Options) -> None:
        where, (one,) = listening(1)
        old.listening[key_of(where)] = [one] * 450
        predecessor = await meet(options)
        inherited = await asyncio.to_thread(predecessor.take_sockets)
        taken = inherited.open("web", where, 450)
        assert len(taken) == 450
        predecessor.close()
        close(one, *taken)

    run(scenario)


def test_a_successor_that_dies_first_leaves_all_as_it_was_and_another_may_try() -> None:
    async def scenario(old: OldProcess, _gate: SuccessorGate, options: Options) -> None:
        for _ in range(2):
            predecessor = await meet(options)
            predecessor.watch(asyncio.get_running_loop())
            predecessor.close()
            await until(lambda: old.asked[-1] == "go on")

    assert run(scenario).asked == ["greeted", "go on"] * 2


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("uvloop_too", [False, True])
def test_what_was_said_before_a_sudden_end_is_heard(*, uvloop_too: bool, late: bool) -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        told: list[Any] = []
        heard = PacketConnection(
            asyncio.get_running_loop(), ours, lambda packet, _sockets: told.append(packet), told.append
        )
        heard.send(b"never read")
        theirs.send(b"one")
        theirs.send(b"two")
        theirs.close()
        if late:
            heard.send(b"too late")
        async with asyncio.timeout(20):
            await until(lambda: len(told) == 3)
        assert told == [b"one", b"two", "it has ended"]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop_too else None) as runner:
        runner.run(scenario())


def test_only_one_may_take_over_at_a_time() -> None:
    async def scenario(_old: OldProcess, _gate: SuccessorGate, options: Options) -> None:
        first = await meet(options)
        with pytest.raises(UsageError, match="another process of epoch 1 is taking over already"):
            await meet(options)
        first.close()

    run(scenario)


def test_who_may_not_take_over_is_told_why() -> None:
    async def scenario(old: OldProcess, _gate: SuccessorGate, options: Options) -> None:
        old.objects = "previous envoy process is still initializing"
        with pytest.raises(UsageError, match="epoch 0 does not hand over: previous envoy process is still"):
            await meet(options)

    assert run(scenario).asked == []


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (Hello("11.104", 1), "its hot restart version is 11.104, that of the running process outrider.1"),
        (Hello("outrider.1", 7), "--restart-epoch must be 1, not 7"),
    ],
)
def test_another_version_or_epoch_is_sent_away(hello: Hello, reason: str) -> None:
    async def scenario(_old: OldProcess, _gate: SuccessorGate, options: Options) -> None:
        connection = names.connect_place(options, options.base_id, 0, 5)
        connection.send(encode(hello))
        answer = decode_reply(await asyncio.to_thread(connection.recv, 65536))
        assert isinstance(answer, Refused)
        assert reason in answer.reason
        assert await asyncio.to_thread(connection.recv, 1) == b""
        connection.close()

    run(scenario)


@pytest.mark.parametrize("packet", [b"nonsense", encode(Hello("outrider.1", 1))[:-1], b"x" * 100_000])
def test_nonsense_ends_the_connection_and_nothing_else(packet: bytes) -> None:
    async def scenario(_old: OldProcess, _gate: SuccessorGate, options: Options) -> None:
        connection = names.connect_place(options, options.base_id, 0, 5)
        connection.send(packet)
        assert await asyncio.to_thread(connection.recv, 1) == b""
        connection.close()
        (await meet(options)).close()

    run(scenario)


def test_descriptors_that_are_no_sockets_are_closed() -> None:
    async def scenario(_old: OldProcess, _gate: SuccessorGate, options: Options) -> None:
        connection = names.connect_place(options, options.base_id, 0, 5)
        reading, writing = os.pipe()
        ours, peer = socket.socketpair()
        with ours, peer:
            socket.send_fds(connection, [b"nonsense"], [ours.fileno(), writing, ours.fileno(), writing])
            os.close(writing)
            assert await asyncio.to_thread(connection.recv, 1) == b""
            # The end of both comes only when nobody holds the other side any more.
            ours.close()
            peer.settimeout(5)
            assert await asyncio.to_thread(peer.recv, 1) == b""
            assert await asyncio.wait_for(asyncio.to_thread(os.read, reading, 1), 5) == b""
        os.close(reading)
        connection.close()
        (await meet(options)).close()

    run(scenario)


def test_another_user_is_sent_away_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(_old: OldProcess, _gate: SuccessorGate, options: Options) -> None:
        connection = names.connect_place(options, options.base_id, 0, 5)
        monkeypatch.setattr(successor.names, "peer_user", lambda _connection: os.geteuid() + 1)
        assert await asyncio.to_thread(connection.recv, 1) == b""
        connection.close()

    assert run(scenario).asked == []


def test_a_place_of_another_user_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    options = options_of(1)
    waiting = names.bind_place(options, options.base_id, 0)
    monkeypatch.setattr(names, "peer_user", lambda _connection: os.geteuid() + 1)
    with pytest.raises(NoParentError, match="it belongs to another user"):
        Predecessor.meet(options, options.base_id)
    waiting.close()


def test_without_a_process_before_the_error_says_what_to_do() -> None:
    options = options_of(2)
    with pytest.raises(
        NoParentError, match="--restart-epoch=2 takes over from the process of epoch 1"
    ) as error:
        Predecessor.meet(options, options.base_id)
    assert "start with --restart-epoch 0 if none runs" in str(error.value)


def test_a_socket_in_the_file_system_has_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    options = options_of(0, "--socket-path", str(tmp_path / "hot"), "--socket-mode", "0640")
    names.bind_place(options, 3, 0).close()
    # What a dead process has left behind is no obstacle; a living one is.
    waiting = names.bind_place(options, 3, 0)
    (file,) = tmp_path.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("hot_outrider_3_0", 0o640)
    with pytest.raises(OSError, match="Address already in use"):
        names.bind_place(options, 3, 0)
    names.release_place(options, 3, 0)
    assert not list(tmp_path.iterdir())
    waiting.close()


def test_a_path_that_no_socket_can_have_is_refused() -> None:
    options = options_of(0, "--socket-path", "/" + "x" * 120)
    with pytest.raises(UsageError, match="too long for a unix socket"):
        names.bind_place(options, 3, 0)


def test_sockets_that_are_missing_are_bound_beside_those_that_came() -> None:
    where, sockets = listening(1)
    inherited = InheritedSockets()
    inherited.add(key_of(where), sockets)
    mine = inherited.open("web", where, 3)
    assert mine[0] is sockets[0]
    assert len({one.fileno() for one in mine}) == 3
    assert len({one.getsockname() for one in mine}) == 1
    start_listening("web", where, mine)
    close(*mine)
    # They are given once.
    again = inherited.open("web", where, 2)
    assert len(again) == 2
    close(*again)


def test_workers_share_a_unix_socket_that_came(tmp_path: Path) -> None:
    where = ListenAddress(Address(path=str(tmp_path / "a")))
    inherited = InheritedSockets()
    inherited.add(key_of(where), open_sockets("web", where, 1))
    mine = inherited.open("web", where, 2)
    assert [one.getsockname() for one in mine] == [str(tmp_path / "a")] * 2
    close(*mine)
    inherited.close()


def test_who_asks_for_no_hot_restart_does_without_where_another_has_the_base_id(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    number = next(_NUMBERS)
    monkeypatch.setattr(names, "place_of", lambda *_: f"@outrider_test_{number}")
    _base_id, first = restart.begin(parse([]))
    assert first is not None
    assert restart.begin(parse([])) == (0, None)
    assert "hot restart is off, because another process has the base id" in caplog.text
    with pytest.raises(UsageError, match=r"unable to bind domain socket with base_id=0, id=0, errno=98"):
        restart.begin(parse(["--restart-epoch", "0"]))
    asyncio.run(first.close())


def test_a_missing_process_before_may_be_ignored(caplog: pytest.LogCaptureFixture) -> None:
    options = options_of(2)
    with pytest.raises(NoParentError):
        restart.begin(options)
    options.skip_hot_restart_on_no_parent = True
    _base_id, made = restart.begin(options)
    assert made is not None
    assert "starting without, as --skip-hot-restart-on-no-parent says" in caplog.text
    asyncio.run(made.close())


def test_a_dynamic_base_id_is_free() -> None:
    options = parse(["--use-dynamic-base-id"])
    made = [restart.begin(options) for _ in range(3)]
    assert len({base_id for base_id, _restart in made}) == 3
    for _base_id, one in made:
        assert one is not None
        asyncio.run(one.close())
