"""The integration test of go-control-plane: built from its Go module, which `conformance/go_control_plane/` pins.

It is a control plane that pushes a series of snapshots and, after each, asks every listener of the proxy for the
message of an origin. Its ports and those of its bootstraps are moved, so that several can run at a time.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.origin import Answer, Origin
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess

_MODULE = Path(__file__).resolve().parents[1] / "conformance" / "go_control_plane"
_NAME = "github.com/envoyproxy/go-control-plane"
_MESSAGE = "Hi, there!"

# The ports of the bootstraps, by the flags that move them.
_PORTS = {"port": 18000, "gateway": 18001, "als": 18090}
_ADMIN = 19000
_LISTENERS = 12


@functools.cache
def build() -> Path:
    """The program, built into the virtual environment; AssertionError with Go's words if that fails."""
    program = Path(sys.prefix) / "bin" / "go-control-plane-test"
    _go(
        "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", str(program), f"{_NAME}/pkg/test/main"
    )
    return program


@functools.cache
def bootstrap(mode: str) -> str:
    """The bootstrap for a mode, as the module has it."""
    directory = _go("list", "-mod=readonly", "-m", "-f", "{{.Dir}}", _NAME).strip()
    return (Path(directory) / "sample" / f"bootstrap-{mode}.yaml").read_text()


def _go(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["go", *arguments],
            cwd=_MODULE,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    except FileNotFoundError:
        raise AssertionError("this test needs Go: install golang-go (Debian) or any Go from 1.23") from None
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(kind: type[ProxyProcess], mode: str, *options: str) -> tuple[int, str, str]:
    """Let it drive a proxy; its exit status, what it said, and what the proxy said."""
    ports = {flag: free_port() for flag in _PORTS}
    base = _free_range(_LISTENERS)
    template = re.sub(rf"\b{_ADMIN}\b", "{{admin_port}}", bootstrap(mode))
    for flag, port in _PORTS.items():
        template = re.sub(rf"\b{port}\b", str(ports[flag]), template)
    answer = Answer(
        f"HTTP/1.1 200 OK\r\ncontent-length: {len(_MESSAGE)}\r\n\r\n{_MESSAGE}".encode(), end="open"
    )
    flags = [f"--{flag}={port}" for flag, port in ports.items()]
    with Origin(answer) as origin, tempfile.TemporaryFile("w+") as said:
        test = subprocess.Popen(
            [
                *(build(), f"--xds={mode}", f"--message={_MESSAGE}", f"--base={base}"),
                *(f"--upstream={origin.port}", *flags, *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            for flag in ("port", "gateway"):
                _wait_listening(ports[flag])
            with kind(template, listeners=(), arguments=("--drain-time-s", "1"), wait=False) as proxy:
                status = test.wait(90)
                log = proxy.log()
        finally:
            if test.poll() is None:
                test.kill()
                test.wait()
        said.seek(0)
        return status, said.read(), log


def _free_range(count: int) -> int:
    """The first of `count` adjacent ports on which nobody listens."""
    while True:
        first = free_port()
        if all(_can_bind(port) for port in range(first + 1, first + count)):
            return first


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _wait_listening(port: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, f"nothing listens on {port}"
        time.sleep(0.02)
