from __future__ import annotations

from typing import Any

import envoy.extensions.filters.http.buffer.v3.buffer_pb2
import envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2
import envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.filters.registry import http_filter
from proxy.router.per_filter_config import FilterOverride
from proxy.router.upstream_filters import UpstreamFilter, compile_upstream_filters, mutations_for

TYPE = "type.googleapis.com/envoy.extensions.filters.http."
CODEC = {"name": "codec", "typed_config": {"@type": f"{TYPE}upstream_codec.v3.UpstreamCodec"}}
MUTATION = {"name": "hm", "typed_config": {"@type": f"{TYPE}header_mutation.v3.HeaderMutation"}}
BUFFER = {"name": "b", "typed_config": {"@type": f"{TYPE}buffer.v3.Buffer", "max_request_bytes": 9}}


def compiled(*filters: dict[str, Any]) -> tuple[tuple[UpstreamFilter, ...] | None, list[str]]:
    ctx = CompileContext()
    kind = http_connection_manager_pb2.HttpFilter
    messages = [json_format.ParseDict(one, kind()) for one in filters]
    return compile_upstream_filters(messages, "filters", ctx), [str(one) for one in ctx.problems]


def test_no_filters_are_not_the_same_as_the_codec_alone() -> None:
    assert compiled() == (None, [])
    assert compiled(CODEC) == ((), [])


def test_the_codec_stands_last_and_nowhere_else() -> None:
    for filters, at in (([MUTATION], 0), ([CODEC, CODEC], 0), ([CODEC, MUTATION], 1)):
        _, problems = compiled(*filters)
        assert any(one.startswith(f"filters[{at}]: the last filter must be") for one in problems)


def test_other_filters_are_refused_by_name() -> None:
    _, (problem,) = compiled(BUFFER, CODEC)
    assert problem.startswith(
        "filters[0].typed_config: envoy.extensions.filters.http.buffer.v3.Buffer is not"
    )


def test_filters_cannot_be_discovered() -> None:
    _, (problem,) = compiled({"name": "x", "config_discovery": {"type_urls": ["a"]}}, CODEC)
    assert problem.startswith("filters[0].config_discovery: ")


def test_routes_switch_filters_and_add_to_them() -> None:
    filters, _ = compiled(MUTATION, CODEC)
    switched_off, _ = compiled({**MUTATION, "disabled": True}, CODEC)
    assert filters
    assert switched_off
    own = filters[0].mutations
    factory = http_filter("envoy.extensions.filters.http.header_mutation.v3.HeaderMutation")
    more = FilterOverride("route", factory, outer=FilterOverride("host", factory))
    assert mutations_for(filters, {}) == (own,)
    assert mutations_for(filters, {"hm": more}) == (own, "route", "host")
    assert mutations_for(filters, {"other": more}) == (own,)
    assert mutations_for(filters, {"hm": FilterOverride(disabled=True)}) == ()
    assert mutations_for(switched_off, {}) == ()
    assert mutations_for(switched_off, {"hm": more}) == (own, "route", "host")
