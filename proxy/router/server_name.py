"""The name that a request wants its TLS connection upstream to be for, where the cluster leaves that to requests.

As in Envoy's router, an IP address is nothing to send as SNI, but may stand in a certificate.
"""

from __future__ import annotations

import ipaddress

from proxy.base.messages import RequestHead
from proxy.upstream.cluster_config import AutoSni
from proxy.upstream.pool.api import ServerName


def server_name_of(names: AutoSni, head: RequestHead, authority: str) -> ServerName | None:
    """What `names` asks for; `head` is the client's, `authority` what the route makes of its own."""
    value = (names.header and head.headers.get(names.header)) or authority
    host, is_address = _host_of(value.lower())
    sni = host if names.sni and not is_address else ""
    san = host if names.san else ""
    return ServerName(sni, san) if sni or san else None


def _host_of(authority: str) -> tuple[str, bool]:
    """The host of `host:port`, and whether it is an IP address (its brackets left out)."""
    host = authority
    if authority.startswith("["):
        host = authority[1:].partition("]")[0]
    elif authority.count(":") == 1:
        host = authority.partition(":")[0]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host, False
    return host, True
