"""`ExtAuthz` and `ExtAuthzPerRoute` compiled.

Source: envoy.extensions.filters.http.ext_authz.v3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from proxy.base.matchers import Draw, StringMatch, compile_list_string_matcher, compile_runtime_fraction
from proxy.base.value_matchers import compile_metadata_matcher
from proxy.config.context import CompileContext
from proxy.filters.check_request import CheckFields
from proxy.filters.http.ext_authz_http import HttpServiceConfig, compile_http_service
from proxy.grpc_client.config import GrpcServiceConfig, compile_grpc_service

_DEFAULT_TIMEOUT: Final = 0.2
_V3: Final = 2
_FORBIDDEN: Final = 403


class ExtAuthzConfig(Struct, frozen=True):
    """One compiled `ExtAuthz`.

    `enabled` None means always, `enabled_metadata` None whatever the metadata; `deny_at_disable` is asked at each
    request. `tells` chooses the fields that the service is told, None for all.
    """

    stat_prefix: str
    service: GrpcServiceConfig | HttpServiceConfig
    failure_mode_allow: bool
    failure_mode_allow_header_add: bool
    clear_route_cache: bool
    status_on_error: int
    enabled: Callable[[Draw], bool] | None
    enabled_metadata: Callable[[Mapping[str, Any] | None], bool] | None
    deny_at_disable: Callable[[], bool]
    fields: CheckFields
    tells: Callable[[str], bool] | None
    route_namespaces: tuple[str, ...]
    charges_responses: bool
    notes_metadata: bool


class ExtAuthzRoute(Struct, frozen=True):
    """One compiled `ExtAuthzPerRoute`."""

    disabled: bool
    extensions: Mapping[str, str]


def compile_ext_authz(message: Any, path: str, context: CompileContext) -> ExtAuthzConfig:
    """That of the filter."""
    if message.transport_api_version != _V3:
        context.problem(f"{path}.transport_api_version", "only V3 is spoken; set V3")
    tells = _tells(message, path, context)
    return ExtAuthzConfig(
        stat_prefix=message.stat_prefix,
        service=_service(message, path, context, tells),
        failure_mode_allow=message.failure_mode_allow,
        failure_mode_allow_header_add=message.failure_mode_allow_header_add,
        clear_route_cache=message.clear_route_cache,
        status_on_error=message.status_on_error.code or _FORBIDDEN,
        enabled=compile_runtime_fraction(message.filter_enabled, context.runtime)
        if message.HasField("filter_enabled")
        else None,
        enabled_metadata=compile_metadata_matcher(
            message.filter_enabled_metadata, f"{path}.filter_enabled_metadata", context
        )
        if message.HasField("filter_enabled_metadata")
        else None,
        deny_at_disable=_flag(message, context),
        fields=CheckFields(
            include_peer_certificate=message.include_peer_certificate,
            include_tls_session=message.include_tls_session,
            labels_key=message.bootstrap_metadata_labels_key,
            namespaces=tuple(message.metadata_context_namespaces),
        ),
        tells=tells,
        route_namespaces=tuple(message.route_metadata_context_namespaces),
        charges_responses=_boolean(message, "charge_cluster_response_stats"),
        notes_metadata=_boolean(message, "enable_dynamic_metadata_ingestion"),
    )


def _service(
    message: Any, path: str, context: CompileContext, tells: Callable[[str], bool] | None
) -> GrpcServiceConfig | HttpServiceConfig:
    if message.WhichOneof("services") == "http_service":
        return compile_http_service(message.http_service, f"{path}.http_service", context, tells)
    if not message.HasField("grpc_service"):
        context.problem(path, "one of grpc_service and http_service is required")
    service = compile_grpc_service(
        message.grpc_service, f"{path}.grpc_service", context, default_timeout=_DEFAULT_TIMEOUT
    )
    for index, (_, value) in enumerate(service.metadata):
        if value.constant is None:
            context.problem(
                f"{path}.grpc_service.initial_metadata[{index}].value",
                "values that depend on the request are not supported here",
            )
    return service


def compile_ext_authz_route(message: Any, path: str, context: CompileContext) -> ExtAuthzRoute:  # noqa: ARG001
    """That of a route; `disable_request_body_buffering` asks for what is always so here."""
    if message.WhichOneof("override") == "disabled":
        return ExtAuthzRoute(message.disabled, {})
    return ExtAuthzRoute(False, dict(message.check_settings.context_extensions))


def _boolean(message: Any, field: str) -> bool:
    return bool(getattr(message, field).value) if message.HasField(field) else True


def _flag(message: Any, context: CompileContext) -> Callable[[], bool]:
    if not message.HasField("deny_at_disable"):
        return lambda: False
    flag, runtime = message.deny_at_disable, context.runtime
    key, default = flag.runtime_key, flag.default_value.value
    return lambda: runtime.boolean(key, default)


def _tells(message: Any, path: str, context: CompileContext) -> StringMatch | None:
    allowed = disallowed = None
    if message.HasField("allowed_headers"):
        allowed = compile_list_string_matcher(message.allowed_headers, f"{path}.allowed_headers", context)
    if message.HasField("disallowed_headers"):
        disallowed = compile_list_string_matcher(
            message.disallowed_headers, f"{path}.disallowed_headers", context
        )
    if allowed is None and disallowed is None:
        return None
    return lambda name: (
        (allowed is None or allowed(name)) and not (disallowed is not None and disallowed(name))
    )
