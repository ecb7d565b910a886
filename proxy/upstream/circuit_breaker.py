"""Circuit breakers: how much a cluster may have in flight, counted over all workers.

Envoy's threads share atomic counters. Here each worker writes its own slot of a shared-memory array (one
writer per slot, so there is no lock) and a check adds up the slots of all workers. With one worker the array
is not touched at all. Like Envoy's, a limit may be passed by what starts in the very same instant on several
workers.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from proxy.base.runtime import Runtime

if TYPE_CHECKING:
    from proxy.upstream.breaker_watch import BreakerWatch

UNLIMITED: Final = 2**64 - 1

PRIORITIES: Final = ("default", "high")  # core.v3.RoutingPriority 0 and 1

#: The kind of what is refused for the sake of one host.
PER_HOST: Final = "connections_per_host"

# Slots per (worker, cluster): the kinds of both priorities, then one that says "built in this worker".
_KINDS: Final = ("connections", "pending_requests", "requests", "retries", "connection_pools")
_LIMIT_SLOTS: Final = len(_KINDS) * len(PRIORITIES)
_BUILT: Final = _LIMIT_SLOTS
_SLOTS_PER_CLUSTER: Final = 16
_SLOT_BYTES: Final = 4


class Thresholds(Struct, frozen=True):
    """Limits of one priority. Defaults are Envoy's (`config.cluster.v3.CircuitBreakers.Thresholds`).

    `retry_budget` is (percent of the requests that are active or wait for a connection, the least number): how many
    may be retries. It takes the place of `max_retries`.
    """

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    max_connection_pools: int = UNLIMITED
    track_remaining: bool = False
    max_connections_per_host: int = UNLIMITED
    retry_budget: tuple[float, int] | None = None


#: Where only a runtime key asks for a budget.
_DEFAULT_BUDGET: Final = (20.0, 3)
DEFAULT_THRESHOLDS: Final = Thresholds()


class SharedSlots:
    """The array: `workers` blocks of `clusters` groups of 32-bit numbers in a memory file.

    The file is sparse: only pages of clusters in use cost memory. The controller creates it and hands its
    descriptor to the workers. Worker blocks are page-aligned, so workers never write to the same cache line.
    """

    def __init__(self, fd: int, workers: int, clusters: int) -> None:
        self.fd = fd
        self.workers = workers
        self.clusters = clusters
        self._stride = _stride(clusters)
        self._map = mmap.mmap(fd, workers * self._stride)
        self.cells = memoryview(self._map).cast("i")

    @classmethod
    def create(cls, workers: int, clusters: int) -> SharedSlots:
        """A new zeroed array, for the controller. Raises `OSError` if the kernel has no memory for it."""
        fd = os.memfd_create("outrider-limits", os.MFD_CLOEXEC)
        os.ftruncate(fd, workers * _stride(clusters))
        return cls(fd, workers, clusters)

    @classmethod
    def attach(cls, fd: int, workers: int, clusters: int) -> SharedSlots:
        """The array behind a descriptor that the controller sent; takes the descriptor over."""
        return cls(fd, workers, clusters)

    def base(self, worker: int, cluster: int) -> int:
        """Index in `cells` of the first slot of a cluster in a worker's block."""
        if not 0 <= cluster < self.clusters:
            raise IndexError(f"cluster index {cluster} of {self.clusters}")
        return worker * self._stride // _SLOT_BYTES + cluster * _SLOTS_PER_CLUSTER

    def clear_worker(self, worker: int) -> None:
        """Zero the block of a worker that has died, so that what it held no longer counts, nor costs memory."""
        start = worker * self._stride
        self._map.madvise(mmap.MADV_REMOVE, start, self._stride)

    def set_built(self, worker: int, cluster: int, built: bool) -> None:
        """Note whether a worker has the cluster in use."""
        self.cells[self.base(worker, cluster) + _BUILT] = int(built)

    def first_builder(self, cluster: int) -> int:
        """The lowest worker that has the cluster in use, or -1."""
        for worker in range(self.workers):
            if self.cells[self.base(worker, cluster) + _BUILT]:
                return worker
        return -1

    def close(self) -> None:
        """Unmap the array and close its descriptor."""
        self.cells.release()
        self._map.close()
        os.close(self.fd)


