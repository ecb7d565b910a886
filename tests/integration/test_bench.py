"""`outrider bench` as a user calls it, against servers that behave and misbehave."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.load.ports import free_port
from tests.support.certs import Authority

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@contextmanager
def server(reply: bytes, *, stall_at: int = 0, echo: bool = False, tls: Any = None) -> Iterator[int]:
    """Answers each head; all connections wait a second when request `stall_at` comes."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen = 0
    lock = threading.Lock()

    def serve(peer: socket.socket) -> None:
        nonlocal seen
        try:
            if tls is not None:
                peer = tls.wrap_socket(peer, server_side=True)
            with peer:
                peer.settimeout(20)
                while data := peer.recv(65536):
                    with lock:
                        seen += 1
                        if seen == stall_at:
                            time.sleep(1)
                    peer.sendall(data if echo else reply)
        except (OSError, ssl.SSLError):
            return

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def report(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    done = bench(*arguments, "--report", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "out" / "report.json").read_text())
    return found


def test_a_stall_shows_in_an_open_loop_and_hides_in_a_closed_one(tmp_path: Path) -> None:
    with server(OK, stall_at=100) as port:
        opened = report(tmp_path, f"http://127.0.0.1:{port}/", "--rate", "200", "-d", "3", "-c", "1")
    with server(OK, stall_at=100) as port:
        closed = report(tmp_path, f"http://127.0.0.1:{port}/", "-n", "600", "-c", "1")
    # Of the 600 requests of three seconds, about 200 were due while nothing was answered.
    assert opened["latency"]["p90"] > 0.4
    assert closed["latency"]["p90"] < 0.4
    assert opened["requests"] + opened["unsent"] == pytest.approx(600, abs=5)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") >= 2
    assert "src=" not in page


