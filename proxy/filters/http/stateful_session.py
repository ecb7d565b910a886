"""`envoy.filters.http.stateful_session`: the client says which host it wants again.

Source: envoy.extensions.filters.http.stateful_session.v3. The host is asked whatever the load balancer would say,
if it is in the cluster and of a health that `override_host_status` allows. Another try is balanced as usual.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.base.stream_info import WantedHost
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.http.session_state import SessionState, compile_session_state


class SessionConfig(Struct, frozen=True):
    """`state` None switches the filter off. `strict`: no other host will do."""

    state: SessionState | None = None
    strict: bool = False


def _compile(message: Any, path: str, context: CompileContext) -> SessionConfig:
    state = None
    if message.HasField("session_state"):
        state = compile_session_state(message.session_state, f"{path}.session_state", context)
    return SessionConfig(state, message.strict)


def _compile_route(message: Any, path: str, context: CompileContext) -> SessionConfig:
    if message.WhichOneof("override") == "disabled":
        return SessionConfig()
    return _compile(message.stateful_session, f"{path}.stateful_session", context)


class StatefulSessionFilter(HttpFilter):
    """Asks for the host that the request names, and tells the client of the one that answers if it is another."""

    def __init__(self, callbacks: StreamCallbacks, config: SessionConfig, now: Callable[[], float]) -> None:
        super().__init__(callbacks)
        self._config = config
        self._now = now
        self._state: SessionState | None = None
        self._wanted = ""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        config: SessionConfig = self.callbacks.route_config(self.name) or self._config
        state = config.state
        if state is not None and state.applies(head):
            self._state = state
            self._wanted = state.wanted(head, self._now())
            if self._wanted:
                self.callbacks.info.wanted_host = WantedHost(self._wanted, config.strict)
        return FilterStatus.CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        host = self.callbacks.info.upstream_host
        if self._state is not None and host is not None and host.address.text != self._wanted:
            self._state.tell(head, host.address.text, self._now())
        return FilterStatus.CONTINUE


def _create(
    config: SessionConfig,
    services: WorkerServices,
    stat_prefix: str,  # noqa: ARG001
) -> Callable[[StreamCallbacks], HttpFilter]:
    def now() -> float:
        return services.wall_clock.at(services.loop.time())

    return lambda callbacks: StatefulSessionFilter(callbacks, config, now)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.stateful_session",
    type_name="envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=_compile_route,
)
