"""`original_ip_detection_extensions`, compiled: where the address of a client is looked for, place after place.

Source: envoy.extensions.http.original_ip_detection.{xff,custom_header}.v3. `proxy.hcm.forwarding` looks there.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from msgspec import Struct

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORBIDDEN: Final = 403
_ERRORS: Final = range(400, 512)


class XffDetection(Struct, frozen=True):
    """By x-forwarded-for: `envoy.http.original_ip_detection.xff`."""

    trusted_hops: int = 0
    trusted_networks: tuple[IpNetwork, ...] | None = None
    skip_append: bool = False


class HeaderDetection(Struct, frozen=True):
    """By a field that has nothing but an address: `envoy.http.original_ip_detection.custom_header`.

    `trusted` tells that the address may make a request an internal one. `reject_status` is the answer to a
    request without such an address; 0 lets the next detection look.
    """

    name: str
    trusted: bool
    reject_status: int


IpDetection = XffDetection | HeaderDetection


def compile_ip_detections(message: Any, path: str, context: CompileContext) -> tuple[IpDetection, ...]:
    """Those of an `HttpConnectionManager`, in their order."""
    extensions = message.original_ip_detection_extensions
    where = f"{path}.original_ip_detection_extensions"
    if extensions and message.use_remote_address.value:
        context.problem(where, "Original IP detection extensions and use_remote_address may not be mixed")
    if extensions and message.xff_num_trusted_hops > 0:
        context.problem(where, "Original IP detection extensions and xff_num_trusted_hops may not be mixed")
    found: list[IpDetection] = []
    for index, extension in enumerate(extensions):
        config = unpack(extension.typed_config, f"{where}[{index}].typed_config", context)
        if config is None:
            continue
        if config.DESCRIPTOR.name == "CustomHeaderConfig":
            found.append(_by_header(config))
        else:
            found.append(_by_xff(config, f"{where}[{index}]", context))
    return tuple(found)


def _by_header(config: Any) -> HeaderDetection:
    status = 0
    if config.HasField("reject_with_status"):
        code = config.reject_with_status.code
        status = code if code in _ERRORS else _FORBIDDEN
    return HeaderDetection(
        config.header_name.lower(), config.allow_extension_to_set_address_as_trusted, status
    )


def _by_xff(config: Any, path: str, context: CompileContext) -> XffDetection:
    networks = None
    if config.HasField("xff_trusted_cidrs"):
        if config.xff_num_trusted_hops:
            context.problem(path, "Cannot set both xff_num_trusted_hops and xff_trusted_cidrs")
        cidrs = config.xff_trusted_cidrs.cidrs
        networks = compile_networks(cidrs, f"{path}.typed_config.xff_trusted_cidrs.cidrs", context)
    skip = config.skip_xff_append.value if config.HasField("skip_xff_append") else True
    return XffDetection(config.xff_num_trusted_hops, networks, skip)


def compile_networks(ranges: Any, path: str, context: CompileContext) -> tuple[IpNetwork, ...]:
    """Repeated `CidrRange`, of Envoy's or of xDS."""
    result = []
    for index, cidr in enumerate(ranges):
        try:
            text = f"{cidr.address_prefix}/{cidr.prefix_len.value}"
            result.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            context.problem(f"{path}[{index}]", str(error))
    return tuple(result)
