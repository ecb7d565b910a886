"""What was asked for, from the command line."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.client.mix import read_mix
from bench.client.requests import MOST_BODY, Request, body_of, check_method, http_request, parse_header
from bench.client.schedule import Schedule
from bench.client.target import Target, parse_target
from proxy.base.errors import UsageError
from proxy.launch.own_flags import Parser, seconds

DRIVERS: Final = ("wrk", "h2load")
#: Flags that a driver would leave unheard; wrk and h2load have some more each.
_NOT_DRIVEN: Final = (
    "rate",
    "ramp",
    "new_connection",
    "method",
    "body",
    "body_hex",
    "body_file",
    "body_size",
    "mix",
    "expect_bytes",
    "cacert",
    "report",
)
_NOT_DRIVEN_BY: Final = {"wrk": ("warm_up", "streams"), "h2load": ("timeout",)}
_TIMEOUT: Final = 5.0
_MOST_CONNECTIONS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Options:
    """Times are seconds. `rate` is None for a closed loop; `count` is None where only `duration` ends the run."""

    target: Target
    requests: tuple[Request, ...]
    connections: int
    streams: int
    duration: float | None
    count: int | None
    warm_up: float
    rate: tuple[float, float] | None
    timeout: float
    new_connection: bool
    expect_bytes: int | None
    tls: ssl.SSLContext | None
    report: str
    pid: int | None
    proxy_admin: str | None
    driver: str
    insecure: bool
    headers: tuple[tuple[str, str], ...]

    def schedule(self) -> Schedule | None:
        """Of the measured part; None for a closed loop."""
        if self.rate is None:
            return None
        start, end = self.rate
        return Schedule(start, end) if start == end else Schedule(start, end, self.duration or 1.0)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _connections(text: str) -> int:
    value = _positive(text)
    if value > _MOST_CONNECTIONS:
        raise argparse.ArgumentTypeError(f"at most {_MOST_CONNECTIONS} connections fit one client address")
    return value


def _size(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > MOST_BODY:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: 0 to {MOST_BODY} bytes")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: a rate is above 0 and at most 1000000 requests a second")
    return value


def _ramp(text: str) -> tuple[float, float]:
    start, colon, end = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError("write FROM:TO, such as 100:2000")
    return _rate(start), _rate(end)


def _header(text: str) -> tuple[str, str]:
    try:
        return parse_header(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not hexadecimal") from error


def _method(text: str) -> str:
    try:
        return check_method(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> Parser:
    parser = Parser(
        "outrider bench",
        "Load on a server, and what it answered. Without --rate a closed loop: each connection sends its next "
        "request when the reply to the last is there. With --rate or --ramp an open loop: requests are due at "
        "fixed times, and latency counts from then, so a server that stalls cannot hide it.",
    )
    add = parser.add_argument
    add("url", metavar="URL", help="http, https, h2, h2c, grpc, grpcs, tcp or tls://HOST:PORT/PATH")
    add("-c", "--connections", type=_connections, default=10, help="default 10")
    add(
        "-m",
        "--streams",
        type=_positive,
        metavar="N",
        help="of HTTP/2, at a time on each connection (default 1)",
    )
    add("-d", "--duration", type=seconds, metavar="S", help="seconds (default 10 unless --requests is given)")
    add("-n", "--requests", type=_positive, metavar="N", help="end after so many requests")
    add("--warm-up", type=seconds, default=0.0, metavar="S", help="seconds before it that are not measured")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("-R", "--rate", type=_rate, help="requests a second in all, constant")
    pace.add_argument("--ramp", type=_ramp, metavar="FROM:TO", help="the rate goes evenly over the duration")
    add(
        "--timeout",
        type=seconds,
        metavar="S",
        help="of a request, connecting with it (default 5)",
    )
    add("--new-connection", action="store_true", help="a connection for each request")
    add("-H", "--header", type=_header, action="append", default=[], metavar="'NAME: VALUE'")
    add("-X", "--method", type=_method, help="default GET, with a body POST")
    body = parser.add_mutually_exclusive_group()
    body.add_argument("-b", "--body", help="the body; the message of grpc, the payload of tcp and tls")
    body.add_argument("--body-hex", type=_hex, metavar="HEX", help="the same in hexadecimal")
    body.add_argument("--body-file", metavar="FILE")
    body.add_argument("--body-size", type=_size, metavar="BYTES")
    body.add_argument("--mix", metavar="FILE", help="requests with weights (YAML; see bench/README.md)")
    add("--expect-bytes", type=_size, metavar="N", help="tcp://, tls://: N bytes answer (default: an echo)")
    add("-k", "--insecure", action="store_true", help="take any certificate of the server")
    add("--cacert", metavar="FILE", help="authorities that the server's certificate may come from (PEM)")
    add(
        "--pid", type=_positive, help="of the proxy: its CPU per request and memory, with all processes below"
    )
    add("--driver", choices=DRIVERS, help="load from wrk or h2load instead, where installed")
    add("--proxy-admin", metavar="ADDRESS:PORT", help="of the proxy: breakers, overflows, balance of workers")
    add("--report", default="", metavar="DIR", help="write report.html and report.json there")
    return parser


def parse_options(arguments: Sequence[str]) -> Options:
    """Raises `UsageError` in one line."""
    parser = _parser()
    given = parser.parse_args(list(arguments))
    target = parse_target(given.url)
    if given.ramp and not given.duration and given.requests:
        parser.error("--ramp needs --duration, over which the rate goes")
    for flag in ("duration", "timeout"):
        if getattr(given, flag) == 0:
            parser.error(f"--{flag} must be above 0")
    _check_scheme(parser, target, given)
    requests = _requests(parser, target, given)
    return Options(
        target=target,
        requests=requests,
        connections=given.connections,
        streams=given.streams or 1,
        duration=given.duration or (None if given.requests else 10.0),
        count=given.requests,
        warm_up=given.warm_up,
        rate=(given.rate, given.rate) if given.rate else given.ramp,
        timeout=given.timeout or _TIMEOUT,
        new_connection=given.new_connection,
        expect_bytes=given.expect_bytes,
        tls=_context(given.insecure, given.cacert, target) if target.tls else None,
        report=given.report,
        pid=given.pid,
        proxy_admin=given.proxy_admin,
        driver=given.driver or "",
        insecure=given.insecure,
        headers=tuple(given.header),
    )


def _requests(parser: Parser, target: Target, given: argparse.Namespace) -> tuple[Request, ...]:
    if given.mix is not None:
        return read_mix(given.mix, target, given.header)
    body = given.body_hex or body_of(given.body, given.body_file, given.body_size)
    method = given.method or ("POST" if body else "GET")
    if target.http or target.http2:
        return (http_request(target, method, target.path, given.header, body),)
    if not body:
        parser.error(f"{target.scheme}:// needs what to send: --body, --body-file or --body-size")
    return (Request(body),)


def _check_scheme(parser: Parser, target: Target, given: argparse.Namespace) -> None:
    """Refuse flags that would have no effect with this URL."""
    with_requests = target.http or target.http2
    if with_requests and given.expect_bytes is not None:
        parser.error(f"--expect-bytes has no meaning with {target.scheme}://")
    if given.driver is not None:
        for flag in (*_NOT_DRIVEN, *_NOT_DRIVEN_BY[given.driver]):
            if getattr(given, flag):
                parser.error(f"--{flag.replace('_', '-')} has no meaning with --driver {given.driver}")
    if given.expect_bytes == 0:
        parser.error("--expect-bytes must be above 0")
    if not with_requests and given.header:
        parser.error(f"--header has no meaning with {target.scheme}://")
    if given.method and (target.grpc or not with_requests):
        parser.error(f"--method has no meaning with {target.scheme}://")
    if given.mix is not None and (given.method or target.grpc or not with_requests):
        parser.error(f"--mix has no meaning with {'--method' if given.method else f'{target.scheme}://'}")
    if given.streams and not target.http2:
        parser.error(f"--streams has no meaning with {target.scheme}://")
    if given.streams and given.streams > 1 and given.new_connection:
        parser.error("--new-connection has one stream on each connection")
    if not target.tls and (given.insecure or given.cacert):
        parser.error(f"--insecure and --cacert have no meaning with {target.scheme}://")


def _context(insecure: bool, authorities: str | None, target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if target.http2 or target.http:
        context.set_alpn_protocols(["h2" if target.http2 else "http/1.1"])
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"outrider bench: --cacert {authorities}: {error.strerror or error}") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
