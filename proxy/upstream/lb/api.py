"""What a load balancer is, and the terms of its configuration.

For its users a balancer is a function from the hash of a request (or None) to a host (or None). It decides
from the hosts, their counters, the clock and the random numbers that it is given, and does nothing else.
Percentages are 0 to 100, times are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Protocol

from msgspec import Struct

from proxy.base.runtime import Runtime
from proxy.upstream.host import Host

ChooseHost = Callable[[int | None], Host | None]
Draw = Callable[[], int]  # an integer from 0 to 2**64-1
Clock = Callable[[], float]  # monotonic seconds
Defer = Callable[
    [Callable[[], None]], bool
]  # runs a function soon, between other work; False if there is no such time


class LbPolicy(Enum):
    """How a host is picked; values are Envoy's names of `Cluster.LbPolicy` and of its extensions."""

    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"
    RANDOM = "RANDOM"
    RING_HASH = "RING_HASH"
    MAGLEV = "MAGLEV"
    CLIENT_SIDE_WEIGHTED_ROUND_ROBIN = "CLIENT_SIDE_WEIGHTED_ROUND_ROBIN"
    #: The type of the cluster chooses, see `proxy.upstream.choosers`.
    CLUSTER_PROVIDED = "CLUSTER_PROVIDED"


#: Those that pick by the hash of the request.
HASHING: Final = frozenset({LbPolicy.RING_HASH, LbPolicy.MAGLEV})


class SlowStartConfig(Struct, frozen=True):
    """How the weight of a new host rises: to the power 1 / `aggression` of its age in the `window` (seconds).

    `min_weight` is the share of its weight that it begins with, 0.0 to 1.0.
    """

    window: float
    aggression: float = 1.0
    aggression_key: str = ""
    min_weight: float = 0.1

    def aggression_in(self, runtime: Runtime) -> float:
        """The aggression in force; Envoy takes 1.0 for one that is not positive."""
        value = self.aggression
        if self.aggression_key:
            value = runtime.number(self.aggression_key, value)
        return value if value > 0 else 1.0


class ZoneAwareConfig(Struct, frozen=True):
    """Routing within the own zone; see `proxy.upstream.lb.zone_routing`.

    With `force_local` or more healthy hosts there, the own zone gets everything; None forces nothing. Zones weigh
    what their hosts do together if `by_weight`, else as many as they are.
    """

    routing_enabled: int = 100
    min_cluster_size: int = 6
    fail_traffic_on_panic: bool = False
    force_local: int | None = None
    by_weight: bool = False


class HashingConfig(Struct, frozen=True):
    """What RING_HASH and MAGLEV need. `balance_factor` is a percentage above 100, 0 for "no bound"."""

    murmur: bool = False
    minimum_ring_size: int = 1024
    maximum_ring_size: int = 8 * 1024 * 1024
    table_size: int = 65537
    use_hostname: bool = False
    balance_factor: int = 0
    #: A `proxy.router.hash_policy.HashPolicy` that takes the place of the cluster's and the route's, or None.
    policy: Any = None


class SubsetFallback(Enum):
    """What a request gets that no subset fits; the numbers are Envoy's of a selector, less one for the cluster."""

    NOT_DEFINED = 0
    NO_FALLBACK = 1
    ANY_ENDPOINT = 2
    DEFAULT_SUBSET = 3
    KEYS_SUBSET = 4


class SubsetSelector(Struct, frozen=True):
    """Hosts with equal values of `keys` (sorted) are a subset."""

    keys: tuple[str, ...]
    single_host: bool = False
    fallback: SubsetFallback = SubsetFallback.NOT_DEFINED
    fallback_keys: frozenset[str] = frozenset()


class SubsetConfig(Struct, frozen=True):
    """Balancing within the hosts that fit the metadata of a request; `default_subset` are JSON values by key."""

    selectors: tuple[SubsetSelector, ...]
    fallback: SubsetFallback = SubsetFallback.NO_FALLBACK
    default_subset: Mapping[str, Any] | None = None
    locality_weight_aware: bool = False
    scale_locality_weight: bool = False
    panic_mode_any: bool = False
    list_as_any: bool = False
    fallback_list: bool = False
    allow_redundant_keys: bool = False


class HostSource(Struct, frozen=True):
    """Where a request names the hosts that it wants: a header field, or a place in the dynamic metadata."""

    header: str
    path: tuple[str, ...]


class LbConfig(Struct, frozen=True):
    """A policy and its numbers.

    `choice_count` (2 or more) and `active_request_bias` (0.0 or more) matter to LEAST_REQUEST only;
    `active_request_bias_key` is the runtime key that may override the bias, or "". `full_scan` looks at every
    host instead of `choice_count` drawn ones. `panic_threshold` is a whole percentage.
    """

    policy: LbPolicy = LbPolicy.ROUND_ROBIN
    choice_count: int = 2
    active_request_bias: float = 1.0
    active_request_bias_key: str = ""
    full_scan: bool = False
    panic_threshold: int = 50
    locality_weighted: bool = False
    zone_aware: ZoneAwareConfig = ZoneAwareConfig()
    slow_start: SlowStartConfig | None = None
    hashing: HashingConfig = HashingConfig()
    subset: SubsetConfig | None = None
    #: A `client_weights.ClientWeightsConfig`, or None.
    client_weights: Any = None
    #: Of `override_host`: where to look before the policy is asked.
    host_sources: tuple[HostSource, ...] = ()

    def bias(self, runtime: Runtime) -> float:
        """The bias in force; Envoy takes 1.0 for a negative one."""
        if not self.active_request_bias_key:
            return self.active_request_bias
        value = runtime.number(self.active_request_bias_key, self.active_request_bias)
        return value if value >= 0 else 1.0


class Picker(Protocol):
    """Picks from one list of at least one host, whatever their health."""

    hosts: Sequence[Host]
    #: Replaced when the hosts change.
    pick: Callable[[int | None], Host]

    def prepare(self, hosts: Sequence[Host]) -> Generator[None, None, None]:
        """Do in small steps what `renew` will need for this list, to be called soon."""
        ...

    def renew(self, hosts: Sequence[Host]) -> None:
        """Take another list; weights may have changed, too."""

    def health_changed(self, hosts: Sequence[Host], host: Host) -> None:
        """Take a list that differs in one host; weights are as they were."""


def no_host(_hash: int | None) -> None:
    """The balancer of a cluster without usable hosts."""


def weights_equal(hosts: Sequence[Host]) -> bool:
    """Whether all hosts weigh the same."""
    return len({host.weight for host in hosts}) <= 1
