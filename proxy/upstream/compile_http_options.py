"""How to speak HTTP to a cluster: `HttpProtocolOptions`, or the older fields of `Cluster`."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from proxy.codec.http2_options import Http2Options
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.config.extensions import type_name_of
from proxy.config.http2_options import compile_http2_options
from proxy.config.runtime_guards import RESPONSE_HEADERS_COUNT, RESPONSE_HEADERS_KB
from proxy.router.hash_policy import HashPolicy, compile_hash_policy
from proxy.upstream.cluster_config import AutoSni, Http1Options, UpstreamProtocol
from proxy.upstream.fields import wrapped
from proxy.upstream.outlier.error_matcher import ErrorMatcher, compile_error_matcher

_KEY: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_PRESERVE_CASE: Final = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
_NO_HTTP3: Final = "HTTP/3 to upstream hosts is not supported"
_USE_DOWNSTREAM: Final = 1  # Cluster.ClusterProtocolSelection
#: Envoy's limit where none is set; for HTTP/1 it is 80.
_HTTP2_HEADERS_KB: Final = 60


class HttpChoice(NamedTuple):
    """Which version of HTTP hosts are spoken to in, and how each is spoken."""

    protocol: UpstreamProtocol = UpstreamProtocol.HTTP1
    http: Http1Options = Http1Options()
    http2: Http2Options = Http2Options()
    auto_sni: AutoSni | None = None
    hash_policy: HashPolicy | None = None
    retry_policy: Any = None
    mirrors: tuple[Any, ...] = ()
    http_filters: tuple[Any, ...] | None = None
    error_matcher: ErrorMatcher | None = None


def compile_http_options(message: Any, path: str, ctx: CompileContext) -> HttpChoice:
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
        return HttpChoice() if typed is None else _typed(typed, message, path, inner, ctx)
    return _older(message, path, ctx)


def _older(message: Any, path: str, ctx: CompileContext) -> HttpChoice:
    protocol = UpstreamProtocol.HTTP1
    if message.protocol_selection == _USE_DOWNSTREAM:
        protocol = UpstreamProtocol.DOWNSTREAM
    elif message.HasField("http2_protocol_options"):
        protocol = UpstreamProtocol.HTTP2
        if message.HasField("http_protocol_options"):
            ctx.problem(
                f"{path}.http2_protocol_options",
                "both HTTP/1 and HTTP/2 options may only be configured with protocol_selection "
                "USE_DOWNSTREAM_PROTOCOL",
            )
    return _choice(protocol, message, message, path, ctx, message, path)


def _typed(options: Any, message: Any, cluster_path: str, path: str, ctx: CompileContext) -> HttpChoice:
    protocol = UpstreamProtocol.HTTP1
    kind = options.WhichOneof("upstream_protocol_options")
    if kind is None:
        ctx.problem(f"{path}.upstream_protocol_options", "value is required")
        return HttpChoice()
    config = getattr(options, kind)
    match kind:
        case "explicit_http_config":
            if config.WhichOneof("protocol_config") == "http2_protocol_options":
                protocol = UpstreamProtocol.HTTP2
        case "use_downstream_protocol_config":
            protocol = UpstreamProtocol.DOWNSTREAM
        case "auto_config":
            protocol = UpstreamProtocol.AUTO
    inner = f"{path}.{kind}"
    if config.HasField("http3_protocol_options"):
        ctx.problem(f"{inner}.http3_protocol_options", _NO_HTTP3)
    if options.HasField("header_validation_config"):
        ctx.problem(f"{path}.header_validation_config", "is not supported")
    errors = None
    if options.HasField("outlier_detection"):
        inner_path = f"{path}.outlier_detection.error_matcher"
        errors = compile_error_matcher(options.outlier_detection.error_matcher, inner_path, ctx)
    choice = _choice(protocol, options, config, inner, ctx, message, cluster_path)
    return choice._replace(
        hash_policy=compile_hash_policy(options.hash_policy, f"{path}.hash_policy", ctx),
        retry_policy=_retry_policy(options, f"{path}.retry_policy", ctx),
        mirrors=_mirrors(options.request_mirror_policies, f"{path}.request_mirror_policies", ctx),
        http_filters=_filters(options.http_filters, f"{path}.http_filters", ctx),
        error_matcher=errors,
    )


def _retry_policy(options: Any, path: str, ctx: CompileContext) -> Any:
    if not options.HasField("retry_policy"):
        return None
    from proxy.router.retry_policy import compile_retry_policy  # few clusters have one

    return compile_retry_policy(options.retry_policy, path, ctx)


def _filters(messages: Any, path: str, ctx: CompileContext) -> tuple[Any, ...] | None:
    if not messages:
        return None
    from proxy.router.upstream_filters import compile_upstream_filters  # few clusters have any

    return compile_upstream_filters(messages, path, ctx)


def _mirrors(messages: Any, path: str, ctx: CompileContext) -> tuple[Any, ...]:
    if not messages:
        return ()
    from proxy.router.mirror_policy import compile_mirror_policies  # few clusters have any

    # Envoy does not look here whether the clusters exist.
    return compile_mirror_policies(messages, path, ctx, None)


def _choice(
    protocol: UpstreamProtocol,
    options: Any,
    config: Any,
    path: str,
    ctx: CompileContext,
    cluster: Any,
    cluster_path: str,
) -> HttpChoice:
    """`options` holds the common options, `config` those of each version of HTTP."""
    common = options.common_http_protocol_options
    requests = cluster.max_requests_per_connection.value
    if common.HasField("max_requests_per_connection"):
        if cluster.HasField("max_requests_per_connection"):
            ctx.problem(
                f"{cluster_path}.max_requests_per_connection",
                "only one of max_requests_per_connection from Cluster or HttpProtocolOptions can be specified",
            )
        requests = common.max_requests_per_connection.value
    http2 = compile_http2_options(config.http2_protocol_options, f"{path}.http2_protocol_options", ctx)
    http2 = replace(
        http2,
        max_headers_kb=common.max_response_headers_kb.value
        or ctx.runtime.integer(RESPONSE_HEADERS_KB, _HTTP2_HEADERS_KB),
        max_headers_count=common.max_headers_count.value
        or ctx.runtime.integer(RESPONSE_HEADERS_COUNT, http2.max_headers_count),
        stream_buffer_bytes=wrapped(cluster, "per_connection_buffer_limit_bytes", 1024 * 1024),
    )
    http1 = _options(common, config.http_protocol_options, path, ctx, requests)
    names = _auto_sni(options.upstream_http_protocol_options)
    return HttpChoice(protocol, http1, http2, names)


def _auto_sni(message: Any) -> AutoSni | None:
    """An `UpstreamHttpProtocolOptions`, None if it asks for nothing."""
    if not (message.auto_sni or message.auto_san_validation):
        return None
    header = message.override_auto_sni_header.lower()
    return AutoSni(message.auto_sni, message.auto_san_validation, header)


def _options(common: Any, http1: Any, path: str, ctx: CompileContext, requests: int) -> Http1Options:
    preserve_case, proper_case = _case(http1, path, ctx)
    if http1.ignore_http_11_upgrade:
        ctx.problem(
            f"{path}.http_protocol_options.ignore_http_11_upgrade",
            "only upgrades that clients of a listener ask for can be ignored",
        )
    return Http1Options(
        idle_timeout=seconds(common, "idle_timeout", 3600.0),
        max_connection_duration=seconds(common, "max_connection_duration", 0.0),
        max_stream_duration=seconds(common, "max_stream_duration", 0.0),
        max_requests_per_connection=requests,
        max_headers_count=common.max_headers_count.value or ctx.runtime.integer(RESPONSE_HEADERS_COUNT, 100),
        max_response_headers_kb=common.max_response_headers_kb.value
        or ctx.runtime.integer(RESPONSE_HEADERS_KB, 80),
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
