"""`override_host`: requests name the hosts that they are to go to; the balancer is for what is left.

Source: `envoy.extensions.load_balancing_policies.override_host.v3`. The hosts named are tried in order, a further
one for each retry, whatever their health and whatever predicates say of retries; one that the cluster has not is
skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from proxy.base.stream_info import StreamInfo
from proxy.upstream.host import Host
from proxy.upstream.lb.api import HostSource
from proxy.upstream.lb.retry_choice import RetryChoice

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster


class OverrideHost:
    """The choice of one cluster. Goes before what the cluster chooses by otherwise."""

    def __init__(self, cluster: Cluster, sources: tuple[HostSource, ...]) -> None:
        self._cluster = cluster
        self._sources = sources
        self._choose_otherwise = cluster.choose_by_stream
        self._retry_otherwise = cluster.retry_by_stream

    def choose(self, info: StreamInfo, request_hash: int | None) -> Host | None:
        """See `Cluster.choose_by_stream`."""
        host = self._next_named(info)
        if host is not None:
            return host
        if self._choose_otherwise is not None:
            return self._choose_otherwise(info, request_hash)
        return self._cluster.choose_host(request_hash)

    def choose_again(self, info: StreamInfo, request_hash: int | None, retry: RetryChoice) -> Host | None:
        """See `Cluster.retry_by_stream`."""
        host = self._next_named(info)
        if host is not None:
            return host
        if self._retry_otherwise is not None:
            return self._retry_otherwise(info, request_hash, retry)
        return self._cluster.choose_host_again(request_hash, retry)

    def _next_named(self, info: StreamInfo) -> Host | None:
        named = info.named_hosts
        if named is None:
            named = info.named_hosts = iter(list(self._named(info)))
        return next((host for address in named if (host := self._cluster.host_at(address)) is not None), None)

    def _named(self, info: StreamInfo) -> Iterator[str]:
        """The addresses of all sources, as they stand there."""
        for source in self._sources:
            text = _header(info, source.header) if source.header else _metadata(info, source.path)
            if text is not None:
                yield from (address for part in text.split(",") if (address := part.strip(_BLANKS)))


_BLANKS = " \t\n\v\f\r"


def _header(info: StreamInfo, name: str) -> str | None:
    """The first value of a request's field."""
    head = info.request
    if head is None:
        return None
    values = head.headers.values_of(name)
    return values[0] if values else None


def _metadata(info: StreamInfo, path: tuple[str, ...]) -> str | None:
    """The string at a place of the dynamic metadata."""
    found: Any = info.own_metadata
    for key in path:
        if not hasattr(found, "get"):
            return None
        found = found.get(key)
    return found if isinstance(found, str) else None
