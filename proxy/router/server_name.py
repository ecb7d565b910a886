"""The name that a request wants its TLS connection upstream to be for, where the cluster leaves that to requests.

As in Envoy's router, an IP address is nothing to send as SNI, but may stand in a certificate.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from proxy.base.messages import RequestHead
from proxy.upstream.cluster_config import AutoSni, UpstreamProtocol
from proxy.upstream.pool.api import ServerName


def server_name_of(names: AutoSni, head: RequestHead, authority: str) -> ServerName | None:
    """What `names` asks for; `head` is the client's, `authority` what the route makes of its own."""
    value = (names.header and head.headers.get(names.header)) or authority
    host, is_address = _host_of(value.lower())
    sni = host if names.sni and not is_address else ""
    san = host if names.san else ""
    return ServerName(sni, san) if sni or san else None


def with_alpn(
    name: ServerName | None, overrides: Mapping[str, tuple[str, ...]], protocol: UpstreamProtocol, client: str
) -> ServerName | None:
    """`name` with what the `istio.alpn` filter offers for the protocol upstream; `client` is the downstream one."""
    match protocol:
        case UpstreamProtocol.DOWNSTREAM:
            key = {"HTTP/2": "HTTP2", "HTTP/1.0": "HTTP10"}.get(client, "HTTP11")
        case UpstreamProtocol.HTTP1:
            key = "HTTP11"
        case _:
            key = "HTTP2"
    alpn = overrides.get(key, ())
    if not alpn:
        return name
    return ServerName("", "", alpn) if name is None else name._replace(alpn=alpn)


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
