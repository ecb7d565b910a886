from __future__ import annotations

import pytest

from iptables.model import Chain, Jump, Network, Protocol, Rule, RuleSet, Table, Verdict, chains_of, network

TCP, RETURN = Protocol("tcp"), Verdict("RETURN")


def test_the_order_of_matches_does_not_matter_and_that_of_targets_does() -> None:
    there = Network(False, "10.0.0.0/8")
    assert Rule("A", (TCP, there), RETURN).key == Rule("A", (there, TCP), RETURN, text="x").key
    assert Rule("A", (TCP,), RETURN).key != Rule("B", (TCP,), RETURN).key
    assert Rule("A", (TCP,), RETURN).key != Rule("A", (TCP,), Jump("RETURN")).key


def test_a_network_has_no_host_bits_and_one_version() -> None:
    assert network("10.1.2.3/8") == "10.0.0.0/8"
    assert network("FD00::1/16") == "fd00::/16"
    assert [Network(True, cidr).version for cidr in ("10.0.0.0/8", "fd00::/16")] == [4, 6]
    with pytest.raises(ValueError, match="does not appear"):
        network("@set")


def test_chains_that_are_only_jumped_to_exist() -> None:
    found = chains_of([Rule("OUTPUT", (), Jump("ISTIO_OUTPUT")), Rule("OUTPUT", (), RETURN)])
    assert {name: len(rules) for name, rules in found.items()} == {"OUTPUT": 2, "ISTIO_OUTPUT": 0}


def test_a_rule_set_by_ip_version_drops_empty_tables() -> None:
    rules = RuleSet(
        {"nat": (Rule("A", (), RETURN, 4), Rule("B", (), RETURN)), "raw": (Rule("C", (), RETURN, 4),)}
    )
    assert {table: [rule.chain for rule in found] for table, found in rules.of(6).items()} == {"nat": ["B"]}
    assert list(rules.of(4)) == ["nat", "raw"]


def test_chains_of_ours_are_known_by_name() -> None:
    table = Table("nat", {name: Chain(name) for name in ("OUTPUT", "ISTIO_OUTPUT", "OUTRIDER_NEW_TABLE")})
    assert table.own() == ["ISTIO_OUTPUT"]
    assert table.rules("nowhere") == ()
