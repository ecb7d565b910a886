from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from proxy.config.context import CompileContext
from proxy.filters.discovered import check_extension
from proxy.filters.http.buffer import BufferConfig
from proxy.hcm.discovered_filter import DiscoveredHttpFilter
from proxy.hcm.filter_config import compile_http_filters

BUFFER = "envoy.extensions.filters.http.buffer.v3.Buffer"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
CORS = "envoy.extensions.filters.http.cors.v3.Cors"


def buffer(size: int) -> Any:
    message = buffer_pb2.Buffer()
    message.max_request_bytes.value = size
    return message


def discovered(*types: str, default: Any = None, without_warming: bool = False) -> Any:
    message = http_connection_manager_pb2.HttpFilter(name="f")
    discovery = message.config_discovery
    discovery.config_source.ads.SetInParent()
    discovery.type_urls.extend(f"type.googleapis.com/{one}" for one in types)
    discovery.apply_default_config_without_warming = without_warming
    if default is not None:
        discovery.default_config.Pack(default)
    return message


def router() -> Any:
    message = http_connection_manager_pb2.HttpFilter(name="router")
    message.typed_config.Pack(router_pb2.Router())
    return message


def compiled(*messages: Any) -> tuple[Any, list[str], CompileContext]:
    ctx = CompileContext()
    filters, _ = compile_http_filters(messages, "http_filters", ctx)
    return filters[0], [str(problem) for problem in ctx.problems], ctx


def brought(config: Any) -> bytes:
    message = extension_pb2.TypedExtensionConfig(name="f")
    message.typed_config.Pack(config)
    serialized: bytes = message.SerializeToString()
    return serialized


def size_of(one: DiscoveredHttpFilter) -> int | None:
    current = one.current(CompileContext())
    return None if current is None else current.config.max_request_bytes


def test_the_config_is_what_came_last() -> None:
    one, problems, _ = compiled(discovered(BUFFER), router())
    assert problems == []
    assert size_of(one) is None
    one.source.set(brought(buffer(1)))
    assert size_of(one) == 1
    one.source.set(brought(buffer(2)))
    assert size_of(one) == 2
    assert one.current(CompileContext()).config is one.current(CompileContext()).config
    one.source.set(None)
    assert size_of(one) is None


def test_the_default_stands_in_for_what_has_not_come_or_does_not_fit() -> None:
    one, _, _ = compiled(discovered(BUFFER, default=buffer(9)), router())
    assert one.found.default.config == BufferConfig(9)
    assert size_of(one) == 9
    one.source.set(brought(buffer(1)))
    assert size_of(one) == 1
    one.source.set(brought(router_pb2.Router()))
    assert size_of(one) == 9


@pytest.mark.parametrize("without_warming", [False, True])
def test_a_listener_waits_for_it_unless_the_default_is_good_enough(without_warming: bool) -> None:
    message = discovered(BUFFER, default=buffer(9), without_warming=without_warming)
    _, _, ctx = compiled(message, router())
    (want,) = ctx.resources.wants.values()
    assert want.waits is not without_warming
    assert want.stat_prefix == "extension_config_discovery.http_filter.f."
    # Another use of it in the same listener may have to wait.
    compile_http_filters([discovered(BUFFER, CORS), router()], "", ctx)
    (want,) = ctx.resources.wants.values()
    assert want.waits
    assert want.terms == {("http_filter", (BUFFER,), False), ("http_filter", (BUFFER, CORS), False)}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([discovered("x.Unknown"), router()], "no factory found for a required type URL x.Unknown"),
        ([discovered(CORS, default=buffer(1)), router()], f"has type URL {BUFFER} but expect {CORS}"),
        ([discovered(BUFFER, without_warming=True), router()], "but has no default config"),
        (
            [discovered(BUFFER, default=buffer(1))],
            "non-terminal filter named f of type envoy.filters.http.buffer",
        ),
        ([discovered(ROUTER, default=router_pb2.Router()), router()], "must be the last filter"),
    ],
)
def test_what_does_not_fit_is_refused(messages: list[Any], reason: str) -> None:
    _, (problem,), _ = compiled(*messages)
    assert problem.startswith("http_filters[0].config_discovery.")
    assert reason in problem


def test_what_comes_must_fit_everybody_who_refers_to_it() -> None:
    ctx = CompileContext()
    ctx.terms = frozenset([("http_filter", (BUFFER, CORS), False), ("http_filter", (CORS,), False)])
    check_extension(extension_pb2.TypedExtensionConfig.FromString(brought(buffer(1))), ctx)
    (problem,) = ctx.problems
    assert problem.reason == f"Error: filter config has type URL {BUFFER} but expect {CORS}."
    ctx = CompileContext()
    ctx.terms = frozenset([("http_filter", (BUFFER,), False)])
    check_extension(extension_pb2.TypedExtensionConfig(name="f"), ctx)
    assert len(ctx.problems) == 1


def test_the_router_may_come_as_the_last_filter() -> None:
    one, problems, _ = compiled(discovered(ROUTER))
    assert problems == []
    one.source.set(brought(router_pb2.Router()))
    assert one.current(CompileContext()).factory.terminal
