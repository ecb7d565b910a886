"""Which cluster a request goes to: one name, a header's value, or a weighted draw."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from msgspec import Struct
from msgspec.structs import replace

from proxy.base.digits import UINT64, whole_number
from proxy.base.messages import RequestHead
from proxy.base.regex import wire_text
from proxy.base.runtime import Runtime
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.router.hash_policy import HashPolicy
from proxy.router.header_operations import compile_level
from proxy.router.per_filter_config import FilterOverrides, compile_overrides
from proxy.router.rewrite import first_value

Draw = Callable[[], int]

_MAX_TOTAL_WEIGHT: Final = (1 << 32) - 1


class ClusterChoice(Struct, frozen=True):
    """A cluster and what goes with having chosen it.

    `cluster_name` may be "" or unknown: then the action's `cluster_not_found_code` answers.
    `request_ops` and `response_ops` are a weighted cluster's own: they come before those of the route,
    whichever level wins. `host_rewrite` is its authority, "" for none; it precedes `ClusterAction.rewrite`.
    `per_filter_config` includes that of the route.
    `metadata_match` is the `envoy.lb` criteria for endpoint subsets, None if there are none.
    """

    cluster_name: str
    request_ops: tuple[Any, ...] = ()
    response_ops: tuple[Any, ...] = ()
    per_filter_config: FilterOverrides | None = None
    metadata_match: Mapping[str, Any] | None = None
    host_rewrite: str = ""

    def named(self, cluster_name: str) -> ClusterChoice:
        """The same for another cluster."""
        return replace(self, cluster_name=cluster_name)


def subset_criteria(metadata: Any) -> Mapping[str, Any] | None:
    """The `envoy.lb` part of a `Metadata`, None if absent."""
    if "envoy.lb" not in metadata.filter_metadata:
        return None
    return dict(MessageToDict(metadata.filter_metadata["envoy.lb"]))


class HeaderCluster:
    """`cluster_header`: the first value of a request header names the cluster."""

    __slots__ = ("_base", "_name")

    def __init__(self, name: str, base: ClusterChoice) -> None:
        self._name = name.lower()
        self._base = base

    def choose(self, head: RequestHead, _info: StreamInfo, _draw: Draw) -> ClusterChoice:
        """The choice; its name is "" without the header."""
        return self._base.named(first_value(head, self._name) or "")


class WeightedClusters:
    """A draw modulo the total weight; weights may come from the runtime."""

    __slots__ = (
        "_bounds",
        "_choices",
        "_hash_policy",
        "_headers",
        "_keys",
        "_random_header",
        "_runtime",
        "_weights",
    )

    def __init__(
        self,
        choices: tuple[ClusterChoice, ...],
        headers: tuple[str, ...],
        weights: tuple[int, ...],
        keys: tuple[str, ...],
        runtime: Runtime,
        random_header: str,
        hash_policy: HashPolicy | None,
    ) -> None:
        self._choices = choices
        self._headers = headers
        self._weights = weights
        self._bounds = list(accumulate(weights))
        self._keys = keys
        self._runtime = runtime
        self._random_header = random_header
        self._hash_policy = hash_policy

    def choose(self, head: RequestHead, info: StreamInfo, draw: Draw) -> ClusterChoice:
        """The choice for one request; the same draw gives the same cluster."""
        bounds = self._runtime_bounds() if self._keys else self._bounds
        position = bisect_right(bounds, self._number(head, info, draw) % bounds[-1])
        choice = self._choices[position]
        header = self._headers[position]
        return choice.named(first_value(head, header) or "") if header else choice

    def _number(self, head: RequestHead, info: StreamInfo, draw: Draw) -> int:
        if self._random_header:
            # Several values could pick different clusters at different proxies: they count as none.
            values = head.headers.values_of(self._random_header)
            text = values[0].strip() if len(values) == 1 else ""
            number = whole_number(text, UINT64)
            if number is not None:
                return number
        if self._hash_policy is not None:
            number = self._hash_policy.hash(head, info, [])
            if number is not None:
                return number
        return draw()

    def _runtime_bounds(self) -> list[int]:
        integer = self._runtime.integer
        bounds = list(
            accumulate(
                max(0, integer(key, weight)) for key, weight in zip(self._keys, self._weights, strict=True)
            )
        )
        return bounds if bounds[-1] > 0 else self._bounds


def compile_weighted_clusters(
    message: Any,
    route: ClusterChoice,
    hash_policy: HashPolicy | None,
    path: str,
    ctx: CompileContext,
    known_clusters: Any,
) -> WeightedClusters | None:
    """`envoy.config.route.v3.WeightedCluster`; `route` holds what the clusters inherit."""
    choices = []
    for index, entry in enumerate(message.clusters):
        entry_path = f"{path}.clusters[{index}]"
        if not entry.HasField("weight"):
            ctx.problem(f"{entry_path}.weight", "is required")
        if bool(entry.name) == bool(entry.cluster_header):
            reason = "only one" if entry.name else "at least one"
            ctx.problem(entry_path, f"{reason} of name or cluster_header must be specified")
        elif entry.name and known_clusters is not None and entry.name not in known_clusters:
            ctx.problem(f"{entry_path}.name", f"unknown weighted cluster '{entry.name}'")
        choices.append(_compile_entry(entry, route, entry_path, ctx))
    weights = tuple(entry.weight.value for entry in message.clusters)
    total = sum(weights)
    if not total:
        ctx.problem(path, "Sum of weights in the weighted_cluster must be greater than 0.")
        return None
    if total > _MAX_TOTAL_WEIGHT:
        ctx.problem(path, f"The sum of weights of all weighted clusters exceeds {_MAX_TOTAL_WEIGHT}")
    prefix = message.runtime_key_prefix
    return WeightedClusters(
        tuple(choices),
        tuple(entry.cluster_header.lower() for entry in message.clusters),
        weights,
        tuple(f"{prefix}.{entry.name}" for entry in message.clusters) if prefix else (),
        ctx.runtime,
        message.header_name.lower(),
        hash_policy if message.use_hash_policy.value else None,
    )


def _compile_entry(entry: Any, route: ClusterChoice, path: str, ctx: CompileContext) -> ClusterChoice:
    own = compile_level(entry, path, ctx)
    metadata = route.metadata_match
    if entry.HasField("metadata_match"):
        criteria = subset_criteria(entry.metadata_match)
        if criteria is not None:
            metadata = {**(metadata or {}), **criteria}
    return ClusterChoice(
        entry.name,
        own.request,
        own.response,
        compile_overrides(entry, path, ctx, route.per_filter_config),
        metadata,
        wire_text(entry.host_rewrite_literal),
    )
