"""Contexts survive being written and read, and nothing that is no context raises anything else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.base.headers import HeaderMap
from proxy.tracing import b3, w3c
from proxy.tracing.context import BadContextError, TraceContext

NUMBERS = st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}")
LONG = st.integers(2**64, 2**128 - 1).map(lambda number: f"{number:032x}")


@given(LONG, NUMBERS, st.booleans(), st.sampled_from(["", "a=b"]))
def test_w3c_contexts_come_back(trace_id: str, span_id: str, sampled: bool, state: str) -> None:
    headers = HeaderMap()
    context = TraceContext(trace_id, span_id, sampled=sampled, state=state)
    w3c.inject(context, headers)
    assert w3c.extract(headers) == context


@given(NUMBERS | LONG, NUMBERS, st.sampled_from(["", "05e3ac9a4f6e3b90"]), st.booleans(), st.booleans())
def test_b3_contexts_come_back(trace_id: str, span_id: str, parent: str, sampled: bool, single: bool) -> None:
    headers = HeaderMap()
    context = TraceContext(trace_id, span_id, parent, sampled, single_field=single)
    b3.inject(context, headers)
    assert b3.sampled(headers) is sampled
    assert b3.extract(headers, sampled) == context


def test_a_short_context_is_written_long_where_it_must_be() -> None:
    context = TraceContext("463ac35c9f6413ad", "a2fb4a1d1a96d312")
    assert w3c.traceparent(context) == "00-0000000000000000463ac35c9f6413ad-a2fb4a1d1a96d312-00"


PIECES = st.lists(st.sampled_from(["-", "0", "1", "d", "0x", "a2fb4a1d1a96d312", "zz", "", "é"]), max_size=9)


@given(PIECES.map("".join))
def test_nonsense_is_no_context(text: str) -> None:
    for name, extract in (
        ("traceparent", w3c.extract),
        ("b3", lambda headers: b3.extract(headers, True)),
        ("x-b3-traceid", lambda headers: b3.extract(headers, True)),
    ):
        headers = HeaderMap()
        headers.add(name, text)
        headers.add("x-b3-spanid", text)
        b3.sampled(headers)
        try:
            found = extract(headers)
        except BadContextError:
            continue
        assert found is None or (len(found.span_id) == 16 and len(found.trace_id) in {16, 32})
