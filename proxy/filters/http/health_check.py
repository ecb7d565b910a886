"""`envoy.filters.http.health_check`: answers checks of this proxy, or lets them pass and remembers the answer.

Source: envoy.extensions.filters.http.health_check.v3. A proxy that is draining or was told to fail
(`/healthcheck/fail`) fails the checks, and says so in every other response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.matchers import HeaderMatch, compile_header_matchers
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.services import WorkerServices
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks

_OK, _UNAVAILABLE = 200, 503
_HEALTHY_STATUSES = range(200, 300)


class HealthCheckFilterConfig(Struct, frozen=True):
    """`cache_time` is in seconds, 0.0 without a cache; `least_healthy` are percentages by cluster."""

    passes_through: bool
    cache_time: float
    matchers: tuple[HeaderMatch, ...]
    least_healthy: tuple[tuple[str, float], ...] = ()


def _compile(message: Any, path: str, context: CompileContext) -> HealthCheckFilterConfig:
    cache_time = seconds(message, "cache_time", 0.0)
    passes_through = message.pass_through_mode.value
    if cache_time and not passes_through:
        reason = "cache_time_ms must not be set when path_through_mode is disabled"
        context.problem(f"{path}.cache_time", reason)
    percentages = message.cluster_min_healthy_percentages
    return HealthCheckFilterConfig(
        passes_through,
        cache_time,
        compile_header_matchers(message.headers, f"{path}.headers", context),
        tuple((name, percentages[name].value) for name in sorted(percentages)),
    )


class AnswerCache:
    """The last answer of the host behind, of one worker; it lasts to the end of the interval that it came in."""

    def __init__(self, cache_time: float, now: Callable[[], float]) -> None:
        self._cache_time = cache_time
        self._now = now
        self._since = now()
        self._interval = -1
        self._answer = (_OK, False)

    def get(self) -> tuple[int, bool] | None:
        """Status, and whether the host is degraded; None where it has to be asked."""
        return self._answer if self._interval == self._current() else None

    def set(self, status: int, degraded: bool) -> None:
        """The host has answered."""
        self._interval = self._current()
        self._answer = (status, degraded)

    def _current(self) -> int:
        return int((self._now() - self._since) / self._cache_time)


class HealthCheckFilter(HttpFilter):
    """See module. `cache` is None without one."""

    def __init__(
        self,
        callbacks: StreamCallbacks,
        config: HealthCheckFilterConfig,
        services: WorkerServices,
        cache: AnswerCache | None,
        cluster_name: str,
    ) -> None:
        super().__init__(callbacks)
        self._config = config
        self._services = services
        self._cache = cache
        self._cluster_name = cluster_name
        self._asked = False
        self._handles = False

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        for matches in self._config.matchers:
            if not matches(head):
                return FilterStatus.CONTINUE
        self._asked = self.callbacks.info.health_check = True
        self._handles = (
            not self._config.passes_through
            or bool(self._services.drain.draining)
            or (self._cache is not None and self._cache.get() is not None)
        )
        if not self._handles:
            return FilterStatus.CONTINUE
        if end_stream:
            self._answer()
        return FilterStatus.STOP

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if not self._handles:
            return FilterStatus.CONTINUE, data
        if end_stream:
            self._answer()
        return FilterStatus.STOP, b""

    def decode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if not self._handles:
            return FilterStatus.CONTINUE
        self._answer()
        return FilterStatus.STOP

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if self._asked:
            if self._cache is not None:
                self._cache.set(head.status, "x-envoy-degraded" in head.headers)
            head.headers.set("x-envoy-upstream-healthchecked-cluster", self._cluster_name)
        elif self._services.drain.draining:
            head.headers.set("x-envoy-immediate-health-check-fail", "true")
        return FilterStatus.CONTINUE

    def _answer(self) -> None:
        if self._services.drain.draining:
            self._reply(_UNAVAILABLE, False, "health_check_failed")
        elif self._cache is not None:
            # It may have run out since the head came.
            status, degraded = self._cache.get() or (_OK, False)
            self._reply(status, degraded, "health_check_cached")
        elif self._config.least_healthy:
            self._answer_for_clusters()
        else:
            self._reply(_OK, False, "health_check_ok")

    def _answer_for_clusters(self) -> None:
        for name, percentage in self._config.least_healthy:
            cluster = self._services.clusters.get(name)
            if cluster is None:
                self._reply(_UNAVAILABLE, False, "health_check_failed_no_cluster_found")
                return
            hosts = cluster.priority_set
            total = len(hosts.hosts)
            if not total and percentage:
                self._reply(_UNAVAILABLE, False, "health_check_failed_cluster_empty")
                return
            if 100 * (hosts.count("healthy") + hosts.count("degraded")) < total * percentage:
                self._reply(_UNAVAILABLE, False, "health_check_failed_cluster_unhealthy")
                return
        self._reply(_OK, False, "health_check_ok_cluster_healthy")

    def _reply(self, status: int, degraded: bool, details: str) -> None:
        flags = 0 if status in _HEALTHY_STATUSES else ResponseFlag.FAILED_LOCAL_HEALTH_CHECK
        self.callbacks.local_reply(status, "", details, flags, _degrade if degraded else None)


def _degrade(headers: HeaderMap) -> None:
    headers.set("x-envoy-degraded", "")


def _create(
    config: HealthCheckFilterConfig,
    services: WorkerServices,
    stat_prefix: str,  # noqa: ARG001
) -> Callable[[StreamCallbacks], HttpFilter]:
    cache = AnswerCache(config.cache_time, services.loop.time) if config.cache_time else None
    cluster_name = services.node.cluster if services.node is not None else ""
    return lambda callbacks: HealthCheckFilter(callbacks, config, services, cache, cluster_name)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.health_check",
    type_name="envoy.extensions.filters.http.health_check.v3.HealthCheck",
    terminal=False,
    compile=_compile,
    create=_create,
)