def _stride(clusters: int) -> int:
    size = clusters * _SLOTS_PER_CLUSTER * _SLOT_BYTES
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


class ResourceLimit:
    """One limit in the only worker. `limit` is the most that may be in use at once over all workers."""

    __slots__ = ("key", "limit", "used")

    def __init__(self, limit: int, key: str = "") -> None:
        self.limit = limit
        self.key = key
        self.used = 0

    def try_acquire(self) -> bool:
        """Take one unless the limit is reached."""
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def acquire(self) -> None:
        """Take one even beyond the limit, as Envoy does for a pool's first connection."""
        self.used += 1

    def release(self) -> None:
        """Give one back."""
        self.used -= 1

    def total(self) -> int:
        """How many are in use over all workers."""
        return self.used

    @property
    def available(self) -> bool:
        """Whether `try_acquire` would succeed now."""
        return self.total() < self.limit

    def __repr__(self) -> str:
        return f"<{self.key or 'limit'} {self.total()}/{self.limit}>"


class SharedResourceLimit(ResourceLimit):
    """The same among several workers: publishes its own use, adds what the others publish."""

    __slots__ = ("_cells", "_others", "_own")

    def __init__(self, limit: int, key: str, cells: memoryview, own: int, others: Sequence[int]) -> None:
        super().__init__(limit, key)
        self._cells = cells
        self._own = own
        self._others = tuple(others)
        # A worker that restarts on the same index starts from what it holds, which is nothing.
        cells[own] = 0

    def try_acquire(self) -> bool:
        """Take one unless the limit is reached."""
        cells = self._cells
        used = total = self.used
        for other in self._others:
            total += cells[other]
        if total >= self.limit:
            return False
        self.used = cells[self._own] = used + 1
        return True

    def acquire(self) -> None:
        """Take one even beyond the limit."""
        self.used = self._cells[self._own] = self.used + 1

    def release(self) -> None:
        """Give one back."""
        self.used = self._cells[self._own] = self.used - 1

    def total(self) -> int:
        """How many are in use over all workers."""
        cells = self._cells
        return self.used + sum(cells[other] for other in self._others)


