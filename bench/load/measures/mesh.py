"""A control plane of ten thousand services: the first push, changes of one of them or all, frequent routes."""

from __future__ import annotations

import contextlib
import http.client
import os
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Final

from bench.load import configs, mesh_resources
from bench.load.children import running
from bench.load.control_plane import ControlPlane
from bench.load.generator import Load, run_load
from bench.load.origin import reply_of_size
from bench.load.processes import cpu_seconds, memory
from bench.load.scenario import Scenario
from bench.load.settings import Round, Sample, Settings, order
from bench.load.subjects import Probe, Subject, envoy_like

_POLL_SECONDS: Final = 0.001
_SETTLE_SECONDS: Final = 300.0
_PACED_CONNECTIONS: Final = 8
_PACED_INTERVAL: Final = 0.008
_UPDATES_PER_SECOND: Final = 100
_FREQUENT_TABLE: Final = 100
_ENDPOINT_CHANGES: Final = 10
_SIZES: Final = (400, 300)
_LENGTHS: Final = tuple(str(len(reply_of_size(size).partition(b"\r\n\r\n")[2])) for size in _SIZES)


def _origin(size: int = 300) -> contextlib.AbstractContextManager[int]:
    return running("origin", "--size", str(size))


class _Mesh:
    """A proxy that has taken everything from a control plane of its own, with two origins to choose from."""

    def __init__(self, name: str, count: int, origin_port: int) -> None:
        self.count = count
        self._stack = contextlib.ExitStack()
        self.origin_port = origin_port
        directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-state-"))
        os.environ["XDG_STATE_HOME"] = directory
        self.server = self._stack.enter_context(ControlPlane())
        self.server.set(mesh_resources.CLUSTERS, mesh_resources.clusters(count))
        self.server.set(mesh_resources.ENDPOINTS, mesh_resources.endpoints(range(count), count, origin_port))
        self.server.set(mesh_resources.ROUTES, mesh_resources.routes(count))

        def config(port: int, admin_port: int) -> str:
            self.server.set(mesh_resources.LISTENERS, mesh_resources.listener(port))
            return configs.discovered(port, admin_port, self.server.port)

        last = mesh_resources.host_name(count - 1)
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self.close)
            self.subject = Subject(name, envoy_like(name, config), Probe(host=last))
            self._stack.callback(self.subject.close)
            cleanup.pop_all()

    def settle(self) -> None:
        """Wait until every response was answered; RuntimeError if one was refused."""
        kinds = (mesh_resources.CLUSTERS, mesh_resources.ENDPOINTS, mesh_resources.ROUTES)
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not all(map(self.server.settled, kinds)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.subject.name} does not answer a response")
            time.sleep(_POLL_SECONDS)
        if self.server.nacks:
            raise RuntimeError(f"{self.subject.name} refuses: {self.server.nacks[0]}")

    def seconds_until(self, number: int, seen: Callable[[http.client.HTTPResponse], bool]) -> float:
        """Seconds until a virtual host gives an answer of some kind."""
        started = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.subject.port, timeout=10)
        with contextlib.closing(connection):
            while time.perf_counter() < started + 60:
                connection.request("GET", "/", headers={"Host": mesh_resources.host_name(number)})
                response = connection.getresponse()
                response.read()
                if seen(response):
                    return time.perf_counter() - started
                time.sleep(_POLL_SECONDS)
        raise RuntimeError(f"{self.subject.name} does not take an update")

    def load(self, settings: Settings) -> Load:
        """Paced load: 1,000 requests a second, so that latency is that of the proxy and not of a queue."""
        return run_load(
            self.subject.port, "keepalive", _PACED_CONNECTIONS, settings.duration, interval=_PACED_INTERVAL
        )

    def close(self) -> None:
        """End both."""
        self._stack.close()


def _rounds(
    settings: Settings, count: int, origin_port: int, measure: Callable[[_Mesh], Sample]
) -> Generator[Round]:
    """What `measure` finds, for each subject in turn, once it has taken `count` services."""
    for number in range(settings.rounds):
        samples: Round = {}
        for name in order(settings, number):
            with contextlib.closing(_Mesh(name, count, origin_port)) as mesh:
                mesh.settle()
                samples[name] = measure(mesh)
        yield samples


def first_push(_scenario: Scenario, settings: Settings) -> Generator[Round]:
    """Start of the process to its first answer, and memory when everything has been taken."""
    with _origin() as origin_port:
        yield from _rounds(settings, settings.clusters, origin_port, _first_sample)


def _first_sample(mesh: _Mesh) -> Sample:
    used = memory(mesh.subject.pid)
    return {
        "seconds_to_answer": mesh.subject.seconds_to_answer,
        "cpu_seconds": cpu_seconds(mesh.subject.pid),
        "rss_mib": used.rss,
        "pss_mib": used.pss,
        "errors": 0,
    }


def one_endpoint(_scenario: Scenario, settings: Settings) -> Generator[Round]:
    """Milliseconds until a changed endpoint gets requests: the slowest of some changes."""
    with _origin(_SIZES[1]) as origin_port, _origin(_SIZES[0]) as other_port:

        def sample(mesh: _Mesh) -> Sample:
            return {"milliseconds": _changes(mesh, (other_port, origin_port)), "errors": 0}

        yield from _rounds(settings, settings.clusters, origin_port, sample)


