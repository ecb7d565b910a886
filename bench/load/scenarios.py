"""What is measured. Each scenario yields one sample per proxy and round; figures are ratios of such pairs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from bench.load import configs
from bench.load.generator import HOST, run_load
from bench.load.http2_scenarios import HTTP2_SCENARIOS
from bench.load.mesh_scenarios import MESH_SCENARIOS
from bench.load.processes import cpu_seconds, descriptors, memory
from bench.load.settings import Round, Sample, Scenario, Settings, order
from bench.load.subjects import Subject, running_origin
from bench.load.tcp_scenarios import TCP_SCENARIOS
from bench.load.tls_scenarios import TLS_SCENARIOS


def _load_sample(subject: Subject, mode: str, settings: Settings) -> Sample:
    cpu = cpu_seconds(subject.pid)
    load = run_load(subject.port, mode, settings.connections, settings.duration)
    cpu = cpu_seconds(subject.pid) - cpu
    subject.check()
    return {
        "requests_per_second": load.requests / load.seconds,
        "cpu_us_per_request": cpu * 1e6 / max(1, load.requests),
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        "rss_mib": memory(subject.pid).rss,
        "errors": load.errors,
    }


def _throughput(mode: str, access_log: bool, settings: Settings) -> Iterator[Round]:
    """Both proxies stay up; the idle one costs nothing. The first second of load is not counted."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-logs-")))
        origin_port = stack.enter_context(running_origin())
        subjects = {}
        for name in settings.proxies:
            log_path = str(directory / f"{name}.log") if access_log else None
            subject = Subject(
                name, partial(configs.small, origin_port=origin_port, log_path=log_path), host=HOST
            )
            stack.callback(subject.close)
            subjects[name] = subject
            run_load(subject.port, mode, settings.connections, 1)
        for number in range(settings.rounds):
            yield {name: _load_sample(subjects[name], mode, settings) for name in order(settings, number)}


def _cold_start(settings: Settings) -> Iterator[Round]:
    """From the start of the process to its first answer for the last virtual host, and its memory then."""
    with running_origin() as origin_port:
        for number in range(settings.rounds):
            samples = {}
            for name in order(settings, number):
                subject = Subject(
                    name,
                    partial(configs.mesh, origin_port=origin_port, count=settings.clusters),
                    host=configs.mesh_host(settings.clusters - 1),
                )
                with contextlib.closing(subject):
                    used = memory(subject.pid)
                    samples[name] = {
                        "seconds_to_answer": subject.seconds_to_answer,
                        "cpu_seconds": cpu_seconds(subject.pid),
                        "rss_mib": used.rss,
                        "pss_mib": used.pss,
                        "errors": 0,
                    }
            yield samples


def _memory(settings: Settings) -> Iterator[Round]:
    """A small config with one worker and with three, after a little traffic."""
    with running_origin() as origin_port:
        for _ in range(settings.rounds):
            samples = {}
            for name in settings.proxies:
                used = {}
                errors = 0
                for workers in (1, 3):
                    subject = Subject(
                        name,
                        partial(configs.small, origin_port=origin_port),
                        workers=workers,
                        host=HOST,
                    )
                    with contextlib.closing(subject):
                        errors += run_load(subject.port, "keepalive", settings.connections, 1).errors
                        used[workers] = memory(subject.pid)
                samples[name] = {
                    "pss_mib": used[1].pss,
                    "rss_mib": used[1].rss,
                    "pss_mib_per_further_worker": (used[3].pss - used[1].pss) / 2,
                    "errors": errors,
                }
            yield samples


def _soak(settings: Settings) -> Iterator[Round]:
    """Mixed clients until `requests` have been answered; a round is one pass over all kinds of client."""
    modes = ("keepalive", "close", "paths", "post", "abort")
    with running_origin() as origin_port, contextlib.ExitStack() as stack:
        for name in settings.proxies:
            subject = Subject(name, partial(configs.small, origin_port=origin_port), host=HOST)
            stack.callback(subject.close)
            done = 0
            while done < settings.requests:
                errors = 0
                for mode in modes:
                    load = run_load(subject.port, mode, settings.connections, settings.duration)
                    done += load.requests
                    errors += load.errors
                subject.check()
                yield {
                    name: {
                        "requests": done,
                        "rss_mib": memory(subject.pid).rss,
                        "descriptors": descriptors(subject.pid),
                        "errors": errors,
                    }
                }


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "keepalive",
            "HTTP/1.1 keep-alive, small GET, 300 B reply",
            partial(_throughput, "keepalive", False),
            default=True,
        ),
        Scenario(
            "access-log", "the same with a text access log to a file", partial(_throughput, "keepalive", True)
        ),
        Scenario("new-connection", "a new connection for each request", partial(_throughput, "close", False)),
        Scenario("paths", "5,000 different paths", partial(_throughput, "paths", False)),
        Scenario("cold-start", "10,000 clusters and virtual hosts from a file", _cold_start),
        Scenario("memory", "small config, one worker and further ones", _memory),
        Scenario("soak", "2 million requests of mixed clients", _soak, series=True),
        *HTTP2_SCENARIOS,
        *TCP_SCENARIOS,
        *TLS_SCENARIOS,
        *MESH_SCENARIOS,
    )
}
