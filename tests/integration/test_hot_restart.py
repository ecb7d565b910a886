"""Hot restarts as an operator does them: under load, by a script, and when something goes wrong on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from proxy.app.command_line import parse
from proxy.app.hot_restart import names
from proxy.app.hot_restart.messages import VERSION, Hello, encode
from tests.support.configs import address, http_proxy, listener, typed
from tests.support.outrider import ROOT, Outrider
from tests.support.ports import free_port
from tests.support.proxy_process import StartError
from tests.support.steady_load import SteadyLoad

ANSWER = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
CONFIG = http_proxy(routes=[ANSWER], clusters=[])
ECHO = {"name": "echo", "typed_config": typed("envoy.extensions.filters.network.echo.v3.Echo")}
SECONDS = 20.0
#: 4 in the suite; 20 were run once, see docs/architecture.md.
RESTARTS = int(os.environ.get("OUTRIDER_TEST_RESTARTS", "4"))


class Epoch(Outrider):
    """A process of a row; ready when it, and not the one before it, answers."""

    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["-l", "info"]

    def wait_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            super().wait_ready(timeout)
            options = json.loads(self.admin("/server_info")[1])["command_line_options"]
            if str(options.get("restart_epoch", 0)) == self.epoch and self.admin("/ready")[0] == 200:
                return
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise StartError(f"epoch {self.epoch} does not take over:\n{self.log()[-4000:]}")
            time.sleep(0.02)

    @property
    def epoch(self) -> str:
        words = [str(word) for word in self.process.args]  # type: ignore[union-attr]
        return words[words.index("--restart-epoch") + 1]


class Row:
    """Processes with one base id, one config and the same ports."""

    def __init__(self, stack: ExitStack, config: Any = CONFIG) -> None:
        self._stack = stack
        self._config = config
        self.base_id = free_port()
        self.values: dict[str, str | int] = {"admin_port": free_port(), "listener_port": free_port()}
        self.epochs: list[Epoch] = []

    @property
    def port(self) -> int:
        return int(self.values["listener_port"])

    @property
    def last(self) -> Epoch:
        return self.epochs[-1]

    def start(
        self, *, config: Any = None, concurrency: int = 1, seconds: int = 8, wait: bool = True
    ) -> Epoch:
        flags = {
            "--restart-epoch": len(self.epochs),
            "--base-id": self.base_id,
            "--concurrency": concurrency,
            "--drain-time-s": 1,
            "--parent-shutdown-time-s": seconds,
        }
        arguments = [str(word) for flag in flags.items() for word in flag]
        made = Epoch(config or self._config, values=self.values, arguments=arguments, wait=wait)
        self._stack.callback(made.close)
        if wait:
            self.epochs.append(made)
        return made


@pytest.fixture
def row() -> Iterator[Row]:
    with ExitStack() as stack:
        yield Row(stack)


def eventually(condition: Callable[[], object], seconds: float = SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := connection.recv(4096):
            answer += data
    return answer


def requests_of(epoch: Epoch) -> int:
    return epoch.stats("http.ingress.")["http.ingress.downstream_rq_total"]


def test_restarts_under_load_lose_nothing_and_count_on(row: Row) -> None:
    """Also with another number of workers each time: what waits in sockets that are too many is accepted."""
    row.start(concurrency=1)
    with SteadyLoad(row.port) as load:
        for restart in range(RESTARTS):
            before = load.requests
            assert eventually(lambda before=before: load.requests > before + 50)  # type: ignore[misc]
            row.start(concurrency=(3, 1, 2)[restart % 3])
            assert row.epochs[-2].process.wait(SECONDS) == 0
        before = load.requests
        assert eventually(lambda: load.requests > before + 50)
    print(f"{RESTARTS} restarts: answered {dict(load.answered)}, failed {dict(load.failed)}")  # noqa: T201
    assert load.failed == {}
    assert load.answered["told to close"] >= 4 * RESTARTS
    assert load.answered["goaway"] >= 2 * RESTARTS
    assert requests_of(row.last) == load.requests
    stats = row.last.stats("server.")
    assert stats["server.hot_restart_epoch"] == RESTARTS
    assert stats["server.hot_restart_generation"] == RESTARTS + 1
    assert stats["server.parent_connections"] == 0
    assert not any("Traceback" in epoch.log() for epoch in row.epochs)


def test_open_connections_stay_with_the_old_process_until_its_time_is_over(row: Row) -> None:
    config = http_proxy(clusters=[], routes=[ANSWER])
    config["static_resources"]["listeners"].append(
        {**listener([ECHO]), "name": "echo", "address": address("{{echo_port}}")}
    )
    row.values["echo_port"] = free_port()
    old = row.start(config=config)
    # One that is lost before it has the admin server must not leave a second one behind.
    stranger = names.connect_place(parse([]), row.base_id, 0, SECONDS)
    stranger.send(encode(Hello(VERSION, 1)))
    assert stranger.recv(4096)
    stranger.close()
    assert eventually(lambda: "this process goes on" in old.log())
    with socket.create_connection(("127.0.0.1", int(row.values["echo_port"])), timeout=SECONDS) as held:
        held.sendall(b"one")
        assert held.recv(3) == b"one"
        row.start(config=config, seconds=2)
        assert row.last.stats("server.")["server.parent_connections"] == 1
        assert {row.last.stats("server.")["server.hot_restart_epoch"] for _ in range(20)} == {1}
        held.sendall(b"two")
        assert held.recv(3) == b"two"
        assert old.process.poll() is None
        assert held.recv(1) == b""
    assert old.process.wait(SECONDS) == 0
    assert "the drain time of 2 s is over" in old.log()
    assert row.last.stats("server.")["server.parent_connections"] == 0


def test_a_listener_that_is_gone_refuses_and_a_new_one_serves(row: Row) -> None:
    row.start()
    gone, row.values["listener_port"] = row.port, free_port()
    row.start()
    assert ask(row.port).startswith(b"HTTP/1.1 200")

    def refused() -> bool:
        try:
            ask(gone)
        except OSError:
            return True
        return False

    assert eventually(refused)


def test_a_successor_that_fails_leaves_everything_to_the_old_process(row: Row) -> None:
    old = row.start()
    broken = row.start(config=http_proxy(routes=[{"match": {}}], clusters=[]), wait=False)
    assert broken.process.wait(SECONDS) == 1
    assert eventually(lambda: "this process goes on" in old.log())
    assert old.admin("/ready") == (200, "LIVE\n")
    assert ask(row.port).startswith(b"HTTP/1.1 200")
    row.start()
    assert old.process.wait(SECONDS) == 0
    assert ask(row.port).startswith(b"HTTP/1.1 200")
    assert requests_of(row.last) == 2


def test_a_predecessor_that_is_killed_on_the_way_does_not_stop_the_new_process(row: Row) -> None:
    old = row.start()
    new = row.start(wait=False)
    assert eventually(lambda: "begins to take over" in old.log())
    old.kill()
    row.epochs.append(new)
    new.wait_ready(SECONDS)
    assert ask(row.port).startswith(b"HTTP/1.1 200")


def test_what_cannot_be_is_refused_in_plain_words(row: Row) -> None:
    def refusal(*flags: str) -> str:
        command = [sys.executable, "-m", "proxy", "-c", str(row.epochs[0].config_path), "--concurrency", "1"]
        done = subprocess.run(
            [*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    row.start()
    mine = ("--base-id", str(row.base_id))
    assert f"unable to bind domain socket with base_id={row.base_id}, id=0, errno=98" in refusal(*mine)
    assert "takes over from the process of epoch 1" in refusal(*mine, "--restart-epoch", "2")
    assert ask(row.port).startswith(b"HTTP/1.1 200")


RESTARTER = """
import os, signal, sys, time
epoch, children = 0, []
def start(*_):
    global epoch
    os.environ["RESTART_EPOCH"] = str(epoch)
    epoch += 1
    child = os.fork()
    if child == 0:
        os.execl(sys.argv[1], sys.argv[1])
    children.append(child)
