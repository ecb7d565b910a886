"""`ProxyProtocolUpstreamTransport`: connections to hosts begin with a header of the PROXY protocol."""

from __future__ import annotations

from typing import Any, Final

from envoy.config.core.v3 import proxy_protocol_pb2
from msgspec import Struct

from proxy.base.address import Address
from proxy.codec.proxy_protocol import ProxyData, Tlv, encode_v1, encode_v2
from proxy.config.context import CompileContext

#: Where the typed metadata of an endpoint has TLVs of its own, a `core.v3.PerHostConfig`.
_HOST_METADATA: Final = "envoy.transport_sockets.proxy_protocol"
_V1, _INCLUDE_ALL = 0, 0
_NOWHERE: Final = Address()


class ProxyHeader(Struct, frozen=True):
    """`version` is 1 or 2. `passed` are the types of TLVs of clients that are passed on, None for all."""

    version: int
    passed: frozenset[int] | None
    added: tuple[Tlv, ...]

    def render(self, client: ProxyData | None, local: Address, remote: Address, host_metadata: Any) -> bytes:
        """The header for a connection from `local` to `remote` that is made for `client`, None for nobody's.

        There is none if the TLVs are too long for one, as in Envoy.
        """
        if self.version == 1:
            return encode_v1(local, remote) if client is None else encode_v1(client.remote, client.local)
        if client is None:
            return encode_v2(_NOWHERE, _NOWHERE)
        tlvs = _of_host(host_metadata)
        known = {kind for kind, _ in tlvs}
        tlvs += [tlv for tlv in self.added if tlv[0] not in known]
        known.update(kind for kind, _ in self.added)
        tlvs += [
            tlv
            for tlv in client.tlvs
            if tlv[0] not in known and (self.passed is None or tlv[0] in self.passed)
        ]
        try:
            return encode_v2(client.remote, client.local, tlvs)
        except ValueError:
            return b""


def _of_host(metadata: Any) -> list[Tlv]:
    if metadata is None or _HOST_METADATA not in metadata.typed_filter_metadata:
        return []
    own = proxy_protocol_pb2.PerHostConfig()
    if not metadata.typed_filter_metadata[_HOST_METADATA].Unpack(own):
        return []
    return [(entry.type & 255, entry.value) for entry in own.added_tlvs]


def compile_proxy_header(message: Any, path: str, ctx: CompileContext) -> ProxyHeader:
    """Compile a `ProxyProtocolUpstreamTransport`, except for the transport socket that it wraps."""
    config = message.config
    added: list[Tlv] = []
    for index, entry in enumerate(config.added_tlvs):
        if entry.HasField("format_string"):
            reason = "is not supported here; the TCP proxy's proxy_protocol_tlvs have it"
            ctx.problem(f"{path}.config.added_tlvs[{index}].format_string", reason)
        added.append((entry.type & 255, entry.value))
    passed: frozenset[int] | None = frozenset()
    if config.HasField("pass_through_tlvs"):
        through = config.pass_through_tlvs
        passed = (
            None if through.match_type == _INCLUDE_ALL else frozenset(one & 255 for one in through.tlv_type)
        )
    return ProxyHeader(1 if config.version == _V1 else 2, passed, tuple(added))
