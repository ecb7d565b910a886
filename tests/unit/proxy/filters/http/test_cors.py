from __future__ import annotations

from typing import Any

from envoy.extensions.filters.http.cors.v3 import cors_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.runtime import Runtime
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus
from proxy.filters.http import cors


class _Route:
    forwards = True


class _Callbacks:
    def __init__(self, *policies: cors.CorsPolicy) -> None:
        self.route: Any = _Route()
        self.policies = policies
        self.replies: list[tuple[int, dict[str, str]]] = []

    def route_configs(self, name: str) -> tuple[Any, ...]:
        return self.policies if name == cors.NAME else ()

    def local_reply(self, status: int, _body: str, _details: str, modify: Any) -> None:
        headers = HeaderMap()
        modify(headers)
        self.replies.append((status, dict(headers)))


def _policy(runtime: Runtime | None = None, **fields: Any) -> cors.CorsPolicy:
    message = json_format.ParseDict(fields, cors_pb2.CorsPolicy())
    return cors.compile_policy(message, "cors", CompileContext(runtime))


def _filter(*policies: cors.CorsPolicy) -> tuple[cors.CorsFilter, _Callbacks, cors.CorsStats]:
    callbacks, stats = _Callbacks(*policies), cors.CorsStats("cors.")
    one = cors.CorsFilter(callbacks, stats, lambda: 0)  # type: ignore[arg-type]
    one.name = "mine"
    return one, callbacks, stats


def _preflight(origin: str = "http://a") -> RequestHead:
    fields = [("origin", origin), ("access-control-request-method", "PUT")]
    return RequestHead("OPTIONS", "/", "host", HeaderMap(fields))


def test_each_setting_comes_from_the_most_specific_policy_that_has_it() -> None:
    one, callbacks, _ = _filter(
        _policy(allow_methods="*", allow_credentials=False),
        _policy(
            allow_origin_string_match=[{"exact": "http://a"}],
            allow_methods="GET",
            max_age="7",
            allow_credentials=True,
        ),
    )
    assert one.decode_headers(_preflight(), True) is FilterStatus.STOP
    assert callbacks.replies == [
        (
            200,
            {
                "access-control-allow-origin": "http://a",
                "access-control-allow-methods": "PUT",
                "access-control-max-age": "7",
            },
        )
    ]


def test_an_origin_that_is_not_allowed_is_counted_and_goes_on_unmarked() -> None:
    one, callbacks, stats = _filter(_policy(allow_origin_string_match=[{"exact": "http://b"}]))
    assert one.decode_headers(_preflight(), True) is FilterStatus.CONTINUE
    response = ResponseHead(200, HeaderMap())
    one.encode_headers(response, True)
    assert not response.headers
    assert not callbacks.replies
    assert (stats.origin_valid, stats.origin_invalid) == (0, 1)


def test_the_runtime_switches_it_off() -> None:
    enabled = {"default_value": {"numerator": 100}, "runtime_key": "cors.on"}
    policy = _policy(
        Runtime({"cors.on": "0"}), allow_origin_string_match=[{"exact": "http://a"}], filter_enabled=enabled
    )
    one, _, stats = _filter(policy)
    assert one.decode_headers(_preflight(), True) is FilterStatus.CONTINUE
    assert stats.origin_valid == 0


def test_without_a_policy_or_a_cluster_it_does_nothing() -> None:
    one, callbacks, stats = _filter()
    assert one.decode_headers(_preflight(), True) is FilterStatus.CONTINUE
    one, callbacks, stats = _filter(_policy(allow_origin_string_match=[{"exact": "http://a"}]))
    callbacks.route.forwards = False
    assert one.decode_headers(_preflight(), True) is FilterStatus.CONTINUE
    assert stats.origin_valid == 0
