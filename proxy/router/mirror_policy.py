"""`RequestMirrorPolicy`: which requests are copied to another cluster, and how the copies differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from proxy.base.matchers import Draw, compile_runtime_fraction
from proxy.base.regex import wire_text
from proxy.config.context import CompileContext


class MirrorPolicy(Struct, frozen=True):
    """One compiled policy: exactly one of `cluster` and `cluster_header` is set.

    `applies(draw)` decides for one request. `host_suffix` tells whether the copy's authority gets `-shadow`.
    `request_ops` change the headers of the copy.
    """

    cluster: str
    cluster_header: str
    applies: Callable[[Draw], bool]
    host_suffix: bool = True
    host_rewrite: str = ""
    request_ops: tuple[Any, ...] = ()


def compile_mirror_policies(
    messages: Any, path: str, ctx: CompileContext, known_clusters: Any
) -> tuple[MirrorPolicy, ...]:
    """Repeated `RouteAction.RequestMirrorPolicy`; `path` is that of the repeated field."""
    return tuple(
        _compile(message, f"{path}[{index}]", ctx, known_clusters) for index, message in enumerate(messages)
    )


def _compile(message: Any, path: str, ctx: CompileContext, known_clusters: Any) -> MirrorPolicy:
    if bool(message.cluster) == bool(message.cluster_header):
        ctx.problem(path, "exactly one of cluster or cluster_header must be specified")
    elif message.cluster and known_clusters is not None and message.cluster not in known_clusters:
        ctx.problem(f"{path}.cluster", f"unknown shadow cluster '{message.cluster}'")
    operations: tuple[Any, ...] = ()
    if message.request_headers_mutations:
        from proxy.formatter.header_ops import compile_header_mutations  # rarely used

        compiled = compile_header_mutations(
            message.request_headers_mutations, f"{path}.request_headers_mutations", ctx, request=True
        )
        operations = () if compiled is None else (compiled,)
    return MirrorPolicy(
        message.cluster,
        message.cluster_header.lower(),
        compile_runtime_fraction(message.runtime_fraction, ctx.runtime)
        if message.HasField("runtime_fraction")
        else _always,
        not message.disable_shadow_host_suffix_append,
        wire_text(message.host_rewrite_literal),
        operations,
    )


def _always(_draw: Draw) -> bool:
    return True
