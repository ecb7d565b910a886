from __future__ import annotations

import pytest

from iptables.errors import MachineError
from iptables.model import Family, Interface, Network, Ports, Protocol, Unknown, Verdict
from iptables.observe_nft import iptables_name, parse_rule, parse_ruleset

LISTING = """
# Warning: table ip nat is managed by iptables-nft, do not touch!
table ip nat {
    chain OUTPUT {
        type nat hook output priority -100; policy accept;
        meta l4proto 6 counter packets 0 bytes 0 jump ISTIO_OUTPUT
    }
}
table inet firewall {
    set blocked {
        type ipv4_addr
        elements = { 192.0.2.7,
                 192.0.2.8 }
    }
    chain output {
        type filter hook output priority 10; policy drop;
        ip daddr @blocked drop
    }
}
table inet istio-proxy-nat {
    chain istio-output {
        oifname "lo" ip daddr != 127.0.0.1 tcp dport { 53, 90-99 } counter packets 1 bytes 60 return # handle 4
    }
}
"""


def test_tables_of_ours_and_of_others() -> None:
    found = parse_ruleset(LISTING)
    assert [(table.family, table.table.name, table.own) for table in found] == [
        ("ip", "nat", False),
        ("inet", "firewall", False),
        ("inet", "istio-proxy-nat", True),
    ]
    assert found[2].plain == "nat"
    (rule,) = found[2].table.rules("ISTIO_OUTPUT")
    assert rule.matches == (
        Interface(False, "lo"),
        Network(False, "127.0.0.1/32", True),
        Protocol("tcp"),
        Ports(False, ("53", "90:99")),
    )
    assert rule.target == Verdict("RETURN")
    assert found[1].table.chains["OUTPUT"].policy == "DROP"


@pytest.mark.parametrize(
    "line",
    [
        "ip daddr @blocked drop",
        "ip daddr 10.0.0.1-10.0.0.9 drop",
        "ip saddr { 10.0.0.1, 10.0.0.2 } drop",
        "meta mark & 0x000000ff == 0x00000001 drop",
        "tcp dport @ports drop",
        "tcp dport vmap { 22 : accept }",
        "ct state vmap { established : accept, invalid : drop }",
        "meta",
        "ip",
        "limit rate 10/second accept",
        "xt match comment",
    ],
)
def test_what_others_write_is_left_unjudged(line: str) -> None:
    """It is no failure of ours, and nothing that a packet is said to meet."""
    assert isinstance(parse_rule("X", line).target, Unknown)


def test_a_rule_of_one_ip_version() -> None:
    assert parse_rule("X", "meta nfproto 10 tcp dport 53 redirect to :15053").matches == (
        Family(6),
        Protocol("tcp"),
        Ports(False, ("53",)),
    )


def test_names_of_chains() -> None:
    assert [iptables_name(name) for name in ("istio-in-redirect", "output", "docker-user")] == [
        "ISTIO_IN_REDIRECT",
        "OUTPUT",
        "docker-user",
    ]


@pytest.mark.parametrize(
    "line", ["tproxy ip to :x meta mark set 0x1 accept", "tproxy to :1 meta mark set g accept"]
)
def test_a_target_that_cannot_be_read_is_unknown(line: str) -> None:
    assert parse_rule("x", line).target == Unknown(line)


@pytest.mark.parametrize("line", ["table {", "table ip {", "table ip x {\nchain {"])
def test_a_listing_that_nft_does_not_write_is_an_error_of_the_machine(line: str) -> None:
    with pytest.raises(MachineError, match="cannot be read"):
        parse_ruleset(f"{line}\n}}\n")
