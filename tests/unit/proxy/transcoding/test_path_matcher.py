"""Which method a path leads to, and what it binds."""

from __future__ import annotations

import pytest

from proxy.transcoding.http_template import Unescape
from proxy.transcoding.path_matcher import Binding, MatcherOptions, PathMatcher


def _matcher(*rules: str, **options: object) -> PathMatcher[str]:
    matcher: PathMatcher[str] = PathMatcher(MatcherOptions(**options))  # type: ignore[arg-type]
    for rule in rules:
        http_method, template = rule.split(" ")
        matcher.register(http_method, template, "*", rule)
    return matcher


RULES = (
    "GET /",
    "GET /a",
    "GET /a/*",
    "GET /a/b",
    "GET /a/**",
    "GET /a/*:verb",
    "POST /a/{x}",
    "GET /c/**/d",
    "* /any",
    "GET /twice",
    "GET /twice",
    "GET /r/{x=**}",
)


@pytest.mark.parametrize(
    ("request_line", "rule"),
    [
        ("GET /", "GET /"),
        ("GET ", "GET /"),
        ("GET /a", "GET /a"),
        ("GET /a/", "GET /a"),
        ("GET /a//", "GET /a"),
        ("GET /a/b", "GET /a/b"),
        ("GET /a/c", "GET /a/*"),
        ("GET /a/c/d", "GET /a/**"),
        ("GET /a/c:verb", "GET /a/*:verb"),
        ("GET /a/c:other", "GET /a/*"),
        ("GET /a/b:verb", "GET /a/*:verb"),
        ("POST /a/c", "POST /a/{x}"),
        ("POST /a", None),
        ("GET /c/1/2/d", "GET /c/**/d"),
        ("GET /c/d", None),
        ("PATCH /any", "* /any"),
        ("GET /twice", None),
        ("GET /r", "GET /r/{x=**}"),
        ("GET /nothing", None),
    ],
)
def test_the_most_specific_template_wins(request_line: str, rule: str | None) -> None:
    http_method, path = request_line.split(" ")
    match = _matcher(*RULES).match(http_method, path, "")
    assert (match.method if match is not None else None) == rule


def test_verbs_may_count_though_nobody_has_registered_them() -> None:
    assert _matcher("GET /a/*", match_unregistered_verb=True).match("GET", "/a/b:c", "") is None


def test_bindings_of_path_and_query() -> None:
    matcher = _matcher("GET /{x.y=a/*}/{z}", ignored_parameters=frozenset({"key"}))
    match = matcher.match("GET", "/a/b%2Fc/d%2Fe", "p.q=1%202&key=3&flag&=4&r=")
    assert match is not None
    assert match.bindings == [
        Binding(("x", "y"), "a/b%2Fc"),
        Binding(("z",), "d/e"),
        Binding(("p", "q"), "1 2"),
        Binding(("r",), ""),
    ]


def test_the_rest_of_a_path_and_how_it_is_unescaped() -> None:
    for spec, value in ((Unescape.EXCEPT_RESERVED, "1%2F2/3%3A"), (Unescape.ALL, "1/2/3:")):
        match = _matcher("GET /r/{x=**}", unescape=spec).match("GET", "/r/1%2F2/3%3A", "")
        assert match is not None
        assert match.bindings == [Binding(("x",), value)]
