"""The hash of a TCP connection, for balancers that pick by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.stream_info import ConnectionInfo, StreamInfo

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster


def client_hash(config: Any, connection: ConnectionInfo, cluster: Cluster) -> int | None:
    """By the balancer's own policy, else by `hash_policy` of the filter; None if the balancer asks for none.

    Rules of a balancer's policy that look at requests find nothing in a connection.
    """
    if not cluster.hashes:
        return None
    own = cluster.config.lb.hashing.policy
    if own is not None:
        nothing = RequestHead("", "", "", HeaderMap())
        number: int | None = own.hash(nothing, StreamInfo(connection, connection.start_time), [])
    else:
        number = config.hash(connection) if config.hash is not None else None
    return number
