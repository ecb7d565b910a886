"""Who takes part in a ring or table, with which weight, under which key."""

import pytest
from envoy.config.core.v3 import base_pb2
from google.protobuf import json_format

from proxy.base.address import Address
from proxy.upstream.host import Health, Host, Locality
from proxy.upstream.host_set import HostSet
from proxy.upstream.lb.hash_weights import hash_groups, hash_key, sort_in_steps, weigh


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_healthy_hosts_take_part_and_all_in_panic():
    good, bad = Host(Address("1.1.1.1", 1), weight=3), Host(Address("1.1.1.1", 2), health=Health.UNHEALTHY)
    level = HostSet([good, bad])
    assert finished(weigh(hash_groups(level, False, False))) == ([good], [1.0])
    assert finished(weigh(hash_groups(level, True, False))) == ([good, bad], [0.75, 0.25])


def test_localities_share_first():
    east, west, nowhere = (
        Host(Address("1.1.1.1", port), locality=Locality(zone=zone), locality_weight=weight)
        for port, (zone, weight) in enumerate((("e", 3), ("w", 1), ("n", 0)))
    )
    groups = hash_groups(HostSet([west, east, nowhere]), False, True)
    assert finished(weigh(groups)) == ([east, west], [0.75, 0.25])
    assert groups.hosts == [east, west]


def test_localities_without_weight_serve_nobody():
    level = HostSet([Host(Address("1.1.1.1", 1))])
    assert hash_groups(level, False, True).hosts == []


@pytest.mark.parametrize("size", [0, 5, 1024, 3000])
def test_sorting_in_steps_is_sorting(size):
    items = [number * 7919 % 3001 for number in range(size)]
    if items:
        assert finished(sort_in_steps(items, lambda item: item)) == sorted(items)


def test_the_key_of_a_host():
    host = Host(Address("1.1.1.1", 80), "name")
    assert hash_key(host, False) == "1.1.1.1:80"
    assert hash_key(host, True) == "name"
    fields = {"filter_metadata": {"envoy.lb": {"hash_key": "own"}}}
    host.metadata = json_format.ParseDict(fields, base_pb2.Metadata())
    assert hash_key(host, True) == "own"
    fields["filter_metadata"]["envoy.lb"] = {"hash_key": 7}
    host.metadata = json_format.ParseDict(fields, base_pb2.Metadata())
    assert hash_key(host, False) == "1.1.1.1:80"
