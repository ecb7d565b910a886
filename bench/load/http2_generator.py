"""One run of HTTP/2 or gRPC load: h2load where it can make the requests, otherwise our own clients."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.load.children import cpus, pinned

_PATHS = 5000
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Http2Load(msgspec.Struct, frozen=True):
    """What the generator saw; `errors` counts replies that were not 2xx, resets and broken connections."""

    requests: int
    errors: int
    seconds: float
    mean_ms: float


class Http2Clients(msgspec.Struct, frozen=True):
    """Who asks: `mode` as in `bench.load.http2_client`; `upload` bytes go with each request."""

    mode: str = "constant"
    connections: int = 8
    streams: int = 16
    tls: bool = False
    upload: int = 0


def http2_generator_name(clients: Http2Clients) -> str:
    """What will make this load."""
    return "h2load" if clients.mode != "unique" and shutil.which("h2load") else "bench.load.http2_client"


def run_http2(port: int, clients: Http2Clients, duration: float) -> Http2Load:
    """Load on a port for `duration` seconds, from the CPUs that the proxy does not use."""
    if http2_generator_name(clients) == "h2load":
        return _h2load(port, clients, duration)
    if clients.tls or clients.upload:
        raise RuntimeError("this scenario needs h2load (Debian: nghttp2-client)")
    options = ["--mode", clients.mode, "--connections", str(clients.connections)]
    return _own("http2_client", port, [*options, "--streams", str(clients.streams)], duration)


def run_grpc(port: int, connections: int, streams: int, duration: float) -> Http2Load:
    """Unary calls by grpcio."""
    options = ["--connections", str(connections), "--streams", str(streams)]
    return _own("grpc_client", port, options, duration)


@contextlib.contextmanager
def idle_streams(port: int, count: int) -> Iterator[None]:
    """So many streams on one connection whose requests have not ended."""
    command = [sys.executable, "-m", "bench.load.http2_client", "--port", str(port), "--idle", str(count)]
    with pinned(cpus()[1]):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        if process.stdout.readline() != "open\n":
            raise RuntimeError("the idle streams were not opened")
        yield
        process.stdin.close()
    if process.returncode:
        raise RuntimeError("the idle streams did not stay open")


def _own(module: str, port: int, options: Sequence[str], duration: float) -> Http2Load:
    command = [sys.executable, "-m", f"bench.load.{module}", "--port", str(port), *options]
    done = _run([*command, "--duration", str(duration)], duration)
    return Http2Load(**json.loads(done))


def _h2load(port: int, clients: Http2Clients, duration: float) -> Http2Load:
    target = f"{'https' if clients.tls else 'http'}://127.0.0.1:{port}/"
    command = ["h2load", "-t1", f"-c{clients.connections}", f"-m{clients.streams}", f"-D{duration:g}"]
    if clients.upload:
        command += ["-d", str(_upload(clients.upload))]
    if clients.mode == "paths":
        command += ["-i", str(_path_list(target))]
    else:
        command.append(target)
    return parse_h2load(_run(command, duration))


def _run(command: Sequence[str], duration: float) -> str:
    with pinned(cpus()[1]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=duration + 60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bench-h2load-")


def _path_list(target: str) -> Path:
    path = Path(_directory().name) / "paths.txt"
    path.write_text("".join(f"{target}path/{number}/item\n" for number in range(_PATHS)), encoding="ascii")
    return path


def _upload(size: int) -> Path:
    path = Path(_directory().name) / f"body-{size}"
    if not path.exists():
        path.write_bytes(bytes(size))
    return path


def parse_h2load(text: str) -> Http2Load:
    """Read what h2load prints after a timed run; a request cut off by its end is no error."""
    finished = re.search(r"finished in ([\d.]+)(us|ms|s),", text)
    requests = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    times = re.search(r"time for request:\s+[\d.]+\w+\s+[\d.]+\w+\s+([\d.]+)(us|ms|s)", text)
    if finished is None or requests is None or statuses is None or times is None:
        raise RuntimeError(f"h2load printed no result:\n{text}")
    done, _, failed, errored, timed_out = map(int, requests.groups())
    return Http2Load(
        requests=done,
        errors=failed + errored + timed_out + sum(map(int, statuses.groups()[1:])),
        seconds=float(finished[1]) * _UNITS[finished[2]] / 1000,
        mean_ms=float(times[1]) * _UNITS[times[2]],
    )
