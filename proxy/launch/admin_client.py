"""Asks the admin server of a proxy that runs beside, by TCP or a unix socket; blocking."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import Any, Final

from msgspec import Struct

from proxy.base.errors import UsageError

DEFAULT_PORT: Final = 15000
_MOST_REASONS: Final = 3
_MOST_BYTES: Final = 1 << 20


class AdminPlace(Struct, frozen=True):
    """Where an admin server listens: `path` of a unix socket (`@` for an abstract one), else `host` and `port`."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_place(text: str) -> AdminPlace:
    """`127.0.0.1:15000`, `[::1]:15000`, `localhost:15000`, `/path`, `@abstract`; raises `UsageError`.

    The address that a proxy is bound to, if it is any address, is asked for on the loopback interface.
    """
    if text.startswith(("/", "@")):
        return AdminPlace(path=text)
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise UsageError(
            f"admin address {text!r}: write ADDRESS:PORT such as 127.0.0.1:15000, or the path of a unix socket"
        )
    return AdminPlace({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect("\0" + self._path[1:] if self._path.startswith("@") else self._path)


def ask(place: AdminPlace, path: str, *, method: str = "GET", timeout: float = 1.0) -> tuple[int, str]:
    """Status and text; raises OSError if nobody answers in time, or not in HTTP."""
    connection: http.client.HTTPConnection
    if place.path:
        connection = _UnixConnection(place.path, timeout)
    else:
        connection = http.client.HTTPConnection(place.host, place.port, timeout=timeout)
    with contextlib.closing(connection):
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read(_MOST_BYTES).decode(errors="replace")
        except http.client.HTTPException as error:
            raise OSError(f"the answer is no HTTP ({error})") from error


def what_is_missing(place: AdminPlace, timeout: float = 1.0) -> str:
    """Why the proxy is not ready, in one line; "" if it is by now."""
    try:
        status, text = ask(place, "/ready?format=json", timeout=timeout)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        return (
            f"nobody answers there ({reason}): the proxy does not run, or its admin server listens elsewhere"
        )
    try:
        tree = json.loads(text)
    except ValueError:
        # Envoy tells its state only.
        return "" if status == 200 else f"the state is {text.strip()[:100]}"
    return "" if status == 200 else explain(tree)


def explain(tree: Any) -> str:
    """The JSON form of `/ready` in one line; anything else gets a general one."""
    if not isinstance(tree, dict):
        return "it does not say why"
    reasons = []
    for one in tree.get("missing", [])[:_MOST_REASONS]:
        waits = ", ".join(map(str, one.get("waiting_for", ())))
        text = f"{one.get('kind', 'resource')} {one.get('name', '')}".strip()
        reasons.append(f"{text} is missing" + (f" (waits for {waits})" if waits else ""))
    more = len(tree.get("missing", [])) - _MOST_REASONS
    if more > 0:
        reasons.append(f"{more} more are missing")
    refused = tree.get("last_nack")
    if refused:
        reasons.append(f"last refused: {refused.get('name', '')}: {refused.get('reason', '')}")
    for stream in tree.get("streams", []):
        if not stream.get("connected", True):
            why = stream.get("last_error", "")
            reasons.append(f"no stream to {stream.get('server', '')}" + (f" ({why})" if why else ""))
    state = f"the state is {tree.get('state', 'unknown')}"
    return " ".join("; ".join([state, *reasons]).split())
