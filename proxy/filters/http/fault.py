"""`envoy.filters.http.fault`: delays requests, answers in place of the upstream, slows responses down.

Source: envoy.extensions.filters.http.fault.v3 and Envoy's documentation of the filter. The config of the most
specific level of the route counts, as a whole. A delayed request may still be aborted when its delay is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.http.fault_config import NO_LIMIT, FaultConfig, compile_fault
from proxy.filters.http.stream_rate_limiter import StreamRateLimiter

#: Callers counted apart: requests choose these names. Those of further callers count in the totals only.
MAX_CALLERS: Final = 1000


class FaultStats(StatGroup):
    """`http.<stat_prefix>.fault.*`; `callers` has the numbers of each downstream cluster."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "aborts_injected",
        "delays_injected",
        "faults_overflow",
        "response_rl_injected",
    )
    GAUGES: ClassVar[tuple[str, ...]] = ("active_faults",)

    aborts_injected: int
    delays_injected: int
    faults_overflow: int
    response_rl_injected: int
    active_faults: int

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.callers: dict[str, int] = {}

    def count_for(self, caller: str, what: str) -> None:
        """Count one fault of a caller."""
        key = f"{caller}.{what}"
        known = self.callers.get(key)
        if known is not None:
            self.callers[key] = known + 1
        elif len(self.callers) < MAX_CALLERS:
            self.callers[key] = 1

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        return {**super().counters(), **{self.prefix + key: value for key, value in self.callers.items()}}


