"""Bytes that pass as they are: the load is HTTP/1, of which the proxy knows nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Final

from bench.load import configs
from bench.load.generator import HOST, generator_name, run_load
from bench.load.processes import cpu_seconds, memory
from bench.load.settings import Round, Sample, Scenario, Settings, order
from bench.load.subjects import Subject, running_origin

_BULK: Final = 16 << 20
_BULK_CONNECTIONS: Final = 4


def _sample(subject: Subject, mode: str, size: int, connections: int, duration: float) -> Sample:
    cpu = cpu_seconds(subject.pid)
    load = run_load(subject.port, mode, connections, duration)
    cpu = cpu_seconds(subject.pid) - cpu
    subject.check()
    requests = max(1, load.requests)
    sample: Sample
    if size >= _BULK:
        sample = {
            "gb_per_second": requests * size / 1e9 / load.seconds,
            "cpu_seconds_per_gb": cpu * 1e9 / (requests * size),
        }
    else:
        sample = {
            "requests_per_second": load.requests / load.seconds,
            "cpu_us_per_request": cpu * 1e6 / requests,
            "p50_ms": load.p50_ms,
            "p99_ms": load.p99_ms,
        }
    sample["rss_mib"] = memory(subject.pid).rss
    sample["errors"] = load.errors
    return sample


def _rounds(mode: str, size: int, settings: Settings) -> Iterator[Round]:
    """Both proxies stay up; the first second of load is not counted."""
    connections = _BULK_CONNECTIONS if size >= _BULK else settings.connections
    with running_origin(size) as origin_port, contextlib.ExitStack() as stack:
        subjects = {}
        for name in settings.proxies:
            subject = Subject(name, partial(configs.tcp, origin_port=origin_port), host=HOST)
            stack.callback(subject.close)
            subjects[name] = subject
            run_load(subject.port, mode, connections, 1)
        for number in range(settings.rounds):
            yield {
                name: _sample(subjects[name], mode, size, connections, settings.duration)
                for name in order(settings, number)
            }


TCP_SCENARIOS: Final = (
    Scenario(
        "tcp",
        "TCP proxy, kept connections, small request, 300 B reply",
        partial(_rounds, "keepalive", 300),
        limits={"cpu_us_per_request": 0.85},
    ),
    Scenario(
        "tcp-new-connection",
        "TCP proxy, a new connection for each request",
        partial(_rounds, "reconnect", 300),
        limits={"cpu_us_per_request": 0.95},
        generator=generator_name("reconnect"),
    ),
    Scenario(
        "tcp-bulk",
        "TCP proxy, replies of 16 MiB",
        partial(_rounds, "keepalive", _BULK),
        limits={"cpu_seconds_per_gb": 0.75},
    ),
)
