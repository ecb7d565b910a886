"""Which hosts are foreseen, and when connections are made to them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.base.address import Address
from proxy.upstream.health_flags import HealthFlag
from proxy.upstream.host import Host
from proxy.upstream.lb.api import LbConfig, LbPolicy, SubsetConfig
from proxy.upstream.lb.foresight import Foresight, lacks_connections


class Pool:
    """Streams that wait, run, and could run besides."""

    def __init__(self, load: tuple[int, int, int]) -> None:
        self.load = lambda: load


def hosts(*weights: int) -> tuple[Host, ...]:
    return tuple(Host(Address("10.0.0.1", port), weight=weight) for port, weight in enumerate(weights, 1))


def foresight(
    listed: tuple[Host, ...], ratio: float = 3.0, config: LbConfig | None = None
) -> tuple[Foresight, Any, Any]:
    """One over a rotation of the hosts, what chooses by it, and the numbers of the cluster."""
    stats = SimpleNamespace(upstream_rq_pending_active=0, upstream_rq_active=0, upstream_cx_active=0)
    made = Foresight(config or LbConfig(), ratio, stats, single=True)
    rotation = itertools.cycle(listed)
    return made, made.around(lambda _hash: next(rotation), listed, len(listed)), stats


@pytest.mark.parametrize(
    ("pending", "active", "provided", "ratio", "lacks"),
    [
        (0, 0, 0, 3.0, False),
        (1, 0, 0, 1.0, True),
        (1, 0, 1, 1.0, False),
        (1, 0, 1, 1.5, True),
        (2, 2, 8, 2.0, False),
    ],
)
def test_when_connections_lack(pending: int, active: int, provided: int, ratio: float, lacks: bool) -> None:
    assert lacks_connections(pending, active, provided, ratio) is lacks


def test_requests_get_the_hosts_that_were_foreseen() -> None:
    listed = hosts(1, 1, 1)
    made, choose, stats = foresight(listed)
    asked: list[Host] = []

    def connect(host: Host, ratio: float) -> bool:
        assert ratio == 3.0
        asked.append(host)
        stats.upstream_cx_active += 1
        return True

    assert choose(None) is listed[0]
    made.look_ahead(connect)
    assert asked == [listed[1], listed[2], listed[0]]
    assert [choose(None) for _ in range(4)] == [listed[1], listed[2], listed[0], listed[1]]


def test_it_ends_with_the_first_host_that_wants_no_connection() -> None:
    listed = hosts(1, 1, 1)
    made, choose, _ = foresight(listed)
    asked: list[Host] = []
    choose(None)
    made.look_ahead(lambda host, _ratio: asked.append(host) is not None)
    assert asked == [listed[1]]


def test_no_more_hosts_are_foreseen_than_there_are() -> None:
    listed = hosts(1, 1)
    made, choose, _ = foresight(listed)
    asked: list[Host] = []
    choose(None)
    made.look_ahead(lambda host, _ratio: asked.append(host) is None)
    assert asked == [listed[1], listed[0]]


def test_a_host_that_others_chose_brings_no_look_ahead() -> None:
    made, _, _ = foresight(hosts(1, 1))
    made.look_ahead(lambda _host, _ratio: pytest.fail("looked ahead"))


@pytest.mark.parametrize(
    ("config", "weights", "foreseen"),
    [
        (LbConfig(LbPolicy.RANDOM), (1, 1), True),
        (LbConfig(LbPolicy.LEAST_REQUEST), (1, 1), False),
        (LbConfig(LbPolicy.LEAST_REQUEST), (1, 2), True),
        (LbConfig(LbPolicy.RING_HASH), (1, 1), False),
        (LbConfig(subset=SubsetConfig(())), (1, 1), False),
    ],
)
def test_what_policies_foresee(config: LbConfig, weights: tuple[int, ...], foreseen: bool) -> None:
    made, choose, _ = foresight(hosts(*weights), config=config)
    asked: list[Host] = []
    choose(None)
    made.look_ahead(lambda host, _ratio: asked.append(host) is None)
    assert bool(asked) is foreseen


def test_hosts_that_have_gone_or_failed_are_not_waited_for() -> None:
    listed = hosts(1, 1, 1, 1)
    made, choose, _ = foresight(listed)
    choose(None)
    made.look_ahead(lambda _host, _ratio: True)
    listed[2].take_flags(HealthFlag.FAILED_ACTIVE_HC)
    choose = made.around(lambda _hash: listed[0], (listed[0], *listed[2:]), 2)
    assert [choose(None) for _ in range(2)] == [listed[3], listed[0]]


def test_streams_are_counted_pool_by_pool_where_connections_carry_many() -> None:
    listed = hosts(1)
    stats = SimpleNamespace()
    made = Foresight(LbConfig(), 2.0, stats, single=False)
    choose = made.around(lambda _hash: listed[0], listed, 1)
    assert made.pools is not None
    made.pools.add(Pool((0, 2, 4)))
    choose(None)
    made.look_ahead(lambda _host, _ratio: pytest.fail("there are enough"))
    made.pools.add(Pool((1, 0, 0)))
    asked: list[Host] = []
    choose(None)
    made.look_ahead(lambda host, _ratio: asked.append(host) is None)
    assert asked == [listed[0]]
