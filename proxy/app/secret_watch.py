"""Follows the files of secrets: looks every second whether one has changed, and tells who uses it.

Looking finds every way of changing a file: renamed over, written in place, a directory link swapped above it as
Kubernetes does. A change is taken when it is good: a certificate and a key that do not fit (yet) leave the former
pair in use, and are reported if they stay so until the next look.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import ClassVar, Final

import xxhash

from proxy.app.secret_files import ReadSecret, SecretError, Signature, read_secret, signature
from proxy.base.stats import StatGroup, StatRegistry
from proxy.connection.tls_secrets import SecretPlan

logger = logging.getLogger("outrider.secret")

LOOK_SECONDS: Final = 1.0


class SdsStats(StatGroup):
    """`sds.<secret>.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "init_fetch_timeout",
        "key_rotation_failed",
        "update_attempt",
        "update_failure",
        "update_rejected",
        "update_success",
    )
    GAUGES: ClassVar[tuple[str, ...]] = ("update_time", "version")

    key_rotation_failed: int
    update_attempt: int
    update_rejected: int
    update_success: int
    update_time: int
    version: int


class _Followed:
    """One secret. `seen` is the state of its files at the last look that ended in a decision."""

    def __init__(self, plan: SecretPlan, stats: SdsStats | None) -> None:
        self.plan = plan
        self.stats = stats
        self.current = b""
        self.updated = 0.0
        self.files: list[str] = []
        self.seen: Signature = ()
        self.failed: Signature | None = None


class SecretWatch:
    """See module. `on_change` gets the key of a secret and its bytes."""

    def __init__(
        self, plans: Iterable[SecretPlan], stats: StatRegistry, on_change: Callable[[str, bytes], None]
    ) -> None:
        self._on_change = on_change
        self._followed: dict[str, _Followed] = {}
        self._stats = stats
        self._timer: asyncio.TimerHandle | None = None
        for plan in plans:
            self.add(plan)

    def add(self, plan: SecretPlan) -> None:
        """Read one more secret, and follow it from now on."""
        if plan.key in self._followed:
            return
        group = None
        if plan.file:
            group = SdsStats(f"sds.{plan.name}.")
            self._stats.add(group.prefix, group)
        followed = self._followed[plan.key] = _Followed(plan, group)
        self._take(followed, last_chance=True)

    def values(self) -> dict[str, bytes]:
        """Every secret that is here, by key."""
        return {key: one.current for key, one in self._followed.items() if one.current}

    def resources(self) -> list[tuple[SecretPlan, bytes, float]]:
        """Every secret: its plan, bytes (b"" for none yet), since when in Unix seconds."""
        return [(one.plan, one.current, one.updated) for one in self._followed.values()]

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look every second from now on."""
        if self._timer is None:
            self._timer = loop.call_later(LOOK_SECONDS, self._tick, loop)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(LOOK_SECONDS, self._tick, loop)
        self.look()

    def look(self) -> None:
        """Take what has changed."""
        for one in self._followed.values():
            if not one.plan.watched:
                continue
            now = signature(one.files)
            if now != one.seen:
                self._take(one, last_chance=one.failed == now)

    def _take(self, one: _Followed, *, last_chance: bool) -> None:
        read = ReadSecret()
        try:
            read_secret(one.plan, read)
        except SecretError as error:
            one.files = read.files
            one.failed = signature(read.files)
            if last_chance:
                one.seen = one.failed
                self._refused(one, error)
            return
        one.files = read.files
        one.seen = signature(read.files)
        one.failed = None
        if read.serialized == one.current:
            return
        one.current = read.serialized
        one.updated = time.time()
        if one.stats is not None:
            one.stats.update_attempt += 1
            one.stats.update_success += 1
            one.stats.update_time = int(one.updated * 1000)
            one.stats.version = xxhash.xxh64_intdigest(read.serialized)
        logger.info("secret %s is in use", one.plan.name)
        self._on_change(one.plan.key, one.current)

    def _refused(self, one: _Followed, error: SecretError) -> None:
        kept = "the former one stays in use" if one.current else "connections that need it are closed"
        logger.warning("secret %s cannot be used, %s: %s", one.plan.name, kept, error)
        if one.stats is None:
            return
        one.stats.update_attempt += 1
        if error.of_pair and one.current:
            one.stats.key_rotation_failed += 1
        else:
            one.stats.update_rejected += 1
