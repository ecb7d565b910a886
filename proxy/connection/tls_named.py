"""TLS to a host under a name that a request brings (`auto_sni`, `auto_san_validation`)."""

from __future__ import annotations

import ssl
from typing import Any

from proxy.connection.tls_object import CheckedSslObject


class NamedTls:
    """The TLS config of a cluster for connections that send `sni` to hosts whose certificate must be for `san`.

    Either may be "" for what the config says.
    """

    __slots__ = ("_san", "_sni", "_transport")

    def __init__(self, transport: Any, sni: str, san: str) -> None:
        self._transport = transport
        self._sni = sni
        self._san = san

    def current(self) -> NamedUpstreamTls | None:
        """See `RotatingTls`."""
        config = self._transport.current()
        return None if config is None else NamedUpstreamTls(config, self._sni, self._san)


class NamedUpstreamTls:
    """Stands for an `UpstreamTlsConfig`."""

    __slots__ = ("_config", "_sni", "context")

    def __init__(self, config: Any, sni: str, san: str) -> None:
        self.context: Any = NamedContext(config.context, san) if san else config.context
        self._config = config
        self._sni = sni

    def server_name(self, hostname: str) -> str:
        """See `UpstreamTlsConfig`."""
        return self._sni or self._config.server_name(hostname)


class NamedContext:
    """A client's context for a connection whose peer's certificate must be for `name`."""

    __slots__ = ("_context", "_name")

    def __init__(self, context: Any, name: str) -> None:
        self._context = context
        self._name = name

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        made: CheckedSslObject = self._context.wrap_bio(*args, **options)
        made.wanted_name = self._name
        return made
