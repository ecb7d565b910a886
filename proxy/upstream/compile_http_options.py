"""How to speak HTTP to a cluster: `HttpProtocolOptions`, or the older fields of `Cluster`."""

from __future__ import annotations

from typing import Any, Final

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.config.extensions import type_name_of
from proxy.upstream.cluster_config import Http1Options

_KEY: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_PRESERVE_CASE: Final = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
_UPSTREAM_CODEC: Final = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
_NO_HTTP2: Final = "HTTP/2 to upstream hosts is not supported"
_NO_HTTP3: Final = "HTTP/3 to upstream hosts is not supported"
_REJECT: Final = 1  # core.v3.HttpProtocolOptions.HeadersWithUnderscoresAction
_DROP: Final = 2


def compile_http_options(message: Any, path: str, ctx: CompileContext) -> Http1Options:
    """The HTTP options in force; the typed ones replace all the older fields, as in Envoy."""
    for key in sorted(message.typed_extension_protocol_options):
        inner = f"{path}.typed_extension_protocol_options[{key!r}]"
        value = message.typed_extension_protocol_options[key]
        name = type_name_of(value.type_url)
        if name != _KEY:
            ctx.problem(inner, f"protocol options {name or key!r} are not supported; {_KEY} are")
            continue
        if key != _KEY:
            ctx.problem(inner, f"must stand under the key {_KEY}")
            continue
        typed = unpack(value, inner, ctx)
        return Http1Options() if typed is None else _typed(typed, inner, ctx)
    if message.HasField("http2_protocol_options"):
        ctx.problem(f"{path}.http2_protocol_options", _NO_HTTP2)
    requests = message.max_requests_per_connection.value
    return _options(message.common_http_protocol_options, message.http_protocol_options, path, ctx, requests)


def _typed(options: Any, path: str, ctx: CompileContext) -> Http1Options:
    http1 = None
    match options.WhichOneof("upstream_protocol_options"):
        case "explicit_http_config":
            explicit = options.explicit_http_config
            inner = f"{path}.explicit_http_config"
            match explicit.WhichOneof("protocol_config"):
                case "http2_protocol_options":
                    ctx.problem(f"{inner}.http2_protocol_options", _NO_HTTP2)
                case "http3_protocol_options":
                    ctx.problem(f"{inner}.http3_protocol_options", _NO_HTTP3)
                case _:
                    http1 = explicit.http_protocol_options
        case "use_downstream_protocol_config":
            inner = f"{path}.use_downstream_protocol_config"
            http1 = options.use_downstream_protocol_config.http_protocol_options
            if options.use_downstream_protocol_config.HasField("http2_protocol_options"):
                ctx.problem(f"{inner}.http2_protocol_options", _NO_HTTP2)
            if options.use_downstream_protocol_config.HasField("http3_protocol_options"):
                ctx.problem(f"{inner}.http3_protocol_options", _NO_HTTP3)
        case "auto_config":
            ctx.problem(f"{path}.auto_config", _NO_HTTP2)
        case _:
            ctx.problem(f"{path}.upstream_protocol_options", "value is required")
    for index, entry in enumerate(options.http_filters):
        if type_name_of(entry.typed_config.type_url) != _UPSTREAM_CODEC:
            ctx.problem(f"{path}.http_filters[{index}]", "upstream HTTP filters are not supported")
    for name in ("outlier_detection", "retry_policy", "header_validation_config"):
        if options.HasField(name):
            ctx.problem(f"{path}.{name}", "is not supported")
    for name in ("request_mirror_policies", "hash_policy"):
        if len(getattr(options, name)):
            ctx.problem(f"{path}.{name}", "is not supported")
    if http1 is None:
        return Http1Options()
    return _options(options.common_http_protocol_options, http1, path, ctx, 0)


def _options(common: Any, http1: Any, path: str, ctx: CompileContext, requests: int) -> Http1Options:
    if common.HasField("max_requests_per_connection"):
        requests = common.max_requests_per_connection.value
    preserve_case, proper_case = _case(http1, path, ctx)
    return Http1Options(
        idle_timeout=seconds(common, "idle_timeout", 3600.0),
        max_connection_duration=seconds(common, "max_connection_duration", 0.0),
        max_stream_duration=seconds(common, "max_stream_duration", 0.0),
        max_requests_per_connection=requests,
        max_headers_count=common.max_headers_count.value or 100,
        max_response_headers_kb=common.max_response_headers_kb.value or 80,
        reject_underscores=common.headers_with_underscores_action == _REJECT,
        drop_underscores=common.headers_with_underscores_action == _DROP,
        preserve_case=preserve_case,
        proper_case=proper_case,
        enable_trailers=http1.enable_trailers,
        allow_chunked_length=http1.allow_chunked_length,
        send_fully_qualified_url=http1.send_fully_qualified_url,
    )


def _case(http1: Any, path: str, ctx: CompileContext) -> tuple[bool, bool]:
    if not http1.HasField("header_key_format"):
        return False, False
    kind = http1.header_key_format.WhichOneof("header_format")
    if kind == "proper_case_words":
        return False, True
    formatter = http1.header_key_format.stateful_formatter
    name = type_name_of(formatter.typed_config.type_url)
    if name == _PRESERVE_CASE:
        return True, False
    ctx.problem(
        f"{path}.http_protocol_options.header_key_format.stateful_formatter",
        f"header formatter {name or formatter.name!r} is not supported; {_PRESERVE_CASE} is",
    )
    return False, False
