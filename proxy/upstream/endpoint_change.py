"""From the hosts of a cluster to those of other endpoints, in small steps between requests."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple

from proxy.base.steps import STEP
from proxy.upstream.cluster_config import EndpointConfig
from proxy.upstream.host import Host


class Change(NamedTuple):
    """The hosts of a cluster after a change, those of them that are new, and those that have gone."""

    hosts: list[Host]
    new: list[Host]
    gone: list[Host]


def change_to(
    hosts: Iterable[Host], endpoints: Iterable[EndpointConfig], match_of: Callable[[Any], Any]
) -> Generator[None, None, Change]:
    """From `hosts` to those of `endpoints`; the ones that stay are brought up to date.

    A host stays while its address, its priority and what `match_of` gives for its metadata do.
    """
    before: dict[tuple[str, int], Host] = {}
    for number, host in enumerate(hosts, 1):
        before[host.address.text, host.priority] = host
        if not number % STEP:
            yield
    after: dict[tuple[str, int], Host] = {}
    new: list[Host] = []
    gone: list[Host] = []
    for number, endpoint in enumerate(endpoints, 1):
        key = (endpoint.address.text, endpoint.priority)
        # Envoy takes the first of two endpoints with one address.
        if key not in after:
            known = before.pop(key, None)
            if known is not None and match_of(known.metadata) is match_of(endpoint.metadata):
                endpoint.renew(known)
                after[key] = known
            else:
                if known is not None:
                    gone.append(known)
                after[key] = made = endpoint.host(endpoint.address, endpoint.hostname)
                new.append(made)
        if not number % STEP:
            yield
    gone.extend(before.values())
    return Change(list(after.values()), new, gone)


def retire_in_steps(
    hosts: list[Host], on_removed: Callable[[Host], None] | None
) -> Generator[None, None, None]:
    """Mark hosts as gone, have their pools drained, and let go of them."""
    while hosts:
        for host in hosts[-STEP:]:
            host.removed = True
            if on_removed is not None:
                on_removed(host)
        del hosts[-STEP:]
        yield


def drain_in_steps(hosts: list[Host]) -> Generator[None, None, None]:
    """What is connected to hosts that stay takes no further request (`close_connections_on_host_set_change`)."""
    while hosts:
        for host in hosts[-STEP:]:
            for pool in list(host.pools.values()):
                pool.drain_connections()
        del hosts[-STEP:]
        yield
