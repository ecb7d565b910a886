"""Finds the listener of an address in a worker, for connections that another listener hands over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.base.address import Address, InternalAddress
from proxy.connection.original_destination import is_local

if TYPE_CHECKING:
    from proxy.downstream.connection import Acceptor


class ListenerDirectory:
    """The acceptors of the running listeners by address; a listener without a socket has its configured one.

    As in Envoy, "::" with `ipv4_compat` stands for "0.0.0.0" as well unless another listener has that.
    """

    def __init__(self) -> None:
        self._by_address: dict[str, Acceptor] = {}

    def add(self, acceptor: Acceptor) -> None:
        """Enter an acceptor under its address, in place of an older one."""
        self._by_address[acceptor.local.text] = acceptor
        alias = _ipv4_alias(acceptor)
        if alias:
            held = self._by_address.get(alias)
            if held is None or held.local == acceptor.local:
                self._by_address[alias] = acceptor

    def remove(self, acceptor: Acceptor) -> None:
        """Forget an acceptor, if it has not been replaced already."""
        for address in (acceptor.local.text, _ipv4_alias(acceptor)):
            if self._by_address.get(address) is acceptor:
                del self._by_address[address]

    def find(self, address: Address) -> Acceptor | None:
        """Who takes connections to `address`: exactly that one, else any address with its port."""
        return self._by_address.get(address.text) or self._by_address.get(_any_address(address))

    def find_internal(self, name: str) -> Acceptor | None:
        """The internal listener of that name."""
        return self._by_address.get(InternalAddress(name).text)

    def owns(self, address: Address) -> bool:
        """Whether a connection to `address` would end at a listening socket of this proxy."""
        acceptor = self.find(address)
        if acceptor is None or not acceptor.bound:
            return False
        return acceptor.local.ip == address.ip or is_local(address.ip)


def _any_address(address: Address) -> str:
    return f"[::]:{address.port}" if ":" in address.ip else f"0.0.0.0:{address.port}"


def _ipv4_alias(acceptor: Acceptor) -> str:
    local = acceptor.local
    if not acceptor.ipv4_compat or ":" not in local.ip:
        return ""
    if local.ip == "::":
        return f"0.0.0.0:{local.port}"
    return f"{local.ip.removeprefix('::ffff:')}:{local.port}"
