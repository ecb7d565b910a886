"""What the signals of an operator ask the controller for."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("proxy.app.signals")

# `timeout` and service managers signal a process and then its group: that is one request, not two.
_SAME_SIGNAL_SECONDS: Final = 0.25


class Signals:
    """`stop` gets the name of the signal that asks for the end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stop: Callable[[str], None],
        reopen_logs: Callable[[], None],
        reload: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._stop = stop
        self._reopen_logs = reopen_logs
        self._reload = reload
        self._stopped_at = -_SAME_SIGNAL_SECONDS

    def catch(self) -> None:
        """From now on; the loop lets go of them when it is closed."""
        add = self._loop.add_signal_handler
        add(signal.SIGTERM, self._on_stop, "SIGTERM")
        add(signal.SIGINT, self._on_stop, "SIGINT")
        add(signal.SIGUSR1, self._on_usr1)
        add(signal.SIGHUP, self._on_hup)

    def _on_stop(self, name: str) -> None:
        now = self._loop.time()
        if now - self._stopped_at < _SAME_SIGNAL_SECONDS:
            return
        self._stopped_at = now
        logger.warning("caught %s", name)
        self._stop(name)

    def _on_usr1(self) -> None:
        logger.info("caught SIGUSR1. Reopening access logs.")
        self._reopen_logs()

    def _on_hup(self) -> None:
        logger.warning("caught SIGHUP")
        self._reload()
