"""`outrider run` and `outrider wait`: the order of a proxy and the app beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from tests.support.configs import bootstrap, listener, typed
from tests.support.outrider import Outrider
from tests.support.ports import free_port
from tests.support.template import render

ECHO = {"name": "echo", "typed_config": typed("envoy.extensions.filters.network.echo.v3.Echo")}
CONFIG = bootstrap([listener([ECHO])])
OUTRIDER = [sys.executable, "-m", "proxy"]
ENVIRONMENT = {**os.environ, **Outrider.environment()}


class Running:
    """`outrider run` with the echo config; `say` is what the app runs (a shell script)."""

    def __init__(self, directory: Path, script: str, *flags: str) -> None:
        self.directory = directory
        self.port, self.admin = free_port(), free_port()
        config = directory / "config.yaml"
        config.write_text(render(CONFIG, {"admin_port": self.admin, "listener_port": self.port}))
        self.errors = directory / "stderr.txt"
        with self.errors.open("wb") as log:
            self.process = subprocess.Popen(
                [*OUTRIDER, "run", "-c", str(config), "--concurrency", "1", *flags, "--", "sh", "-c", script],
                stdout=log,
                stderr=log,
                env={**ENVIRONMENT, "DIR": str(directory), "ADMIN": str(self.admin)},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def log(self) -> str:
        return self.errors.read_text()

    def until(self, what: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def until_file(self, name: str) -> Path:
        path = self.directory / name
        self.until(path.exists)
        return path

    def proxy_pid(self) -> int:
        """Of the controller: the child of the command that is not the app."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(int(one) for one in children if b"proxy" in Path(f"/proc/{one}/cmdline").read_bytes())


@contextlib.contextmanager
def held(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"ping")
        assert connection.recv(4) == b"ping"
        yield connection


def ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_the_app_finds_a_ready_proxy_and_its_end_ends_the_proxy_in_spite_of_idle_connections(
    tmp_path: Path,
) -> None:
    app = (
        f"{sys.executable} -m proxy wait --timeout 0 --port $ADMIN && touch $DIR/up; read x < $DIR/go; exit 7"
    )
    os.mkfifo(tmp_path / "go")
    with Running(tmp_path, app) as run:
        run.until_file("up")
        proxy = run.proxy_pid()
        with held(run.port):
            began = time.monotonic()
            (tmp_path / "go").write_text("\n")
            assert run.process.wait(10) == 7
            assert time.monotonic() - began < 2
        assert ended(proxy)


def test_signals_reach_the_app_and_the_proxy_serves_until_its_end(tmp_path: Path) -> None:
    app = (
        "trap 'touch $DIR/hup' HUP; trap 'touch $DIR/usr1' USR1; trap 'touch $DIR/term' TERM; touch $DIR/up; "
        "until [ -e $DIR/end ]; do sleep 0.02; done; kill -KILL $$"
    )
    with Running(tmp_path, app) as run:
        run.until_file("up")
        for number, name in ((signal.SIGHUP, "hup"), (signal.SIGUSR1, "usr1"), (signal.SIGTERM, "term")):
            run.process.send_signal(number)
            run.until_file(name)
        with held(run.port):
            (tmp_path / "end").touch()
            assert run.process.wait(10) == 128 + signal.SIGKILL


def test_a_proxy_that_dies_ends_the_app_and_is_told(tmp_path: Path) -> None:
    with Running(tmp_path, "touch $DIR/up; exec sleep 60") as run:
        run.until_file("up")
        os.kill(run.proxy_pid(), signal.SIGKILL)
        assert run.process.wait(10) == 128 + signal.SIGTERM
        assert "outrider run: the proxy died with status 137; ending the app with SIGTERM" in run.log()


def test_a_proxy_that_was_asked_to_end_leaves_the_app_alone(tmp_path: Path) -> None:
    with Running(tmp_path, "touch $DIR/up; until [ -e $DIR/end ]; do sleep 0.02; done; exit 3") as run:
        run.until_file("up")
        proxy = run.proxy_pid()
        os.kill(proxy, signal.SIGTERM)
        run.until(lambda: "the app goes on without it" in run.log())
        assert ended(proxy)
        (tmp_path / "end").touch()
        assert run.process.wait(10) == 3


def test_without_the_parent_the_proxy_does_not_stay(tmp_path: Path) -> None:
    with Running(tmp_path, "touch $DIR/up; exec sleep 60") as run:
        run.until_file("up")
        proxy = run.proxy_pid()
        run.process.kill()
        run.until(lambda: ended(proxy))


def outrider(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [*OUTRIDER, *words], capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False
    )
    return done.returncode, done.stderr


def test_a_job_without_a_config_ends_with_its_app() -> None:
    assert outrider("run", "-l", "error", "--", "true") == (
        0,
        "outrider run: neither -c nor /etc/outrider/envoy.yaml: the proxy has no listener\n",
    )


def test_an_app_that_cannot_be_run_is_told_by_status_and_one_line(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("data")
    assert outrider("run", "--", "no-such-app") == (
        127,
        "outrider run: no-such-app: not found; the proxy was not started\n",
    )
    assert outrider("run", "--", str(plain)) == (
        126,
        f"outrider run: {plain}: is not an executable file; the proxy was not started\n",
    )
    assert outrider("run", "-l", "off") == (
        1,
        "outrider run: no app is given; write it after --: outrider run -c envoy.yaml -- app\n",
    )


def test_an_app_is_not_started_beside_a_proxy_that_cannot_start(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("static_resources: {listeners: 5}\n")
    status, text = outrider("run", "-c", str(bad), "--", "touch", str(tmp_path / "started"))
    assert status == 1
    assert text.endswith("outrider run: the proxy ended with status 1 before it was ready; see above\n")
    assert not (tmp_path / "started").exists()


def test_waiting_in_vain_names_what_is_missing() -> None:
    with Outrider(CONFIG) as proxy:
        assert outrider("wait", "--port", str(proxy.admin_port)) == (0, "")
        assert proxy.admin("/healthcheck/fail", method="POST")[0] == 200
        place = f"127.0.0.1:{proxy.admin_port}"
        assert outrider("wait", "--timeout", "0.1", "--admin", place) == (
            1,
            f"outrider wait: {place} is not ready after 0.1 s: the state is DRAINING\n",
        )
