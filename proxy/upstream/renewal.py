"""Which changes of a cluster leave its connections alone."""

from __future__ import annotations

from typing import Final

from envoy.config.cluster.v3 import cluster_pb2

_INDEPENDENT: Final = ("circuit_breakers", "metadata")
"""Fields of `config.cluster.v3.Cluster` that a live cluster takes over, because no connection depends on them."""


def keeps_connections(before: bytes, after: bytes) -> bool:
    """Whether two serialised clusters of one name differ only in what a live one can take over.

    Envoy drains the pools of a cluster for any change.
    """
    messages = [cluster_pb2.Cluster.FromString(serialized) for serialized in (before, after)]
    for message in messages:
        for name in _INDEPENDENT:
            message.ClearField(name)
    return bool(messages[0] == messages[1])
