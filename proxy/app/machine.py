"""Facts about the machine that the proxy runs on."""

from __future__ import annotations

import socket


def own_address(version: str) -> str:
    """The address that this machine would use to reach others, "v4" or "v6"; loopback if it has none.

    Stands for Envoy's choice, the first interface that is not loopback. Nothing is sent.
    """
    family, elsewhere, loopback = (
        (socket.AF_INET6, "2001:db8::1", "::1")
        if version == "v6"
        else (socket.AF_INET, "192.0.2.1", "127.0.0.1")
    )
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            address: str = probe.getsockname()[0]
            return address
    except OSError:
        return loopback
