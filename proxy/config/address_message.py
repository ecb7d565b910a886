"""Addresses as `envoy.config.core.v3.Address`."""

from __future__ import annotations

from typing import Any

from proxy.base.address import Address


def set_address(message: Any, address: Address) -> None:
    """Fill an `envoy.config.core.v3.Address`."""
    if address.listener_name:
        message.envoy_internal_address.server_listener_name = address.listener_name
        message.envoy_internal_address.endpoint_id = address.endpoint_id
    elif address.path:
        message.pipe.path = address.path
    else:
        message.socket_address.address = address.ip
        message.socket_address.port_value = address.port