def test_errors_are_counted_by_kind() -> None:
    with server(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n") as port:
        done = bench(f"http://127.0.0.1:{port}/", "-n", "20")
    assert done.returncode == 1
    assert "503: 20" in done.stdout
    assert "status 5xx: 20" in done.stdout
    with server(b"nonsense\r\n\r\n") as port:
        assert "protocol: 3" in bench(f"http://127.0.0.1:{port}/", "-n", "3").stdout
    done = bench(f"http://127.0.0.1:{free_port()}/", "-n", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "connection refused" in done.stderr
    assert done.stderr.count("\n") == 1


def test_tcp_and_tls_expect_an_echo_and_https_checks_the_certificate(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost")
    with server(b"", echo=True) as port:
        assert report(tmp_path, f"tcp://127.0.0.1:{port}", "--body", "ping", "-n", "50")["succeeded"] == 50
    with server(b"", echo=True, tls=issued.server_context()) as port:
        where = f"tls://localhost:{port}"
        assert "--insecure takes any" in bench(where, "--body", "ping", "-n", "5").stderr
        assert report(tmp_path, where, "--body", "ping", "-n", "50", "--insecure")["succeeded"] == 50
    with server(OK, tls=issued.server_context()) as port:
        authority = str(tmp_path / "test-authority.pem")
        one = report(
            tmp_path, f"https://localhost:{port}/", "-n", "9", "--cacert", authority, "--new-connection"
        )
    assert (one["succeeded"], one["connections_opened"]) == (9, 9)


def test_an_interrupt_prints_what_was_measured() -> None:
    with server(OK) as port:
        command = [sys.executable, "-m", "proxy", "bench", f"http://127.0.0.1:{port}/", "-d", "50", "-c", "1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 20
            while not _connected(port) and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            text, _ = process.communicate(timeout=20)
    assert "interrupted" in text
    assert "200: " in text
    assert process.returncode == 0


def _connected(port: int) -> bool:
    """Whether somebody has a connection to the port (state 01 of /proc/net/tcp)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


@contextmanager
def grpc_server(credentials: Any = None) -> Iterator[int]:
    """The real one; it says good-bye to each connection after a moment (GOAWAY), as proxies that drain do."""

    def check(request: bytes, context: Any) -> bytes:
        if request:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return b"\x08\x01"

    handler = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )
    served = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_connection_age_ms", 300)])
    served.add_generic_rpc_handlers((handler,))
    if credentials is None:
        port = served.add_insecure_port("127.0.0.1:0")
    else:
        port = served.add_secure_port("localhost:0", credentials)
    served.start()
    try:
        yield port
    finally:
        served.stop(None).wait(10)


def test_grpc_asks_the_health_service_over_connections_that_come_and_go(tmp_path: Path) -> None:
    with grpc_server() as port:
        where = f"grpc://127.0.0.1:{port}"
        found = report(tmp_path, where, "-c", "2", "-m", "4", "-R", "300", "-d", "2")
        assert found["status"] == {"OK": found["requests"]}
        assert found["connections_opened"] > 2
        assert "grpc NOT_FOUND: 5" in bench(where, "--body-hex", "0a0161", "-n", "5").stdout


def test_h2_over_tls_needs_a_server_that_agrees_to_it(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("localhost")
    pair = [(issued.key.read_bytes(), issued.certificate.read_bytes())]
    authority = str(tmp_path / "test-authority.pem")
    with grpc_server(grpc.ssl_server_credentials(pair)) as port:
        found = report(tmp_path, f"grpcs://localhost:{port}", "-n", "40", "--cacert", authority)
    assert found["status"] == {"OK": 40}
    with server(OK, tls=issued.server_context()) as port:
        done = bench(f"h2://localhost:{port}/", "-n", "5", "--cacert", authority)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "does not speak HTTP/2" in done.stderr


def test_what_the_proxy_costs_is_shown(tmp_path: Path) -> None:
    mix = tmp_path / "mix.yaml"
    mix.write_text("requests: [{path: /a, weight: 3}, {path: /b, method: PUT, body: x}]")
    stats = b"cluster.a.circuit_breakers.default.cx_open: 1\ncluster.a.upstream_cx_overflow: 2\n"
    admin_reply = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
        len(stats),
        stats,
    )
    with server(OK) as port, server(admin_reply) as admin:
        watched = ["--pid", str(os.getpid()), "--proxy-admin", f"127.0.0.1:{admin}"]
        found = report(tmp_path, f"http://127.0.0.1:{port}/", "-n", "400", "--mix", str(mix), *watched)
    assert found["mix"] == {"/a": 300, "/b": 100}
    assert found["proxy"]["cpu_seconds"] > 0
    assert found["proxy"]["rss_mib"] >= found["proxy"]["pss_mib"] > 1
    assert found["proxy"]["breakers_open"] == ["cluster.a.circuit_breakers.default.cx_open"]
    assert found["proxy"]["overflows"] == {}
    assert "no such process" in bench("http://127.0.0.1:9/", "--pid", "99999999").stderr


def test_a_driver_is_asked_for_by_name() -> None:
    with server(OK) as port:
        by_wrk = bench(f"http://127.0.0.1:{port}/", "--driver", "wrk", "-d", "1", "-c", "2", "-H", "x-a: b")
        by_h2load = bench(f"http://127.0.0.1:{port}/", "--driver", "h2load", "-n", "50", "-c", "2")
    assert (by_wrk.returncode, by_wrk.stderr) == (0, "")
    assert "p99" in by_wrk.stdout
    assert (by_h2load.returncode, by_h2load.stderr) == (0, "")
    assert "requests      50 in" in by_h2load.stdout
    refused = bench("http://127.0.0.1:9/", "--driver", "wrk", "--rate", "5")
    assert refused.returncode == 1
    assert "--rate has no meaning with --driver wrk" in refused.stderr
    assert "wrk" in bench("http://127.0.0.1:9/", "--driver", "wrk", "-d", "1").stderr
