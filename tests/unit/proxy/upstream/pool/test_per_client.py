from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proxy.base.address import Address
from proxy.codec.proxy_protocol import ProxyData
from proxy.upstream.pool.per_client import PoolPerClient


class Pool:
    """Takes every request; `in_use` from then on."""

    def __init__(self) -> None:
        self.proxied: ProxyData | None = None
        self.in_use = False
        self.drained = False

    def take(self, request: Any) -> Any:
        del request
        self.in_use = True
        return self

    def drain(self) -> None:
        self.drained = True


def request(port: int, *tlvs: tuple[int, bytes]) -> Any:
    return SimpleNamespace(proxied=ProxyData(Address("1.2.3.4", port), Address("5.6.7.8", 80), tlvs))


def pools() -> PoolPerClient:
    return PoolPerClient(Pool, SimpleNamespace(time=float))  # type: ignore[arg-type]


def test_clients_share_no_connections() -> None:
    host = pools()
    first = host.take(request(1))
    assert host.take(request(1)) is first
    assert host.take(request(2)) is not first


def test_tlvs_are_those_of_the_client_that_begins() -> None:
    host = pools()
    first = host.take(request(1, (1, b"a")))
    assert host.take(request(1, (1, b"b"))).proxied.tlvs == ((1, b"a"),)
    first.in_use = False
    assert host.take(request(1, (1, b"c"))).proxied.tlvs == ((1, b"c"),)


def test_pools_of_clients_that_have_gone_are_dropped() -> None:
    host = pools()
    gone = [host.take(request(port)) for port in range(8)]
    for pool in gone:
        pool.in_use = False
    host.take(request(9))
    assert all(pool.drained for pool in gone)
    assert host.in_use
