"""Where the snapshot is kept: finds the place, reads it at need, writes it seldom and away from the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from cryptography.fernet import Fernet

from proxy.base.errors import UsageError
from proxy.discovery.snapshot_file import Identity, Section, SnapshotError, decode, encode, read_key
from proxy.discovery.snapshot_secrets import SecretMemo

logger = logging.getLogger("outrider.config")

MAX_AGE: Final = 24 * 3600
"""Seconds for which a snapshot may be used, unless the command line says otherwise."""

_SYSTEM_DIRECTORY: Final = "/var/lib/outrider"

_WRITE_SECONDS: Final = 5.0
"""The least time between two writes; the first comes so long after the first change."""

_WRITE_SHARE: Final = 0.02
"""How much of the time writing may take, whatever the size."""

_REFRESHES: Final = 24
"""How often in its greatest age a snapshot is written anew while nothing changes, so that it does not grow old."""


def state_directory(chosen: str, environment: Mapping[str, str]) -> str:
    """`chosen`, else `$XDG_STATE_HOME/outrider`, else `/var/lib/outrider`."""
    home = environment.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    return chosen or (os.path.join(home, "outrider") if os.path.isabs(home) else _SYSTEM_DIRECTORY)


def snapshot_path(directory: str, identity: Identity) -> str:
    """The file of a node: readable, and different for different nodes."""
    digest = hashlib.sha256(f"{identity.id}\0{identity.cluster}".encode()).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", identity.id).strip("._")[:80]
    return os.path.join(directory, f"{readable or 'node'}-{digest}.snapshot")


def prepare_directory(directory: str) -> str:
    """Make it if need be; returns why nothing can be kept there, "" if it can."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        return f"it cannot be made: {error.strerror}"
    return "" if os.access(directory, os.W_OK | os.X_OK) else "it is not writable"


class SnapshotStore:
    """One file. `saved` is the Unix second of the last writing, `sections` gives what is to be kept;
    `clock` gives Unix seconds, `max_age` is in seconds."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: str,
        identity: Identity,
        key: Fernet | None = None,
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.saved = 0.0
        self.sections: Callable[[], Awaitable[list[Section]]] = _nothing
        self._loop = loop
        self._identity = identity
        self._key = key
        self._max_age = max_age
        self._clock = clock
        self._secrets = SecretMemo()
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._changed = False
        self._failed = False

    @property
    def exists(self) -> bool:
        """Whether there is something to read."""
        return os.path.exists(self.path)

    async def read(self) -> list[Section]:
        """What was kept, nothing if it cannot be used: that is logged."""
        try:
            return await self._loop.run_in_executor(None, self._read)
        except (OSError, SnapshotError) as error:
            logger.warning("the snapshot %s is not used: %s", self.path, error)
            return []

    def _read(self) -> list[Section]:
        with open(self.path, "rb") as file:
            content = file.read()
        return decode(content, self._identity, self._clock() - self._max_age, self._key)

    def note_change(self) -> None:
        """Something was accepted or has gone: it is written soon."""
        if not self._changed:
            self._changed = True
            now = self._loop.time()
            self._schedule(max(_WRITE_SECONDS, self._not_before - now))

    def _schedule(self, delay: float) -> None:
        if self._writing is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._writing = self._loop.create_task(self._write(), name="snapshot")
        self._writing.add_done_callback(self._written)

    def _written(self, _task: asyncio.Task[None]) -> None:
        self._writing = None
        self._schedule(_WRITE_SECONDS if self._changed else self._max_age / _REFRESHES)

    async def _write(self) -> None:
        self._changed = False
        sections = await self.sections()
        now = self._clock()
        start = self._loop.time()
        try:
            await self._loop.run_in_executor(None, self._replace, sections, now)
        except OSError as error:
            if not self._failed:
                logger.warning("the snapshot %s cannot be written: %s", self.path, error)
            self._failed = True
            return
        self._failed = False
        self.saved = now
        end = self._loop.time()
        self._not_before = end + max(_WRITE_SECONDS, (end - start) / _WRITE_SHARE)

    def _replace(self, sections: list[Section], now: float) -> None:
        self._secrets.next_round()
        write_atomically(self.path, encode(sections, self._identity, now, self._key, self._secrets))

    async def close(self) -> None:
        """Write what has changed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            self._writing.remove_done_callback(self._written)
            await self._writing
        if self._changed:
            await self._write()


async def _nothing() -> list[Section]:
    return []


def open_store(
    loop: asyncio.AbstractEventLoop, node: Any, chosen: str, max_age: float, key_file: str
) -> SnapshotStore | None:
    """The store of a `core.v3.Node` in the directory `chosen` ("" for the usual one), None if it cannot be had.

    Raises `UsageError` for a key file that cannot be used: its owner counts on it.
    """
    key = None
    if key_file:
        try:
            key = read_key(key_file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"error: cannot use --state-key-file {key_file}: {reason}") from error
    directory = state_directory(chosen, os.environ)
    reason = prepare_directory(directory)
    if reason:
        level = logging.WARNING if chosen else logging.INFO
        logger.log(level, "what is discovered is not kept over restarts: %s: %s", directory, reason)
        return None
    identity = Identity(node.id, node.cluster)
    return SnapshotStore(loop, snapshot_path(directory, identity), identity, key, max_age)


def write_atomically(path: str, content: bytes) -> None:
    """Replace a file, so that at any moment it is either the old or the new one. Raises OSError."""
    directory = os.path.dirname(path)
    descriptor, temporary = tempfile.mkstemp(prefix=".snapshot-", dir=directory)  # for its owner only
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
