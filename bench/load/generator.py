"""One run of the load generator: wrk where it is installed, otherwise our own client."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.load.children import cpus, pinned

HOST = "bench.example.com"
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}
_PATHS_SCRIPT = Path(__file__).with_name("paths.lua")
_FIELD_BYTES = 100
_WRK_MODES = ("keepalive", "close", "paths")


class Load(msgspec.Struct, frozen=True):
    """What the generator saw; `errors` counts replies that were not 2xx and broken connections."""

    requests: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float


def generator_name(mode: str = "keepalive") -> str:
    """What will make the load in this mode."""
    return "wrk" if mode in _WRK_MODES and shutil.which("wrk") else "bench.load.client"


def run_load(
    port: int,
    mode: str,
    connections: int,
    duration: float,
    *,
    tls: bool = False,
    interval: float = 0.0,
    path: str = "/",
    name: str = "127.0.0.1",
    header_bytes: int = 0,
) -> Load:
    """Load on a port for `duration` seconds, from the CPUs that the proxy does not use.

    With an `interval` each connection sends one request in so many seconds, which wrk cannot. `tls`, another `path`
    and more headers need wrk; `name` is what it connects to, and its SNI.
    """
    wrk = not interval and generator_name(mode) == "wrk"
    if wrk:
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{round(duration)}s",
            "--latency",
            "-H",
            f"Host: {HOST}",
        ]
        command += ["-H", "Connection: close"] if mode == "close" else []
        command += ["-s", str(_PATHS_SCRIPT)] if mode == "paths" else []
        for number in range(header_bytes // _FIELD_BYTES):
            prefix = f"x-field-{number}: "
            command += ["-H", prefix.ljust(_FIELD_BYTES - 2, "v")]
        command.append(f"{'https' if tls else 'http'}://{name}:{port}{path}")
    elif tls or header_bytes or path != "/":
        raise RuntimeError("this load needs wrk")
    else:
        command = [sys.executable, "-m", "bench.load.client", "--port", str(port), "--mode", mode]
        command += ["--host", HOST, "--connections", str(connections), "--duration", str(duration)]
        command += ["--interval", str(interval)]
    with pinned(cpus()[1]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=duration + 60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return parse_wrk(done.stdout) if wrk else Load(**json.loads(done.stdout))


def parse_wrk(text: str) -> Load:
    """Read what `wrk --latency` prints."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", text)
    if total is None:
        raise RuntimeError(f"wrk printed no total:\n{text}")
    errors = 0
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    if broken:
        errors += sum(map(int, broken.groups()))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if refused:
        errors += int(refused[1])
    return Load(
        requests=int(total[1]),
        errors=errors,
        seconds=float(total[2]) * _UNITS[total[3]] / 1000,
        p50_ms=_percentile(text, "50"),
        p99_ms=_percentile(text, "99"),
    )


def _percentile(text: str, which: str) -> float:
    found = re.search(rf"^\s*{which}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk printed no {which}th percentile:\n{text}")
    return float(found[1]) * _UNITS[found[2]]
