"""The hosts of a control plane's cluster in the bootstrap, in the order in which they are tried."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.errors import ConfigError
from xds_client.api import ServerTls, Surroundings
from xds_client.errors import ConnectError
from xds_client.messages import seconds

DEFAULT_CONNECT_TIMEOUT: Final = 5.0
"""Seconds, `cluster.v3.Cluster.connect_timeout` when unset."""

_TYPES: Final = ("STATIC", "STRICT_DNS", "LOGICAL_DNS")
_UNHEALTHY: Final = frozenset({2, 3, 4})  # core.v3.HealthStatus: UNHEALTHY, DRAINING, TIMEOUT
_PLAIN_SOCKET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Host(Struct, frozen=True):
    """One place to connect to: an address and port, or the path of a unix socket (port 0)."""

    address: str
    port: int
    hostname: str = ""

    def __str__(self) -> str:
        if not self.port:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def target(self) -> str:
        """The gRPC target of this address."""
        if not self.port:
            return (
                f"unix-abstract:{self.address[1:]}"
                if self.address.startswith("@")
                else f"unix:{self.address}"
            )
        return f"{'ipv6' if ':' in self.address else 'ipv4'}:{self}"


class ServerCluster:
    """A cluster of the bootstrap as the place of a control plane.

    Raises `ConfigError` if it is unknown or of a kind whose hosts cannot be known without a control plane.
    """

    def __init__(self, name: str, surroundings: Surroundings) -> None:
        message = surroundings.cluster(name)
        if message is None:
            raise ConfigError(f"the cluster {name!r} of the control plane is not a static cluster")
        kind = message.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[message.type].name
        if message.HasField("cluster_type") or kind not in _TYPES:
            kind = message.cluster_type.name or kind
            raise ConfigError(
                f"the cluster {name!r} of the control plane has the type {kind}; use one of {', '.join(_TYPES)}"
            )
        self.name = name
        self.message = message
        self.connect_timeout = (
            seconds(message.connect_timeout)
            if message.HasField("connect_timeout")
            else DEFAULT_CONNECT_TIMEOUT
        )
        options = message.upstream_connection_options
        self.tcp_keepalive = options.tcp_keepalive if options.HasField("tcp_keepalive") else None
        self._logical = kind == "LOGICAL_DNS"
        self._resolves = kind != "STATIC"
        self._surroundings = surroundings
        if not any(group.lb_endpoints for group in message.load_assignment.endpoints):
            raise ConfigError(f"the cluster {name!r} of the control plane has no endpoint")

    def tls(self) -> ServerTls | None:
        """How to speak TLS to its hosts, None for plain text. Raises `ConfigError`."""
        message = self.message
        if not message.HasField("transport_socket"):
            return None
        if message.transport_socket.typed_config.type_url == _PLAIN_SOCKET:
            return None
        if self._surroundings.tls is None:
            raise ConfigError(
                f"the cluster {self.name!r} of the control plane needs TLS, which is not to be had here"
            )
        return self._surroundings.tls(message)

    def http2(self) -> Any:
        """Its `core.v3.Http2ProtocolOptions`, from either place; None if it has none."""
        from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

        packed = self.message.typed_extension_protocol_options.get(_HTTP_OPTIONS)
        if packed is not None:
            options = http_protocol_options_pb2.HttpProtocolOptions.FromString(packed.value)
            if options.explicit_http_config.HasField("http2_protocol_options"):
                return options.explicit_http_config.http2_protocol_options
            return None
        return (
            self.message.http2_protocol_options if self.message.HasField("http2_protocol_options") else None
        )

    async def hosts(self, loop: asyncio.AbstractEventLoop) -> list[Host]:
        """Its hosts by priority, within one in random order. Raises `ConnectError` if there is none."""
        found: list[Host] = []
        error = ""
        for group in sorted(self.message.load_assignment.endpoints, key=lambda group: group.priority):
            same: list[Host] = []
            for entry in group.lb_endpoints:
                if entry.health_status in _UNHEALTHY:
                    continue
                try:
                    same += await self._resolve(entry.endpoint, loop)
                except OSError as failure:
                    error = f": {failure}"
            found += _rotated(same, self._surroundings.draw)
        if not found:
            raise ConnectError(f"the cluster {self.name!r} has no healthy host{error}")
        return found

    async def _resolve(self, endpoint: Any, loop: asyncio.AbstractEventLoop) -> list[Host]:
        address = endpoint.address
        if address.HasField("pipe"):
            return [Host(address.pipe.path, 0, endpoint.hostname)]
        place = address.socket_address
        hostname = endpoint.hostname or (place.address if self._resolves else "")
        if not self._resolves:
            return [Host(place.address, place.port_value, hostname)]
        async with asyncio.timeout(self.connect_timeout):
            infos = await loop.getaddrinfo(place.address, place.port_value, type=socket.SOCK_STREAM)
        hosts = list(dict.fromkeys(Host(str(info[4][0]), place.port_value, hostname) for info in infos))
        return hosts[:1] if self._logical else hosts


def _rotated(hosts: list[Host], draw: Callable[[], float]) -> list[Host]:
    """The hosts from a random one on, so that clients spread over servers."""
    start = int(draw() * len(hosts))
    return hosts[start:] + hosts[:start]