class FaultFilter(HttpFilter):
    """One request."""

    def __init__(
        self, callbacks: StreamCallbacks, config: FaultConfig, services: WorkerServices, stats: FaultStats
    ) -> None:
        super().__init__(callbacks)
        self._config = config
        self._services = services
        self._stats = stats
        self._head: RequestHead | None = None
        self._caller: str | None = None
        self._active = False
        #: What `Timers.wake` gave for the delay.
        self._delay: Any = None
        self._tick: Any = None
        self._limiter: StreamRateLimiter | None = None

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        self._config = config = self.callbacks.route_config(self.name) or self._config
        headers = head.headers
        if not self._concerns(config, head):
            return FilterStatus.CONTINUE
        self._caller = headers.get("x-envoy-downstream-service-cluster")
        self._limit_response(headers)
        if self._delays(headers):
            self._head = head
            return FilterStatus.STOP
        return FilterStatus.STOP if self._aborts(headers) else FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:  # noqa: ARG002
        """See `HttpFilter`."""
        waits = self._delay is not None
        return (FilterStatus.STOP_AND_WATERMARK if waits else FilterStatus.CONTINUE), data

    def decode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        return FilterStatus.STOP if self._delay is not None else FilterStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._limiter is None:
            return FilterStatus.CONTINUE, data
        self._limiter.put(data, end_stream, self._services.loop.time())
        return FilterStatus.STOP, b""

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        waits = self._limiter is not None and self._limiter.end()
        return FilterStatus.STOP if waits else FilterStatus.CONTINUE

    def on_destroy(self) -> None:
        """See `HttpFilter`."""
        for entry in (self._delay, self._tick):
            if entry is not None:
                self._services.timers.cancel(entry)
        self._delay = self._tick = self._limiter = self._head = None
        self._deactivate()

    # -- which requests

    def _concerns(self, config: FaultConfig, head: RequestHead) -> bool:
        if config.upstream_cluster and self.callbacks.route_cluster_name() != config.upstream_cluster:
            return False
        nodes = config.downstream_nodes
        if nodes and head.headers.get("x-envoy-downstream-service-node") not in nodes:
            return False
        return all(matches(head) for matches in config.matches)

    def _happens(self, headers: HeaderMap, fault: Any, key: str, own_key: str) -> bool:
        """Whether the dice choose this request for a fault. A caller's own key replaces the general one."""
        percentage = fault.percentage
        name = self._config.keys[key] if self._caller is None or not own_key else self._key(own_key)
        return self._services.runtime.feature_enabled(
            name, percentage.asked(headers), percentage.denominator, self._services.random
        )

    def _key(self, name: str) -> str:
        return f"fault.http.{self._caller}.{name}"

    def _activate(self) -> bool:
        """Count the request among those with a fault, once; False if there are as many as may be."""
        if self._active:
            return True
        services, stats = self._services, self._stats
        most = services.runtime.integer(
            self._config.keys["max_active_faults_runtime"], self._config.max_active_faults
        )
        # Each worker has its part, rounded up: a limit of one must not end all faults.
        if stats.active_faults >= (most if most == NO_LIMIT else -(-most // services.workers)):
            stats.faults_overflow += 1
            return False
        stats.active_faults += 1
        self._active = True
        return True

    def _deactivate(self) -> None:
        if self._active:
            self._active = False
            self._stats.active_faults -= 1

    def _note(self, what: str, flag: int) -> None:
        info = self.callbacks.info
        info.flags |= flag
        if self._caller and self._config.counts_callers:
            self._stats.count_for(self._caller, what)
        info.dynamic_metadata = {**(info.dynamic_metadata or {}), self.name: dict(self._config.metadata)}

    # -- delays

    def _delays(self, headers: HeaderMap) -> bool:
        config = self._config
        delay = config.delay
        if delay is None or not self._happens(
            headers, delay, "delay_percent_runtime", "delay.fixed_delay_percent"
        ):
            return False
        wanted = delay.asked(headers)
        if wanted is None:
            return False
        runtime = self._services.runtime
        milliseconds = runtime.integer(config.keys["delay_duration_runtime"], wanted)
        if self._caller is not None:
            milliseconds = runtime.integer(self._key("delay.fixed_duration_ms"), milliseconds)
        if milliseconds <= 0 or not self._activate():
            return False
        now = self._services.loop.time()
        self._delay = self._services.timers.wake(now + milliseconds / 1000, self)
        self._stats.delays_injected += 1
        self._note("delays_injected", ResponseFlag.DELAY_INJECTED)
        return True

    def on_wake(self, now: float) -> None:
        """The delay is over, or the next portion of the response may go."""
        if self._delay is not None:
            head, self._delay, self._head = self._head, None, None
            assert head is not None
            if not self._aborts(head.headers):
                if self._config.rate_limit is None:
                    self._deactivate()
                self.continue_decoding()
            return
        self._tick = None
        if self._limiter is not None:
            self._limiter.on_time(now)

    # -- aborts

    def _aborts(self, headers: HeaderMap) -> bool:
        config = self._config
        abort = config.abort
        if abort is None or not self._happens(headers, abort, "abort_percent_runtime", "abort.abort_percent"):
            return False
        status, grpc_status = abort.asked(headers)
        if status is not None:
            status = self._status("http", status)
        elif grpc_status is not None:
            status, grpc_status = 200, self._status("grpc", grpc_status)
        if status is None or not self._activate():
            return False
        self._stats.aborts_injected += 1
        self._note("aborts_injected", ResponseFlag.FAULT_INJECTED)
        self.callbacks.local_reply(
            status, "fault filter abort", "fault_filter_abort", grpc_status=grpc_status
        )
        return True

    def _status(self, kind: str, default: int) -> int:
        runtime = self._services.runtime
        status = runtime.integer(self._config.keys[f"abort_{kind}_status_runtime"], default)
        if self._caller is not None:
            # As in Envoy: what the general key says does not come through.
            status = runtime.integer(self._key(f"abort.{kind}_status"), default)
        return status

    # -- slow responses

    def _limit_response(self, headers: HeaderMap) -> None:
        limit = self._config.rate_limit
        if limit is None or not self._happens(headers, limit, "response_rate_limit_percent_runtime", ""):
            return
        kbps = limit.asked(headers)
        if kbps is None or not self._activate():
            return
        self._stats.response_rl_injected += 1
        self._limiter = StreamRateLimiter(
            self, kbps * 1024, self.callbacks.info.connection.buffer_limit, self._wake_tick
        )

    def _wake_tick(self, when: float) -> None:
        self._tick = self._services.timers.wake(when, self)

    def write(self, data: bytes, end_stream: bool) -> None:
        """See `Outlet`."""
        self.inject_encoded_data(data, end_stream)

    def finish(self) -> None:
        """See `Outlet`."""
        self.continue_encoding()

    def pause(self) -> None:
        """See `Outlet`."""
        self.pause_encoding()

    def resume(self) -> None:
        """See `Outlet`."""
        self.resume_encoding()


def _create(
    config: FaultConfig, services: WorkerServices, stat_prefix: str
) -> Callable[[StreamCallbacks], HttpFilter]:
    stats = services.stats.shared(FaultStats, f"{stat_prefix}fault.")
    return lambda callbacks: FaultFilter(callbacks, config, services, stats)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.fault",
    type_name="envoy.extensions.filters.http.fault.v3.HTTPFault",
    terminal=False,
    compile=compile_fault,
    create=_create,
    compile_route=compile_fault,
    idle=lambda config: config.idle,
)
