"""A hot restart as a client and an operator see it, of Envoy and of Outrider."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.configs import http_proxy
from tests.support.envoy import Envoy
from tests.support.outrider import ROOT, Outrider, subject
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess

ANSWER = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
# Not compared: counters go on in Outrider; Envoy hands over only what came since its last flush.
CONFIG = http_proxy(routes=[ANSWER], clusters=[], stats_flush_interval="0.2s")
SECONDS = 20.0


class HotEnvoy(Envoy):
    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["-l", "info"]


class HotOutrider(Outrider):
    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["-l", "info"]


class Row:
    """Two epochs of one program; `facts` is what is compared."""

    def __init__(self, kind: type[ProxyProcess]) -> None:
        self.kind = kind
        self.base_id = free_port()
        self.values: dict[str, str | int] = {"admin_port": free_port(), "listener_port": free_port()}
        self.facts: dict[str, Any] = {}

    def start(self, epoch: int, *flags: str) -> ProxyProcess:
        shared = ["--base-id", str(self.base_id), "--concurrency", "1", "--parent-shutdown-time-s", "3"]
        return self.kind(
            CONFIG, values=self.values, arguments=[*shared, "--restart-epoch", str(epoch), *flags]
        )

    def run(self, *flags: str) -> tuple[int, str]:
        """What a process ends with that cannot start, and what it says."""
        command = [*self.kind.command(), "-c", "/dev/null", *self.kind.default_arguments(), *flags]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=60, check=False, cwd=ROOT
        )
        return done.returncode, done.stdout + done.stderr


def _get(kept: http.client.HTTPConnection) -> tuple[int, str | None]:
    kept.request("GET", "/")
    response = kept.getresponse()
    response.read()
    return response.status, response.getheader("connection")


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _restart_epoch(proxy: ProxyProcess) -> int:
    try:
        return proxy.stats("server.").get("server.hot_restart_epoch", -1)
    except (OSError, http.client.HTTPException):
        # Envoy's old process resets who comes while it gives up its admin address.
        return -1


def _play(row: Row, strategy: str) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    port = int(row.values["listener_port"])
    names = ("server.hot_restart_epoch", "server.hot_restart_generation", "server.live", "server.state")
    with ExitStack() as stack:
        old = stack.enter_context(row.start(0, "--drain-strategy", strategy))
        before = old.stats()
        facts["before"] = [before.get(name) for name in names]
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        stack.callback(kept.close)
        facts["first"] = [_get(kept) for _ in range(3)]
        new = stack.enter_context(row.start(1))
        _until(lambda: _restart_epoch(new) == 1 and new.admin("/ready")[0] == 200)
        _until(lambda: new.stats("server.")["server.parent_connections"] == 1)
        after = new.stats()
        facts["after"] = [after.get(name) for name in names]
        facts["on the old connection"] = _get(kept)
        kept.close()
        fresh = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        facts["on a new connection"] = _get(fresh)
        fresh.close()
        info = json.loads(new.admin("/server_info")[1])
        options = info["command_line_options"]
        version = new.admin("/hot_restart_version")[1]
        facts["info"] = {
            name: options.get(name)
            for name in (
                "restart_epoch", "disable_hot_restart", "parent_shutdown_time", "drain_strategy", "socket_path",
                "socket_mode", "skip_hot_restart_on_no_parent", "skip_hot_restart_parent_stats",
            )
        }  # fmt: skip
        facts["base id is shown"] = options["base_id"] == str(row.base_id)
        facts["one version"] = len({version, info["hot_restart_version"]})
        facts["it is what the flag prints"] = row.run("--hot-restart-version")[1].strip() == version
        facts["uptime of all"] = int(info["uptime_all_epochs"][:-1]) >= int(info["uptime_current_epoch"][:-1])
        taken, text = row.run("--base-id", str(row.base_id), "--restart-epoch", "1")
        facts["a base id in use"] = taken, "unable to bind domain socket with base_id=" in text
        facts["advice"] = "errno=98 (see --base-id option)" in text
        facts["the old one ends with"] = old.process.wait(SECONDS)
        _until(lambda: new.stats("server.")["server.parent_connections"] == 0)
        facts["the new one ends with"] = new.stop()
    facts["disabled"] = row.run("--hot-restart-version", "--disable-hot-restart")[1].strip()
    status, text = row.run("--restart-epoch", "1", "--use-dynamic-base-id")
    facts["dynamic"] = status, re.findall("cannot use --restart-epoch=1 with --use-dynamic-base-id", text)[:1]
    facts["without a parent"] = row.run("--restart-epoch", "1", "--base-id", str(free_port()))[0] != 0
    return facts


@pytest.mark.parametrize("strategy", ["immediate", "gradual"])
def test_a_hot_restart_shows_what_envoys_shows(strategy: str) -> None:
    ours: type[ProxyProcess] = HotOutrider if subject() is Outrider else HotEnvoy
    with ThreadPoolExecutor(2) as pool:
        envoy, outrider = pool.map(lambda kind: _play(Row(kind), strategy), (HotEnvoy, ours))
    assert outrider == envoy
