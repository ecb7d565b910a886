"""What matchers may look at in an RBAC filter: facts of a stream, as texts and as values of metadata.

A text that is not there is None, and no predicate matches it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.base.stream_info import StreamInfo
from proxy.base.value_matchers import ABSENT
from proxy.filters.rbac import facts
from proxy.filters.rbac.principals import PrincipalNames, principal_names
from proxy.matching.tree import UnavailableInputError

_NETWORK: Final = "envoy.extensions.matching.common_inputs.network.v3"
_SSL: Final = "envoy.extensions.matching.common_inputs.ssl.v3"

_Read = Callable[[StreamInfo], str | None]


def _port(info: StreamInfo, read: Callable[[StreamInfo], Any]) -> str | None:
    address = read(info)
    return str(address.port) if address.ip else None


def _names(info: StreamInfo) -> PrincipalNames:
    tls = info.connection.tls
    if tls is None:
        raise UnavailableInputError
    return principal_names(tls.peer_certificate_der)


def _header(message: Any) -> _Read:
    name = message.header_name.lower()

    def read(info: StreamInfo) -> str | None:
        assert info.request is not None
        return info.request.field(name)

    return read


def _filter_state(message: Any) -> _Read:
    key = message.key

    def read(info: StreamInfo) -> str | None:
        value = info.state_object(key)
        return None if value is None else str(value)

    return read


def _metadata(message: Any) -> Callable[[StreamInfo], Any]:
    namespace = message.filter
    keys = tuple(segment.key for segment in message.path)

    def read(info: StreamInfo) -> Any:
        value: Any = info.own_metadata.get(namespace, ABSENT)
        for key in keys:
            value = value.get(key, ABSENT) if isinstance(value, dict) else ABSENT
        return value

    return read


def _fixed(read: _Read) -> Callable[[Any], _Read]:
    return lambda _message: read


#: Of connections and requests.
CONNECTION_INPUTS: Final[Mapping[str, Callable[[Any], _Read]]] = {
    f"{_NETWORK}.SourceIPInput": _fixed(lambda info: facts.client(info).ip or None),
    f"{_NETWORK}.SourcePortInput": _fixed(lambda info: _port(info, facts.client)),
    f"{_NETWORK}.DirectSourceIPInput": _fixed(lambda info: facts.direct_source(info).ip or None),
    f"{_NETWORK}.DestinationIPInput": _fixed(lambda info: facts.destination(info).ip or None),
    f"{_NETWORK}.DestinationPortInput": _fixed(lambda info: _port(info, facts.destination)),
    f"{_NETWORK}.ServerNameInput": _fixed(lambda info: info.connection.requested_server_name or None),
    f"{_NETWORK}.FilterStateInput": _filter_state,
    f"{_SSL}.UriSanInput": _fixed(lambda info: ",".join(_names(info).uris) or None),
    f"{_SSL}.DnsSanInput": _fixed(lambda info: ",".join(_names(info).dns_names) or None),
    f"{_SSL}.SubjectInput": _fixed(lambda info: _names(info).subject or None),
}
#: Of requests.
REQUEST_INPUTS: Final[Mapping[str, Callable[[Any], _Read]]] = {
    **CONNECTION_INPUTS,
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput": _header,
}
#: Of requests: values of metadata.
REQUEST_VALUES: Final[Mapping[str, Callable[[Any], Callable[[StreamInfo], Any]]]] = {
    f"{_NETWORK}.DynamicMetadataInput": _metadata,
}
