from __future__ import annotations

from typing import Any

from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.config.context import CompileContext
from proxy.filters.http import local_ratelimit
from proxy.filters.http.local_ratelimit_config import compile_local_ratelimit, compile_route_ratelimit
from tests.support.filters import FilteredStream
from tests.support.listeners import numbers, services

ALWAYS = {"default_value": {"numerator": 100}}
ONE = {"max_tokens": 1, "fill_interval": "3600s"}


def message(**fields: Any) -> Any:
    given = {"stat_prefix": "x", "filter_enabled": ALWAYS, "filter_enforced": ALWAYS, **fields}
    return json_format.ParseDict(given, local_rate_limit_pb2.LocalRateLimit())


class Limited:
    """Requests through one filter."""

    def __init__(self, **fields: Any) -> None:
        self.services = services()
        config = compile_local_ratelimit(message(**fields), "", context := CompileContext())
        assert not context.problems
        assert local_ratelimit.FACTORY.create is not None
        self.make: Any = local_ratelimit.FACTORY.create(config, self.services, "http.x.")

    def began(self, overrides: Any = None, **fields: str) -> FilteredStream:
        stream = FilteredStream(self.make, overrides=overrides)
        stream.begin(end_stream=True, **fields)
        return stream

    @property
    def numbers(self) -> dict[str, int]:
        return {name.rpartition(".")[2]: value for name, value in numbers(self.services).items()}


def test_what_exceeds_the_bucket_is_answered_with_429() -> None:
    limited = Limited(token_bucket=ONE)
    assert limited.began().replies == []
    stream = limited.began()
    assert stream.replies == ["local_rate_limited"]
    assert stream.response_head.status == 429
    assert stream.response_body == b"local_rate_limited"
    assert limited.numbers == {"enabled": 2, "ok": 1, "rate_limited": 1, "enforced": 1}


def test_it_is_off_unless_enabled_and_only_counts_unless_enforced() -> None:
    off = Limited(token_bucket=ONE, filter_enabled=None)
    assert [off.began().replies for _ in range(2)] == [[], []]
    assert off.numbers == {}
    shadow = Limited(
        token_bucket=ONE,
        filter_enforced=None,
        request_headers_to_add_when_not_enforced=[{"header": {"key": "x-limited", "value": "yes"}}],
    )
    told = [shadow.began().request[0][1].headers.get("x-limited") for _ in range(2)]
    assert told == [None, "yes"]
    assert shadow.numbers == {"enabled": 2, "ok": 1, "rate_limited": 1}


def test_a_route_has_buckets_and_stats_of_its_own() -> None:
    limited = Limited(token_bucket=ONE)
    route = compile_route_ratelimit(
        message(stat_prefix="route", token_bucket=ONE), "", context := CompileContext()
    )
    assert not context.problems
    overrides = {"filter0": route}
    assert [limited.began(overrides).replies for _ in range(2)] == [[], ["local_rate_limited"]]
    assert limited.began().replies == []
    counted = numbers(limited.services)
    assert counted["route.http_local_rate_limit.enforced"] == 1
    assert counted["x.http_local_rate_limit.ok"] == 1


def test_a_route_must_have_a_bucket() -> None:
    compile_route_ratelimit(message(), "at", context := CompileContext())
    assert [str(one.path) for one in context.problems] == ["at.token_bucket"]


def test_a_filter_that_is_never_enabled_costs_requests_nothing() -> None:
    factory = local_ratelimit.FACTORY
    assert factory.idle is not None
    bare = local_rate_limit_pb2.LocalRateLimit(stat_prefix="x")
    assert factory.idle(compile_local_ratelimit(bare, "", CompileContext()))


def test_too_short_an_interval_is_refused() -> None:
    short = {"max_tokens": 1, "fill_interval": "0.04s"}
    compile_local_ratelimit(message(token_bucket=short), "at", context := CompileContext())
    assert [str(one.path) for one in context.problems] == ["at.token_bucket.fill_interval"]


def test_the_gate_counts_as_the_filter_does_and_the_filter_does_not_count_again() -> None:
    limited = Limited(token_bucket=ONE)
    stream = FilteredStream(limited.make)
    stream.info.request = RequestHead("GET", "/", "host", HeaderMap())
    assert limited.make.gate(stream, "filter0") is None
    decided = limited.make.gate(stream, "filter0")
    refused = FilteredStream(decided)
    refused.begin(end_stream=True)
    assert refused.replies == ["local_rate_limited"]
    assert limited.numbers == {"enabled": 2, "ok": 1, "rate_limited": 1, "enforced": 1}


def test_the_gate_leaves_a_filter_where_clients_are_told_of_the_limits() -> None:
    limited = Limited(token_bucket=ONE, enable_x_ratelimit_headers="DRAFT_VERSION_03")
    stream = FilteredStream(limited.make)
    stream.info.request = RequestHead("GET", "/", "host", HeaderMap())
    told = FilteredStream(limited.make.gate(stream, "filter0"))
    told.begin(end_stream=True)
    told.respond(end_stream=True)
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    assert [told.response_head.headers.get(name) for name in names] == ["1", "0", "3600"]


def test_what_only_tells_clients_leaves_requests_as_they_are() -> None:
    limited = Limited(token_bucket=ONE, enable_x_ratelimit_headers="DRAFT_VERSION_03")
    stream = FilteredStream(limited.make)
    stream.info.request = RequestHead("GET", "/", "host", HeaderMap())
    passed, refused = (limited.make.gate(stream, "filter0") for _ in range(2))
    assert FilteredStream(passed).filters.leaves_requests
    assert not FilteredStream(refused).filters.leaves_requests
    assert not FilteredStream(passed, refused).filters.leaves_requests
