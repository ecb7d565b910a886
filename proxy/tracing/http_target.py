"""Where reports go by HTTP. Source: `envoy.config.core.v3.HttpService`."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from proxy.config.context import CompileContext
from proxy.config.durations import seconds


class HttpTarget(Struct, frozen=True):
    """`fields` are added to each request. `timeout` is in seconds, 0.0 for none."""

    cluster: str
    authority: str
    path: str
    timeout: float = 0.0
    fields: tuple[tuple[str, str], ...] = ()


def compile_http_target(message: Any, path: str, context: CompileContext) -> HttpTarget:
    """Compile an `HttpService`; without a host in its URI, the authority is the cluster's name."""
    uri = message.http_uri
    at = f"{path}.http_uri"
    if not uri.uri:
        context.problem(f"{at}.uri", "value length must be at least 1 characters")
    if not uri.cluster:
        context.problem(f"{at}.cluster", "a cluster is required")
    try:
        parts = urlsplit(uri.uri)
    except ValueError as error:
        context.problem(f"{at}.uri", f"is no URI: {error}")
        parts = urlsplit("")
    fields = []
    for index, option in enumerate(message.request_headers_to_add):
        value = option.header.value
        if "%" in value:
            context.problem(
                f"{path}.request_headers_to_add[{index}].header.value",
                "may not have commands: there is no stream",
            )
        fields.append((option.header.key.lower(), value))
    target = parts.path or "/"
    return HttpTarget(
        uri.cluster,
        parts.netloc or uri.cluster,
        f"{target}?{parts.query}" if parts.query else target,
        seconds(uri, "timeout", 0.0),
        tuple(fields),
    )
