"""The listing of each case that Istio publishes for `istio-iptables` (tools/istio-iptables/pkg/capture).

The listings in `golden/` are our output; each was compared with Istio's own of August 2026, chain by chain and
rule by rule, when it was written.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iptables.cli import main
from iptables.config import build
from iptables.model import Rule
from iptables.observe import parse_save, same_rules
from iptables.observe_nft import parse_rule as parse_nft
from iptables.observe_nft import parse_ruleset
from iptables.plan import Installed, change, changes, removal_change
from iptables.render_nft import qualified, script
from iptables.render_restore import listing
from iptables.rules import build_rules

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, list[str]] = json.loads((GOLDEN / "flags.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_a_published_case(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--print", *CASES[name]]) == 0
    assert capsys.readouterr().out == (GOLDEN / f"{name}.rules").read_text()


@pytest.mark.parametrize("name", CASES)
def test_nft_has_the_same_rules(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line of the nft script can be read back, none of it in doubt."""
    assert main(["plan", "--print", "--native-nftables", *CASES[name]]) == 0
    lines = [
        line.split(" ", 5) for line in capsys.readouterr().out.splitlines() if line.startswith("add rule")
    ]
    read = [
        parse_nft("x", line[5].replace("counter ", "counter packets 0 bytes 0 ").replace("tcp", "tcp"))
        for line in lines
    ]
    assert all(rule.matches or rule.target for rule in read)
    assert "Unknown" not in repr(read)


def rules_of(**flags: str) -> dict[str, tuple[Rule, ...]]:
    return dict(build_rules(build(flags, {})).of(4))


def test_a_listing_read_back_is_the_same_rules() -> None:
    rules = rules_of(inbound_ports="*", service_cidr="*", inbound_interception_mode="TPROXY")
    text = listing(rules)
    again = {
        name: tuple(r for c in t.chains.values() for r in c.rules) for name, t in parse_save(text).items()
    }
    assert same_rules(parse_save(listing(again)), parse_save(text))


def test_what_is_installed_needs_no_change_and_its_removal_names_each_rule() -> None:
    rules = rules_of(inbound_ports="*", service_cidr="*", exclude_interfaces="eth9")
    table = parse_save(listing(rules))["nat"]
    assert change(4, "nat", table, rules["nat"]) is None
    removal = removal_change(4, table, rules["nat"])
    assert removal is not None
    assert "-D PREROUTING -i eth9 -j RETURN" in removal.text
    assert removal.text.count("-X ISTIO_") == len(table.own())


def test_rules_of_others_stay() -> None:
    foreign = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i eth9 -j RETURN\n-A OUTPUT -j DOCKER\nCOMMIT\n"
    table = parse_save(foreign)["nat"]
    rules = rules_of(exclude_interfaces="eth9")["nat"]
    assert removal_change(4, table, rules) is None
    made = change(4, "nat", table, rules)
    assert made is not None
    assert "-D " not in made.text
    assert not made.foreign


def test_rules_of_another_configuration_are_noticed() -> None:
    table = parse_save(listing(rules_of(inbound_ports="80")))
    made = changes(Installed({4: table}), {4: rules_of(inbound_ports="81")})
    assert [one.foreign for one in made] == [True]
    assert made[0].diff == (
        "- ISTIO_INBOUND -p tcp --dport 80 -j ISTIO_IN_REDIRECT",
        "+ ISTIO_INBOUND -p tcp --dport 81 -j ISTIO_IN_REDIRECT",
    )


def test_traffic_directors_mode_captures_only_ranges() -> None:
    rules = rules_of(outbound_only="true", service_cidr="10.0.0.0/8", proxy_uid="500", proxy_gid="500")
    assert list(rules) == ["nat"]
    assert listing(rules).splitlines()[3:] == [
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
        "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
        "-A ISTIO_OUTPUT -m owner --uid-owner 500 -j RETURN",
        "-A ISTIO_OUTPUT -m owner --gid-owner 500 -j RETURN",
        "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
        "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT",
        "COMMIT",
    ]


def test_an_nft_table_as_listed_is_read_as_it_was_written() -> None:
    rules = build_rules(build({"inbound_ports": "*", "service_cidr": "*"}, {}))
    lines = script(rules, ipv6=True).splitlines()
    body = ["table inet istio-proxy-nat {"]
    chains: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("add rule"):
            _, _, _, _, chain, rule = line.split(" ", 5)
            chains.setdefault(chain, []).append(rule)
    for chain, texts in chains.items():
        body += [f"chain {chain} {{", *texts, "}"]
    (table,) = parse_ruleset("\n".join([*body, "}"]))
    wanted = [qualified(rule, True).key for rule in rules.tables["nat"] if rule.chain == "ISTIO_OUTPUT"]
    assert [rule.key for rule in table.table.rules("ISTIO_OUTPUT")] == wanted
