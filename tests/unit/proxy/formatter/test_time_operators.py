from __future__ import annotations

from proxy.formatter.compile import compile_format
from tests.support.streams import context, stream


def test_the_start_of_the_stream_is_shown_on_the_wall_clock() -> None:
    compiled = compile_format("%START_TIME% %START_TIME(%s.%3f)%", "p", context())
    assert compiled.render(stream()) == "2026-11-22T16:23:54.663Z 1795364634.663"


def test_the_time_of_the_entry_is_now() -> None:
    first, second = (
        float(compile_format("%EMIT_TIME(%s.%6f)%", "p", context()).render(stream())) for _ in "ab"
    )
    assert 0 <= second - first < 60
