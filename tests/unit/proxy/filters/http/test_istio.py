from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.stream_info import APPLICATION_PROTOCOLS
from proxy.config import extensions
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilterFactory
from proxy.filters.registry import http_filter

ALPN = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"
PEER = "io.istio.http.peer_metadata.Config"
WASM = "envoy.extensions.filters.http.wasm.v3.Wasm"


def factory(type_name: str) -> HttpFilterFactory:
    found = http_filter(type_name)
    assert found is not None
    return found


def compiled(type_name: str, **config: Any) -> tuple[Any, CompileContext]:
    message = json_format.ParseDict(config, extensions.message_class(type_name)())
    context = CompileContext()
    return factory(type_name).compile(message, "f", context), context


def made(type_name: str, info: Any, **config: Any) -> Any:
    create = factory(type_name).create
    assert create is not None
    services: Any = None
    callbacks: Any = SimpleNamespace(info=info)
    return create(compiled(type_name, **config)[0], services, "")(callbacks)


def test_alpn_leaves_its_lists_beside_what_the_connection_knows() -> None:
    connection = SimpleNamespace(filter_state={"io.istio.peer_principal": "spiffe://a"})
    info = SimpleNamespace(filter_state=None, connection=connection)
    overrides = [
        {"upstream_protocol": "HTTP11", "alpn_override": ["istio-http/1.1", "istio"]},
        {"upstream_protocol": "HTTP2", "alpn_override": ["istio-h2"]},
    ]
    one = made(ALPN, info, alpn_override=overrides)
    head: Any = SimpleNamespace(headers=HeaderMap([]))
    assert one.decode_headers(head, True) is FilterStatus.CONTINUE
    assert info.filter_state == {
        "io.istio.peer_principal": "spiffe://a",
        APPLICATION_PROTOCOLS: {"HTTP11": ("istio-http/1.1", "istio"), "HTTP2": ("istio-h2",)},
    }


@pytest.mark.parametrize("side", ["downstream", "upstream"])
def test_what_peers_say_about_themselves_does_not_reach_applications(side: str) -> None:
    one = made(PEER, None, **{f"{side}_discovery": [{"istio_headers": {}}, {"workload_discovery": {}}]})
    fields = [("x-envoy-peer-metadata", "m"), ("a", "b"), ("x-envoy-peer-metadata-id", "i")]
    request: Any = SimpleNamespace(headers=HeaderMap(list(fields)))
    response: Any = SimpleNamespace(headers=HeaderMap(list(fields)))
    one.decode_headers(request, True)
    one.encode_headers(response, True)
    cleaned, kept = (request, response) if side == "downstream" else (response, request)
    assert list(cleaned.headers) == ["a"]
    assert list(kept.headers) == [name for name, _ in fields]


def test_metrics_of_istio_are_left_out_with_a_warning() -> None:
    null_vm = {"config": {"vm_config": {"runtime": "envoy.wasm.runtime.null"}}}
    for type_name, config in (("stats.PluginConfig", {}), (WASM, null_vm)):
        assert factory(type_name).passive
        _, context = compiled(type_name, **config)
        assert context.problems == []
        (warning,) = context.warnings
        assert str(warning) == f"f: {type_name} has no effect: there are no metrics of Istio"


def test_real_webassembly_is_refused() -> None:
    _, context = compiled(WASM, config={"vm_config": {"runtime": "envoy.wasm.runtime.v8"}})
    (problem,) = context.problems
    assert str(problem) == "f.config.vm_config.runtime: WebAssembly is not supported (envoy.wasm.runtime.v8)"
