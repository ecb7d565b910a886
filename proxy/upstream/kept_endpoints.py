"""Endpoints that a control plane leaves out, and that stay while the active health checks of their hosts pass.

Source: Envoy's `BaseDynamicClusterImpl::updateDynamicHostList`, and `ignore_health_on_host_removal` of `Cluster`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from envoy.config.endpoint.v3 import endpoint_pb2

from proxy.config.context import CompileContext
from proxy.upstream.cluster_config import Discovery
from proxy.upstream.compile_endpoints import compile_endpoints
from proxy.upstream.health_flags import HealthFlag, HostKey, configured_flags


def with_kept(
    value: bytes, former: bytes, hosts: Iterable[HostKey], stays: Callable[[HostKey], bool]
) -> bytes:
    """The `ClusterLoadAssignment` of `value`, with the endpoints of `former` that it leaves out and that stay.

    Only `hosts` can. Mostly there is none to keep, and `former` is not looked at.
    One that `former` says is unhealthy does not stay (one that it drains does, as in Envoy), nor does one whose
    address has come under another priority. Each goes to its own locality; one that `value` has not has no weight.
    """
    after = endpoint_pb2.ClusterLoadAssignment.FromString(value)
    listed = {address for address, _ in keys_of(after)}
    if not any(key[0] not in listed and stays(key) for key in hosts):
        return value
    before = endpoint_pb2.ClusterLoadAssignment.FromString(former)
    kept = False
    for group in before.endpoints:
        alone = endpoint_pb2.ClusterLoadAssignment(endpoints=[group])
        staying = [
            entry
            for entry, endpoint in zip(
                group.lb_endpoints,
                compile_endpoints(alone, Discovery.EDS, "", CompileContext()),
                strict=True,
            )
            if endpoint.address.text not in listed
            and not configured_flags(endpoint.health) & HealthFlag.FAILED_EDS_HEALTH
            and stays((endpoint.address.text, endpoint.priority))
        ]
        if staying:
            kept = True
            _group(after, group).lb_endpoints.extend(staying)
    return after.SerializeToString() if kept else value


def keys_of(assignment: Any) -> set[HostKey]:
    """What the hosts of a good `ClusterLoadAssignment` are known by."""
    return {
        (endpoint.address.text, endpoint.priority)
        for endpoint in compile_endpoints(assignment, Discovery.EDS, "", CompileContext())
    }


def _group(assignment: Any, like: Any) -> Any:
    for group in assignment.endpoints:
        if group.priority == like.priority and group.locality == like.locality:
            return group
    return assignment.endpoints.add(locality=like.locality, priority=like.priority)
