"""A timer finer than the loop's, whose timers end at whole milliseconds: an open loop needs better."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable
from typing import Final

from proxy.base.errors import UsageError

_CLOCK_MONOTONIC: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC


class _Spec(ctypes.Structure):
    """`struct itimerspec` of Linux (timerfd_settime(2))."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class FineTimer:
    """Calls `ring` when the time set last has come. (`os.timerfd_create` is of Python 3.13.)"""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._descriptor < 0:
            raise UsageError(f"outrider bench: timerfd_create: {os.strerror(ctypes.get_errno())}")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._read)

    def set(self, seconds: float) -> None:
        """Ring in so many seconds, at once if they are none."""
        whole, part = divmod(max(1, int(seconds * 1e9)), 1_000_000_000)
        spec = _Spec(0, 0, whole, part)
        self._libc.timerfd_settime(self._descriptor, 0, ctypes.byref(spec), None)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)
        self._ring()

    def close(self) -> None:
        """Ring no more."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
