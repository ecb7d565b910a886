"""Path templates, and what of a URL is unescaped."""

from __future__ import annotations

import pytest

from proxy.transcoding.http_template import TemplateError, Unescape, Variable, parse_template, unescape


@pytest.mark.parametrize(
    ("text", "segments", "verb", "variables"),
    [
        ("/", (), "", ()),
        ("/a/b:c", ("a", "b"), "c", ()),
        ("/a/*/b", ("a", "*", "b"), "", ()),
        ("/a/{x}", ("a", "*"), "", (Variable(("x",), 1, 2),)),
        ("/{x.y=a/*/b}/{z}", ("a", "*", "b", "*"), "", (Variable(("x", "y"), 0, 3), Variable(("z",), 3, 4))),
        ("/a/{x=**}:v", ("a", "**"), "v", (Variable(("x",), 1, -1),)),
        ("/a/{x=b/**}/c", ("a", "b", "**", "c"), "", (Variable(("x",), 1, -2),)),
    ],
)
def test_templates(text: str, segments: tuple[str, ...], verb: str, variables: tuple[Variable, ...]) -> None:
    parsed = parse_template(text)
    assert (parsed.segments, parsed.verb, parsed.variables) == (segments, verb, variables)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "/a//b",
        "/a/",
        "/{",
        "/{x",
        "/{}",
        "/{x=}",
        "/{x={y}}",
        "/a:",
        "/**/*",
        "/**/{x}",
        "/a}b",
        "/{x.}",
    ],
)
def test_what_is_no_template(text: str) -> None:
    with pytest.raises(TemplateError):
        parse_template(text)


@pytest.mark.parametrize(
    ("text", "spec", "plus", "result"),
    [
        ("a%20b", Unescape.EXCEPT_RESERVED, False, "a b"),
        ("%2F%3A%41", Unescape.EXCEPT_RESERVED, False, "%2F%3AA"),
        ("%2F%3A%41", Unescape.EXCEPT_SLASH, False, "%2F:A"),
        ("%2F%3A%41", Unescape.ALL, False, "/:A"),
        ("%c3%a4%", Unescape.ALL, False, "ä%"),
        ("%zz%4", Unescape.ALL, False, "%zz%4"),
        ("a+b%2B", Unescape.ALL, True, "a b+"),
        ("\xc3\xa4", Unescape.ALL, False, "ä"),
        ("%ff", Unescape.ALL, False, "\udcff"),
    ],
)
def test_unescaping(text: str, spec: Unescape, plus: bool, result: str) -> None:
    assert unescape(text, spec, plus=plus) == result
