"""`RouteAction.UpgradeConfig.ConnectConfig`: CONNECT ends here, its bytes go on to the cluster as they are."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from proxy.base.address import Address
from proxy.codec.proxy_protocol import encode_v1, encode_v2

_V1 = 0


class ConnectConfig(Struct, frozen=True):
    """`proxy_protocol` is the version of the header that goes ahead of the bytes, 0 for none.

    `allow_post` ends POST here too.
    """

    proxy_protocol: int = 0
    allow_post: bool = False

    def ends(self, method: str) -> bool:
        """Whether a request with this method is to be unpacked."""
        return method == "CONNECT" or (self.allow_post and method == "POST")

    def preamble(self, source: Address, destination: Address) -> bytes:
        """What goes ahead of the bytes of a client at `source`, connected to `destination`."""
        if not self.proxy_protocol:
            return b""
        return (encode_v1 if self.proxy_protocol == 1 else encode_v2)(source, destination)


def compile_connect_config(message: Any) -> ConnectConfig:
    """The message compiled; what it may hold besides is refused by the ledger."""
    version = 0
    if message.HasField("proxy_protocol_config"):
        version = 1 if message.proxy_protocol_config.version == _V1 else 2
    return ConnectConfig(version, message.allow_post)
