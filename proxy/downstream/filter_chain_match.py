"""Which filter chain serves a connection: Envoy's criteria in Envoy's order, as one prebuilt index.

The order is destination port, destination address, server name, transport protocol, application protocol,
directly connected source address, source type, source address, source port. At each step the most specific
entry wins and there is no way back: if the chosen branch leads nowhere, the connection has no chain (or the
listener's default chain), even when another branch would have matched. Source: `FilterChainMatch` in
envoy/config/listener/v3/listener_components.proto; behaviour as observed with Envoy.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, Final, Generic, TypeVar

from proxy.base.address import Address, is_same_ip_or_loopback
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext

Leaf = TypeVar("Leaf")
Child = TypeVar("Child")

#: (address family, prefix length in bits, network as integer); None stands for "any address".
Prefix = tuple[int, int, int]

#: What a unix socket counts as. Only a catch-all range holds it.
_NO_IP: Final = (socket.AF_INET, 0xFFFFFFFF)

_ANY, _LOCAL, _EXTERNAL = 0, 1, 2


def ip_number(address: Address) -> tuple[int, int]:
    """Family and integer value of an address; an address without IP counts as 255.255.255.255."""
    if address.path:
        return _NO_IP
    family = address.family
    return family, int.from_bytes(socket.inet_pton(family, address.ip.partition("%")[0]))


def compile_prefix(message: Any, path: str, ctx: CompileContext) -> Prefix | None:
    """A `core.v3.CidrRange`; an unset `prefix_len` is 0, one that is too long is cut, as in Envoy."""
    text = message.address_prefix
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        number = int.from_bytes(socket.inet_pton(family, text))
    except (OSError, ValueError):
        ctx.problem(f"{path}.address_prefix", f"malformed IP address: {text}")
        return None
    width = 128 if family == socket.AF_INET6 else 32
    length = min(message.prefix_len.value, width)
    return family, length, number >> (width - length)


class PrefixMap(Generic[Child]):
    """Longest matching prefix → value: one dictionary per prefix length in use, longest first."""

    __slots__ = ("_any", "_levels")

    def __init__(self) -> None:
        self._any: Child | None = None
        self._levels: dict[int, list[tuple[int, dict[int, Child]]]] = {}

    def child(self, prefix: Prefix | None, new: type[Child]) -> Child:
        """The value under `prefix`, made by `new()` at its first use."""
        if prefix is None:
            if self._any is None:
                self._any = new()
            return self._any
        family, length, network = prefix
        shift = (128 if family == socket.AF_INET6 else 32) - length
        levels = self._levels.setdefault(family, [])
        table = next((known for length, known in levels if length == shift), None)
        if table is None:
            table = {}
            levels.append((shift, table))
            levels.sort(key=_shift_of)
        if network not in table:
            table[network] = new()
        return table[network]

    def find(self, address: Address) -> Child | None:
        """The value under the longest prefix that holds `address`."""
        if self._levels:
            family, number = ip_number(address)
            for shift, table in self._levels.get(family, ()):
                found = table.get(number >> shift)
                if found is not None:
                    return found
        return self._any


def _shift_of(level: tuple[int, dict[int, Any]]) -> int:
    return level[0]


class _SourcePorts(dict[int, Leaf]):
    """Source port → chain; 0 is any port."""

    def find(self, port: int) -> Leaf | None:
        found = self.get(port)
        return self.get(0) if found is None else found


class _SourceTypes(dict[int, PrefixMap[_SourcePorts[Leaf]]]):
    """Source type → source address → source port → chain."""

    def find(self, info: ConnectionInfo) -> Leaf | None:
        branch = None
        if _LOCAL in self or _EXTERNAL in self:
            local = is_same_ip_or_loopback(info.remote_address, info.local_address)
            branch = self.get(_LOCAL if local else _EXTERNAL)
        if branch is None:
            branch = self.get(_ANY)
            if branch is None:
                return None
        ports = branch.find(info.remote_address)
        return None if ports is None else ports.find(info.remote_address.port)


_DirectSources = PrefixMap[_SourceTypes[Leaf]]
_ApplicationProtocols = dict[str, _DirectSources[Leaf]]
_TransportProtocols = dict[str, _ApplicationProtocols[Leaf]]


class _ServerNames(dict[str, _TransportProtocols[Leaf]]):
    """Server name → transport protocol → application protocol → sources.

    "*.example.com" is kept as ".example.com", "no server name asked for" as "".
    """

    def find(self, info: ConnectionInfo) -> Leaf | None:
        transports = self._for_name(info.requested_server_name)
        if transports is None:
            return None
        protocols = transports.get(info.transport_protocol)
        if protocols is None:
            protocols = transports.get("")
            if protocols is None:
                return None
        sources = None
        for name in info.requested_application_protocols:
            sources = protocols.get(name)
            if sources is not None:
                break
        else:
            sources = protocols.get("")
        if sources is None:
            return None
        types = sources.find(info.direct_remote_address)
        return None if types is None else types.find(info)

    def _for_name(self, name: str) -> _TransportProtocols[Leaf] | None:
        found = self.get(name)
        if found is not None:
            return found
        dot = name.find(".", 1)
        while 0 <= dot < len(name) - 1:
            found = self.get(name[dot:])
            if found is not None:
                return found
            dot = name.find(".", dot + 1)
        return self.get("")


class FilterChainIndex(Generic[Leaf]):
    """All chains of a listener, ready for `match`."""

    __slots__ = ("_ports", "default")

    def __init__(self, default: Leaf | None = None) -> None:
        self.default = default
        self._ports: dict[int, PrefixMap[_ServerNames[Leaf]]] = {}

    def match(self, info: ConnectionInfo) -> Leaf | None:
        """The chain for a connection with these facts, the default chain, or None."""
        addresses = None if info.local_address.path else self._ports.get(info.local_address.port)
        if addresses is None:
            addresses = self._ports.get(0)
            if addresses is None:
                return self.default
        names = addresses.find(info.local_address)
        found = None if names is None else names.find(info)
        return self.default if found is None else found

    def add(self, message: Any, path: str, leaf: Leaf, ctx: CompileContext) -> Leaf | None:
        """Enter a chain under every combination of a `FilterChainMatch`.

        Returns the chain that already holds one of the combinations, or None; problems go to `ctx`.
        """
        names = list(_compile_server_names(message.server_names, f"{path}.server_names", ctx))
        combinations = product(
            _compile_prefixes(message, "prefix_ranges", path, ctx),
            names or [""],
            list(message.application_protocols) or [""],
            _compile_prefixes(message, "direct_source_prefix_ranges", path, ctx),
            _compile_prefixes(message, "source_prefix_ranges", path, ctx),
            list(message.source_ports) or [0],
        )
        by_address = self._ports.setdefault(message.destination_port.value, PrefixMap())
        for destination, name, protocol, direct_source, source, source_port in combinations:
            by_name = by_address.child(destination, _ServerNames)
            by_protocol = by_name.setdefault(name, {}).setdefault(message.transport_protocol, {})
            by_type = by_protocol.setdefault(protocol, PrefixMap()).child(direct_source, _SourceTypes)
            by_port = by_type.setdefault(message.source_type, PrefixMap()).child(source, _SourcePorts)
            if source_port in by_port:
                return by_port[source_port]
            by_port[source_port] = leaf
        return None


def _compile_prefixes(message: Any, field: str, path: str, ctx: CompileContext) -> list[Prefix | None]:
    ranges = getattr(message, field)
    return [compile_prefix(one, f"{path}.{field}[{i}]", ctx) for i, one in enumerate(ranges)] or [None]


def _compile_server_names(names: Iterable[str], path: str, ctx: CompileContext) -> Iterator[str]:
    for i, name in enumerate(names):
        if "*" in name and not name.startswith("*."):
            ctx.problem(
                f"{path}[{i}]",
                f'partial wildcards are not supported in "server_names": {name!r} '
                '(a wildcard is "*." followed by a domain)',
            )
            continue
        yield name.lower().removeprefix("*") if name.startswith("*.") else name.lower()
