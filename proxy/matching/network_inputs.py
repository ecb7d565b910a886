"""Inputs that are addresses and ports: `envoy.extensions.matching.common_inputs.network.v3`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

_PACKAGE: Final = "envoy.extensions.matching.common_inputs.network.v3"


class Ends(Protocol):
    """What has two ends: textual addresses without brackets, and ports."""

    source_ip: str
    source_port: int
    destination_ip: str
    destination_port: int


#: Of a datagram; a reader gives the text that Envoy compares.
DATAGRAM_INPUTS: Final[Mapping[str, Callable[[Any], Callable[[Ends], str | None]]]] = {
    f"{_PACKAGE}.SourceIPInput": lambda _message: lambda ends: ends.source_ip,
    f"{_PACKAGE}.SourcePortInput": lambda _message: lambda ends: str(ends.source_port),
    f"{_PACKAGE}.DestinationIPInput": lambda _message: lambda ends: ends.destination_ip,
    f"{_PACKAGE}.DestinationPortInput": lambda _message: lambda ends: str(ends.destination_port),
}
