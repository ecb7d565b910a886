"""Token buckets that all workers draw from, in shared memory.

Envoy's threads share a bucket as one atomic number. Here it is the moment when the bucket is full again, in a
table that every worker has mapped. A bucket has no fixed place: its key is looked for in a few places that
follow from it. What is full again is the same as new, so its place is free for any other: nothing is ever
released, and nothing is lost with a worker. Reading and writing are two steps: what takes tokens in the very
same instant on two workers may take the same ones.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

from proxy.base.token_bucket import TokenBucket, TokenBucketConfig

#: Places of buckets that the configuration names, and after them of those that requests bring to life. The second
#: kind never crowds out the first.
CONFIGURED: Final = 8192
DYNAMIC: Final = 57344
_PROBES: Final = 16
#: A 64-bit key and a double.
_PLACE_BYTES: Final = 16
_BYTES: Final = (CONFIGURED + DYNAMIC) * _PLACE_BYTES


class SharedBuckets:
    """The table. The file is sparse: pages without buckets cost no memory."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _BYTES)
        view = memoryview(self._map)
        #: Of place n: the key is `keys[2 * n]`, the moment `moments[2 * n + 1]`.
        self.keys = view.cast("Q")
        self.moments = view.cast("d")

    @classmethod
    def create(cls) -> SharedBuckets:
        """A new table without buckets, for the controller. Raises `OSError` if the kernel has no memory for it."""
        fd = os.memfd_create("outrider-buckets", os.MFD_CLOEXEC)
        os.ftruncate(fd, _BYTES)
        return cls(fd)

    def find(self, key: int, dynamic: bool, full_at: float, now: float) -> int:
        """The place (times two) of a bucket, which is new there with `full_at` unless a worker has it already.

        -1 if all of its places hold buckets that are not full.
        """
        keys, moments = self.keys, self.moments
        first, count = (CONFIGURED, DYNAMIC) if dynamic else (0, CONFIGURED)
        free = -1
        for probe in range(_PROBES):
            place = 2 * (first + (key + probe) % count)
            if keys[place] == key:
                return place
            if free < 0 and moments[place + 1] <= now:
                free = place
        if free >= 0:
            moments[free + 1] = full_at
            keys[free] = key
        return free

    def close(self) -> None:
        """Unmap and close."""
        self.keys.release()
        self.moments.release()
        self._map.close()
        os.close(self.fd)


class SharedTokenBucket(TokenBucket):
    """One that other workers have too, by its key: 1 to 2**64-1. While the table has no place for it, its own."""

    __slots__ = ("_dynamic", "_key", "_place", "_table")

    def __init__(
        self, config: TokenBucketConfig, now: float, table: SharedBuckets, key: int, *, dynamic: bool
    ) -> None:
        super().__init__(config, now)
        self._table = table
        self._key = key
        self._dynamic = dynamic
        self._place = -1

    def take(self, now: float, tokens: int = 1) -> bool:
        """See `TokenBucket`."""
        self._read(now)
        taken = super().take(now, tokens)
        if taken and self._place >= 0:
            self._table.moments[self._place + 1] = self.full_at
        return taken

    def level(self, now: float) -> float:
        """See `TokenBucket`."""
        self._read(now)
        return super().level(now)

    def _read(self, now: float) -> None:
        table, place = self._table, self._place
        if place < 0 or table.keys[place] != self._key:
            place = self._place = table.find(self._key, self._dynamic, self.full_at, now)
            if place < 0:
                return
        self.full_at = table.moments[place + 1]