def _changes(mesh: _Mesh, ports: tuple[int, int]) -> float:
    """Milliseconds of the slowest of some changes, to the other origin and back; their replies differ in size."""
    worst = 0.0
    number = mesh.count - 1
    mesh.seconds_until(number, partial(_has_length, _LENGTHS[1]))
    for change in range(_ENDPOINT_CHANGES):
        wanted = _LENGTHS[change % 2]
        mesh.server.push(
            mesh_resources.ENDPOINTS, mesh_resources.endpoints([number], mesh.count, ports[change % 2])
        )
        worst = max(worst, mesh.seconds_until(number, partial(_has_length, wanted)))
    return worst * 1000


def _has_length(length: str, response: http.client.HTTPResponse) -> bool:
    return response.headers["content-length"] == length


def push_under_load(_scenario: Scenario, settings: Settings) -> Generator[Round]:
    """Latency while every cluster changes, beside the latency before."""
    with _origin() as origin_port:
        yield from _rounds(
            settings, settings.clusters, origin_port, lambda mesh: _push_sample(mesh, settings)
        )


def _push_sample(mesh: _Mesh, settings: Settings) -> Sample:
    changed = mesh_resources.clusters(mesh.count, connect_timeout=2)
    again = mesh_resources.endpoints(range(mesh.count), mesh.count, mesh.origin_port)
    quiet = mesh.load(settings)
    took = []

    def push() -> None:
        time.sleep(0.5)
        started = time.perf_counter()
        mesh.server.set(mesh_resources.CLUSTERS, changed)
        mesh.server.set(mesh_resources.ENDPOINTS, again)
        mesh.settle()
        took.append(time.perf_counter() - started)

    thread = threading.Thread(target=push)
    thread.start()
    busy = mesh.load(settings)
    thread.join()
    mesh.subject.check()
    return {
        "seconds_to_acknowledge": took[0],
        "p99_ms_before": quiet.p99_ms,
        "p99_ms_during": busy.p99_ms,
        "p99_ms_growth": max(0.0, busy.p99_ms - quiet.p99_ms),
        "errors": quiet.errors + busy.errors,
    }


def many_hosts(_scenario: Scenario, settings: Settings) -> Generator[Round]:
    """All endpoints of another cluster than the one that is asked, which is in use too, change again and again."""
    versions = [mesh_resources.many_hosts(1, settings.clusters, 1, version) for version in (0, 1)]
    with _origin() as origin_port:
        yield from _rounds(
            settings, 3, origin_port, lambda mesh: _many_hosts_sample(mesh, versions, settings)
        )


def _many_hosts_sample(mesh: _Mesh, versions: list[bytes], settings: Settings) -> Sample:
    mesh.server.push(mesh_resources.ENDPOINTS, versions[1])
    mesh.settle()
    mesh.seconds_until(1, lambda _response: True)
    quiet = mesh.load(settings)
    ended = threading.Event()
    pushes = 0

    def push() -> None:
        nonlocal pushes
        while not ended.wait(1.0):
            mesh.server.push(mesh_resources.ENDPOINTS, versions[pushes % 2])
            pushes += 1

    cpu = cpu_seconds(mesh.subject.pid)
    thread = threading.Thread(target=push)
    thread.start()
    busy = mesh.load(settings)
    ended.set()
    thread.join()
    mesh.settle()
    cpu = cpu_seconds(mesh.subject.pid) - cpu
    mesh.subject.check()
    return {
        "p99_ms_before": quiet.p99_ms,
        "p99_ms_during": busy.p99_ms,
        "p99_ms_growth": max(0.0, busy.p99_ms - quiet.p99_ms),
        "cpu_seconds": cpu,
        "pushes": pushes,
        "errors": quiet.errors + busy.errors,
    }


def frequent_routes(_scenario: Scenario, settings: Settings) -> Generator[Round]:
    """Latency, CPU and memory growth while a table is replaced a hundred times a second."""
    tables = [mesh_resources.routes(_FREQUENT_TABLE, str(number)) for number in range(_UPDATES_PER_SECOND)]
    with _origin() as origin_port:
        yield from _rounds(
            settings, _FREQUENT_TABLE, origin_port, lambda mesh: _frequent_sample(mesh, tables, settings)
        )


def _frequent_sample(mesh: _Mesh, tables: list[bytes], settings: Settings) -> Sample:
    mesh.load(settings)
    ended = threading.Event()
    count = 0

    def push() -> None:
        nonlocal count
        due = time.perf_counter()
        while not ended.wait(max(0.0, due - time.perf_counter())):
            mesh.server.push(mesh_resources.ROUTES, tables[count % len(tables)])
            count += 1
            due += 1 / _UPDATES_PER_SECOND

    thread = threading.Thread(target=push)
    thread.start()
    mesh.load(settings)  # until buffers have their size
    before, cpu = memory(mesh.subject.pid), cpu_seconds(mesh.subject.pid)
    load = mesh.load(settings)
    cpu = cpu_seconds(mesh.subject.pid) - cpu
    after = memory(mesh.subject.pid)
    ended.set()
    thread.join()
    mesh.settle()
    last = str((count - 1) % len(tables))
    lag = mesh.seconds_until(_FREQUENT_TABLE - 1, lambda response: response.headers["x-table"] == last)
    return {
        "p99_ms": load.p99_ms,
        "cpu_share": cpu / load.seconds,
        "seconds_behind": lag,
        "rss_growth_mib": after.rss - before.rss,
        "errors": load.errors,
    }
