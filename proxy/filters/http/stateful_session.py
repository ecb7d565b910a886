"""`envoy.filters.http.stateful_session`: the client says which host it wants again.

Source: envoy.extensions.filters.http.stateful_session.v3. The host is asked whatever the load balancer would say,
if it is in the cluster and of a health that `override_host_status` allows. Another try is balanced as usual.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import WantedHost
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.http.session_state import SessionState, compile_session_state


class SessionStats(StatGroup):
    """`http.<stat_prefix>.stateful_session.<stat_prefix of the filter>.*`."""

    COUNTERS = ("failed_closed", "failed_open", "no_session", "routed")

    failed_closed: int
    failed_open: int
    no_session: int
    routed: int


class SessionConfig(Struct, frozen=True):
    """`state` None: no request is part of a session. `strict`: no other host will do.

    `stat_prefix` is "" where nothing is counted, as everywhere on routes.
    """

    state: SessionState | None = None
    strict: bool = False
    stat_prefix: str = ""


def _compile(message: Any, path: str, context: CompileContext) -> SessionConfig:
    state = None
    if message.HasField("session_state"):
        state = compile_session_state(message.session_state, f"{path}.session_state", context)
    return SessionConfig(state, message.strict, message.stat_prefix)


def _compile_route(message: Any, path: str, context: CompileContext) -> SessionConfig:
    if message.WhichOneof("override") == "disabled":
        return SessionConfig()
    return _compile(message.stateful_session, f"{path}.stateful_session", context)


class StatefulSessionFilter(HttpFilter):
    """Asks for the host that the request names, and tells the client of the one that answers if it is another."""

    def __init__(
        self,
        callbacks: StreamCallbacks,
        config: SessionConfig,
        now: Callable[[], float],
        stats: SessionStats | None,
    ) -> None:
        super().__init__(callbacks)
        self._config = config
        self._stats = stats
        self._now = now
        self._state: SessionState | None = None
        self._wanted = ""
        self._strict = False

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        config: SessionConfig = self.callbacks.route_config(self.name) or self._config
        if config is not self._config:
            self._stats = None
        state = config.state
        if state is not None and state.applies(head):
            self._state = state
            self._strict = config.strict
            self._wanted = state.wanted(head, self._now())
            if self._wanted:
                self.callbacks.info.wanted_host = WantedHost(self._wanted, config.strict)
        return FilterStatus.CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        info = self.callbacks.info
        host = info.upstream_host
        state, stats = self._state, self._stats
        moved = False
        if state is not None and host is not None:
            moved = state.tell(head, host.address.text, self._wanted, self._now())
        if stats is None:
            return FilterStatus.CONTINUE
        if host is None:
            if state is not None and self._strict and info.flags & ResponseFlag.NO_HEALTHY_UPSTREAM:
                stats.failed_closed += 1
        elif state is None:
            stats.no_session += 1
        elif not moved:
            stats.routed += 1
        elif not self._strict:
            stats.failed_open += 1
        return FilterStatus.CONTINUE


def _create(
    config: SessionConfig,
    services: WorkerServices,
    stat_prefix: str,
) -> Callable[[StreamCallbacks], HttpFilter]:
    def now() -> float:
        return services.wall_clock.at(services.loop.time())

    stats = None
    if config.stat_prefix:
        prefix = f"{stat_prefix}stateful_session.{config.stat_prefix}."
        stats = services.stats.shared(SessionStats, prefix)
    return lambda callbacks: StatefulSessionFilter(callbacks, config, now, stats)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.stateful_session",
    type_name="envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=_compile_route,
)
