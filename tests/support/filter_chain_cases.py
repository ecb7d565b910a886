"""Filter chain matching as a table: chains, connections, and the chain that each connection gets.

`tests/unit` holds the table against our index; `tests/differential` holds it against real Envoy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from envoy.config.listener.v3 import listener_components_pb2
from google.protobuf import json_format

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.config.context import CompileContext
from proxy.downstream.filter_chain_match import FilterChainIndex

Match = dict[str, Any]


@dataclass(frozen=True)
class Arrival:
    """What is known of a connection. `sni` None means that the client does not speak TLS at all."""

    destination: str = "10.0.0.1"
    port: int = 8000
    source: str = "192.0.2.7"
    source_port: int = 40000
    direct_source: str = "127.0.0.1"
    sni: str | None = None
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One listener. `chains` maps names to matches; "default" is the default chain."""

    title: str
    chains: dict[str, Match]
    arrivals: list[tuple[Arrival, str | None]] = field(default_factory=list)


def _range(text: str) -> dict[str, Any]:
    address, _, length = text.partition("/")
    return {"address_prefix": address, "prefix_len": int(length)}


def ranges(*texts: str) -> list[dict[str, Any]]:
    """CidrRange messages."""
    return [_range(text) for text in texts]


CASES = [
    Case(
        "a port of its own shuts off the chains for any port",
        {"tls443": {"destination_port": 443, "transport_protocol": "tls"}, "any": {}},
        [
            (Arrival(port=443, sni="a.com"), "tls443"),
            (Arrival(port=443), None),
            (Arrival(port=80), "any"),
        ],
    ),
    Case(
        "the default chain takes what a port's own chains leave",
        {"tls443": {"destination_port": 443, "transport_protocol": "tls"}, "any": {}, "default": {}},
        [(Arrival(port=443), "default"), (Arrival(port=80), "any")],
    ),
    Case(
        "the longest destination range wins and is not left again",
        {
            "wide": {"prefix_ranges": ranges("10.0.0.0/8")},
            "narrow": {"prefix_ranges": ranges("10.1.0.0/16"), "server_names": ["a.com"]},
            "host": {"prefix_ranges": ranges("10.1.2.3/32")},
            "any": {"server_names": ["b.com"]},
        },
        [
            (Arrival(destination="10.9.9.9"), "wide"),
            (Arrival(destination="10.1.9.9", sni="a.com"), "narrow"),
            (Arrival(destination="10.1.9.9", sni="c.com"), None),
            (Arrival(destination="10.1.2.3", sni="a.com"), "host"),
            (Arrival(destination="172.16.0.1", sni="b.com"), "any"),
            (Arrival(destination="172.16.0.1"), None),
            (Arrival(destination="10.9.9.9", sni="b.com"), "wide"),
        ],
    ),
    Case(
        "IPv6 and IPv4 ranges stand apart",
        {
            "six": {"prefix_ranges": ranges("2001:db8::/32")},
            "all-six": {"prefix_ranges": ranges("::/0")},
            "four": {"prefix_ranges": ranges("0.0.0.0/0")},
        },
        [
            (Arrival(destination="2001:db8::1", source="2001:db8::2"), "six"),
            (Arrival(destination="2001:dead::1", source="2001:db8::2"), "all-six"),
            (Arrival(destination="10.0.0.1"), "four"),
        ],
    ),
    Case(
        "server names: exact, then the longest wildcard suffix, never the bare domain",
        {
            "exact": {"server_names": ["www.example.com"]},
            "deep": {"server_names": ["*.api.example.com"]},
            "wild": {"server_names": ["*.example.com"]},
            "tld": {"server_names": ["*.org", "UPPER.net"]},
            "none": {},
        },
        [
            (Arrival(sni="www.example.com"), "exact"),
            (Arrival(sni="WWW.Example.COM"), "exact"),
            (Arrival(sni="x.api.example.com"), "deep"),
            (Arrival(sni="api.example.com"), "wild"),
            (Arrival(sni="a.b.c.example.com"), "wild"),
            (Arrival(sni="example.com"), "none"),
            (Arrival(sni="x.org"), "tld"),
            (Arrival(sni="upper.net"), "tld"),
            (Arrival(sni="other.net"), "none"),
            (Arrival(sni=""), "none"),
            (Arrival(), "none"),
        ],
    ),
    Case(
        "a matching name is not left for a chain without names",
        {"tls-a": {"server_names": ["a.com"], "application_protocols": ["h2"]}, "any": {}},
        [
            (Arrival(sni="a.com", alpn=("h2",)), "tls-a"),
            (Arrival(sni="a.com", alpn=("http/1.1",)), None),
            (Arrival(sni="b.com", alpn=("h2",)), "any"),
        ],
    ),
    Case(
        "a chain for tls shadows chains that only name application protocols",
        {
            "tls": {"transport_protocol": "tls"},
            "h2": {"application_protocols": ["h2"]},
            "raw": {"transport_protocol": "raw_buffer"},
        },
        [
            (Arrival(sni="a.com", alpn=("h2",)), "tls"),
            (Arrival(sni="a.com"), "tls"),
            (Arrival(), "raw"),
        ],
    ),
    Case(
        "the client's first known application protocol decides",
        {
            "h2": {"application_protocols": ["h2"]},
            "h1": {"application_protocols": ["http/1.1", "http/1.0"]},
            "any": {},
        },
        [
            (Arrival(sni="a.com", alpn=("h2", "http/1.1")), "h2"),
            (Arrival(sni="a.com", alpn=("http/1.1", "h2")), "h1"),
            (Arrival(sni="a.com", alpn=("foo", "http/1.0")), "h1"),
            (Arrival(sni="a.com", alpn=("foo",)), "any"),
            (Arrival(), "any"),
        ],
    ),
    Case(
        "the directly connected source is that of the socket",
        {
            "balancer": {"direct_source_prefix_ranges": ranges("127.0.0.2/32")},
            "loopback": {"direct_source_prefix_ranges": ranges("127.0.0.0/8")},
        },
        [
            (Arrival(direct_source="127.0.0.2"), "balancer"),
            (Arrival(direct_source="127.0.0.3"), "loopback"),
        ],
    ),
    Case(
        "local and external sources",
        {
            "local": {"source_type": "SAME_IP_OR_LOOPBACK"},
            "external": {"source_type": "EXTERNAL", "source_prefix_ranges": ranges("192.0.2.0/24")},
            "any": {},
        },
        [
            (Arrival(source="127.0.0.1"), "local"),
            (Arrival(source="127.9.9.9"), None),
            (Arrival(source="10.0.0.1", destination="10.0.0.1"), "local"),
            (Arrival(source="192.0.2.9"), "external"),
            (Arrival(source="198.51.100.1"), None),
            (Arrival(source="::1", destination="2001:db8::1"), "local"),
        ],
    ),
    Case(
        "only a local chain: external sources fall to any",
        {"local": {"source_type": "SAME_IP_OR_LOOPBACK"}, "any": {}},
        [(Arrival(source="127.0.0.1"), "local"), (Arrival(source="192.0.2.1"), "any")],
    ),
    Case(
        "source range, then source port",
        {
            "net": {"source_prefix_ranges": ranges("192.0.2.0/24", "198.51.100.0/24")},
            "net-port": {"source_prefix_ranges": ranges("192.0.2.0/24"), "source_ports": [1000, 1001]},
            "host": {"source_prefix_ranges": ranges("192.0.2.5/32"), "source_ports": [1000]},
            "any": {},
        },
        [
            (Arrival(source="192.0.2.1", source_port=1000), "net-port"),
            (Arrival(source="192.0.2.1", source_port=1001), "net-port"),
            (Arrival(source="192.0.2.1", source_port=1002), "net"),
            (Arrival(source="198.51.100.1", source_port=1000), "net"),
            (Arrival(source="192.0.2.5", source_port=1000), "host"),
            (Arrival(source="192.0.2.5", source_port=1001), None),
            (Arrival(source="203.0.113.1"), "any"),
        ],
    ),
    Case("only a default chain", {"default": {}}, [(Arrival(), "default"), (Arrival(port=1), "default")]),
]


