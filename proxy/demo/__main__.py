"""The verb `outrider demo`: starts the front-proxy example, watches it, ends it."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TextIO

import yaml

from proxy.base.errors import UsageError
from proxy.demo.children import Children
from proxy.demo.plan import FIRST_PORT, PORT_SPAN, DemoPlan, ProxyPlan, make_plan

# Seconds: until all must be ready; between looks at the children; between lines when not on a terminal.
_START_TIMEOUT: Final = 30.0
_TICK: Final = 1.0
_PLAIN_INTERVAL: Final = 10.0
_COUNTER: Final = "http.ingress_http.downstream_rq_total"


def main(
    arguments: Sequence[str],
    *,
    proxy_command: Sequence[str] = (sys.executable, "-m", "proxy"),
    output: TextIO | None = None,
) -> int:
    """Run until Ctrl-C; the exit status. `proxy_command` is any program with Envoy's flags."""
    parser = argparse.ArgumentParser(
        prog="outrider demo",
        description="The front proxy of Envoy's documentation: an edge, two services behind a sidecar each.",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=FIRST_PORT,
        help=f"port of the edge proxy (default {FIRST_PORT}); the next {PORT_SPAN} are used too",
    )
    options = parser.parse_args(arguments)
    if not 1 <= options.port <= 65535 - PORT_SPAN:
        raise UsageError(f"--port must be between 1 and {65535 - PORT_SPAN}")
    plan = make_plan(options.port)
    _check_ports(plan)
    return _run(plan, proxy_command, output or sys.stdout)


def _check_ports(plan: DemoPlan) -> None:
    problems = []
    for port, user in plan.bound().items():
        host = "0.0.0.0" if port == plan.edge.port else "127.0.0.1"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                problems.append(f"port {port}, for the {user}: {error.strerror}")
    if problems:
        raise UsageError(
            "the demo cannot start:\n  "
            + "\n  ".join(problems)
            + "\nEnd what uses them, or use others: outrider demo --port 18000 (make run ARGS='--port 18000')"
        )


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    old = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _run(plan: DemoPlan, proxy_command: Sequence[str], output: TextIO) -> int:
    with (
        _stopped_by_signals() as stop,
        tempfile.TemporaryDirectory(prefix="outrider-demo-") as name,
        Children(Path(name)) as children,
    ):
        _start(plan, children, proxy_command, Path(name))
        failure = _wait_ready(plan, children, stop)
        if failure is None and not stop.is_set():
            output.write(_introduction(plan))
            output.flush()
            failure = _watch(plan, children, stop, output)
        if failure is not None:
            sys.stderr.write(f"outrider demo: {failure}\n")
        return 1 if failure is not None else 0


def _start(plan: DemoPlan, children: Children, proxy_command: Sequence[str], directory: Path) -> None:
    for replica in plan.replicas:
        children.start(
            replica.name,
            [
                *(sys.executable, "-m", "proxy.demo.replica", "--service", str(replica.service)),
                *("--replica", str(replica.number), "--port", str(replica.port)),
            ],
        )
    for proxy in reversed(plan.proxies):
        path = directory / f"{proxy.name}.yaml"
        path.write_text(yaml.safe_dump(proxy.config), encoding="utf-8")
        children.start(
            f"{proxy.name} proxy",
            [
                *(*proxy_command, "-c", str(path), "--concurrency", "1", "--drain-time-s", "1"),
                *("--disable-hot-restart", "-l", "warning"),
            ],
        )


def _admin(proxy: ProxyPlan, path: str) -> str | None:
    """The text of an admin page; None unless it is there and says 200."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.admin_port, timeout=1.0)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return text if response.status == 200 else None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_ready(plan: DemoPlan, children: Children, stop: threading.Event) -> str | None:
    """What went wrong, or None when all are ready or a signal came."""
    deadline = time.monotonic() + _START_TIMEOUT
    replicas = {replica.name: replica.port for replica in plan.replicas}
    proxies = {f"{proxy.name} proxy": proxy for proxy in plan.proxies}
    while not stop.is_set():
        failure = children.first_ended()
        if failure is not None:
            return failure
        replicas = {name: port for name, port in replicas.items() if not _listens(port)}
        proxies = {name: proxy for name, proxy in proxies.items() if _admin(proxy, "/ready") is None}
        waiting = [*replicas, *proxies]
        if not waiting:
            return None
        if time.monotonic() > deadline:
            return f"not ready after {_START_TIMEOUT:g} s: {', '.join(waiting)}"
        stop.wait(0.05)
    return None


def _introduction(plan: DemoPlan) -> str:
    lines = ["", "Outrider front-proxy demo", "", "Try:"]
    lines += [f"  curl localhost:{plan.edge.port}/service/{service}" for service in (1, 2)]
    lines += ["", "Admin:"]
    lines += [f"  {proxy.name:<9} http://localhost:{proxy.admin_port}/" for proxy in plan.proxies]
    lines += ["", "Path of a request:"]
    lines += [f"  curl -> edge :{plan.edge.port} -> sidecar -> replica"]
    for proxy in plan.proxies[1:]:
        ports = " ".join(
            f":{replica.port}" for replica in plan.replicas if f"service{replica.service}" == proxy.name
        )
        lines.append(f"    /service/{proxy.name[-1]}  sidecar :{proxy.port}  replicas {ports}")
    return "\n".join([*lines, "", "Ctrl-C ends everything.", "", ""])


def _counts(plan: DemoPlan) -> str:
    found = []
    for proxy in plan.proxies:
        text = _admin(proxy, f"/stats?filter=^{_COUNTER.replace('.', '%5C.')}$") or ""
        value = text.strip().removeprefix(f"{_COUNTER}: ")
        found.append(f"{proxy.name} {value if value.isdigit() else '?'}")
    return "requests: " + ", ".join(found)


def _watch(plan: DemoPlan, children: Children, stop: threading.Event, output: TextIO) -> str | None:
    """Show counts until a signal comes (None) or a child ends by itself (what to say about it).

    On a terminal one line is painted over each second; otherwise a line is written when something changed, at
    most every ten seconds.
    """
    live = output.isatty()
    shown = ""
    next_line = 0.0
    failure = None
    while not stop.is_set():
        failure = children.first_ended()
        if failure is not None:
            break
        if live or time.monotonic() >= next_line:
            text = _counts(plan)
            if text != shown:
                output.write(f"\r\033[K{text}" if live else f"{text}\n")
                output.flush()
                shown = text
            next_line = time.monotonic() + _PLAIN_INTERVAL
        stop.wait(_TICK)
    if live:
        output.write("\n")
    return failure
