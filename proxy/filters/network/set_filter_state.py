"""`envoy.filters.network.set_filter_state`: objects by name that later filters and the upstream side read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from proxy.base.address import parse_ip_port
from proxy.base.digits import UINT32, whole_number
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.config.context import CompileContext
from proxy.filters.api import ListenerFacts, NetworkFilterFactory
from proxy.filters.network.sni_cluster import CLUSTER_KEY
from proxy.formatter.body_format import compile_substitution

#: The object for a text, or None if the text is none.
Make = Callable[[str], Any]


def _number(text: str) -> int | None:
    return whole_number(text, UINT32)


def _text(text: str) -> str:
    return text


#: Only what somebody here reads: anything else is refused rather than set to no effect.
_FACTORIES: Final[Mapping[str, Make]] = {
    CLUSTER_KEY: _text,
    "envoy.network.transport_socket.original_dst_address": parse_ip_port,
    "envoy.filters.listener.original_dst.local_ip": parse_ip_port,
    "envoy.filters.listener.original_dst.remote_ip": parse_ip_port,
    "envoy.tcp_proxy.per_connection_idle_timeout_ms": _number,
    "envoy.upstream.dynamic_host": _text,
    "envoy.upstream.dynamic_port": _number,
    "envoy.string": _text,
    "envoy.hashable_string": _text,
}


class StateValue(Struct, frozen=True):
    """One object: `make` gets what `render` gives for the connection. `sharing` is 0, ONCE or TRANSITIVE."""

    key: str
    render: Callable[[StreamInfo], str]
    make: Make
    skip_if_empty: bool
    sharing: int = 0


class SetFilterStateFilter:
    """The gate; see `proxy.filters.api.ConnectionGate`."""

    reject_delay = 0.0

    def __init__(self, values: tuple[StateValue, ...]) -> None:
        self._values = values

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """Set the objects, in the order of the config: a later one may read the earlier."""
        info = StreamInfo(connection, connection.start_time)
        for value in self._values:
            text = value.render(info)
            if not text and value.skip_if_empty:
                continue
            made = value.make(text)
            if made is not None:
                connection.filter_state = {**connection.filter_state, value.key: made}
                if value.sharing:
                    connection.state_sharing = {**connection.state_sharing, value.key: value.sharing}
        return True


def _compile(message: Any, path: str, ctx: CompileContext) -> tuple[StateValue, ...]:
    return tuple(
        _compile_value(one, f"{path}.on_new_connection[{i}]", ctx)
        for i, one in enumerate(message.on_new_connection)
    )


def _compile_value(message: Any, path: str, ctx: CompileContext) -> StateValue:
    key = message.factory_key or message.object_key
    make = _FACTORIES.get(key)
    if make is None:
        field = "factory_key" if message.factory_key else "object_key"
        reason = f"'{key}' does not have an object factory; there are {', '.join(_FACTORIES)}"
        ctx.problem(f"{path}.{field}", reason)
    text_format = compile_substitution(message.format_string, f"{path}.format_string", ctx)
    return StateValue(
        message.object_key,
        text_format.render,
        make or _text,
        message.skip_if_empty,
        message.shared_with_upstream,
    )


def _create(
    config: tuple[StateValue, ...], services: WorkerServices, listener: ListenerFacts
) -> SetFilterStateFilter:
    del services, listener
    return SetFilterStateFilter(config)


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.set_filter_state",
    type_name="envoy.extensions.filters.network.set_filter_state.v3.Config",
    terminal=False,
    compile=_compile,
    create=_create,
)
