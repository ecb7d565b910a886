"""`envoy.config.core.v3.GrpcService` compiled."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.formatter.compile import Format, compile_format


class GrpcServiceConfig(Struct, frozen=True):
    """A service in a cluster. `timeout` is in seconds, 0.0 for none.

    `metadata` are names with what their values are rendered from. `max_message_bytes` is None for no limit.
    """

    cluster: str
    authority: str
    timeout: float
    metadata: tuple[tuple[str, Format], ...] = ()
    max_message_bytes: int | None = None
    skip_envoy_headers: bool = False


def compile_grpc_service(
    message: Any, path: str, ctx: CompileContext, *, default_timeout: float
) -> GrpcServiceConfig:
    """Compile a `GrpcService` with an `envoy_grpc`; problems go to `ctx`."""
    if message.WhichOneof("target_specifier") != "envoy_grpc":
        field = message.WhichOneof("target_specifier") or "envoy_grpc"
        ctx.problem(f"{path}.{field}", "calls of filters go to a cluster: envoy_grpc is required")
    for holder, at in ((message, path), (message.envoy_grpc, f"{path}.envoy_grpc")):
        if holder.HasField("retry_policy"):
            ctx.problem(f"{at}.retry_policy", "calls of filters are not repeated")
    target = message.envoy_grpc
    metadata: list[tuple[str, Format]] = []
    for index, one in enumerate(message.initial_metadata):
        at = f"{path}.initial_metadata[{index}]"
        name = one.key.lower()
        if name.startswith(":") or name == "host":
            ctx.problem(f"{at}.key", f"{one.key!r}: :-prefixed or host headers may not be modified")
        metadata.append((name, compile_format(one.value, f"{at}.value", ctx, omit_empty=True)))
    limit = target.max_receive_message_length
    return GrpcServiceConfig(
        cluster=target.cluster_name,
        authority=target.authority or target.cluster_name,
        timeout=seconds(message, "timeout", default_timeout),
        metadata=tuple(metadata),
        max_message_bytes=limit.value if target.HasField("max_receive_message_length") else None,
        skip_envoy_headers=target.skip_envoy_headers,
    )
