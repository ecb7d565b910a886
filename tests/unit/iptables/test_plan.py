from __future__ import annotations

from iptables.config import build
from iptables.model import Rule, Verdict, Version
from iptables.observe import parse_save
from iptables.plan import (
    Installed,
    Routing,
    change,
    changes,
    marked,
    own_base_rules,
    routing_removal,
    routing_steps,
    table_steps,
    tidy_script,
)
from iptables.render_restore import listing
from iptables.rules import build_rules

TPROXY = build({"inbound_ports": "*", "inbound_interception_mode": "TPROXY"}, {})


def test_the_route_of_marked_packets_comes_before_their_rule_and_goes_after_it() -> None:
    steps = [" ".join(step.arguments) for step in routing_steps(TPROXY, {}, [4])]
    assert steps == [
        "-4 route replace local default dev lo table 133",
        "-4 rule add fwmark 1337 lookup 133",
    ]
    removal = routing_removal(TPROXY, {4: Routing(rule=True, route=True)})
    assert [step.arguments[1] for step in removal] == ["rule", "route"]
    assert routing_steps(TPROXY, {4: Routing(rule=True, route=True)}, [4]) == []


def test_ipv6_gets_the_address_that_the_proxy_connects_from() -> None:
    plain = build({}, {})
    (step,) = routing_steps(plain, {}, [4, 6])
    assert step.arguments == ("-6", "address", "add", "::6/128", "dev", "lo")
    assert routing_steps(build({"outbound_only": "true", "service_cidr": "*"}, {}), {}, [4, 6]) == []


def test_one_command_for_each_ip_version() -> None:
    rules = build_rules(TPROXY)
    wanted: dict[Version, dict[str, tuple[Rule, ...]]] = {4: dict(rules.of(4)), 6: dict(rules.of(6))}
    made = changes(Installed({4: {}, 6: {}}), wanted)
    assert [(one.version, one.table) for one in made] == [(v, t) for v in (4, 6) for t in ("mangle", "nat")]
    steps = table_steps(made)
    assert [(step.tool, step.version, step.text.count("COMMIT")) for step in steps] == [
        ("restore", 4, 2),
        ("restore", 6, 2),
    ]


def test_a_rule_like_ours_is_ours_as_often_as_we_wrote_it() -> None:
    rules = dict(build_rules(build({"exclude_interfaces": "eth9"}, {})).of(4))["nat"]
    foreign = "-A PREROUTING -i eth9 -j RETURN\n"
    text = (
        listing({"nat": rules}).replace("COMMIT", f"{foreign}COMMIT").replace("*nat\n", f"*nat\n{foreign}", 1)
    )
    found = own_base_rules(parse_save(text)["nat"], rules)
    assert len([rule for rule in found if rule.chain == "PREROUTING"]) == 1
    assert own_base_rules(parse_save(f"*nat\n{foreign}COMMIT\n")["nat"], rules) == []


def test_chains_that_are_no_longer_wanted_go() -> None:
    table = parse_save("*nat\n:ISTIO_OLD - [0:0]\n-A OUTPUT -j ISTIO_OLD\nCOMMIT\n")["nat"]
    made = change(4, "nat", table, [Rule("OUTPUT", (), Verdict("RETURN"))])
    assert made is not None
    assert made.foreign
    assert made.text.splitlines() == [
        "*nat",
        ":ISTIO_OLD - [0:0]",
        "-D OUTPUT -j ISTIO_OLD",
        "-A OUTPUT -j RETURN",
        "-X ISTIO_OLD",
        "COMMIT",
    ]


def installed(text: str, *chains: str) -> Installed:
    return Installed({4: parse_save(text)}, {}, frozenset({("ip", "nat", chain) for chain in ("", *chains)}))


def test_only_what_came_with_our_rules_goes_with_them() -> None:
    base = "*nat\n:OUTPUT ACCEPT [0:0]\n:OUTRIDER_NEW_TABLE - [0:0]\n:OUTRIDER_NEW_OUTPUT - [0:0]\n"
    clean = installed(f"{base}COMMIT\n", "OUTPUT")
    assert marked(clean) == (4,)
    assert tidy_script(clean).splitlines()[-1] == "delete table ip nat"
    used = installed(f"{base}-A OUTPUT -p tcp -j ACCEPT\nCOMMIT\n", "OUTPUT")
    assert "delete table" not in tidy_script(used)
    assert "delete chain ip nat OUTPUT" not in tidy_script(used)
    more = installed(f"{base}COMMIT\n", "OUTPUT", "POSTROUTING")
    assert "delete table" not in tidy_script(more)
    ours = installed(f"{base}:ISTIO_OUTPUT - [0:0]\nCOMMIT\n", "OUTPUT")
    assert tidy_script(ours) == ""
    assert marked(installed("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", "OUTPUT")) == ()


def test_a_policy_that_somebody_set_keeps_its_chain() -> None:
    text = "*nat\n:OUTPUT DROP [0:0]\n:OUTRIDER_NEW_OUTPUT - [0:0]\nCOMMIT\n"
    assert tidy_script(installed(text, "OUTPUT")) == "delete chain ip nat OUTRIDER_NEW_OUTPUT\n"
