from __future__ import annotations

import time

import pytest

from proxy.base.backtracking import translate


@pytest.mark.parametrize(
    "pattern",
    [
        ".*",
        "/api/v[0-9]+/(users|items)/[^/]+",
        r".*\.example\.com",
        "/foo(/.*)?",
        "^/x/([^/]+)/(.*)$",
        ".*needle.*",
        "(?i)curl/.*",
        r"\d+\.\d+",
        "[a-z0-9]+-[a-z]+",
        "GET|POST|PUT",
        r"[0-9a-f]{8}-[0-9a-f]{4}",
    ],
)
def test_common_patterns_run_on_the_standard_library(pattern: str) -> None:
    translation = translate(pattern)
    assert translation is not None
    assert translation.full_match


@pytest.mark.parametrize(
    "pattern",
    [
        "(a*)*b",
        "(a|a)*b",
        "a+a+",
        ".*a.*b",
        "a?" * 20 + "a" * 20,
        "(a|b|ab)*c",
        "(x+x+)+y",
        "/[^/]+/.*/x[^/]*",
        "[a-z]+[a-z0-9]+!",
    ],
)
def test_patterns_that_may_backtrack_are_left_to_re2(pattern: str) -> None:
    translation = translate(pattern)
    assert translation is None or not (translation.full_match or translation.search)


@pytest.mark.parametrize(
    "pattern",
    [
        r"\s+",  # a vertical tab is a blank for one of them
        "[[:alpha:]]+",
        "a{,2}",
        r"\pN",
        r"\Qa.b\E",
        "(?U)a+",
        "é",
        r"\101",
        r"(?i)\xe9",
        "(ab){2}",
    ],
)
def test_patterns_that_the_engines_read_differently_are_left_to_re2(pattern: str) -> None:
    assert translate(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r".*\.example\.com", ".example" * 8000),
        ("/[^/]+/[^/]+/x", "/" + "a" * 60000),
        ("(a|ab)(c|bcd)[^/]*/", "ab" + "c" * 60000),
        (".*" + "a" * 60 + "b", "a" * 60000),
    ],
)
def test_hostile_texts_take_no_long_time(pattern: str, text: str) -> None:
    translation = translate(pattern)
    assert translation is not None
    started = time.process_time()
    assert translation.compiled.fullmatch(text) is None
    assert time.process_time() - started < 1.0


def test_searching_needs_an_anchor_or_a_bounded_length() -> None:
    for pattern, allowed in (("^/a/(.*)$", True), ("/v[0-9]{1,3}/", True), ("[a-z]+-", False), ("a*", False)):
        translation = translate(pattern)
        assert translation is not None
        assert translation.search is allowed
