from __future__ import annotations

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.base.regex import Regex, compile_regex, compile_substitution
from proxy.base.runtime import Runtime
from proxy.config.context import CompileContext


def rewrite(pattern: str, substitution: str, text: str) -> str:
    context = CompileContext()
    regex = compile_regex(pattern, "pattern", context)
    assert regex is not None
    return regex.sub(text, compile_substitution(substitution, regex, "substitution", context))


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("*", "no argument for repetition operator: *"),
        ("(", "missing ): ("),
        ("a{1001}", "invalid repetition size: {1001}"),
        ("(?=a)", "invalid perl operator: (?="),
        (r"\1", r"invalid escape sequence: \1"),
        ("a**", "bad repetition operator: **"),
    ],
)
def test_what_re2_refuses_is_a_problem_with_its_words(pattern: str, reason: str) -> None:
    context = CompileContext()
    assert compile_regex(pattern, "routes[0].match.safe_regex.regex", context) is None
    (problem,) = context.problems
    assert (problem.path, problem.reason) == ("routes[0].match.safe_regex.regex", reason)


def test_a_large_program_is_refused_unless_the_runtime_allows_it() -> None:
    pattern = "(a|b|c|d){1,200}"
    context = CompileContext()
    assert compile_regex(pattern, "regex", context) is None
    assert "program size" in context.problems[0].reason
    lenient = CompileContext(runtime=Runtime({"re2.max_program_size.error_level": "5000"}))
    assert compile_regex(pattern, "regex", lenient) is not None


def test_a_match_takes_the_whole_text_and_a_search_a_part() -> None:
    regex = Regex("/v[0-9]+")
    assert regex.full_match("/v12")
    assert not regex.full_match("/v12/")
    assert regex.search("x/v1/y")


@pytest.mark.parametrize("pattern", ["a$", "^a$", "a", "[^b]"])
def test_a_line_feed_is_no_end_of_text(pattern: str) -> None:
    assert Regex(pattern).full_match("a")
    assert not Regex(pattern).full_match("a\n")


def test_a_character_is_a_byte_of_the_wire() -> None:
    assert Regex(".").full_match("\xe9")
    assert not Regex(".").full_match("é".encode().decode("latin-1"))
    assert Regex("é").full_match("é".encode().decode("latin-1"))


@pytest.mark.parametrize(
    ("pattern", "substitution", "text", "expected"),
    [
        (r"^/([a-z]+)/(.*)$", r"/\2/\1", "/a/b/c", "/b/c/a"),
        ("x", "yy", "axbx", "ayybyy"),
        ("x*", "-", "abxd", "-a-b-d-"),
        ("r|(q)", r"[\1\0]", "rq", "[r][qq]"),
        ("a", r"\\", "bab", "b\\b"),
        (r"([^/]*)/?", r"\1.", "a/b", "a.b."),
    ],
)
def test_replacing_follows_re2(pattern: str, substitution: str, text: str, expected: str) -> None:
    assert rewrite(pattern, substitution, text) == expected


@pytest.mark.parametrize(("substitution", "expected"), [(r"\7", "bar"), (r"z\x", "bzr"), ("z\\", "bzr")])
def test_a_broken_substitution_warns_and_does_what_re2_makes_of_it(substitution: str, expected: str) -> None:
    context = CompileContext()
    regex = compile_regex("a", "pattern", context)
    assert regex is not None
    compiled = compile_substitution(substitution, regex, "substitution", context)
    assert regex.sub("bar", compiled) == expected
    assert not context.problems
    assert [warning.path for warning in context.warnings] == ["substitution"]


def test_long_texts_are_matched_without_being_remembered() -> None:
    regex = Regex("(ab)*")
    assert regex.full_match("ab" * 1000)
    assert not regex.full_match("ab" * 1000 + "a")


_ATOM = st.sampled_from(
    [
        *"ab/.-",
        "[ab]",
        "[^/]",
        "[a-z0-9]",
        r"\d",
        r"\w",
        r"\.",
        "(a|b)",
        "(ab)",
        "(?:a|)",
        r"\b",
        "[^a]",
        "\\-",
    ]
)
_REPEAT = st.sampled_from(["", "", "*", "+", "?", "{1,2}", "{2}", "*?", "+?"])
_SEQUENCE = st.lists(st.tuples(_ATOM, _REPEAT), min_size=1, max_size=5).map(
    lambda pairs: "".join(atom + repeat for atom, repeat in pairs)
)
_PATTERN = st.one_of(
    _SEQUENCE,
    st.tuples(_SEQUENCE, _SEQUENCE).map("|".join),
    _SEQUENCE.map(lambda inner: f"^{inner}(/.*)?$"),
    _SEQUENCE.map(lambda inner: f"(?i){inner}"),
    _SEQUENCE.map(lambda inner: f"({inner}).*"),
)
_TEXT = st.text(alphabet="abAB/.-019_ \xe9\xff\n", max_size=12)


@settings(max_examples=400, deadline=None)
@given(
    pattern=_PATTERN,
    texts=st.lists(_TEXT, min_size=1, max_size=8),
    substitution=st.sampled_from(["", "x", r"<\0>", r"\1"]),
)
def test_both_engines_agree(pattern: str, texts: list[str], substitution: str) -> None:
    try:
        regex = Regex(pattern)
    except re2.error:
        return
    slow = Regex(pattern)
    slow._fast_match = None
    slow._fast_search = None
    context = CompileContext()
    compiled = compile_substitution(substitution, regex, "", context)
    for text in texts:
        assert regex.full_match(text) == slow.full_match(text)
        assert regex.search(text) == slow.search(text)
        assert regex.groups_of(text) == slow.groups_of(text)
        assert regex.sub(text, compiled) == slow.sub(text, compiled)
