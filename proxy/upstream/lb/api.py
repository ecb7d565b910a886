"""What a load balancer is: a function from the hash of a request (or None) to a host (or None).

A balancer is built anew whenever the hosts change; it decides from its lists, the hosts' counters and the
random numbers that it is given, and does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from proxy.base.runtime import Runtime
from proxy.upstream.host import Host

ChooseHost = Callable[[int | None], Host | None]
Draw = Callable[[], int]  # an integer from 0 to 2**64-1


class LbPolicy(Enum):
    """Policies that exist here; values are Envoy's names of `Cluster.LbPolicy`."""

    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"
    RANDOM = "RANDOM"


@dataclass(frozen=True, slots=True)
class LbConfig:
    """A policy and its numbers.

    `choice_count` (2 or more) and `active_request_bias` (0.0 or more) matter to LEAST_REQUEST only;
    `active_request_bias_key` is the runtime key that may override the bias, or "". `full_scan` looks at every
    host instead of `choice_count` drawn ones. `panic_threshold` is a percentage.
    """

    policy: LbPolicy = LbPolicy.ROUND_ROBIN
    choice_count: int = 2
    active_request_bias: float = 1.0
    active_request_bias_key: str = ""
    full_scan: bool = False
    panic_threshold: float = 50.0

    def bias(self, runtime: Runtime) -> float:
        """The bias in force; Envoy takes 1.0 for a negative one."""
        if not self.active_request_bias_key:
            return self.active_request_bias
        value = runtime.number(self.active_request_bias_key, self.active_request_bias)
        return value if value >= 0 else 1.0


def no_host(_hash: int | None) -> None:
    """The balancer of a cluster without usable hosts."""


def weights_equal(hosts: Sequence[Host]) -> bool:
    """Whether all hosts weigh the same."""
    return len({host.weight for host in hosts}) <= 1
