from __future__ import annotations

import pytest

from proxy.formatter.parse import Command, FormatError, parse


def test_literals_and_commands_keep_their_order() -> None:
    assert parse("a %REQ(:path?X):3%b%PROTOCOL%") == [
        "a ",
        Command("REQ", ":path?X", 3),
        "b",
        Command("PROTOCOL", "", None),
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("%%", ["%"]),
        ("100%%x", ["100%x"]),
        ("%REQ(a%b)%", [Command("REQ", "a%b", None)]),
        ("%START_TIME(%Y%%m)%", [Command("START_TIME", "%Y%%m", None)]),
        ("%REQ(a)b)%", [Command("REQ", "a)b", None)]),
        ("%LOCAL_REPLY_BODY()%", [Command("LOCAL_REPLY_BODY", "", None)]),
        ("%REQ(A):18446744073709551615%", [Command("REQ", "A", 18446744073709551615)]),
        (f"%REQ(A):{'0' * 5000}7%", [Command("REQ", "A", 7)]),
    ],
)
def test_forms_that_envoy_accepts(text: str, parts: list[str | Command]) -> None:
    assert parse(text) == parts


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("%", 0),
        ("abc%", 3),
        ("%%%", 2),
        ("100% x", 3),
        ("%REQ(A)", 0),
        ("%REQ(A)x%", 0),
        ("%REQ(A):x%", 0),
        (f"%REQ(A):{'9' * 5000}%", 0),
        ("%REQ(A):%", 0),
        ("%REQ(A:3%", 0),
        ("% REQ(A)%", 0),
        ("%req(A)%", 0),
        ("%REQ(A\nB)%", 0),
        ("%QUERY_PARAM(a):99999999999999999999%", 0),
    ],
)
def test_forms_that_envoy_refuses_name_the_position(text: str, position: int) -> None:
    with pytest.raises(FormatError, match=f"at position {position} "):
        parse(text)
