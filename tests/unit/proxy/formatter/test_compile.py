from __future__ import annotations

import pytest

from proxy.formatter.compile import compile_format
from tests.support.streams import context, stream


def test_missing_facts_show_as_a_dash_or_not_at_all() -> None:
    info = stream()
    assert compile_format("a%REQ(x)%b", "p", context()).render(info) == "a-b"
    assert compile_format("a%REQ(x)%b", "p", context(), omit_empty=True).render(info) == "ab"


def test_percent_signs_in_literals_survive() -> None:
    assert compile_format("100%% of %RESPONSE_CODE% %%s", "p", context()).render(stream()) == "100% of 200 %s"


def test_text_of_the_config_and_of_the_wire_mix_byte_for_byte() -> None:
    rendered = compile_format("é%REQ(x)%", "p", context()).render(stream([("x", "\xe9")]))
    assert rendered.encode("latin-1") == b"\xc3\xa9\xe9"


@pytest.mark.parametrize(
    ("text", "static"),
    [
        ("plain", True),
        ("%REQ(a)% %PATH(NQ)% %PROTOCOL%", True),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", True),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", False),
        ("%REQ(x-request-id)%", False),
        ("%REQ(a?x-request-id)%", False),
        ("%RESPONSE_CODE%", False),
        ("%START_TIME%", False),
    ],
)
def test_static_formats_depend_on_the_head_and_the_client_only(text: str, static: bool) -> None:
    assert compile_format(text, "p", context()).static is static


def test_a_format_without_commands_is_constant() -> None:
    assert compile_format("100%%", "p", context()).constant == "100%"
    assert compile_format("%PROTOCOL%", "p", context()).constant is None


def test_every_problem_is_reported_under_the_path() -> None:
    ctx = context()
    compile_format("%NOPE% %REQ% %RESPONSE_COD%", "log.format", ctx)
    assert [problem.path for problem in ctx.problems] == ["log.format"] * 3
    assert "RESPONSE_CODE" in ctx.problems[2].reason
