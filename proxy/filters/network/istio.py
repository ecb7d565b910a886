"""Istio's network filters: principals of connections, and those for its metrics, which leave connections alone.

Source: istio/proxy `source/extensions/filters/network`. `metadata_exchange` sends bytes before the stream's own to
peers that agree on the protocol for it in ALPN. Outrider never agrees on it: see `proxy.connection.tls`.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.filters.api import ListenerFacts, NetworkFilterFactory
from proxy.filters.http.istio import NO_METRICS, check_wasm
from proxy.filters.rbac.principals import principal_names

PEER_PRINCIPAL: Final = "io.istio.peer_principal"
LOCAL_PRINCIPAL: Final = "io.istio.local_principal"
_SPIFFE: Final = "spiffe://"


class AuthnFilter:
    """Notes the SPIFFE identities of both certificates, for those who authorize; see `ConnectionGate`."""

    reject_delay = 0.0

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """Asked when the handshake is over."""
        tls = connection.tls
        if tls is not None and tls.peer_certificate_der:
            found = {
                PEER_PRINCIPAL: _principal(tls.peer_certificate_der),
                LOCAL_PRINCIPAL: _principal(tls.local_certificate_der),
            }
            connection.filter_state = {
                **connection.filter_state,
                **{key: value for key, value in found.items() if value},
            }
        return True


def _principal(der: bytes) -> str:
    """The first URI of a certificate that is a SPIFFE ID, "" if there is none."""
    return next((uri for uri in principal_names(der).uris if uri.startswith(_SPIFFE)), "")


def _nothing(message: Any, path: str, ctx: CompileContext) -> None:
    ctx.warning(path, f"{message.DESCRIPTOR.full_name} has no effect: {NO_METRICS}")


def _authn(message: Any, path: str, ctx: CompileContext) -> None:
    del message, path, ctx


def _create(config: None, services: WorkerServices, listener: ListenerFacts) -> AuthnFilter:
    del config, services, listener
    return AuthnFilter()


FACTORIES: Final = (
    NetworkFilterFactory(
        name="io.istio.network.authn",
        type_name="io.istio.network.authn.Config",
        terminal=False,
        compile=_authn,
        create=_create,
        after_handshake=True,
    ),
    *(
        NetworkFilterFactory(
            name=name, type_name=type_name, terminal=False, compile=compile_, create=_create, passive=True
        )
        for name, type_name, compile_ in (
            (
                "envoy.filters.network.metadata_exchange",
                "envoy.tcp.metadataexchange.config.MetadataExchange",
                _nothing,
            ),
            ("envoy.filters.network.istio_stats", "stats.PluginConfig", _nothing),
            ("envoy.filters.network.wasm", "envoy.extensions.filters.network.wasm.v3.Wasm", check_wasm),
        )
    ),
)
