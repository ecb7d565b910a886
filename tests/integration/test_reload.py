"""SIGHUP and a changed file: the static part of a bootstrap changes whole or not at all."""

from __future__ import annotations

import copy
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import get
from tests.support.configs import address, bootstrap, cluster, listener, typed
from tests.support.origin import Origin
from tests.support.outrider import Outrider
from tests.support.ports import free_port
from tests.support.template import render

ECHO = {"name": "echo", "typed_config": typed("envoy.extensions.filters.network.echo.v3.Echo")}


def said(text: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode()


def manager(name: str, *, body: str = "", cluster: str = "") -> dict[str, Any]:
    """A filter chain that answers with `body` or sends to `cluster`."""
    action: dict[str, Any] = (
        {"route": {"cluster": cluster}}
        if cluster
        else {"direct_response": {"status": 200, "body": {"inline_string": body}}}
    )
    return {
        "name": "hcm",
        "typed_config": typed(
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix=name,
            route_config={
                "virtual_hosts": [
                    {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}
                ]
            },
            http_filters=[
                {"name": "router", "typed_config": typed("envoy.extensions.filters.http.router.v3.Router")}
            ],
        ),
    }


class Reloaded(Outrider):
    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", "2", "-l", "info", "--file-flush-interval-msec", "20"]

    tree: dict[str, Any]

    def write(self, tree: dict[str, Any]) -> None:
        """Rename over, as an editor does."""
        new = self.config_path.with_suffix(".new")
        new.write_text(render(tree, self.values))
        os.replace(new, self.config_path)

    def until(self, what: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def reload(self, tree: dict[str, Any] | None = None) -> str:
        """SIGHUP; what was logged until it was done."""
        before = len(self.log())
        if tree is not None:
            self.write(tree)
        self.signal(signal.SIGHUP)
        self.until(lambda: "reloaded: " in self.log()[before:])
        return self.log()[before:]


@pytest.fixture
def origins() -> Iterator[tuple[Origin, Origin]]:
    with Origin(said("one")) as one, Origin(said("two")) as two:
        yield one, two


def body(port: int) -> bytes:
    return get(port).response.body


def test_what_changed_changes_and_the_rest_lives_on(origins: tuple[Origin, Origin]) -> None:
    one, two = origins
    echo = listener([ECHO], name="echo", address=address("{{echo_port}}"))
    web = listener([manager("web", cluster="web")], name="web", address=address("{{web_port}}"))
    tree = bootstrap([echo, web], [cluster("web", one.port)])
    with Reloaded(tree, listeners=["echo", "web", "late"]) as proxy:
        assert body(proxy.ports["web"]) == b"one"
        with socket.create_connection(("127.0.0.1", proxy.ports["echo"]), timeout=5) as held:
            held.sendall(b"a")
            assert held.recv(1) == b"a"

            changed = copy.deepcopy(tree)
            late = listener([manager("late", cluster="late")], name="late", address=address("{{late_port}}"))
            changed["static_resources"]["listeners"].append(late)
            changed["static_resources"]["clusters"] = [cluster("web", two.port), cluster("late", one.port)]
            log = proxy.reload(changed)
            assert "clusters 1 added, 1 changed, 0 removed; listeners 1 added, 0 changed, 0 removed" in log
            proxy.until(lambda: body(proxy.ports["web"]) == b"two")
            proxy.until(lambda: _answers(proxy.ports["late"]))
            assert body(proxy.ports["late"]) == b"one"
            held.sendall(b"b")
            assert held.recv(1) == b"b"

            again = proxy.reload()
            assert "clusters 0 added, 0 changed, 0 removed; listeners 0 added, 0 changed, 0 removed" in again

            fewer = copy.deepcopy(tree)
            fewer["static_resources"]["listeners"] = [echo]
            fewer["static_resources"]["clusters"] = []
            assert (
                "clusters 0 added, 0 changed, 2 removed; listeners 0 added, 0 changed, 2 removed"
                in proxy.reload(fewer)
            )
            proxy.until(lambda: not _answers(proxy.ports["web"]))
            held.sendall(b"c")
            assert held.recv(1) == b"c"
            names = [entry["name"] for entry in _static(proxy, "listeners")]
            assert names == ["echo"]


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _static(proxy: Outrider, kind: str) -> list[dict[str, Any]]:
    dump = next(one for one in proxy.config_dump()["configs"] if one["@type"].endswith("BootstrapConfigDump"))
    found: list[dict[str, Any]] = dump["bootstrap"]["static_resources"][kind]
    return found


def test_a_bad_file_changes_nothing_and_is_told_with_its_places() -> None:
    web = listener([manager("web", body="old")], name="web", address=address("{{web_port}}"))
    with Reloaded(bootstrap([web]), listeners=["web", "late"]) as proxy, socket.socket() as taken:
        path = str(proxy.config_path)
        late = listener([manager("late", body="late")], name="late", address=address("{{late_port}}"))

        bad = bootstrap(
            [listener([manager("web", cluster="none")], name="web", address=address("{{web_port}}")), late]
        )
        log = proxy.reload(bad)
        assert f"{path}:" in log
        assert "unknown cluster 'none'" in log
        assert "the former configuration stays in force" in log

        proxy.config_path.write_text("static_resources: [")
        assert "YAML syntax" in proxy.reload()

        restart = bootstrap([late])
        restart["node"] = {"id": "other"}
        restart["admin"]["address"]["socket_address"]["port_value"] = free_port()
        log = proxy.reload(restart)
        assert (
            "admin.address.socket_address.port_value: cannot change while the proxy runs; restart it" in log
        )
        assert "node.id: cannot change while the proxy runs; restart it" in log
        assert f"{path}:" in log

        # What only the machine can refuse is found before anything has changed.
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other = listener([manager("late", body="x")], name="x", address=address(taken.getsockname()[1]))
        log = proxy.reload(bootstrap([late, other]))
        assert "configuration not reloaded" in log
        assert str(taken.getsockname()[1]) in log

        assert body(proxy.ports["web"]) == b"old"
        assert not _answers(proxy.ports["late"])
        assert "listeners 1 added, 1 changed" in proxy.reload(
            bootstrap(
                [listener([manager("web", body="new")], name="web", address=address("{{web_port}}")), late]
            )
        )
        proxy.until(lambda: body(proxy.ports["web"]) == b"new" and _answers(proxy.ports["late"]))


def test_a_watched_file_is_read_when_it_has_changed() -> None:
    def tree(text: str) -> dict[str, Any]:
        return bootstrap([listener([manager("web", body=text)], name="web", address=address("{{web_port}}"))])

    with Reloaded(tree("old"), listeners=["web"], arguments=["--watch-config"]) as proxy:
        assert body(proxy.ports["web"]) == b"old"
        proxy.write(tree("new"))
        proxy.until(lambda: body(proxy.ports["web"]) == b"new")
        assert "has changed" in proxy.log()


def children(process: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_workers_that_come_later_have_what_a_reload_brought() -> None:
    def tree(text: str) -> dict[str, Any]:
        return bootstrap([listener([manager("web", body=text)], name="web", address=address("{{web_port}}"))])

    with Reloaded(tree("old"), listeners=["web"]) as proxy:
        proxy.reload(tree("new"))
        proxy.until(lambda: body(proxy.ports["web"]) == b"new")
        assert proxy.stats("listener_manager.")["listener_manager.listener_modified"] == 1
        workers = [worker for server in children(proxy.pid) for worker in children(server)]
        assert len(workers) == 2
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        proxy.until(lambda: proxy.stats("server.")["server.worker_restarted"] == 2)
        assert body(proxy.ports["web"]) == b"new"


def test_connections_of_a_filter_chain_that_stays_live_on() -> None:
    def tree(answer: str) -> dict[str, Any]:
        direct = typed(
            "envoy.extensions.filters.network.direct_response.v3.Config", response={"inline_string": answer}
        )
        inspector = typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector")
        chains = [
            {"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": [ECHO]},
            {
                "filter_chain_match": {"transport_protocol": "tls"},
                "filters": [{"name": "direct", "typed_config": direct}],
            },
        ]
        one = listener([ECHO], listener_filters=[{"name": "tls", "typed_config": inspector}])
        return bootstrap([{**one, "filter_chains": chains}])

    with (
        Reloaded(tree("old")) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as held,
    ):
        held.sendall(b"before")
        assert held.recv(6) == b"before"
        assert "listeners 0 added, 1 changed, 0 removed" in proxy.reload(tree("new"))
        proxy.until(
            lambda: proxy.stats("listener_manager.")["listener_manager.listener_in_place_updated"] == 1
        )
        held.sendall(b"after")
        assert held.recv(5) == b"after"
