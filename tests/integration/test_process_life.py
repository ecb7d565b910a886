"""Starting, stopping and draining, as an operator or a service manager does it."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.configs import address, bootstrap, http_proxy, listener, typed
from tests.support.outrider import ROOT, Outrider
from tests.support.ports import free_port
from tests.support.proxy_process import StartError

ECHO = {"name": "echo", "typed_config": typed("envoy.extensions.filters.network.echo.v3.Echo")}
CONFIG = bootstrap([listener([ECHO])])


class TwoWorkers(Outrider):
    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", "2", "-l", "info"]


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.sendall(b"ping")
    assert connection.recv(4) == b"ping"
    return connection


def closed_at_once(port: int) -> bool:
    """Whether a connection is accepted and closed without a byte."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        # It came in the very moment in which the socket was shut.
        return False
    return False


def wait_for(proxy: Outrider, text: str, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while text not in proxy.log():
        assert time.monotonic() < deadline, proxy.log()
        time.sleep(0.01)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_it_starts_answers_ready_and_ends_cleanly() -> None:
    with Outrider(CONFIG) as proxy:
        assert proxy.admin("/ready") == (200, "LIVE\n")
        connect(proxy.port).close()
        assert proxy.stop() == 0
        log = proxy.log()
    assert "all clusters initialized. initializing init manager" in log
    assert "starting main dispatch loop" in log
    assert "Traceback" not in log


def test_init_only_ends_by_itself() -> None:
    with Outrider(CONFIG, arguments=["--mode", "init_only"], wait=False) as proxy:
        assert proxy.process.wait(10) == 0


def test_a_gradual_drain_goes_on_accepting_and_ends_with_the_last_connection() -> None:
    with Outrider(CONFIG) as proxy:
        held = connect(proxy.port)
        proxy.signal(signal.SIGTERM)
        wait_for(proxy, "draining (gradual")
        assert proxy.admin("/ready")[0] == 503
        connect(proxy.port).close()
        held.sendall(b"more")
        assert held.recv(4) == b"more"
        assert proxy.process.poll() is None
        held.close()
        assert proxy.process.wait(5) == 0


def test_an_immediate_drain_refuses_newcomers_and_serves_those_who_are_there() -> None:
    with Outrider(CONFIG, arguments=["--drain-strategy", "immediate"]) as proxy:
        held = connect(proxy.port)
        proxy.signal(signal.SIGTERM)
        wait_for(proxy, "draining (immediate")
        deadline = time.monotonic() + 5
        while not refused(proxy.port):
            assert time.monotonic() < deadline
        held.sendall(b"more")
        assert held.recv(4) == b"more"
        held.close()
        assert proxy.process.wait(5) == 0


@pytest.mark.parametrize("strategy", ["immediate", "gradual"])
def test_a_drain_closes_idle_http_connections_and_tells_the_others(strategy: str) -> None:
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    arguments = ["--drain-strategy", strategy, "--drain-time-s", "8"]
    with Outrider(http_proxy(routes=[answer], clusters=[]), arguments=arguments) as proxy:
        idle = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
        idle.request("GET", "/")
        assert idle.getresponse().read() == b""
        proxy.signal(signal.SIGTERM)
        wait_for(proxy, "draining")
        if strategy == "gradual":
            late = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
            late.request("GET", "/")
            response = late.getresponse()
            assert (response.status, response.getheader("connection")) == (200, "close")
            late.close()
        assert proxy.process.wait(4) == 0
        idle.close()


def test_the_drain_time_ends_what_does_not_end_by_itself() -> None:
    with Outrider(CONFIG, arguments=["--drain-time-s", "1"]) as proxy:
        held = connect(proxy.port)
        proxy.signal(signal.SIGTERM)
        assert proxy.process.wait(5) == 0
        assert held.recv(1) == b""
        held.close()
        assert "the drain time of 1 s is over" in proxy.log()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_now(second: signal.Signals) -> None:
    with Outrider(CONFIG) as proxy:
        held = connect(proxy.port)
        proxy.signal(signal.SIGTERM)
        wait_for(proxy, "draining")
        time.sleep(0.3)
        proxy.signal(second)
        assert proxy.process.wait(5) == 0
        held.close()


def test_quitquitquit_ends_it_now() -> None:
    with Outrider(CONFIG) as proxy:
        held = connect(proxy.port)
        assert proxy.admin("/quitquitquit", method="POST")[0] == 200
        assert proxy.process.wait(5) == 0
        held.close()


def test_a_proxy_that_was_made_unhealthy_still_drains() -> None:
    with Outrider(CONFIG) as proxy:
        held = connect(proxy.port)
        assert proxy.admin("/healthcheck/fail", method="POST")[0] == 200
        assert proxy.admin("/ready") == (503, "DRAINING\n")
        proxy.signal(signal.SIGTERM)
        wait_for(proxy, "draining (gradual")
        held.sendall(b"more")
        assert held.recv(4) == b"more"
        held.close()
        assert proxy.process.wait(5) == 0


def test_an_unhealthy_proxy_can_recover() -> None:
    with Outrider(CONFIG) as proxy:
        assert proxy.admin("/healthcheck/fail", method="POST")[0] == 200
        assert proxy.admin("/healthcheck/ok", method="POST")[0] == 200
        assert proxy.admin("/ready") == (200, "LIVE\n")


def test_drain_listeners_refuses_newcomers_and_keeps_who_is_there() -> None:
    with Outrider(CONFIG) as proxy:
        held = connect(proxy.port)
        assert proxy.admin("/drain_listeners", method="POST")[0] == 200
        deadline = time.monotonic() + 5
        while not refused(proxy.port):
            assert time.monotonic() < deadline
        held.sendall(b"more")
        assert held.recv(4) == b"more"
        held.close()
        assert proxy.admin("/ready")[0] == 200


def test_other_signals_do_not_end_it() -> None:
    with Outrider(CONFIG) as proxy:
        proxy.signal(signal.SIGHUP)
        proxy.signal(signal.SIGUSR1)
        wait_for(proxy, "Reopening access logs")
        wait_for(proxy, "configuration reloaded: clusters 0 added, 0 changed, 0 removed", 30.0)
        connect(proxy.port).close()


def test_a_port_in_use_is_named_and_ends_the_start() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(
            StartError, match=f"'listener': cannot bind 127.0.0.1:{taken}: Address already in use"
        ):
            Outrider(bootstrap([{**listener([ECHO]), "address": address(taken)}]))


def test_the_admin_address_is_written_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "admin.txt"
    config = bootstrap([listener([ECHO])], admin={"address": address(0)})
    with Outrider(config, arguments=["--admin-address-path", str(path)], wait=False) as proxy:
        wait_for(proxy, "starting main dispatch loop")
        host, _colon, port = path.read_text().partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", "/ready")
        assert connection.getresponse().read() == b"LIVE\n"
        connection.close()


def test_all_workers_of_a_listener_on_port_zero_share_the_port_that_the_kernel_chose() -> None:
    config = bootstrap([{**listener([ECHO]), "address": address(0)}])
    with TwoWorkers(config) as proxy:
        name, _separator, where = proxy.admin("/listeners")[1].strip().partition("::")
        assert name == "listener"
        for _ in range(20):
            connect(int(where.rpartition(":")[2])).close()


def test_two_workers_count_together() -> None:
    with TwoWorkers(CONFIG) as proxy:
        for _ in range(30):
            connect(proxy.port).close()
        prefix = f"listener.127.0.0.1_{proxy.port}."
        deadline = time.monotonic() + 5
        while (stats := proxy.stats(prefix))[prefix + "downstream_cx_destroy"] < 30:
            assert time.monotonic() < deadline
        assert stats[prefix + "downstream_cx_total"] == 30
        assert stats[prefix + "downstream_cx_active"] == 0
        assert proxy.stats("server.")["server.concurrency"] == 2


def test_the_runtime_reaches_the_workers() -> None:
    layers = [{"name": "admin", "admin_layer": {}}]
    with Outrider({**CONFIG, "layered_runtime": {"layers": layers}}) as proxy:
        key = "envoy.resource_limits.listener.listener.connection_limit"
        assert proxy.admin(f"/runtime_modify?{key}=1", method="POST")[0] == 200
        held = connect(proxy.port)
        assert closed_at_once(proxy.port)
        held.close()


def test_validation_says_ok_or_names_every_problem_with_its_place(tmp_path: Path) -> None:
    port = free_port()
    good = tmp_path / "good.yaml"
    good.write_text(
        "static_resources:\n"
        "  listeners:\n"
        "  - name: a\n"
        f"    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}\n"
        "    filter_chains:\n"
        "    - filters:\n"
        "      - name: echo\n"
        "        typed_config:\n"
        '          "@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo\n'
    )
    result = run("-c", str(good), "--mode", "validate")
    assert (result.returncode, result.stdout) == (0, f"configuration '{good}' OK\n")
    bad = tmp_path / "bad.yaml"
    text = good.read_text()
    second = text[text.index("  - name: a") :].replace("name: a", "name: b")
    clusters = "  clusters:\n  - {name: c, connect_timeout: 1s}\n  - {name: c, connect_timeout: 1s}\n"
    bad.write_text(text + second + clusters)
    result = run("-c", str(bad), "--mode", "validate")
    assert result.returncode == 1
    assert (
        f"{bad}:11:14: static_resources.listeners[1].address: error adding listener: 'b' has duplicate address"
        in (result.stderr)
    )
    assert "cluster manager: duplicate cluster 'c'" in result.stderr
    assert "2 problems" in result.stderr
    assert "Traceback" not in result.stderr


def test_usage_errors_exit_with_1_and_the_verbs_to_come_say_so() -> None:
    result = run("--concurency", "2")
    assert result.returncode == 1
    assert "Did you mean --concurrency?" in result.stderr
    result = run("explain")
    assert (result.returncode, result.stderr) == (1, "error: 'outrider explain' is not in this version\n")
    result = run("-c", "/nonexistent.yaml")
    assert result.returncode == 1
    assert "Invalid path: /nonexistent.yaml" in result.stderr
    assert "outrider  version: " in run("--version").stdout


@pytest.mark.parametrize("strategy", ["immediate", "gradual"])
def test_a_drain_under_load_fails_no_request(strategy: str) -> None:
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    arguments = ["--drain-strategy", strategy, "--drain-time-s", "2"]
    failures: list[str] = []
    served = threading.Event()

    def ask_until_refused() -> None:
        client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        while True:
            try:
                client.connect()
            except OSError:
                return
            try:
                while client.sock is not None:
                    client.request("GET", "/")
                    response = client.getresponse()
                    response.read()
                    served.set()
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                client.close()

    with Outrider(http_proxy(routes=[answer], clusters=[]), arguments=arguments) as proxy:
        threads = [threading.Thread(target=ask_until_refused) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert served.wait(5)
        proxy.signal(signal.SIGTERM)
        assert proxy.process.wait(5) == 0
        for thread in threads:
            thread.join(5)
    assert failures == []