class ResourceManager:
    """The limits of one cluster at one priority.

    `max_connections_per_host` is this worker's share of the per-host limit, rounded up.
    """

    __slots__ = (
        "_budget",
        "_budget_keys",
        "_thresholds",
        "_workers",
        "cluster_name",
        "connection_pools",
        "connections",
        "max_connections_per_host",
        "pending_requests",
        "priority",
        "requests",
        "retries",
        "watch",
    )

    def __init__(
        self,
        cluster_name: str,
        priority: int,
        thresholds: Thresholds,
        slots: SharedSlots | None = None,
        cluster_index: int = 0,
        worker: int = 0,
    ) -> None:
        self.cluster_name = cluster_name
        self.priority = PRIORITIES[priority]
        #: The worker's, which hears of refusals; None where there is no worker.
        self.watch: BreakerWatch | None = None
        self._thresholds = thresholds
        self._budget = thresholds.retry_budget
        prefix = f"circuit_breakers.{cluster_name}.{PRIORITIES[priority]}.max_"

        def limit(kind: str) -> ResourceLimit:
            most: int = getattr(thresholds, "max_" + kind)
            if slots is None or slots.workers == 1:
                return ResourceLimit(most, prefix + kind)
            offset = priority * len(_KINDS) + _KINDS.index(kind)
            places = [slots.base(index, cluster_index) + offset for index in range(slots.workers)]
            own = places.pop(worker)
            return SharedResourceLimit(most, prefix + kind, slots.cells, own, places)

        budget = prefix.removesuffix("max_") + "retry_budget."
        self._budget_keys = (budget + "budget_percent", budget + "min_retry_concurrency")
        self.connections = limit("connections")
        self.pending_requests = limit("pending_requests")
        self.requests = limit("requests")
        self.retries = limit("retries")
        self.connection_pools = limit("connection_pools")
        self._workers = slots.workers if slots is not None else 1
        self.max_connections_per_host = -(-thresholds.max_connections_per_host // self._workers)

    def renew(self, thresholds: Thresholds, runtime: Runtime) -> None:
        """Take other limits; what is in use stays counted."""
        self._thresholds = thresholds
        self.max_connections_per_host = -(-thresholds.max_connections_per_host // self._workers)
        self.apply_runtime(runtime)

    def apply_runtime(self, runtime: Runtime) -> None:
        """Take limits from the runtime keys `circuit_breakers.<cluster>.<priority>.max_*`, as Envoy does."""
        for kind in _KINDS:
            resource: ResourceLimit = getattr(self, kind)
            resource.limit = runtime.integer(resource.key, getattr(self._thresholds, "max_" + kind))
        percent, least = self._budget_keys
        self._budget = self._thresholds.retry_budget
        if self._budget is not None or percent in runtime.values or least in runtime.values:
            default = self._budget or _DEFAULT_BUDGET
            self._budget = (runtime.number(percent, default[0]), runtime.integer(least, default[1]))

    def acquire_retry(self, ended: int) -> bool:
        """Take one retry unless there are as many as may be.

        For a budget, `ended` tries that no longer count as active, those that are retried, still do.
        """
        if self._budget is None:
            return self.retries.try_acquire()
        percent, least = self._budget
        active = self.requests.total() + self.pending_requests.total() + ended
        if self.retries.total() >= max(int(percent / 100 * active), least):
            return False
        self.retries.acquire()
        return True

    def refused(self, kind: str) -> None:
        """To be called where something of a kind ("requests") is refused because of these limits."""
        if self.watch is not None:
            self.watch.refused(self, kind)

    def breaker_key(self, kind: str) -> tuple[str, str, str]:
        """See `Breakers`."""
        return (self.cluster_name, self.priority, kind)

    def why_refused(self, kind: str) -> str:
        """The limit of a kind, and what is in use, in words."""
        if kind == PER_HOST:
            share = "" if self._workers == 1 else f", {self.max_connections_per_host} of them in each worker"
            return f"max_connections of a host is {self._thresholds.max_connections_per_host}{share}"
        resource: ResourceLimit = getattr(self, kind)
        if kind == "retries" and self._budget is not None:
            percent, least = self._budget
            active = self.requests.total() + self.pending_requests.total()
            return (
                f"the retry budget is {percent:g} % of {active} requests, but at least {least}, and "
                f"{resource.total()} retries are under way"
            )
        return f"max_{kind} is {resource.limit}, and {resource.total()} are in use"

    def has_room(self, kind: str) -> bool:
        """Whether one more of a kind would be let through now, as far as is known."""
        if kind == PER_HOST or (kind == "retries" and self._budget is not None):
            return True
        resource: ResourceLimit = getattr(self, kind)
        return resource.available

    def gauges(self, prefix: str) -> dict[str, int]:
        """`cx_open` and the like (1 when nothing more fits), and `remaining_*` if tracked."""
        shown = (
            ("cx_open", "remaining_cx", self.connections),
            ("rq_pending_open", "remaining_pending", self.pending_requests),
            ("rq_open", "remaining_rq", self.requests),
            ("rq_retry_open", "remaining_retries", self.retries),
            ("cx_pool_open", "remaining_cx_pools", self.connection_pools),
        )
        result: dict[str, int] = {}
        for opened, remaining, resource in shown:
            left = resource.limit - resource.total()
            result[prefix + opened] = int(left <= 0)
            if self._thresholds.track_remaining:
                # As in Envoy, where nobody knows what a budget will have left.
                unknown = resource is self.retries and self._budget is not None
                result[prefix + remaining] = 0 if unknown else max(left, 0)
        return result
