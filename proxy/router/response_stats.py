"""What responses are counted in besides the codes of their cluster.

`vhost.<virtual host>.vcluster.<name>.*` for virtual clusters, `vhost.<virtual host>.route.<stat_prefix>.*` for
routes that name one, `cluster.<name>.<alt>.*` for requests with x-envoy-upstream-alt-stat-name, and
`cluster.<name>.internal.*` for requests from inside the mesh.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from proxy.base.stat_names import stat_name
from proxy.base.stats import StatGroup, StatRegistry
from proxy.router.route import Route
from proxy.upstream.cluster_stats import ClusterStats, CodeCounts


class RequestStats(StatGroup):
    """Requests and responses of a virtual cluster or a route."""

    COUNTERS: ClassVar = (
        "upstream_rq_retry",
        "upstream_rq_retry_limit_exceeded",
        "upstream_rq_retry_overflow",
        "upstream_rq_retry_success",
        "upstream_rq_timeout",
        "upstream_rq_total",
    )
    upstream_rq_timeout: int
    upstream_rq_total: int

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.codes = CodeCounts()

    def count(self, status: int, change: int, *, internal: bool, hidden: bool) -> None:  # noqa: ARG002
        """One response more (or, with a `change` of -1, one less)."""
        self.codes[status] += change

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        result = super().counters()
        self.codes.write(self.prefix, result)
        return result


class AlternativeStats(StatGroup):
    """The second set of codes that a request asks for by x-envoy-upstream-alt-stat-name."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.codes = CodeCounts()
        self.internal_codes = CodeCounts()
        self.hidden_codes: CodeCounts | None = None

    def count(self, status: int, change: int, *, internal: bool, hidden: bool) -> None:
        """See `RequestStats.count`."""
        self.codes[status] += change
        if hidden:
            if self.hidden_codes is None:
                self.hidden_codes = CodeCounts()
            self.hidden_codes[status] += change
        if internal:
            self.internal_codes[status] += change

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        result: dict[str, int] = {}
        self.codes.write(self.prefix, result, self.hidden_codes)
        self.internal_codes.write(self.prefix + "internal.", result)
        self.codes.minus(self.internal_codes).write(self.prefix + "external.", result)
        return result


class Charges:
    """Where the response to a request is counted; most requests need none of this.

    With `hides_codes` its status does not show in the codes of the cluster itself.
    """

    __slots__ = ("_groups", "_hides_codes", "_internal", "_requests", "virtual_cluster")

    def __init__(
        self,
        requests: Sequence[RequestStats],
        alternatives: Sequence[AlternativeStats],
        internal: bool,
        virtual_cluster: str | None = None,
        hides_codes: bool = False,
    ) -> None:
        # Envoy counts what no virtual cluster matches as "other", which is no name in formats.
        self.virtual_cluster = virtual_cluster if virtual_cluster != "other" else None
        self._requests = tuple(requests)
        self._groups: tuple[RequestStats | AlternativeStats, ...] = (*requests, *alternatives)
        self._internal = internal
        self._hides_codes = hides_codes

    def begin(self) -> None:
        """A request has got a connection upstream."""
        for group in self._requests:
            group.upstream_rq_total += 1

    def count(self, stats: ClusterStats, status: int, change: int = 1) -> None:
        """A response came from, or was made up for, the cluster with `stats`."""
        if self._internal:
            if stats.internal_codes is None:
                stats.internal_codes = CodeCounts()
            stats.internal_codes[status] += change
        if self._hides_codes:
            if stats.hidden_codes is None:
                stats.hidden_codes = CodeCounts()
            stats.hidden_codes[status] += change
        for group in self._groups:
            group.count(status, change, internal=self._internal, hidden=self._hides_codes)

    def retry(self, counter: str) -> None:
        """One of the counters of retries of `RequestStats` rises."""
        for group in self._requests:
            setattr(group, counter, getattr(group, counter) + 1)

    def time_out(self) -> None:
        """The route's timeout has ended a request."""
        for group in self._requests:
            group.upstream_rq_timeout += 1


#: Of internal requests without more; those that this proxy makes itself are such.
INTERNAL_CHARGES: Final = Charges((), (), True)


class _NoCodes(Charges):
    """The cluster that has counted an answer takes it back, as Envoy counts none."""

    __slots__ = ()

    def count(self, stats: ClusterStats, status: int, change: int = 1) -> None:
        stats.codes[status] -= change


#: Of health checks of this proxy.
NO_CHARGES: Final = _NoCodes((), (), False)


def charges_for(
    registry: StatRegistry,
    route: Route,
    virtual_cluster: str | None,
    cluster_name: str,
    alternatives: str,
    *,
    internal: bool,
    hides_codes: bool = False,
    counts_codes: bool = True,
) -> Charges | None:
    """Where responses to a request on `route` count; None for nowhere. `alternatives` is the field's value.

    Without `counts_codes` (`dynamic_stats` of the router), not even the cluster counts answers by their codes.
    """
    prefix = f"vhost.{route.virtual_host.name}."
    names = []
    if virtual_cluster is not None:
        names.append(f"{prefix}vcluster.{virtual_cluster}.")
    if route.stat_prefix:
        names.append(f"{prefix}route.{route.stat_prefix}.")
    if counts_codes and not names and not alternatives and not hides_codes:
        return INTERNAL_CHARGES if internal else None
    requests = [registry.shared(RequestStats, name) for name in names]
    if not counts_codes:
        return _NoCodes(requests, (), internal, virtual_cluster)
    others = []
    if alternatives:
        others.append(registry.shared(AlternativeStats, f"cluster.{stat_name(cluster_name)}.{alternatives}."))
    return Charges(requests, others, internal, virtual_cluster, hides_codes)
