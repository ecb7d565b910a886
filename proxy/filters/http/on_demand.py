"""`envoy.filters.http.on_demand`: a request waits while its virtual host, scope or cluster is asked for.

Source: envoy.extensions.filters.http.on_demand.v3. A virtual host is waited for until the control plane answers or
the stream is idle for too long, a cluster for `odcds.timeout`; then the request goes on as it can: 404 or 503.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.messages import RequestHead
from proxy.base.services import WorkerServices
from proxy.config import durations
from proxy.config.config_source import checked_source
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks

_TIMEOUT: Final = 5.0
#: What clusters are demanded under, see `proxy.config.demands.Demands`.
CLUSTERS: Final = "CLUSTER"


class OnDemandConfig(Struct, frozen=True):
    """Where to ask for clusters: a serialised `core.v3.ConfigSource`, empty if nowhere; `timeout` in seconds."""

    source: bytes = b""
    timeout: float = _TIMEOUT


def _compile(message: Any, path: str, context: CompileContext) -> OnDemandConfig:
    if not message.HasField("odcds"):
        return OnDemandConfig()
    odcds = message.odcds
    source = checked_source(odcds.source, f"{path}.odcds.source", context)
    return OnDemandConfig(source, durations.seconds(odcds, "timeout", _TIMEOUT))


class OnDemandFilter(HttpFilter):
    """Stops at the head of a request that lacks a route or a cluster."""

    def __init__(self, callbacks: StreamCallbacks, config: OnDemandConfig, services: WorkerServices) -> None:
        super().__init__(callbacks)
        self._config = config
        self._services = services
        self._waits_for: tuple[str, str] | None = None
        self._timer: Any = None

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        self._config = self.callbacks.route_config(self.name) or self._config
        if self.callbacks.route is None:
            missing = self.callbacks.missing_route()
            if missing is not None:
                self._ask(*missing)
                return FilterStatus.STOP
        elif self._ask_for_cluster():
            return FilterStatus.STOP
        return FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:  # noqa: ARG002
        """See `HttpFilter`."""
        if self._waits_for is not None:
            return FilterStatus.STOP_AND_WATERMARK, data
        return FilterStatus.CONTINUE, data

    def decode_trailers(self, trailers: Any) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        return FilterStatus.CONTINUE if self._waits_for is None else FilterStatus.STOP

    def on_demanded(self) -> None:
        """See `DemandUser`."""
        assert self._waits_for is not None
        by_route = self._waits_for[0] != CLUSTERS
        self._forget()
        if by_route:
            self.callbacks.clear_route_cache()
            self._config = self.callbacks.route_config(self.name) or self._config
            if self.callbacks.route is not None and self._ask_for_cluster():
                return
        self.continue_decoding()

    def on_wake(self, now: float) -> None:  # noqa: ARG002
        """The cluster has not come in time; see `Timers`."""
        if self._waits_for is not None:
            self._timer = None
            self._forget()
            self.continue_decoding()

    def on_destroy(self) -> None:
        """See `HttpFilter`."""
        self._forget()

    def _ask_for_cluster(self) -> bool:
        """Ask for the cluster of the route, if it is unknown and there is somebody to ask."""
        config = self._config
        if not config.source or self.callbacks.route_cluster() is not None:
            return False
        name = self.callbacks.route_cluster_name()
        if not name:
            return False
        self._ask(CLUSTERS, name, config.source)
        services = self._services
        self._timer = services.timers.wake(services.loop.time() + config.timeout, self)
        return True

    def _ask(self, key: str, name: str, source: bytes = b"") -> None:
        self._waits_for = (key, name)
        self._services.demands.ask(key, name, self, source)

    def _forget(self) -> None:
        if self._waits_for is not None:
            self._services.demands.forget(*self._waits_for, self)
            self._waits_for = None
        if self._timer is not None:
            self._services.timers.cancel(self._timer)
            self._timer = None


def _create(
    config: OnDemandConfig,
    services: WorkerServices,
    stat_prefix: str,  # noqa: ARG001
) -> Callable[[StreamCallbacks], HttpFilter]:
    return lambda callbacks: OnDemandFilter(callbacks, config, services)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.on_demand",
    type_name="envoy.extensions.filters.http.on_demand.v3.OnDemand",
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=_compile,
)
