"""How many downstream connections each listener has over all workers, in shared memory.

Connection limits are Envoy's: of a listener, and of the whole proxy, not of a worker. Each worker writes its
own cell (one writer, no lock) and a check adds up the column. With one worker there is nothing to share.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

_CELL_BYTES: Final = 4


class SharedCounts:
    """`workers` rows of `columns` 32-bit cells; a row starts on a page of its own."""

    def __init__(self, fd: int, workers: int, columns: int) -> None:
        self.fd = fd
        self.workers = workers
        self.columns = columns
        self._stride = -(-columns * _CELL_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        self._map = mmap.mmap(fd, workers * self._stride)
        self.cells = memoryview(self._map).cast("i")

    @classmethod
    def create(cls, workers: int, columns: int) -> SharedCounts:
        """A new zeroed table. Raises `OSError`."""
        fd = os.memfd_create("outrider-connections", os.MFD_CLOEXEC)
        os.ftruncate(fd, workers * (-(-columns * _CELL_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE))
        return cls(fd, workers, columns)

    def place(self, worker: int, column: int) -> int:
        """Index in `cells`."""
        if not 0 <= column < self.columns:
            raise IndexError(f"column {column} of {self.columns}")
        return worker * self._stride // _CELL_BYTES + column

    def clear_worker(self, worker: int) -> None:
        """The worker has died and its connections with it: its row is all zeroes, and costs no memory."""
        start = worker * self._stride
        self._map.madvise(mmap.MADV_REMOVE, start, self._stride)

    def total(self, column: int) -> int:
        """Connections of one column over all workers."""
        return sum(self.cells[self.place(worker, column)] for worker in range(self.workers))

    def close(self) -> None:
        """Unmap and close."""
        self.cells.release()
        self._map.close()
        os.close(self.fd)


class SharedCounter:
    """One column as one worker sees it; see `proxy.downstream.connection.ConnectionCounter`."""

    __slots__ = ("_cells", "_own", "_places")

    def __init__(self, counts: SharedCounts, worker: int, column: int) -> None:
        self._cells = counts.cells
        self._own = counts.place(worker, column)
        self._places = tuple(counts.place(index, column) for index in range(counts.workers))

    def increase(self) -> None:
        """One more connection in this worker."""
        self._cells[self._own] += 1

    def decrease(self) -> None:
        """One less."""
        self._cells[self._own] -= 1

    def total(self) -> int:
        """Connections in all workers."""
        cells = self._cells
        return sum(cells[place] for place in self._places)
