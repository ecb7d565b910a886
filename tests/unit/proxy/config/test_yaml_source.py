from __future__ import annotations

import pytest

from proxy.base.errors import ConfigError
from proxy.config.yaml_source import MAX_DEPTH, compose


def problem(source: str | bytes, origin: str = "x.yaml") -> str:
    with pytest.raises(ConfigError) as caught:
        compose(source, origin)
    (found,) = caught.value.problems
    return str(found)


def test_only_the_first_document_counts() -> None:
    node = compose("a: 1\n---\nb: [", "x.yaml")
    assert node is not None
    assert [key.value for key, _ in node.value] == ["a"]


def test_a_text_without_a_document_is_none() -> None:
    assert compose("# nothing", "x.yaml") is None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a:\n\tb: 1", "x.yaml:2:1: YAML syntax: a tab is used to indent; YAML allows only spaces"),
        ("a: b: c", "x.yaml:1:5: YAML syntax: unexpected ':'"),
        ("a:\n  b: 1\n c: 2", "x.yaml:3:2: YAML syntax: expected a key here; check the indentation"),
        ("a: [1,\nb: 2", "is not closed"),
        ("a: 'x\nb: 1", "a quoted text is not closed"),
        ("a: *x", "x.yaml:1:4: YAML syntax: an alias refers to an anchor that is not defined above it"),
        ("a: @x", "x.yaml:1:4: YAML syntax: this character cannot start a value; put the value in quotes"),
        ("a: x\x00", "x.yaml:1:5: character U+0000 is not allowed"),
        (b"a: 1\nb: \xff", "x.yaml:2:4: byte 0xff is not valid UTF-8"),
    ],
)
def test_a_syntax_error_says_where_and_what_in_plain_words(source: str | bytes, words: str) -> None:
    assert words in problem(source)


def test_json_errors_are_those_of_json() -> None:
    assert problem('{"a": 1,\n "b" 2}', "x.json") == "x.json:2:6: JSON syntax: Expecting ':' delimiter"


def test_json_may_escape_characters_as_surrogate_pairs() -> None:
    node = compose('{"a": "\\ud83d\\ude00"}', "x.json")
    assert node is not None
    assert node.value[0][1].value == "\N{GRINNING FACE}"


@pytest.mark.parametrize("source", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "[{a: " * 3000])
def test_nesting_out_of_bounds_is_refused(source: str) -> None:
    assert f"nested more than {MAX_DEPTH} levels deep" in problem(source)


def test_deep_block_nesting_is_refused() -> None:
    assert "nested more than" in problem("\n".join(" " * depth + "a:" for depth in range(700)))


def test_aliases_that_expand_to_billions_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases expand to more than" in problem("\n".join(lines))


def test_an_alias_to_what_contains_it_is_refused() -> None:
    assert "contains the alias itself" in problem("a: &a [b, *a]")


def test_an_alias_may_be_used_many_times() -> None:
    assert compose("a: &a {b: c}\nd: [*a, *a]\ne: *a", "x.yaml") is not None
