"""Operators on the addresses of both connections."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from proxy.base.address import Address
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.parse import Command
from proxy.formatter.spec import Argument, Facts, Operator, OperatorSpec, fact, operator

_Source = Callable[[StreamInfo], Address | None]


def _text(source: _Source, facts: Facts) -> OperatorSpec:
    def text(info: StreamInfo) -> str | None:
        address = source(info)
        return None if address is None else address.text

    return fact(text, facts=facts)


def _port(source: _Source, facts: Facts) -> OperatorSpec:
    def port(info: StreamInfo) -> int | None:
        address = source(info)
        return None if address is None or address.path else address.port

    def text(info: StreamInfo) -> int | str | None:
        address = source(info)
        return "" if address is not None and address.path else port(info)

    made = operator(port, text=text, facts=facts)
    return OperatorSpec(lambda _command, _context: made)


def _without_port(source: _Source, facts: Facts, *, static: bool) -> OperatorSpec:
    def plain(info: StreamInfo) -> str | None:
        address = source(info)
        return None if address is None else address.ip or address.path

    def build(command: Command, _context: CompileContext) -> Operator:
        try:
            bits = int(command.argument)
        except ValueError:
            # Envoy takes any argument here and ignores what is no number.
            return operator(plain, static=static, facts=facts)

        def masked(info: StreamInfo) -> str | None:
            address = source(info)
            if address is None or not address.ip:
                return plain(info)
            return mask(address.ip, bits)

        return operator(masked, static=static, facts=facts)

    return OperatorSpec(build, Argument.OPTIONAL)


def mask(ip: str, bits: int) -> str:
    """`ip` cut to `bits` in CIDR notation; more bits than the family has mean all, a negative number ""."""
    if bits < 0:
        return ""
    address = ipaddress.ip_address(ip.partition("%")[0])
    return str(ipaddress.ip_network((address, min(bits, address.max_prefixlen)), strict=False))


def _family(
    prefix: str, role: str, source: _Source, facts: Facts = Facts.NONE, *, static: bool = False
) -> dict[str, OperatorSpec]:
    return {
        f"{prefix}_{role}_ADDRESS": _text(source, facts),
        f"{prefix}_{role}_ADDRESS_WITHOUT_PORT": _without_port(source, facts, static=static),
        f"{prefix}_{role}_PORT": _port(source, facts),
    }


def _endpoint_id(source: _Source, facts: Facts = Facts.NONE) -> OperatorSpec:
    def endpoint_id(info: StreamInfo) -> str | None:
        address = source(info)
        return None if address is None else address.endpoint_id

    return fact(endpoint_id, facts=facts)


def _downstream_local(info: StreamInfo) -> Address | None:
    return info.connection.local_address


def _downstream_direct_local(info: StreamInfo) -> Address | None:
    return info.connection.direct_local_address


def _upstream_remote(info: StreamInfo) -> Address | None:
    return info.upstream_remote_address


OPERATORS: dict[str, OperatorSpec] = {
    **_family("DOWNSTREAM", "REMOTE", StreamInfo.downstream_address, Facts.REQUEST, static=True),
    **_family("DOWNSTREAM", "DIRECT_REMOTE", lambda info: info.connection.direct_remote_address),
    **_family("DOWNSTREAM", "LOCAL", _downstream_local),
    **_family("DOWNSTREAM", "DIRECT_LOCAL", _downstream_direct_local),
    **_family("UPSTREAM", "REMOTE", _upstream_remote, Facts.UPSTREAM),
    **_family("UPSTREAM", "LOCAL", lambda info: info.upstream_local_address, Facts.UPSTREAM),
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID": _endpoint_id(_downstream_local),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID": _endpoint_id(_downstream_direct_local),
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID": _endpoint_id(_upstream_remote, Facts.UPSTREAM),
}
