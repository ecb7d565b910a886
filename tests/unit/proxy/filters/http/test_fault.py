from __future__ import annotations

from typing import Any, cast

import pytest
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.config.context import CompileContext
from proxy.filters.http import fault
from proxy.filters.http.fault_config import compile_fault
from tests.support.fake_clock import FakeClock
from tests.support.filters import FilteredStream
from tests.support.listeners import numbers, services

ALL = {"numerator": 100}
CALLER = {"x_envoy_downstream_service_cluster": "caller"}


class Faulty:
    """Requests through one filter; `draw` is what the dice give."""

    def __init__(self, *, draw: int = 0, runtime: dict[str, str] | None = None, **fields: Any) -> None:
        self.services = services(runtime)
        self.services.random = lambda: draw
        self.clock = cast("FakeClock", self.services.timers)
        config = compile_fault(
            json_format.ParseDict(fields, fault_pb2.HTTPFault()), "", context := CompileContext()
        )
        assert not context.problems
        assert fault.FACTORY.create is not None
        self.make = fault.FACTORY.create(config, self.services, "http.x.")

    def stream(self, **options: Any) -> FilteredStream:
        return FilteredStream(self.make, **options)

    def began(self, **fields: str) -> FilteredStream:
        stream = self.stream()
        stream.begin(end_stream=True, **fields)
        return stream

    @property
    def numbers(self) -> dict[str, int]:
        return {name.removeprefix("http.x.fault."): value for name, value in numbers(self.services).items()}


def test_a_delayed_request_keeps_its_body_until_it_goes_on() -> None:
    faulty = Faulty(delay={"fixed_delay": "2s", "percentage": ALL})
    stream = faulty.stream()
    stream.begin()
    stream.filters.decode_data(b"ab", False)
    stream.filters.decode_trailers(HeaderMap([("t", "1")]))
    faulty.clock.advance(1.9)
    assert stream.request == []
    assert faulty.numbers == {"active_faults": 1, "delays_injected": 1}
    faulty.clock.advance(0.2)
    assert [entry[0] for entry in stream.request] == ["head", "data", "trailers"]
    assert faulty.numbers == {"delays_injected": 1}


def test_a_request_that_ends_during_its_delay_is_forgotten() -> None:
    faulty = Faulty(delay={"fixed_delay": "2s", "percentage": ALL})
    stream = faulty.began()
    stream.finish()
    assert faulty.numbers == {"delays_injected": 1}
    faulty.clock.advance(5)
    assert stream.request == []


@pytest.mark.parametrize(("draw", "hit"), [(29, True), (30, False), (129, True)])
def test_the_dice_choose_requests(draw: int, hit: bool) -> None:
    faulty = Faulty(draw=draw, abort={"http_status": 500, "percentage": {"numerator": 30}})
    assert bool(faulty.began().replies) is hit


def test_no_more_requests_than_may_have_a_fault_at_once() -> None:
    faulty = Faulty(delay={"fixed_delay": "2s", "percentage": ALL}, max_active_faults=1)
    faulty.began()
    assert faulty.began().request
    assert faulty.numbers == {"active_faults": 1, "delays_injected": 1, "faults_overflow": 1}


def test_a_worker_has_its_part_of_the_faults_that_may_be_active() -> None:
    faulty = Faulty(delay={"fixed_delay": "2s", "percentage": ALL}, max_active_faults=3)
    faulty.services.workers = 2
    assert [bool(faulty.began().request) for _ in range(3)] == [False, False, True]


def test_callers_are_counted_apart_up_to_a_number_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault, "MAX_CALLERS", 1)
    faulty = Faulty(abort={"http_status": 500, "percentage": ALL})
    for caller in ("a", "b", "a"):
        faulty.began(x_envoy_downstream_service_cluster=caller).finish()
    assert faulty.numbers == {"aborts_injected": 3, "a.aborts_injected": 2}


def test_a_caller_has_keys_of_its_own() -> None:
    runtime = {"fault.http.abort.abort_percent": "100", "fault.http.caller.abort.abort_percent": "0"}
    faulty = Faulty(runtime=runtime, abort={"http_status": 500, "percentage": {"numerator": 0}})
    assert faulty.began().replies == ["fault_filter_abort"]
    assert faulty.began(**CALLER).replies == []


def test_a_slow_response_keeps_its_order_and_its_trailers() -> None:
    faulty = Faulty(response_rate_limit={"fixed_limit": {"limit_kbps": 1}, "percentage": ALL})
    stream = faulty.stream(limit=100)
    stream.begin(end_stream=True)
    stream.respond(200, b"a" * 60)
    stream.filters.encode_data(b"b" * 60, False)
    assert stream.pauses == ["upstream"]
    stream.filters.encode_trailers(HeaderMap([("t", "1")]))
    faulty.clock.advance(0.06)
    assert stream.response_body == b"a" * 60 + b"b" * 42
    assert stream.pauses == ["upstream", "upstream resumed"]
    assert stream.response_trailers is None
    faulty.clock.advance(0.06)
    assert stream.response_body == b"a" * 60 + b"b" * 60
    assert stream.response_trailers == {"t": "1"}
    assert faulty.numbers == {"response_rl_injected": 1}
