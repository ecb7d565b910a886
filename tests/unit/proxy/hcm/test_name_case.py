"""How field names are spelled on the wire."""

from __future__ import annotations

from proxy.hcm.name_case import preserved, proper_case


def test_proper_case() -> None:
    assert proper_case("content-type") == "Content-Type"
    assert proper_case("x--y") == "X--Y"
    assert proper_case("te") == "Te"


def test_the_sender_s_spelling() -> None:
    spell = preserved({"x-own": "X-oWn"})
    assert (spell("x-own"), spell("date")) == ("X-oWn", "date")
