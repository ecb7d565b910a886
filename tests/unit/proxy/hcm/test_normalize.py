"""Paths and hosts in one form before anybody matches on them."""

from __future__ import annotations

import pytest

from proxy.hcm import normalize


@pytest.mark.parametrize(
    ("target", "normalized"),
    [
        ("/", "/"),
        ("/a/./b/../c", "/a/c"),
        ("/../a", "/a"),
        ("/a/..", "/"),
        ("/a//../b", "/a/b"),
        ("/a/..//b", "//b"),
        ("/a\\b", "/a/b"),
        ("/%61%7e", "/a~"),
        ("/a/%2e%2e/b", "/b"),
        ("/a%2fb", "/a%2fb"),
        ("/a%25%32%66", "/a%252f"),
        ("/%zz", "/%zz"),
        ("/\xe9|\x85", "/%E9%7C%85"),
        ("/%4%41", "/%254A"),
        ("/%%32f", "/%252f"),
        ("/%%32%66", "/%252f"),
        ("/%2%65%2%65/a", "/%252e%252e/a"),
        ("/%4%4%41", "/%4%254A"),
        ("/%4%4a%41", "/%4JA"),
        ("/%%%32%35", "/%%2525"),
        ("/a/..;/b", "/b"),
        ("/a/..;x=y/..;/b", "/b"),
        ("/a/.;", "/a/"),
        ("/a/..;b\\c/d", "/d"),
        ("/..;", "/"),
        ("/a/..;//b", "//b"),
        ("/a/%2e%2e;/b", "/a/..;/b"),
        ("/x\\..;/b", "/x/..;/b"),
        ("/a/..;?/..;/b", "/?/..;/b"),
        ("/a;b/...;/c", "/a;b/...;/c"),
        ("/a|b", "/a%7Cb"),
        ("/a?b=/../c|", "/a?b=/../c|"),
        ("/a%00", None),
    ],
)
def test_normalize_path(target: str, normalized: str | None) -> None:
    assert normalize.normalize_path(target) == normalized


@pytest.mark.parametrize(
    ("target", "merged"),
    [("//a///b?x//y", "/a/b?x//y"), ("/a/b", "/a/b"), ("//", "//"), ("/a//", "/a/"), ("/?//", "/?//")],
)
def test_merge_slashes(target: str, merged: str) -> None:
    assert normalize.merge_slashes(target) == merged


def test_escaped_slashes_count_only_in_the_path() -> None:
    assert normalize.has_escaped_slash("/a%2Fb")
    assert normalize.has_escaped_slash("/a%5cb")
    assert not normalize.has_escaped_slash("/a?b=%2f")
    assert normalize.unescape_slashes("/a%2Fb%5C?c=%2f") == "/a/b\\?c=%2f"


@pytest.mark.parametrize(
    ("authority", "only", "stripped"),
    [
        ("a:80", None, "a"),
        ("a:80", 80, "a"),
        ("a:0080", 80, "a"),
        ("a:81", 80, "a:81"),
        ("a:", None, "a:"),
        ("a:b", None, "a:b"),
        ("a:+80", None, "a"),
        ("[::1]:80", None, "[::1]"),
        ("[::1]", None, "[::1]"),
        ("::1", None, ":"),
        ("a:4294967295", None, "a"),
        ("a:4294967296", None, "a:4294967296"),
        ("a:" + "1" * 5000, None, "a:" + "1" * 5000),
        ("a:" + "1" * 5000, 80, "a:" + "1" * 5000),
        ("a:" + "0" * 5000 + "80", 80, "a"),
    ],
)
def test_strip_port(authority: str, only: int | None, stripped: str) -> None:
    assert normalize.strip_port(authority, only) == stripped


@pytest.mark.parametrize(
    ("authority", "stripped"), [("a.", "a"), ("a.:80", "a:80"), ("a..", "a."), ("a", "a"), ("a:80", "a:80")]
)
def test_strip_trailing_dot(authority: str, stripped: str) -> None:
    assert normalize.strip_trailing_dot(authority) == stripped
