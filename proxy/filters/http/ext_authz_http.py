"""An authorization service that is asked by HTTP: what it is told, and what its response means.

Source: `HttpService` of envoy.extensions.filters.http.ext_authz.v3; Envoy's `RawHttpClientImpl`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.matchers import StringMatch, compile_list_string_matcher
from proxy.base.messages import RequestHead
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.filters.http.ext_authz_answer import ERROR, Answer, Mutation
from proxy.formatter.compile import Format, compile_format

_REMOVALS: Final = "x-envoy-auth-headers-to-remove"
_ALWAYS_TOLD: Final = "authorization"
#: Fields of a refusal that clients get whatever the config.
_OF_REFUSALS: Final = frozenset({"location", "www-authenticate"})
_OK: Final = 200
_LEAST_ERROR: Final = 500


class HttpServiceConfig(Struct, frozen=True):
    """One compiled `HttpService`; `timeout` is in seconds, 0.0 for none.

    `sends` chooses fields of requests. The others choose fields of responses: those that replace fields of the
    request, that are added to them, that clients get with a refusal (None for all) and with a response, and that
    become metadata.
    """

    cluster: str
    timeout: float
    path_prefix: str
    sends: Callable[[str], bool]
    added: tuple[tuple[str, Format], ...]
    replaces: StringMatch | None
    appends: StringMatch | None
    refuses_with: StringMatch | None
    responds_with: StringMatch | None
    notes: StringMatch | None


def compile_http_service(
    message: Any, path: str, context: CompileContext, tells: Callable[[str], bool] | None
) -> HttpServiceConfig:
    """Compile an `HttpService` at `path`; `tells` are the fields that the filter chooses."""
    if message.HasField("retry_policy"):
        context.problem(f"{path}.retry_policy", "calls of filters are not repeated")
    if message.path_prefix and not message.path_prefix.startswith("/"):
        context.problem(f"{path}.path_prefix", 'should start with "/"')
    asked, answered = message.authorization_request, message.authorization_response

    def matcher(holder: Any, at: str, field: str) -> StringMatch | None:
        if not holder.HasField(field):
            return None
        return compile_list_string_matcher(getattr(holder, field), f"{path}.{at}.{field}", context)

    own = matcher(asked, "authorization_request", "allowed_headers")
    chosen = own or tells
    at = "authorization_response"
    added = f"{path}.authorization_request.headers_to_add"
    return HttpServiceConfig(
        message.server_uri.cluster,
        seconds(message.server_uri, "timeout", 0.0),
        message.path_prefix,
        lambda name: name == _ALWAYS_TOLD or (chosen is not None and chosen(name)),
        tuple(
            (one.key.lower(), compile_format(one.value, f"{added}[{index}].value", context, omit_empty=True))
            for index, one in enumerate(asked.headers_to_add)
        ),
        matcher(answered, at, "allowed_upstream_headers"),
        matcher(answered, at, "allowed_upstream_headers_to_append"),
        matcher(answered, at, "allowed_client_headers"),
        matcher(answered, at, "allowed_client_headers_on_success"),
        matcher(answered, at, "dynamic_metadata_from_headers"),
    )


def check_head(head: RequestHead, info: StreamInfo, config: HttpServiceConfig) -> RequestHead:
    """The head of the request that asks about a request."""
    headers = HeaderMap()
    headers.add("content-length", "0")
    for name, value in head.headers.items():
        if name != "content-length" and config.sends(name):
            headers.add(name, value)
    for name, template in config.added:
        headers.set(name, template.render(info))
    return RequestHead(
        head.method, f"{config.path_prefix}{head.path}", head.authority, headers, head.scheme, "HTTP/1.1"
    )


def read_http_answer(status: int, headers: HeaderMap, body: bytes, config: HttpServiceConfig) -> Answer:
    """What a response means for the request: 200 lets it pass, a 5xx is no answer."""
    if status >= _LEAST_ERROR:
        return ERROR
    fields = [
        (name, value)
        for name, joined in headers.items()
        if name != _REMOVALS
        for value in (headers.repeated or {}).get(name, [joined])
    ]
    metadata = {
        name: value for name, value in headers.items() if config.notes is not None and config.notes(name)
    }
    if status != _OK:
        chosen = config.refuses_with
        told = [
            (name, value) for name, value in fields if chosen is None or chosen(name) or name in _OF_REFUSALS
        ]
        return Answer(
            "denied",
            status,
            body.decode("latin-1"),
            _mutations(told, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD),
            metadata=metadata,
        )
    removals = headers.get(_REMOVALS, "")
    return Answer(
        "ok",
        fields=_mutations(_chosen(fields, config.replaces), HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD),
        added=tuple(_chosen(fields, config.appends)),
        response_fields=_mutations(
            _chosen(fields, config.responds_with), HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
        ),
        removals=tuple(name for one in removals.split(",") if (name := one.strip().lower())),
        metadata=metadata,
    )


def _chosen(fields: Iterable[tuple[str, str]], match: StringMatch | None) -> list[tuple[str, str]]:
    return [] if match is None else [(name, value) for name, value in fields if match(name)]


def _mutations(fields: Iterable[tuple[str, str]], action: int) -> tuple[Mutation, ...]:
    return tuple(Mutation(name, value, action) for name, value in fields)
