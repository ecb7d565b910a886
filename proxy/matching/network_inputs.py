"""Inputs that are facts of a connection or a datagram: `envoy.extensions.matching.common_inputs`.

A reader gives the text that Envoy compares, or None where there is none. Those of requests and of connections that
have a filter chain are in `proxy.filters.rbac.inputs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from proxy.base.address import Address, is_same_ip_or_loopback
from proxy.base.stream_info import ConnectionInfo
from proxy.matching.tree import UnavailableInputError

_PACKAGE: Final = "envoy.extensions.matching.common_inputs.network.v3"
_SSL: Final = "envoy.extensions.matching.common_inputs.ssl.v3"

_Read = Callable[[ConnectionInfo], str | None]


class Ends(Protocol):
    """What has two ends: textual addresses without brackets, and ports."""

    source_ip: str
    source_port: int
    destination_ip: str
    destination_port: int


#: Of a datagram.
DATAGRAM_INPUTS: Final[Mapping[str, Callable[[Any], Callable[[Ends], str | None]]]] = {
    f"{_PACKAGE}.SourceIPInput": lambda _message: lambda ends: ends.source_ip,
    f"{_PACKAGE}.SourcePortInput": lambda _message: lambda ends: str(ends.source_port),
    f"{_PACKAGE}.DestinationIPInput": lambda _message: lambda ends: ends.destination_ip,
    f"{_PACKAGE}.DestinationPortInput": lambda _message: lambda ends: str(ends.destination_port),
}


def _fixed(read: _Read) -> Callable[[Any], _Read]:
    return lambda _message: read


def _port(address: Address) -> str | None:
    return str(address.port) if address.ip else None


def _source_type(info: ConnectionInfo) -> str | None:
    return "local" if is_same_ip_or_loopback(info.remote_address, info.local_address) else None


def _application_protocols(info: ConnectionInfo) -> str | None:
    names = info.requested_application_protocols
    return ",".join(f"'{name}'" for name in names) if names else None


def _filter_state(message: Any) -> _Read:
    key = message.key

    def read(info: ConnectionInfo) -> str | None:
        value = info.filter_state.get(key)
        return None if value is None else str(value)

    return read


def _no_handshake_yet(_info: ConnectionInfo) -> str | None:
    raise UnavailableInputError


#: Of a connection that has no filter chain yet, so that nothing is known of a client's certificate.
ACCEPTED_INPUTS: Final[Mapping[str, Callable[[Any], _Read]]] = {
    f"{_PACKAGE}.SourceIPInput": _fixed(lambda info: info.remote_address.ip or None),
    f"{_PACKAGE}.SourcePortInput": _fixed(lambda info: _port(info.remote_address)),
    f"{_PACKAGE}.DirectSourceIPInput": _fixed(lambda info: info.direct_remote_address.ip or None),
    f"{_PACKAGE}.DestinationIPInput": _fixed(lambda info: info.local_address.ip or None),
    f"{_PACKAGE}.DestinationPortInput": _fixed(lambda info: _port(info.local_address)),
    f"{_PACKAGE}.SourceTypeInput": _fixed(_source_type),
    f"{_PACKAGE}.ServerNameInput": _fixed(lambda info: info.requested_server_name or None),
    f"{_PACKAGE}.TransportProtocolInput": _fixed(lambda info: info.transport_protocol or None),
    f"{_PACKAGE}.ApplicationProtocolInput": _fixed(_application_protocols),
    f"{_PACKAGE}.FilterStateInput": _filter_state,
    # Of the listener's address, which may not have one here.
    f"{_PACKAGE}.NetworkNamespaceInput": _fixed(lambda _info: None),
    f"{_SSL}.UriSanInput": _fixed(_no_handshake_yet),
    f"{_SSL}.DnsSanInput": _fixed(_no_handshake_yet),
    f"{_SSL}.SubjectInput": _fixed(_no_handshake_yet),
}
