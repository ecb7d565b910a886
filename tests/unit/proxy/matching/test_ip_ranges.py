from __future__ import annotations

from tests.unit.proxy.matching.test_tree import Json, compiled, found, listed, reads, rule, single, to, typed


def ranges(*entries: tuple[str, int, Json, bool]) -> Json:
    matchers = [
        {
            "ranges": [{"address_prefix": prefix, "prefix_len": length}],
            "on_match": on_match,
            "exclusive": exclusive,
        }
        for prefix, length, on_match, exclusive in entries
    ]
    custom = typed("xds.type.matcher.v3.IPMatcher", range_matchers=matchers)
    return {
        "matcher_tree": {"input": reads("SourceIPInput"), "custom_match": custom},
        "on_no_match": to("none"),
    }


def test_the_narrowest_range_decides() -> None:
    tree = ranges(("10.0.0.0", 8, to("wide"), False), ("10.1.0.0", 16, to("narrow"), False))
    assert found(tree) == "narrow"
    assert found(tree, source="10.2.0.1") == "wide"
    assert found(tree, source="11.0.0.1") == "none"


def test_ipv6_ranges_hold_ipv6_addresses_only() -> None:
    tree = ranges(("::", 0, to("six"), False))
    assert found(tree, source="2001:db8::1") == "six"
    assert found(tree) == "none"


def test_a_wider_range_is_asked_if_the_narrow_one_leads_nowhere_unless_it_is_exclusive() -> None:
    nowhere = {"matcher": listed(rule(single("DestinationPortInput", exact="1"), to("inner")))}
    narrow = ("10.1.0.0", 16, nowhere, False)
    assert found(ranges(narrow, ("10.0.0.0", 8, to("wide"), False))) == "wide"
    assert found(ranges(narrow, ("10.0.0.0", 8, to("wide"), True))) == "none"
    assert found(ranges(("10.0.0.0", 8, to("wide"), True))) == "wide"


def test_what_is_no_address_is_in_no_range() -> None:
    tree = ranges(("0.0.0.0", 0, to("four"), False))
    tree["matcher_tree"]["input"] = reads("SourcePortInput")
    assert found(tree) == "none"


def test_a_range_that_cannot_be_is_named() -> None:
    (problem,) = compiled(ranges(("10.0.0", 8, to("a"), False)))[1]
    assert "range_matchers[0].ranges[0]: malformed range: 10.0.0/8" in problem
