"""TLS at the listener: requests on kept connections, handshakes in full and resumed, memory of idle connections.

Both proxies show the same certificate, once with a P-256 key and once with RSA of 2,048 bits.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from bench.load import configs
from bench.load.certificate import client_context, make_certificate
from bench.load.generator import HOST, Load, run_load
from bench.load.processes import cpu_seconds, memory
from bench.load.settings import Round, Sample, Scenario, Settings, order
from bench.load.subjects import Subject, running_origin
from bench.load.tls_client import idle_connections, run_resumed

#: Connections whose memory is counted. Half of them come before, so that what a proxy grows once does not count.
_IDLE: Final = 2000

_Run = Callable[[int, Settings], Load]


@contextlib.contextmanager
def _subjects(settings: Settings, *, rsa: bool = False, tls: bool = True) -> Iterator[dict[str, Subject]]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-tls-")))
        certificate = make_certificate(directory, rsa=rsa) if tls else None
        context = client_context(certificate) if certificate else None
        origin_port = stack.enter_context(running_origin())
        make = partial(configs.small, origin_port=origin_port, certificate=certificate)
        subjects = {}
        for name in settings.proxies:
            subjects[name] = subject = Subject(name, make, host=HOST, tls=context)
            stack.callback(subject.close)
        yield subjects


def _measure(subject: Subject, run: _Run, settings: Settings) -> Sample:
    cpu = cpu_seconds(subject.pid)
    load = run(subject.port, settings)
    cpu = cpu_seconds(subject.pid) - cpu
    subject.check()
    return {
        "requests_per_second": load.requests / load.seconds,
        "cpu_us_per_request": cpu * 1e6 / max(1, load.requests),
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        "errors": load.errors,
    }


def _rounds(run: _Run, rsa: bool, settings: Settings) -> Iterator[Round]:
    """Both proxies stay up; a first second of load is not counted."""
    with _subjects(settings, rsa=rsa) as subjects:
        for subject in subjects.values():
            run_load(subject.port, "keepalive", settings.connections, 1, tls=True)
        for number in range(settings.rounds):
            yield {name: _measure(subjects[name], run, settings) for name in order(settings, number)}


def _wrk(mode: str, port: int, settings: Settings) -> Load:
    return run_load(port, mode, settings.connections, settings.duration, tls=True)


def _resumed(port: int, settings: Settings) -> Load:
    return run_resumed(port, settings.duration)


def _idle(tls: bool, settings: Settings) -> Iterator[Round]:
    with _subjects(settings, tls=tls) as subjects:
        for _ in range(settings.rounds):
            samples = {}
            for name, subject in subjects.items():
                with idle_connections(subject.port, _IDLE, tls=tls):
                    before = memory(subject.pid).rss
                    with idle_connections(subject.port, _IDLE, tls=tls):
                        grown = memory(subject.pid).rss - before
                samples[name] = {"kib_per_connection": grown * 1024 / _IDLE, "errors": 0}
            yield samples


TLS_SCENARIOS: Final = (
    Scenario(
        "tls-keepalive",
        "HTTP/1.1 over TLS, kept connections, small GET",
        partial(_rounds, partial(_wrk, "keepalive"), False),
        limits={"cpu_us_per_request": 1.0},
    ),
    *(
        Scenario(
            f"tls-handshakes{'-rsa' if rsa else ''}",
            f"a full handshake for each request, {'RSA-2048' if rsa else 'P-256'} certificate",
            partial(_rounds, partial(_wrk, "close"), rsa),
            limits={"cpu_us_per_request": 1.11},
        )
        for rsa in (False, True)
    ),
    Scenario(
        "tls-resumed",
        "a resumed session for each request",
        partial(_rounds, _resumed, False),
        limits={"cpu_us_per_request": 1.11},
        generator="bench.load.tls_client",
    ),
    Scenario(
        "idle-plain",
        "memory of idle connections",
        partial(_idle, False),
        ceilings={"kib_per_connection": 8},
        generator="bench.load.tls_client",
    ),
    Scenario(
        "idle-tls",
        "memory of idle TLS connections",
        partial(_idle, True),
        ceilings={"kib_per_connection": 60},
        generator="bench.load.tls_client",
    ),
)