def random_cases(count: int, seed: int) -> Iterator[Case]:
    """Listeners of random chains, without expectations; equal or overlapping chains may occur."""
    draw = random.Random(seed)

    def some(values: list[Any], chance: float) -> list[Any]:
        return draw.sample(values, draw.randint(1, 2)) if draw.random() < chance else []

    for number in range(count):
        chains: dict[str, Match] = {}
        for i in range(draw.randint(2, 7)):
            match: Match = {
                "prefix_ranges": ranges(*some(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32"], 0.3)),
                "server_names": some(["a.com", "*.a.com", "*.com", "x.a.com"], 0.4),
                "application_protocols": some(["h2", "http/1.1", "foo"], 0.3),
                "direct_source_prefix_ranges": ranges(*some(["127.0.0.0/8", "127.0.0.2/32"], 0.2)),
                "source_prefix_ranges": ranges(*some(["192.0.0.0/8", "192.0.2.0/24", "127.0.0.0/8"], 0.3)),
                "source_ports": some([1000, 1001], 0.3),
            }
            if draw.random() < 0.3:
                match["destination_port"] = draw.choice([443, 80])
            if draw.random() < 0.3:
                match["transport_protocol"] = draw.choice(["tls", "raw_buffer"])
            if draw.random() < 0.3:
                match["source_type"] = draw.choice(["SAME_IP_OR_LOOPBACK", "EXTERNAL"])
            chains[f"c{i}"] = {key: value for key, value in match.items() if value}
        if draw.random() < 0.3:
            chains["default"] = {}
        yield Case(f"random {seed}-{number}", chains)


def random_arrivals(count: int, seed: int) -> list[Arrival]:
    """Connections that the chains of `random_cases` may match."""
    draw = random.Random(seed)
    return [
        Arrival(
            destination=draw.choice(["10.0.0.1", "10.1.9.9", "10.1.2.3", "172.16.0.1"]),
            port=draw.choice([443, 80, 8080]),
            source=draw.choice(["192.0.2.7", "192.9.9.9", "127.0.0.1", "10.0.0.1", "203.0.113.9"]),
            source_port=draw.choice([1000, 1001, 1002]),
            direct_source=draw.choice(["127.0.0.1", "127.0.0.2"]),
            sni=draw.choice([None, "", "a.com", "x.a.com", "y.x.a.com", "b.com", "b.org"]),
            alpn=draw.choice([(), ("h2",), ("http/1.1", "h2"), ("bar", "foo")]),
        )
        for _ in range(count)
    ]


def compile_chains(chains: dict[str, Match]) -> tuple[FilterChainIndex[str], list[str]]:
    """The index, and the names of chains that overlap an earlier one."""
    ctx = CompileContext()
    index: FilterChainIndex[str] = FilterChainIndex()
    overlaps = []
    for name, match in chains.items():
        if name == "default":
            index.default = name
            continue
        message = json_format.ParseDict(match, listener_components_pb2.FilterChainMatch())
        if index.add(message, "match", name, ctx) is not None:
            overlaps.append(name)
    ctx.raise_if_problems()
    return index, overlaps


def describe(arrival: Arrival) -> ConnectionInfo:
    """What our index looks at."""
    remote = Address(arrival.source, arrival.source_port)
    info = ConnectionInfo(1, remote, Address(arrival.destination, arrival.port), 0.0, DrainState())
    info.direct_remote_address = Address(arrival.direct_source, 5)
    if arrival.sni is not None:
        info.transport_protocol = "tls"
        info.requested_server_name = arrival.sni.lower()
        info.requested_application_protocols = arrival.alpn
    return info