def tell(*_):
    for child in children:
        os.kill(child, signal.SIGUSR1)
def reap(*_):
    for child in list(children):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            children.remove(child)
            print("ended", os.waitstatus_to_exitcode(status), flush=True)
            if status or not children:
                os._exit(1 if status else 0)
def stop(*_):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in children:
        os.kill(child, signal.SIGTERM)
    print("stopped", *[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children], flush=True)
    os._exit(0)
for number, handler in ((1, start), (10, tell), (15, stop), (17, reap)):
    signal.signal(number, handler)
start()
while True:
    time.sleep(60)
"""


def test_a_restarter_that_forks_on_sighup_works(row: Row, tmp_path: Path) -> None:
    """The signals and environment of Envoy's hot-restarter.py."""
    first = row.start(wait=False)  # it only renders the config
    first.kill()
    config = tmp_path / "config.yaml"
    config.write_text(first.config_path.read_text())
    start = tmp_path / "start.sh"
    start.write_text(
        f"#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m proxy -c {config} --restart-epoch $RESTART_EPOCH "
        f"--base-id {row.base_id} --concurrency 1 --drain-time-s 1 --parent-shutdown-time-s 8\n"
    )
    start.chmod(0o755)
    log = tmp_path / "log"
    with log.open("w") as log_file:
        restarter = subprocess.Popen(
            [sys.executable, "-c", RESTARTER, str(start)],
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            env={**os.environ, **Outrider.environment()},
        )
    assert restarter.stdout is not None

    def epoch() -> int:
        try:
            return first.stats("server.hot_restart_epoch").get("server.hot_restart_epoch", -1)
        except OSError:
            return -1

    def alive() -> bool:
        return epoch() >= 0 and first.admin("/ready")[0] == 200

    try:
        assert eventually(alive)
        with SteadyLoad(row.port, keeping=2, connecting=1, http2=1) as load:
            restarter.send_signal(signal.SIGUSR1)
            assert eventually(lambda: "caught SIGUSR1. Reopening access logs." in log.read_text())
            restarter.send_signal(signal.SIGHUP)
            assert restarter.stdout.readline() == "ended 0\n"
            assert eventually(lambda: epoch() == 1)
        assert load.failed == {}
        assert load.requests > 0
        restarter.send_signal(signal.SIGTERM)
        assert restarter.stdout.readline() == "stopped 0\n"
        assert restarter.wait(SECONDS) == 0
    finally:
        restarter.kill()
        restarter.wait()
        restarter.stdout.close()
