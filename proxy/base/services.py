"""What a worker lends to the parts that run in it; created once per worker, passed down, never global."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct, field

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.base.shared_buckets import SharedBuckets
from proxy.base.stats import StatRegistry
from proxy.base.steps import Slices
from proxy.base.stream_info import DrainState, WallClock


class Timers(Protocol):
    """See `proxy.connection.timers.TimerQueue`."""

    def wake(self, when: float, target: Any) -> Any:
        """Call `target.on_wake(now)` at monotonic second `when` or a little later; gives what `cancel` takes."""

    def cancel(self, entry: Any) -> None:
        """Forget what `wake` gave, and its target."""


class AccessLogSinks(Protocol):
    """See `proxy.access_log.sinks.SinkManager`."""

    def file(self, path: str) -> Callable[[str], None]:
        """A function that appends one formatted entry to the file at `path`; shared by path."""


class ClusterLookup(Protocol):
    """See `proxy.upstream.cluster_manager.ClusterManager`."""

    def get(self, name: str) -> Any:
        """The live cluster of that name, built now if this is its first use, or None."""


class InternalListener(Protocol):
    """See `proxy.downstream.connection.Acceptor`."""

    def accept_internal(
        self,
        transport: Any,
        local: Address,
        metadata: Mapping[str, Mapping[str, Any]],
        state: Mapping[str, Any],
        sharing: Mapping[str, int],
    ) -> None:
        """Serve a connection that was made in this worker; see the fields of `ConnectionInfo`."""


class InternalListeners(Protocol):
    """See `proxy.downstream.directory.ListenerDirectory`."""

    def find_internal(self, name: str) -> InternalListener | None:
        """The internal listener of that name."""


class WorkerServices(Struct):
    """One worker's services.

    `random` gives an integer from 0 to 2**64-1. `drain` is the worker's own state; each listener has another.
    """

    loop: asyncio.AbstractEventLoop
    clusters: ClusterLookup
    runtime: Runtime
    stats: StatRegistry
    wall_clock: WallClock
    timers: Timers
    access_logs: AccessLogSinks
    random: Callable[[], int]
    drain: DrainState
    node: Any = None
    #: The serialised `envoy.config.trace.v3.Tracing` of the bootstrap, for those who name no provider; b"" if none.
    tracing: bytes = b""
    worker_index: int = 0
    #: How many workers there are.
    workers: int = 1
    #: Set by the listener manager.
    internal_listeners: InternalListeners | None = None
    #: What lies between the two ends of a connection to an internal listener at most.
    internal_buffer_bytes: int = 1024 * 1024
    #: What this machine calls itself in x-forwarded-for when the client is on it.
    local_address: str = "127.0.0.1"
    #: What a control plane brings; see `proxy.config.resources.ResourceStore`.
    resources: Any = None
    #: How to ask for more of it; see `proxy.config.demands.Demands`.
    demands: Any = None
    #: Where long work is done between requests; None where there are none.
    slices: Slices | None = None
    #: Tells the controller what comes of requests: an `OutcomeReporter`, see `proxy.upstream.outlier.outcomes`.
    outcomes: Any = None
    #: Hears of what circuit breakers refuse: a `proxy.upstream.breaker_watch.BreakerWatch`.
    breaker_watch: Any = None
    #: Token buckets that all workers have together; None where there is one worker.
    buckets: SharedBuckets | None = None
    #: What happens under pressure, a `proxy.overload.view.OverloadView`; None without an overload manager.
    overload: Any = None
    #: What several filters or clusters have together, by a key that begins with its kind.
    shared: dict[Any, Any] = field(default_factory=dict)
