"""The fields that say who the client is and how it came: x-forwarded-*, via, x-envoy-*, client certificates.

After Envoy's `ConnectionManagerUtility::mutateRequestHeaders`. Everything here is a function of the request
head, the connection's addresses and the config, so its result may be kept for equal requests.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from msgspec import Struct

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.stream_info import ConnectionInfo
from proxy.hcm.client_certificate import apply_xfcc
from proxy.hcm.config import HcmConfig
from proxy.hcm.ip_detection import HeaderDetection, IpNetwork, XffDetection

#: Removed from every request that is not internal.
_INTERNAL_ONLY: Final = frozenset(
    {
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-max-retries",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-upstream-rq-timeout-alt-response",
        "x-envoy-upstream-stream-duration-ms",
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-force-trace",
        "x-envoy-ip-tags",
        "x-envoy-original-url",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-retriable-status-codes",
        "x-envoy-retriable-header-names",
    }
)
#: Removed besides at the edge of the mesh.
_EDGE_ONLY: Final = (
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
)
#: A peer at one of these is named by this proxy's own address; the rest of 127.0.0.0/8 counts as remote.
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
_SCHEMES: Final = frozenset({"http", "https"})
_HOP_BY_HOP: Final = frozenset({"keep-alive", "proxy-connection", "transfer-encoding", "te"})


class Origin(Struct):
    """Who sent a request: the address to log, and how far it is trusted.

    `direct` tells that the address is that of the connection, whose port differs from connection to connection.
    `reject_status` is what a request is answered with whose sender could not be told; 0 if it may go on.
    """

    address: Address
    internal: bool
    edge: bool
    direct: bool = False
    reject_status: int = 0


class Detected(Struct):
    """What was found of a client.

    `alone` tells that nobody else speaks for the address, so that it may be an internal one. `append` tells that
    the peer is to be added to x-forwarded-for. `reject_status` is as in `Origin`.
    """

    address: Address | None
    alone: bool
    append: bool = False
    reject_status: int = 0


class AddedFields:
    """What a request of one client gets that has no field which speaks of the way it came."""

    __slots__ = ("headers", "origin")

    def __init__(self, headers: HeaderMap, origin: Origin) -> None:
        self.headers = headers
        self.origin = origin


class LocalNode(Struct, frozen=True):
    """What this proxy says of itself: its address for x-forwarded-for, its node id and service cluster."""

    address: str = "127.0.0.1"
    node_id: str = ""
    cluster: str = ""


def remove_hop_by_hop(headers: HeaderMap, *, upgrade: bool) -> None:
    """Drop what belongs to one connection only; an upgrade keeps Connection and Upgrade."""
    if not upgrade:
        if "connection" in headers:
            headers.remove("connection")
        if "upgrade" in headers:
            headers.remove("upgrade")
    if _HOP_BY_HOP.isdisjoint(headers):
        return
    coding = headers.get("te")
    for name in _HOP_BY_HOP:
        headers.remove(name)
    if coding is not None and any(part.strip().lower() == "trailers" for part in coding.split(",")):
        headers.set("te", "trailers")


def apply_forwarding(
    head: RequestHead,
    connection: ConnectionInfo,
    config: HcmConfig,
    node: LocalNode,
    internal_only_headers: tuple[str, ...] = (),
) -> Origin:
    """Rewrite the forwarding fields of `head` in place and say where the request came from."""
    headers = head.headers
    if "x-envoy-internal" in headers:
        headers.remove("x-envoy-internal")
    scheme = "https" if connection.tls is not None else "http"
    found = _client_address(headers, connection, config)
    if found.reject_status:
        return Origin(connection.remote_address, False, False, True, found.reject_status)
    if found.append:
        _append_xff(headers, connection, node)
    if config.use_remote_address and (config.xff_trusted_hops == 0 or "x-forwarded-proto" not in headers):
        headers.set("x-forwarded-proto", scheme)
    if config.append_x_forwarded_port and (
        "x-forwarded-port" not in headers or (config.use_remote_address and config.xff_trusted_hops == 0)
    ):
        headers.set("x-forwarded-port", str(connection.local_address.port))
    if "x-forwarded-proto" not in headers:
        headers.set("x-forwarded-proto", scheme)
    _set_scheme(head, config, scheme)
    own = connection.remote_address
    address = found.address or own
    internal = found.alone and found.address is not None and _is_internal(address, config)
    origin = Origin(address, internal, not internal and config.use_remote_address, address == own)
    if internal:
        headers.set("x-envoy-internal", "true")
    else:
        _strip_internal(headers, origin, internal_only_headers)
    _identify_proxy(headers, config, node, origin)
    if connection.tls is not None or "x-forwarded-client-cert" in headers:
        apply_xfcc(headers, connection, config.forward_client_cert, config.client_cert_details)
    return origin


def _strip_internal(headers: HeaderMap, origin: Origin, internal_only_headers: tuple[str, ...]) -> None:
    if origin.edge:
        for name in _EDGE_ONLY:
            if name in headers:
                headers.remove(name)
    if not _INTERNAL_ONLY.isdisjoint(headers):
        for name in _INTERNAL_ONLY:
            headers.remove(name)
    for name in internal_only_headers:
        headers.remove(name)


def _identify_proxy(headers: HeaderMap, config: HcmConfig, node: LocalNode, origin: Origin) -> None:
    if config.add_user_agent and node.cluster:
        headers.set("x-envoy-downstream-service-cluster", node.cluster)
        if not headers.get("user-agent"):
            headers.set("user-agent", node.cluster)
        if node.node_id:
            headers.set("x-envoy-downstream-service-node", node.node_id)
    if config.via:
        append_via(headers, config.via)
    if origin.edge and origin.address.ip:
        headers.set("x-envoy-external-address", origin.address.ip)


def append_via(headers: HeaderMap, via: str) -> None:
    """Add this proxy to the Via field, in the same line as those before it."""
    present = headers.get("via")
    headers.set("via", f"{present}, {via}" if present else via)


def _set_scheme(head: RequestHead, config: HcmConfig, connection_scheme: str) -> None:
    if config.scheme_overwrite:
        head.scheme = config.scheme_overwrite
        head.headers.set("x-forwarded-proto", config.scheme_overwrite)
        return
    if head.scheme not in _SCHEMES:
        forwarded = head.headers.get("x-forwarded-proto", "").lower()
        head.scheme = forwarded if forwarded in _SCHEMES else connection_scheme


def _append_xff(headers: HeaderMap, connection: ConnectionInfo, node: LocalNode) -> None:
    peer = connection.remote_address.ip
    if not peer:
        return
    value = node.address if peer in _LOOPBACK else peer
    present = headers.get("x-forwarded-for")
    headers.set("x-forwarded-for", f"{present},{value}" if present else value)


def _client_address(headers: HeaderMap, connection: ConnectionInfo, config: HcmConfig) -> Detected:
    if config.use_remote_address:
        alone = "x-forwarded-for" not in headers
        address = None
        if config.xff_trusted_hops > 0:
            address, _ = last_xff_address(headers, config.xff_trusted_hops - 1)
        return Detected(address or connection.remote_address, alone, not config.skip_xff_append)
    if config.ip_detections:
        return _detect(headers, connection, config)
    return Detected(*last_xff_address(headers, config.xff_trusted_hops))


def _detect(headers: HeaderMap, connection: ConnectionInfo, config: HcmConfig) -> Detected:
    """What the first extension finds that finds anything; of those before it, each may have the peer added."""
    found = Detected(None, False)
    for detection in config.ip_detections:
        if isinstance(detection, HeaderDetection):
            found.address = _address_in(headers, detection.name)
            found.alone = detection.trusted
            if found.address is None and detection.reject_status:
                found.reject_status = detection.reject_status
                break
        else:
            found.address, found.alone = _detect_by_xff(headers, connection, detection)
            found.append = found.append or not detection.skip_append
        if found.address is not None:
            break
    return found


def _address_in(headers: HeaderMap, name: str) -> Address | None:
    """The address that a field is, by its first line."""
    lines = headers.values_of(name)
    return _parse_ip(lines[0]) if lines else None


def last_xff_address(headers: HeaderMap, skip: int) -> tuple[Address | None, bool]:
    """The address `skip` places before the last of x-forwarded-for, and whether it is the only one.

    None if there are too few or the text there is no address. Only the last field line counts.
    """
    value = headers.get("x-forwarded-for")
    if value is None:
        return None, False
    parts = value.split(",")
    if skip >= len(parts):
        return None, False
    address = _parse_ip(parts[-1 - skip].strip())
    return address, address is not None and len(parts) == 1 and skip == 0


def _parse_ip(text: str) -> Address | None:
    """Canonical form, as Envoy prints it: mapped addresses with dots, a scope as a number."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if ip.version == 4:
        return Address(str(ip))
    if ip.ipv4_mapped is not None:
        return Address(f"::ffff:{ip.ipv4_mapped}")
    scope = ip.scope_id
    if scope is None or scope.isdigit():
        return Address(str(ip))
    try:
        return Address(f"{text.partition('%')[0]}%{socket.if_nametoindex(scope)}")
    except (OSError, ValueError):
        return None


def _detect_by_xff(
    headers: HeaderMap, connection: ConnectionInfo, detection: XffDetection
) -> tuple[Address | None, bool]:
    if detection.trusted_networks is None:
        address, single = last_xff_address(headers, detection.trusted_hops)
        return address, single
    if not _in_networks(connection.remote_address, detection.trusted_networks):
        return None, False
    value = headers.get("x-forwarded-for")
    parts = [] if value is None else [part.strip() for part in value.split(",")]
    address = None
    for text in reversed(parts):
        address = _parse_ip(text)
        if address is None:
            return None, False
        if not _in_networks(address, detection.trusted_networks):
            break
    return address, len(parts) == 1


def _in_networks(address: Address, networks: tuple[IpNetwork, ...]) -> bool:
    if not address.ip:
        return False
    ip = ipaddress.ip_address(address.ip.partition("%")[0])
    return any(ip in network for network in networks)


def _is_internal(address: Address, config: HcmConfig) -> bool:
    if address.path:
        return config.internal_addresses.unix_sockets
    return _in_networks(address, config.internal_addresses.networks)
