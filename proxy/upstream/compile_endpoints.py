"""The endpoints of a `ClusterLoadAssignment`: that of a cluster, or one that a control plane brings."""

from __future__ import annotations

import ipaddress
from collections.abc import Generator
from socket import AF_INET, inet_pton
from typing import Any, Final, NamedTuple

from envoy.config.endpoint.v3 import endpoint_pb2

from proxy.base.address import Address, InternalAddress
from proxy.base.steps import STEP, finish
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceSource
from proxy.upstream.cluster_config import NO_ENDPOINT_CHECK, Discovery, EndpointCheck, EndpointConfig
from proxy.upstream.fields import wrapped
from proxy.upstream.host import NO_LOCALITY, Health, Locality
from proxy.upstream.host_set import AssignmentPolicy

_MAX_WEIGHT: Final = 2**32 - 1
_HEALTH: Final = {int(one): one for one in Health}
_DENOMINATORS: Final = (100, 10_000, 1_000_000)  # by `FractionalPercent.DenominatorType`
#: Others have names that are to be resolved.
_WITH_ADDRESSES: Final = frozenset({Discovery.STATIC, Discovery.EDS})


class Assignment(NamedTuple):
    """What a `ClusterLoadAssignment` says."""

    endpoints: tuple[EndpointConfig, ...] = ()
    policy: AssignmentPolicy = AssignmentPolicy()


def compile_endpoints(
    assignment: Any, discovery: Discovery, path: str, ctx: CompileContext
) -> tuple[EndpointConfig, ...]:
    """All endpoints in the order of the config. DNS names stand in `address.ip`, unresolved."""
    result: list[EndpointConfig] = []
    where = f"{path}." if path else ""
    weights: dict[int, int] = {}
    for index, group in enumerate(assignment.endpoints):
        at = f"{where}endpoints[{index}]"
        result += _locality_endpoints(group, discovery, at, ctx)
        weight = weights.get(group.priority, 0) + wrapped(group, "load_balancing_weight", 0)
        weights[group.priority] = weight
        if weight > _MAX_WEIGHT:
            ctx.problem(
                f"{at}.load_balancing_weight",
                f"The sum of weights of all localities at the same priority exceeds {_MAX_WEIGHT}",
            )
    if discovery is Discovery.LOGICAL_DNS and (
        len(assignment.endpoints) != 1 or len(assignment.endpoints[0].lb_endpoints) != 1
    ):
        ctx.problem(
            path, "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint"
        )
    return tuple(result)


def compile_policy(assignment: Any, path: str, ctx: CompileContext) -> AssignmentPolicy:
    """The `policy` of an assignment."""
    policy = assignment.policy
    where = f"{path}.policy" if path else "policy"
    if len(policy.drop_overloads) > 1:
        reason = f"Cluster drop_overloads config has {len(policy.drop_overloads)} categories; only one is supported"
        ctx.problem(f"{where}.drop_overloads", reason)
    share = 0.0
    category = ""
    if policy.drop_overloads:
        category = policy.drop_overloads[0].category
        percent = policy.drop_overloads[0].drop_percentage
        denominator = _DENOMINATORS[percent.denominator]
        share = min(1.0, percent.numerator / denominator)
        if percent.numerator > denominator:
            ctx.problem(f"{where}.drop_overloads[0].drop_percentage", "must not be more than 100 percent")
    return AssignmentPolicy(
        wrapped(policy, "overprovisioning_factor", 140), policy.weighted_priority_health, share, category
    )


def discovered_assignment(source: ResourceSource) -> Assignment:
    """The `ClusterLoadAssignment` that `source` holds; an empty one before it has come."""

    def compiled(value: bytes | None) -> Assignment:
        return Assignment() if value is None else finish(assignment_in_steps(value))

    return source.made(compiled)


def assignment_in_steps(value: bytes) -> Generator[None, None, Assignment]:
    """Read a serialised `ClusterLoadAssignment`, in small steps after its bytes are parsed (0.3 us an endpoint)."""
    message = endpoint_pb2.ClusterLoadAssignment.FromString(value)
    # What is wrong with it was found where it was accepted.
    ctx = CompileContext()
    # Of two with one address Envoy takes the first, whatever their priorities.
    endpoints: dict[str, EndpointConfig] = {}
    for group in message.endpoints:
        locality, locality_weight = _locality(group)
        for number, entry in enumerate(group.lb_endpoints, 1):
            made = _endpoint(entry, group.priority, locality, locality_weight, Discovery.EDS, "", ctx)
            if made is not None:
                endpoints.setdefault(made.address.text, made)
            if not number % STEP:
                yield
    return Assignment(tuple(endpoints.values()), compile_policy(message, "", ctx))


def _locality(group: Any) -> tuple[Locality, int]:
    locality = NO_LOCALITY
    if group.HasField("locality"):
        where = group.locality
        locality = Locality(where.region, where.zone, where.sub_zone)
    return locality, wrapped(group, "load_balancing_weight", 0)


def _locality_endpoints(
    group: Any, discovery: Discovery, path: str, ctx: CompileContext
) -> list[EndpointConfig]:
    if group.HasField("leds_cluster_locality_config"):
        ctx.problem(f"{path}.leds_cluster_locality_config", "is not supported")
    locality, locality_weight = _locality(group)
    result: list[EndpointConfig] = []
    total = 0
    for index, entry in enumerate(group.lb_endpoints):
        inner = f"{path}.lb_endpoints[{index}]"
        made = _endpoint(entry, group.priority, locality, locality_weight, discovery, inner, ctx)
        if made is not None:
            total += made.weight
            result.append(made)
    if total > _MAX_WEIGHT:
        ctx.problem(path, "The sum of weights of all endpoints in the locality must not exceed 4294967295")
    return result


