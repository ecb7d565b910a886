"""The proxies under test: Outrider, Envoy and others, each as a pinned child with the same work to do."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.load.children import Process, cpus, pinned, status, wait_until
from bench.load.envoy_binary import envoy_binary
from bench.load.ports import free_port

NAMES: Final = ("envoy", "outrider")


class Launch(msgspec.Struct, frozen=True):
    """How a proxy is started; `environment` is on top of ours."""

    command: Sequence[str]
    environment: Mapping[str, str] = {}


#: Port, admin port and a directory of its own → how to start it.
Launcher = Callable[[int, int, Path], Launch]


def envoy_like(name: str, make_config: Callable[[int, int], str], workers: int = 1) -> Launcher:
    """Outrider or Envoy with a bootstrap; `make_config` gets the listener's and the admin's port."""

    def launch(port: int, admin_port: int, directory: Path) -> Launch:
        config = directory / "config.yaml"
        config.write_text(make_config(port, admin_port), encoding="utf-8")
        program = [envoy_binary()]
        if name != "envoy":
            # What an earlier run has kept must not be found.
            program = [sys.executable, "-m", "proxy", "--state-dir", str(directory)]
        return Launch(
            [
                *(*program, "-c", str(config), "--concurrency", str(workers)),
                *("--disable-hot-restart", "-l", "error", "--drain-time-s", "1"),
            ]
        )

    return launch


class Probe(msgspec.Struct, frozen=True):
    """The GET that tells that a proxy is ready: by the status that comes back."""

    host: str = "a"
    ready: int = 200
    tls: ssl.SSLContext | None = None
    name: str = "127.0.0.1"
    path: str = "/"


class Subject:
    """One running proxy. `seconds_to_answer` runs from the start of the process to the answer to the probe."""

    def __init__(self, name: str, launcher: Launcher, probe: Probe, cpu_set: set[int] | None = None) -> None:
        self.name = name
        self.port, self.admin_port = free_port(), free_port()
        self._directory = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        launch = launcher(self.port, self.admin_port, self._directory)
        started = time.monotonic()
        with pinned(cpu_set or cpus()[0]):
            self._process = Process(
                launch.command, self._directory / "log.txt", environment=launch.environment
            )
        self.pid = self._process.pid
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self.close)
            wait_until(lambda: self._answers(probe), self._process)
            cleanup.pop_all()
        self.seconds_to_answer = time.monotonic() - started

    def _answers(self, probe: Probe) -> bool:
        return status(self.port, probe.path, probe.host, probe.tls, probe.name) == probe.ready

    def check(self) -> None:
        """RuntimeError if the proxy has ended."""
        self._process.check()

    def stat(self, name: str) -> int:
        """A counter or gauge of Outrider or Envoy by its name."""
        url = f"http://127.0.0.1:{self.admin_port}/stats?filter=^{name}$"
        with urllib.request.urlopen(url, timeout=10) as response:
            return int(response.read().rpartition(b": ")[2])

    def close(self) -> None:
        """End it and remove its files."""
        self._process.close()
        shutil.rmtree(self._directory, ignore_errors=True)
