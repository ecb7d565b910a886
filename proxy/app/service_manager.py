"""Tells the service manager how the proxy fares: systemd's notification protocol, without its library.

Source: sd_notify(3), sd_watchdog_enabled(3). Datagrams of `KEY=value` lines go to the socket of NOTIFY_SOCKET.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

logger = logging.getLogger("proxy.app.service_manager")


class ServiceManager:
    """Does nothing where NOTIFY_SOCKET is not set. Nothing that it sends blocks or fails."""

    def __init__(self, environment: Mapping[str, str], now: Callable[[], int] | None = None) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._now = now or (lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC))
        self._socket: socket.socket | None = None
        #: Seconds between two signs of life, None if none is asked for.
        self.watchdog_seconds = _watchdog(environment) if self._address else None

    def ready(self, status: str) -> None:
        """Start-up is complete, or a reload has ended. `status` is one line."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """What `systemctl status` shows."""
        self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._now() // 1000}", "STATUS=reloading")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self._send("STOPPING=1", f"STATUS={status}")

    def alive(self) -> None:
        """A sign of life, due every `watchdog_seconds`."""
        self._send("WATCHDOG=1")

    def keep_alive(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give signs of life while the loop runs: that is what a watchdog is for. Workers that die are replaced
        by that loop.
        """
        if self.watchdog_seconds is not None:
            self.alive()
            loop.call_later(self.watchdog_seconds, self.keep_alive, loop)

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._address = None, ""

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            # Whoever started us does not listen any more, or not now: that must not disturb the traffic.
            logger.debug("cannot notify %s: %s", self._address, error)


def _address(text: str) -> str:
    if not text:
        return ""
    if text[0] not in "/@":
        logger.warning("NOTIFY_SOCKET=%s is no unix socket: the service manager is told nothing", text)
        return ""
    return "\0" + text[1:] if text[0] == "@" else text


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Half of the time after which a silent process is taken for dead, if this process is meant."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    process = environment.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or not int(microseconds) or (process and process != str(os.getpid())):
        return None
    return int(microseconds) / 2e6
