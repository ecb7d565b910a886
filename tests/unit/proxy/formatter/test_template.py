from __future__ import annotations

import pytest

from proxy.formatter import template
from proxy.formatter.template import Hole, Template
from tests.support.streams import stream

KEPT = Hole(lambda info: info.response_code_details, kept=True)
VARYING = Hole(lambda info: info.request_id)


def test_parts_are_joined_and_what_is_missing_shows() -> None:
    assert Template([], "-").render(stream()) == ""
    assert Template(["{} %s ", VARYING, "%", KEPT], "-").render(stream(request_id="a")) == "{} %s a%-"
    assert Template([Hole(lambda info: info.bytes_sent), VARYING], "null").render(stream()) == "0null"


def test_streams_with_one_key_differ_in_what_varies() -> None:
    calls = []
    kept = Hole(lambda info: calls.append(info) or "{x}%d", kept=True)  # type: ignore[func-returns-value]
    made = Template(["<", kept, "|", VARYING, ">", KEPT], "-")
    shown = [made.render(stream(kept_key=("one",), request_id=str(number))) for number in range(6)]
    assert shown == [f"<{{x}}%d|{number}>-" for number in range(6)]
    assert len(calls) == 2


def test_streams_with_other_keys_or_none_are_not_mixed_up() -> None:
    made = Template([KEPT], "-")
    for _ in range(4):
        for key, details in ((("one",), "first"), (("two",), None), (None, "third")):
            shown = made.render(stream(kept_key=key, response_code_details=details))
            assert shown == (details or "-")


def test_the_number_of_kept_texts_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MAX_KEPT", 3)
    made = Template([KEPT, VARYING], "-")
    for _ in range(3):
        for number in range(10):
            info = stream(kept_key=(number,), response_code_details=f"d{number}", request_id="r")
            assert [made.render(info), made.render(info)] == [f"d{number}r"] * 2
    assert len(made._kept or ()) <= 3
