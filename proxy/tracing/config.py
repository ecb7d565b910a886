"""`HttpConnectionManager.Tracing`, and a route's `Tracing` and `Decorator`, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.matchers import fraction_denominator
from proxy.base.services import WorkerServices
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext
from proxy.formatter.compile import Format, compile_format
from proxy.formatter.custom_tags import CustomTag, compile_custom_tags
from proxy.tracing.decision import Sampling
from proxy.tracing.span import Provider

_MAX_PATH_LENGTH: Final = 256
_PERCENT: Final = 100


class ProviderConfig(Struct, frozen=True):
    """`key` tells providers apart, `create` makes that of a worker. `cluster` has to be known, if it is not ""."""

    key: bytes
    create: Callable[[WorkerServices], Provider]
    cluster: str = ""


class Operations(Struct, frozen=True):
    """What spans are called where the config says so: that of the request, and that of the call to a host."""

    request: Format | None = None
    upstream: Format | None = None


class TracingConfig(Struct, frozen=True):
    """That of a connection manager. `packs_reason`: ids tell the reason; `by_id`: without it, all are traced."""

    sampling: Sampling
    verbose: bool
    max_path_length: int
    tags: tuple[CustomTag, ...]
    provider: ProviderConfig | None
    spawns: bool
    operations: Operations
    packs_reason: bool
    by_id: bool


class RouteTracing(Struct, frozen=True):
    """That of a route. `sampling` and `tags` are None and empty where the connection manager's hold.

    `operation` is the decorator's, "" for none; others are told of it if `propagates`.
    """

    sampling: Sampling | None = None
    tags: tuple[CustomTag, ...] = ()
    operations: Operations = Operations()
    operation: str = ""
    propagates: bool = True


def compile_tracing(message: Any, path: str, context: CompileContext) -> TracingConfig:
    """That of an `HttpConnectionManager` at `path` that has a `tracing`."""
    tracing, at = message.tracing, f"{path}.tracing"
    extension = None
    if message.HasField("request_id_extension"):
        extension = unpack_extension(message.request_id_extension, f"{path}.request_id_extension", context)
    return TracingConfig(
        Sampling(
            (_percent(tracing, "client_sampling"), _PERCENT),
            (round(tracing.random_sampling.value * _PERCENT), _PERCENT * _PERCENT)
            if tracing.HasField("random_sampling")
            else Sampling().random,
            (_percent(tracing, "overall_sampling"), _PERCENT),
        ),
        tracing.verbose,
        tracing.max_path_tag_length.value if tracing.HasField("max_path_tag_length") else _MAX_PATH_LENGTH,
        compile_custom_tags(tracing.custom_tags, f"{at}.custom_tags", context),
        _own_provider(tracing, at, context),
        tracing.spawn_upstream_span.value,
        _operations(tracing, at, context),
        _switch(extension, "pack_trace_reason"),
        _switch(extension, "use_request_id_for_trace_sampling"),
    )


def compile_route_tracing(message: Any, path: str, context: CompileContext) -> RouteTracing:
    """That of a `Route` at `path` that has a `tracing` or a `decorator`."""
    tracing, decorator = message.tracing, message.decorator
    if message.HasField("decorator") and not decorator.operation:
        context.problem(f"{path}.decorator.operation", "value length must be at least 1 characters")
    return RouteTracing(
        Sampling(*(_fraction(tracing, f"{kind}_sampling") for kind in ("client", "random", "overall")))
        if message.HasField("tracing")
        else None,
        compile_custom_tags(tracing.custom_tags, f"{path}.tracing.custom_tags", context),
        _operations(tracing, f"{path}.tracing", context),
        decorator.operation,
        decorator.propagate.value if decorator.HasField("propagate") else True,
    )


def _percent(message: Any, field: str) -> int:
    # Envoy drops the digits after the point too.
    return int(getattr(message, field).value) if message.HasField(field) else _PERCENT


def _fraction(message: Any, field: str) -> tuple[int, int]:
    if not message.HasField(field):
        return _PERCENT, _PERCENT
    fraction = getattr(message, field)
    return fraction.numerator, fraction_denominator(fraction)


def _switch(message: Any, field: str) -> bool:
    return message is None or not message.HasField(field) or bool(getattr(message, field).value)


def _operations(message: Any, path: str, context: CompileContext) -> Operations:
    def compiled(field: str) -> Format | None:
        text = getattr(message, field)
        return compile_format(text, f"{path}.{field}", context) if text else None

    return Operations(compiled("operation"), compiled("upstream_operation"))


def _own_provider(tracing: Any, path: str, context: CompileContext) -> ProviderConfig | None:
    if not tracing.HasField("provider"):
        return None
    provider = compile_provider(tracing.provider, f"{path}.provider", context)
    known = context.known_clusters
    if provider is not None and provider.cluster and known is not None and provider.cluster not in known:
        where = f"{path}.provider.typed_config"
        context.problem(where, f"unknown cluster {provider.cluster!r}: spans could not be sent")
    return provider


def compile_provider(message: Any, path: str, context: CompileContext) -> ProviderConfig | None:
    """Compile an `envoy.config.trace.v3.Tracing.Http` at `path`; one that is refused is None.

    Its cluster may be missing, as in Envoy where no connection manager has use for it.
    """
    at = f"{path}.typed_config"
    config = unpack_extension(message, path, context)
    if config is None:
        return None
    key = message.typed_config.SerializeToString(deterministic=True)
    if config.DESCRIPTOR.name == "ZipkinConfig":
        from proxy.tracing.zipkin import ZipkinProvider, compile_zipkin  # few configs trace

        zipkin = compile_zipkin(config, at, context)
        return ProviderConfig(key, lambda services: ZipkinProvider(zipkin, services), zipkin.target.cluster)
    from proxy.tracing.opentelemetry import OpenTelemetryProvider, compile_opentelemetry

    opentelemetry = compile_opentelemetry(config, at, context)
    return ProviderConfig(key, lambda services: OpenTelemetryProvider(opentelemetry, services))
