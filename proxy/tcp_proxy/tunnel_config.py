"""`TcpProxy.TunnelingConfig` compiled: bytes travel inside a CONNECT or POST request to the host."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.stream_info import StreamInfo
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.formatter.compile import Format, compile_format
from proxy.formatter.header_ops import HeaderOps, compile_header_ops

#: Filter state with which a connection goes to its host as it is, although the filter has a `tunneling_config`.
DISABLE_KEY: Final = "envoy.tcp_proxy.disable_tunneling"
#: Filter state: what the host answered, where that is asked for.
HEADERS_KEY: Final = "envoy.tcp_proxy.propagate_response_headers"
TRAILERS_KEY: Final = "envoy.tcp_proxy.propagate_response_trailers"
#: The namespace of dynamic metadata that gets the request id.
METADATA_NAMESPACE: Final = "envoy.filters.network.tcp_proxy"

_REQUEST_ID_HEADER: Final = "x-request-id"
_REQUEST_ID_KEY: Final = "tunnel_request_id"


class TunnelConfig(Struct, frozen=True):
    """`path` is that of POST requests, "" for CONNECT.

    `request_id` is (name of the header, key in dynamic metadata), None where requests get no id.
    """

    hostname: Format
    path: str
    headers: HeaderOps | None
    propagates_headers: bool
    propagates_trailers: bool
    request_id: tuple[str, str] | None

    @property
    def method(self) -> str:
        """CONNECT or POST."""
        return "POST" if self.path else "CONNECT"

    def head(self, info: StreamInfo, scheme: str, request_id: str) -> RequestHead:
        """The request that asks for a tunnel for the connection of `info`; `request_id` is "" for none."""
        head = RequestHead(self.method, self.path, self.hostname.render(info), HeaderMap(), scheme)
        if self.request_id is not None and request_id:
            head.headers.set(self.request_id[0], request_id)
        if self.headers is not None:
            self.headers.apply(head, info)
        return head


def compile_tunnel(message: Any, path: str, ctx: CompileContext) -> TunnelConfig:
    """Compile a `TunnelingConfig`."""
    if message.post_path and not message.use_post:
        ctx.problem(f"{path}.post_path", "Can't set a post path when POST method isn't used")
    return TunnelConfig(
        hostname=compile_format(message.hostname, f"{path}.hostname", ctx),
        path=(message.post_path or "/") if message.use_post else "",
        headers=compile_header_ops(
            message.headers_to_add, (), path, ctx, request=True, added="headers_to_add"
        ),
        propagates_headers=message.propagate_response_headers,
        propagates_trailers=message.propagate_response_trailers,
        request_id=_request_id(message, path, ctx),
    )


def _request_id(message: Any, path: str, ctx: CompileContext) -> tuple[str, str] | None:
    extension = message.request_id_extension
    if not extension.HasField("typed_config"):
        return None
    # The ledger knows one kind, random UUIDs.
    if unpack(extension.typed_config, f"{path}.request_id_extension.typed_config", ctx) is None:
        return None
    return (
        message.request_id_header.lower() or _REQUEST_ID_HEADER,
        message.request_id_metadata_key or _REQUEST_ID_KEY,
    )
