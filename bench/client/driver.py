"""`--driver wrk|h2load`: the load comes from one of these where it is installed; the rest stays as it is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, Final

from bench.client.observed import Observer, observed_rows
from bench.client.options import Options
from bench.client.summary import duration
from bench.load.generator import parse_wrk
from bench.load.http2_generator import parse_h2load
from proxy.base.errors import UsageError

_USER_AGENT: Final = "user-agent: outrider-bench"
#: Seconds beyond the run after which the driver is ended.
_GRACE: Final = 60.0


def command_line(options: Options) -> list[str]:
    """What is run; raises `UsageError` if the driver is not there or cannot do this."""
    target = options.target
    wrk = options.driver == "wrk"
    if not (target.http or (target.http2 and not target.grpc and not wrk)):
        raise UsageError(f"outrider bench: --driver {options.driver} does not speak {target.scheme}://")
    if target.tls and not options.insecure:
        raise UsageError(f"outrider bench: {options.driver} checks no certificate; say so with --insecure")
    if shutil.which(options.driver) is None:
        package = "wrk" if wrk else "nghttp2-client"
        raise UsageError(f"outrider bench: --driver {options.driver} is not installed (Debian: {package})")
    url = f"{'https' if target.tls else 'http'}://{target.authority}{target.path}"
    headers = [word for name, value in options.headers for word in ("-H", f"{name}: {value}")]
    command = [options.driver, "-t1", f"-c{options.connections}", "-H", _USER_AGENT, *headers]
    seconds = options.duration or 0.0
    if wrk:
        if options.count is not None or seconds != round(seconds):
            raise UsageError("outrider bench: --driver wrk runs for whole seconds; give it --duration only")
        return [
            *command,
            f"-d{round(seconds)}s",
            f"--timeout={max(1, round(options.timeout))}s",
            "--latency",
            url,
        ]
    if options.count is not None and options.duration is not None:
        raise UsageError("outrider bench: --driver h2load takes --duration or --requests, not both")
    if options.count is not None and options.count < options.connections:
        raise UsageError("outrider bench: --driver h2load needs a request for each of --connections")
    command += [f"-m{options.streams}"] if target.http2 else ["--h1"]
    command += [f"-n{options.count}"] if options.count is not None else [f"-D{seconds:g}"]
    return [*command, f"--warm-up-time={options.warm_up:g}s", url] if options.warm_up else [*command, url]


def run_driver(options: Options) -> int:
    """Run it and print a table; the exit status as of our own run."""
    command = command_line(options)
    observer = None
    if options.pid is not None or options.proxy_admin is not None:
        observer = Observer(options.pid, options.proxy_admin)
    before = observer.look() if observer else None
    text = _run(command, (options.duration + options.warm_up + _GRACE) if options.duration else None)
    after = observer.look() if observer else None
    found = _read(options.driver, text)
    shown = [
        ("driver", " ".join(command[:-1])),
        ("requests", f"{found['requests']} in {duration(found['seconds'])}"),
        ("rate", f"{found['requests'] / found['seconds']:.1f} requests/s"),
        *((name, duration(found[name])) for name in ("p50", "p99", "mean") if name in found),
        ("errors", f"{found['errors'] or ('none' if found['requests'] else 'nothing was answered')}"),
    ]
    if observer and before and after:
        shown += observed_rows(observer.compare(before, after, found["requests"]))
    print("\n".join([options.target.url, *(f"  {label:14}{text}" for label, text in shown)]))
    return 0 if found["requests"] > found["errors"] else 1


def _read(driver: str, text: str) -> dict[str, Any]:
    try:
        if driver == "wrk":
            by_wrk = parse_wrk(text)
            times = {"p50": by_wrk.p50_ms / 1000, "p99": by_wrk.p99_ms / 1000}
            return {"requests": by_wrk.requests, "errors": by_wrk.errors, "seconds": by_wrk.seconds, **times}
        by_h2load = parse_h2load(text)
    except RuntimeError as error:
        raise UsageError(f"outrider bench: --driver {driver}: {error}") from error
    return {
        "requests": by_h2load.requests,
        "errors": by_h2load.errors,
        "seconds": by_h2load.seconds,
        "mean": by_h2load.mean_ms / 1000,
    }


def _run(command: Sequence[str], limit: float | None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"outrider bench: {command[0]} did not end") from error
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise UsageError(f"outrider bench: {command[0]}: {reason[-1]}")
    return done.stdout
