"""The HTTP/2 and gRPC scenarios, with the ratios to Envoy that they are to keep."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

from bench.load import configs
from bench.load.certificate import make_certificate
from bench.load.http2_client import HOST
from bench.load.http2_generator import (
    Clients,
    Http2Load,
    http2_generator_name,
    idle_streams,
    run_grpc,
    run_http2,
)
from bench.load.processes import cpu_seconds, memory
from bench.load.settings import Round, Sample, Scenario, Settings, order
from bench.load.subjects import Subject, running, running_origin

_MIB: Final = 1 << 20
# Twice so many stay below the 1,024 requests that a cluster takes by default.
_IDLE_STREAMS: Final = 500
# Body of each request, of each response and what is measured with it: port → load of so many seconds.
_Load = Callable[[int, float], Http2Load]


def _measure(subject: Subject, load: _Load, duration: float, body: int) -> Sample:
    cpu = cpu_seconds(subject.pid)
    seen = load(subject.port, duration)
    cpu = cpu_seconds(subject.pid) - cpu
    subject.check()
    sample = {"requests_per_second": seen.requests / seen.seconds}
    if body:
        sample["cpu_seconds_per_gb"] = cpu * 1e9 / max(1, seen.requests * body)
    else:
        sample["cpu_us_per_request"] = cpu * 1e6 / max(1, seen.requests)
    sample["mean_ms"] = seen.mean_ms
    sample["rss_mib"] = memory(subject.pid).rss
    sample["errors"] = seen.errors
    return sample


def _throughput(
    load: _Load,
    origin: Callable[[], AbstractContextManager[int]],
    settings: Settings,
    *,
    body: int = 0,
    http2: bool = True,
    tls: bool = False,
    ready: int = 200,
) -> Iterator[Round]:
    """Both proxies stay up; the idle one costs nothing. The first second of load is not counted.

    `ready` is what a plain GET is answered with.
    """
    context = None
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-tls-")))
        certificate = make_certificate(directory) if tls else None
        if certificate is not None:
            context = ssl.create_default_context(cafile=str(certificate.certificate))
            context.check_hostname = False
        origin_port = stack.enter_context(origin())
        make = partial(configs.small, origin_port=origin_port, http2=http2, certificate=certificate)
        subjects = {}
        for name in settings.proxies:
            subjects[name] = subject = Subject(name, make, host=HOST, ready=ready, tls=context)
            stack.callback(subject.close)
            load(subject.port, 1)
        for number in range(settings.rounds):
            yield {
                name: _measure(subjects[name], load, settings.duration, body)
                for name in order(settings, number)
            }


def _idle(settings: Settings) -> Iterator[Round]:
    """Memory with 500 and with 1,000 requests that never end, so that neither side has anything to do.

    The first 500 fill what the allocator had left over.
    """
    with running("http2_origin") as origin_port:
        make = partial(configs.small, origin_port=origin_port, http2=True)
        for number in range(settings.rounds):
            samples = {}
            for name in order(settings, number):
                subject = Subject(name, make, host=HOST)
                with contextlib.closing(subject):
                    errors = run_http2(subject.port, Clients(connections=1, streams=4), 1).errors
                    with idle_streams(subject.port, _IDLE_STREAMS):
                        before = memory(subject.pid)
                        with idle_streams(subject.port, _IDLE_STREAMS):
                            after = memory(subject.pid)
                            errors += 2 * _IDLE_STREAMS - subject.stat("cluster.origin.upstream_rq_active")
                    samples[name] = {
                        "rss_kb_per_stream": (after.rss - before.rss) * 1024 / _IDLE_STREAMS,
                        "pss_kb_per_stream": (after.pss - before.pss) * 1024 / _IDLE_STREAMS,
                        "errors": errors,
                    }
            yield samples


def _scenario(
    name: str,
    title: str,
    clients: Clients,
    limit: float,
    origin: Callable[[], AbstractContextManager[int]],
    *,
    body: int = 0,
    http2: bool = True,
    default: bool = False,
) -> Scenario:
    """CPU per request, or per byte if there is a `body`, within `limit` times Envoy's."""

    def load(port: int, duration: float) -> Http2Load:
        return run_http2(port, clients, duration)

    return Scenario(
        name,
        title,
        partial(_throughput, load, origin, body=body, http2=http2, tls=clients.tls),
        default=default,
        limits={_BYTE if body else _REQUEST: limit},
        generator=http2_generator_name(clients),
    )


def _grpc(port: int, duration: float) -> Http2Load:
    return run_grpc(port, 8, 4, duration)


_SMALL: Final = partial(running, "http2_origin")
# What a gRPC server does to a plain GET ends as 503 at the proxy.
_GRPC_READY: Final = 503
_LARGE: Final = partial(running, "http2_origin", "--size", str(_MIB))
_REQUEST: Final = "cpu_us_per_request"
_BYTE: Final = "cpu_seconds_per_gb"

HTTP2_SCENARIOS: Final = (
    _scenario(
        "http2",
        "HTTP/2 to HTTP/2, 8 connections x 16 streams, small GET, constant headers",
        Clients(),
        0.45,
        _SMALL,
        default=True,
    ),
    _scenario("http2-paths", "the same, 5,000 different paths", Clients("paths"), 0.6, _SMALL),
    _scenario(
        "http2-unique",
        "the same, a path and 13 browser fields that are all unique",
        Clients("unique"),
        0.9,
        _SMALL,
    ),
    _scenario(
        "http2-single",
        "HTTP/2 to HTTP/2, one connection with one stream",
        Clients(connections=1, streams=1),
        0.8,
        _SMALL,
    ),
    _scenario(
        "http2-to-http1",
        "HTTP/2 to HTTP/1.1, 8 connections x 16 streams, small GET",
        Clients(),
        0.7,
        running_origin,
        http2=False,
    ),
    Scenario(
        "grpc",
        "gRPC unary, 100 B, grpcio on both ends, 8 channels x 4 calls",
        partial(_throughput, _grpc, partial(running, "grpc_server"), ready=_GRPC_READY),
        default=True,
        limits={_REQUEST: 0.75},
        generator="bench.load.grpc_client",
    ),
    _scenario(
        "http2-bodies",
        "HTTP/2 to HTTP/2, responses of 1 MiB",
        Clients(connections=4, streams=2),
        0.95,
        _LARGE,
        body=_MIB,
    ),
    _scenario(
        "http2-uploads",
        "HTTP/2 to HTTP/2, requests of 1 MiB",
        Clients(connections=4, streams=2, upload=_MIB),
        0.95,
        _SMALL,
        body=_MIB,
    ),
    _scenario(
        "http2-bodies-tls",
        "responses of 1 MiB, TLS towards the client",
        Clients(connections=4, streams=2, tls=True),
        1.3,
        _LARGE,
        body=_MIB,
    ),
    Scenario(
        "http2-idle",
        "1,000 idle streams on two connections, the memory of the second half",
        _idle,
        ceilings={"rss_kb_per_stream": 10},
        generator="bench.load.http2_client",
    ),
)
