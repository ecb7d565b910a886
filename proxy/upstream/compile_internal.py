"""`InternalUpstreamTransport`: what a connection to an internal listener tells it of the host and the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from msgspec import Struct

from proxy.base.stats import StatGroup
from proxy.config.context import CompileContext
from proxy.formatter.json_value import plain_value


class InternalUpstreamStats(StatGroup):
    """`cluster.<name>.internal_upstream.*`: metadata that was to be passed on and was not there."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("no_metadata",)

    no_metadata: int


class Passthrough(Struct, frozen=True):
    """The `passthrough_metadata` of a cluster: (whether it is the host's, namespace), in order."""

    sources: tuple[tuple[bool, str], ...]

    def collect(
        self, host_metadata: Any, cluster_metadata: Any, stats: InternalUpstreamStats | None
    ) -> Mapping[str, Mapping[str, Any]]:
        """The dynamic metadata of the accepted connection, from the `core.v3.Metadata` (or None) of both."""
        result: dict[str, Mapping[str, Any]] = {}
        for of_host, name in self.sources:
            metadata = host_metadata if of_host else cluster_metadata
            if metadata is not None and name in metadata.filter_metadata:
                result[name] = plain_value(metadata.filter_metadata[name])
            elif stats is not None:
                stats.no_metadata += 1
        return result


def compile_passthrough(message: Any, path: str, ctx: CompileContext) -> Passthrough:
    """Compile an `InternalUpstreamTransport`, except for the transport socket that it wraps."""
    sources: list[tuple[bool, str]] = []
    for index, one in enumerate(message.passthrough_metadata):
        kind = one.kind.WhichOneof("kind")
        if kind in {"host", "cluster"}:
            sources.append((kind == "host", one.name))
        else:
            ctx.problem(
                f"{path}.passthrough_metadata[{index}].kind", f"metadata type is not supported: {kind}"
            )
    return Passthrough(tuple(sources))