def _endpoint(
    entry: Any,
    priority: int,
    locality: Locality,
    locality_weight: int,
    discovery: Discovery,
    path: str,
    ctx: CompileContext,
) -> EndpointConfig | None:
    address = _address(entry, discovery, path, ctx)
    if address is None:
        return None
    has_metadata = entry.HasField("metadata")
    return EndpointConfig(
        address,
        entry.endpoint.hostname,
        entry.load_balancing_weight.value if entry.HasField("load_balancing_weight") else 1,
        priority,
        _HEALTH[entry.health_status],
        locality,
        entry.metadata if has_metadata else None,
        has_metadata and _canary(entry),
        locality_weight,
        _more_addresses(entry.endpoint, discovery, f"{path}.endpoint.additional_addresses", ctx),
        _check(entry.endpoint, f"{path}.endpoint.health_check_config", ctx),
    )


def _more_addresses(
    endpoint: Any, discovery: Discovery, path: str, ctx: CompileContext
) -> tuple[Address, ...]:
    more = endpoint.additional_addresses
    if not more:
        return ()
    if discovery not in _WITH_ADDRESSES or not endpoint.address.HasField("socket_address"):
        ctx.problem(path, "needs IP addresses: a STATIC or EDS cluster, and a socket_address as the first")
        return ()
    found = []
    for index, one in enumerate(more):
        where = f"{path}[{index}].address"
        if not one.address.HasField("socket_address"):
            ctx.problem(where, "needs a socket_address")
            continue
        made = _socket_address(one.address.socket_address, discovery, f"{where}.socket_address", ctx)
        if made is not None:
            found.append(made)
    return tuple(found)


def _check(endpoint: Any, path: str, ctx: CompileContext) -> EndpointCheck:
    if not endpoint.HasField("health_check_config"):
        return NO_ENDPOINT_CHECK
    config = endpoint.health_check_config
    port, ip = config.port_value, ""
    if config.HasField("address"):
        socket = config.address.socket_address
        if config.address.WhichOneof("address") != "socket_address" or ip_literal(socket.address) is None:
            ctx.problem(f"{path}.address", "must be an IP address")
        ip = socket.address
        port = port or socket.port_value
    if endpoint.address.WhichOneof("address") == "pipe" and (port or ip):
        ctx.problem(path, "a health check address or port cannot be set for a pipe")
    return EndpointCheck(port, ip, config.hostname, config.disable_active_health_check)


def _canary(entry: Any) -> bool:
    fields = entry.metadata.filter_metadata
    if "envoy.lb" not in fields or "canary" not in fields["envoy.lb"].fields:
        return False
    flag: bool = fields["envoy.lb"].fields["canary"].bool_value
    return flag


def _address(entry: Any, discovery: Discovery, path: str, ctx: CompileContext) -> Address | None:
    if not entry.HasField("endpoint"):
        ctx.problem(path, "needs an endpoint with an address (endpoint_name is not supported)")
        return None
    endpoint = entry.endpoint
    path = f"{path}.endpoint.address"
    address = endpoint.address
    match address.WhichOneof("address"):
        case "socket_address":
            return _socket_address(address.socket_address, discovery, f"{path}.socket_address", ctx)
        case "pipe":
            if discovery in _WITH_ADDRESSES:
                if address.pipe.mode and address.pipe.path.startswith("@"):
                    ctx.problem(f"{path}.pipe.mode", "Cannot set mode for Abstract AF_UNIX sockets")
                return Address(path=address.pipe.path)
            ctx.problem(f"{path}.pipe", f"a {discovery.value} cluster needs a socket_address")
        case "envoy_internal_address":
            if discovery not in _WITH_ADDRESSES:
                reason = f"a {discovery.value} cluster needs a socket_address"
                ctx.problem(f"{path}.envoy_internal_address", reason)
                return None
            internal = address.envoy_internal_address
            return InternalAddress(internal.server_listener_name, internal.endpoint_id)
        case _:
            ctx.problem(path, "value is required")
    return None


def _socket_address(socket: Any, discovery: Discovery, path: str, ctx: CompileContext) -> Address | None:
    if socket.resolver_name:
        ctx.problem(
            f"{path}.resolver_name",
            f"{discovery.value} clusters must NOT have a custom resolver name set"
            if discovery not in _WITH_ADDRESSES
            else "custom resolvers are not supported",
        )
    if socket.named_port:
        ctx.problem(f"{path}.named_port", "is not supported; use port_value")
    if discovery not in _WITH_ADDRESSES:
        return Address(socket.address, socket.port_value)
    ip = ip_literal(socket.address)
    if ip is None:
        ctx.problem(
            f"{path}.address",
            f"malformed IP address: {socket.address}. Consider setting resolver_name or setting cluster type"
            " to 'STRICT_DNS' or 'LOGICAL_DNS'",
        )
        return None
    return Address(ip, socket.port_value)


def ip_literal(text: str) -> str | None:
    """The address in canonical form, None if `text` is none."""
    # Ten thousand clusters are compiled at start: this costs a tenth of `ipaddress` for IPv4.
    try:
        inet_pton(AF_INET, text)
    except OSError:
        try:
            return str(ipaddress.IPv6Address(text))
        except ValueError:
            return None
    return text
