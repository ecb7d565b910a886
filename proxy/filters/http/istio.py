"""Istio's HTTP filters: `istio.alpn`, peer metadata, and those for its metrics, which pass requests as they are.

Source: istio/proxy `source/extensions/filters/http`, and `contrib` of Envoy, where some of them live now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.base.stream_info import APPLICATION_PROTOCOLS
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks

NULL_VM: Final = "envoy.wasm.runtime.null"
NO_METRICS: Final = "there are no metrics of Istio"

_PEER_HEADERS: Final = ("x-envoy-peer-metadata", "x-envoy-peer-metadata-id")


class AlpnOverrides(dict[str, tuple[str, ...]]):
    """What is to be offered instead of the cluster's own list, by the protocol upstream ("HTTP10", ...)."""


class AlpnFilter(HttpFilter):
    """Leaves `AlpnOverrides` in the filter state; which applies is known when the cluster is."""

    def __init__(self, callbacks: StreamCallbacks, overrides: AlpnOverrides) -> None:
        super().__init__(callbacks)
        self._overrides = overrides

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        info = self.callbacks.info
        inherited = info.connection.filter_state if info.filter_state is None else info.filter_state
        info.filter_state = {**inherited, APPLICATION_PROTOCOLS: self._overrides}
        return FilterStatus.CONTINUE


class PeerMetadataFilter(HttpFilter):
    """Takes away what peers say about themselves, which is not for applications.

    `config`: whether in requests, whether in responses.
    """

    def __init__(self, callbacks: StreamCallbacks, config: tuple[bool, bool]) -> None:
        super().__init__(callbacks)
        self._requests, self._responses = config

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if self._requests:
            for name in _PEER_HEADERS:
                head.headers.remove(name)
        return FilterStatus.CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if self._responses:
            for name in _PEER_HEADERS:
                head.headers.remove(name)
        return FilterStatus.CONTINUE


def _alpn(message: Any, path: str, context: CompileContext) -> AlpnOverrides:  # noqa: ARG001
    overrides = AlpnOverrides()
    for one in message.alpn_override:
        protocol = one.DESCRIPTOR.fields_by_name["upstream_protocol"].enum_type
        overrides[protocol.values_by_number[one.upstream_protocol].name] = tuple(one.alpn_override)
    return overrides


def _peer_metadata(message: Any, path: str, context: CompileContext) -> tuple[bool, bool]:  # noqa: ARG001
    return (
        any(one.HasField("istio_headers") for one in message.downstream_discovery),
        any(one.HasField("istio_headers") for one in message.upstream_discovery),
    )


def _nothing(message: Any, path: str, context: CompileContext) -> None:
    context.warning(path, f"{message.DESCRIPTOR.full_name} has no effect: {NO_METRICS}")


def check_wasm(message: Any, path: str, context: CompileContext) -> None:
    """WebAssembly is refused, except what is none: native code that Envoy's null VM runs."""
    runtime = message.config.vm_config.runtime
    if runtime == NULL_VM:
        _nothing(message, path, context)
    else:
        context.problem(
            f"{path}.config.vm_config.runtime", f"WebAssembly is not supported ({runtime or 'no runtime'})"
        )


def _maker(kind: Any) -> Callable[[Any, WorkerServices, str], Callable[[StreamCallbacks], HttpFilter]]:
    return lambda config, _services, _prefix: lambda callbacks: kind(callbacks, config)


def _passive(
    _config: Any, _services: WorkerServices, _prefix: str
) -> Callable[[StreamCallbacks], HttpFilter]:
    return HttpFilter


FACTORIES: Final = (
    HttpFilterFactory(
        name="istio.alpn",
        type_name="istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        terminal=False,
        compile=_alpn,
        create=_maker(AlpnFilter),
    ),
    HttpFilterFactory(
        name="envoy.filters.http.peer_metadata",
        type_name="io.istio.http.peer_metadata.Config",
        terminal=False,
        compile=_peer_metadata,
        create=_maker(PeerMetadataFilter),
    ),
    *(
        HttpFilterFactory(
            name=name, type_name=type_name, terminal=False, compile=compile_, create=_passive, passive=True
        )
        for name, type_name, compile_ in (
            ("envoy.filters.http.istio_stats", "stats.PluginConfig", _nothing),
            ("envoy.filters.http.connect_authority", "io.istio.http.connect_authority.Config", _nothing),
            ("envoy.filters.http.connect_baggage", "io.istio.http.connect_baggage.Config", _nothing),
            ("envoy.filters.http.wasm", "envoy.extensions.filters.http.wasm.v3.Wasm", check_wasm),
        )
    ),
)
