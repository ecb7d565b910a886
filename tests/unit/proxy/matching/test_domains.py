"""`ServerNameMatcher`, on the texts of a UDP proxy's inputs; held against Envoy by the differential tests."""

from __future__ import annotations

import pytest

from tests.unit.proxy.matching.test_tree import Json, compiled, found, reads, to, typed


def domains(*entries: tuple[list[str], Json]) -> Json:
    matchers = [{"domains": names, "on_match": on_match} for names, on_match in entries]
    custom = typed("xds.type.matcher.v3.ServerNameMatcher", domain_matchers=matchers)
    tree = {"input": reads("SourceIPInput"), "custom_match": custom}
    return {"matcher_tree": tree, "on_no_match": to("none")}


def test_the_most_specific_pattern_decides_wherever_it_stands() -> None:
    tree = domains(
        (["*"], to("any")),
        (["*.com"], to("com")),
        (["*.example.com"], to("wild")),
        (["www.example.com"], to("exact")),
    )
    assert found(tree, source="www.example.com") == "exact"
    assert found(tree, source="a.b.example.com") == "wild"
    assert found(tree, source="example.com") == "com"
    assert found(tree, source="WWW.EXAMPLE.COM") == "any"
    assert found(tree, source="") == "none"


def test_a_pattern_that_leads_nowhere_leaves_the_name_to_a_wider_one() -> None:
    tree = domains((["a.com"], to("kept", keep_matching=True)), (["*.com"], to("wild")))
    assert found(tree, source="a.com") == "wild"


def test_a_name_that_looks_like_a_pattern_is_no_exact_match() -> None:
    assert found(domains((["*.com"], to("wild"))), source="*.com") == "wild"
    assert found(domains((["*.a.com"], to("wild"))), source="*.com") == "none"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a.com", "a.com"], "duplicate domain: a.com"),
        ([""], "a domain must not be empty"),
        (["*."], "invalid wildcard domain format: *."),
        (["*a.com"], "invalid wildcard domain format: *a.com"),
        (["a.*"], "invalid wildcard domain format: a.*"),
        (["*.*.com"], "invalid wildcard domain format: *.*.com"),
    ],
)
def test_patterns_that_cannot_be_are_refused(names: list[str], reason: str) -> None:
    problems = compiled(domains((names, to("a"))))[1]
    assert len(problems) == 1
    assert reason in problems[0]
    assert f"domains[{len(names) - 1}]" in problems[0]
