"""What two processes may say to each other, and how large it may be."""

from __future__ import annotations

import pytest

from proxy.app.hot_restart.carried_stats import carried
from proxy.app.hot_restart.messages import (
    MAX_PACKET_BYTES,
    VERSION,
    Drain,
    Hello,
    Sockets,
    Stats,
    Taken,
    Welcome,
    decode_reply,
    decode_request,
    encode,
    stats_packets,
    taken_packets,
)
from proxy.base.errors import HotRestartError


@pytest.mark.parametrize("message", [Hello(VERSION, 3), Taken(["127.0.0.1:80"]), Drain(900, keep=True)])
def test_a_request_comes_as_it_was_said(message: Hello | Taken | Drain) -> None:
    assert decode_request(encode(message)) == message


@pytest.mark.parametrize("message", [Welcome(17.5, 2), Sockets("/run/a", 4), Stats({"a": 1}, {"b": -2}, 0)])
def test_a_reply_comes_as_it_was_said(message: Welcome | Sockets | Stats) -> None:
    assert decode_reply(encode(message)) == message


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"type": "Nothing"}',
        b'{"type": "Hello", "version": "x"}',
        b'{"type": "Hello", "version": "x", "epoch": -1}',
        b'{"type": "Welcome", "started_at": 1, "generation": 1}',
        b'{"type": "Drain", "seconds": 1e9, "keep": 1}',
        b" " * MAX_PACKET_BYTES + b'{"type": "TakeSockets"}',
    ],
)
def test_what_is_no_request_is_refused(packet: bytes) -> None:
    with pytest.raises(HotRestartError):
        decode_request(packet)


def test_many_numbers_go_in_packets_of_bounded_size() -> None:
    counters = {f"cluster.{number}.{'x' * 300}": number for number in range(2000)}
    # Worst to encode: each character takes six bytes.
    gauges = {f"cluster.\x01{number}{chr(1) * 2000}": number for number in range(30)}
    packets = [encode(packet) for packet in stats_packets(counters, gauges, 7)]
    assert max(map(len, packets)) <= MAX_PACKET_BYTES
    told = [decode_reply(packet) for packet in packets]
    found: dict[str, int] = {}
    levels: dict[str, int] = {}
    for one in told:
        assert isinstance(one, Stats)
        found.update(one.counters)
        levels.update(one.gauges)
    assert (found, levels) == (counters, gauges)
    assert [one.connections for one in told if isinstance(one, Stats)] == [None] * (len(told) - 1) + [7]


def test_many_addresses_go_in_packets_of_bounded_size() -> None:
    addresses = [f"/run/{'x' * 90}{number}" for number in range(2000)]
    packets = list(taken_packets(addresses))
    assert max(len(encode(packet)) for packet in packets) <= MAX_PACKET_BYTES
    assert [address for packet in packets for address in packet.addresses] == addresses


def test_gauges_that_tell_of_one_process_are_not_carried_over() -> None:
    gauges = {
        "server.live": 1,
        "server.hot_restart_epoch": 3,
        "server.concurrency": 4,
        "server.memory_allocated": 5,
        "cluster.a.membership_total": 2,
        "cluster.a.upstream_cx_active": 6,
        "cluster_manager.cds.version": 7,
        "listener_manager.total_listeners_active": 1,
        "runtime.num_keys": 1,
    }
    source = carried({"a": 1}, gauges)
    assert source["counters"] == {"a": 1}
    assert source["gauges"] == {"server.memory_allocated": 5, "cluster.a.upstream_cx_active": 6}
