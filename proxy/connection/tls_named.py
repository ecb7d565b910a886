"""TLS to a host as a request asks for it: under a name (`auto_sni`, `auto_san_validation`), with its ALPN."""

from __future__ import annotations

import ssl
from typing import Any

from proxy.connection.tls_object import CheckedSslObject


class NamedTls:
    """The TLS config of a cluster for connections that send `sni` to hosts whose certificate must be for `san`, and
    that offer `alpn`.

    Each may be empty for what the config says.
    """

    __slots__ = ("_alpn", "_san", "_sni", "_transport")

    def __init__(self, transport: Any, sni: str, san: str, alpn: tuple[str, ...] = ()) -> None:
        self._alpn = alpn
        self._transport = transport
        self._sni = sni
        self._san = san

    def current(self) -> NamedUpstreamTls | None:
        """See `RotatingTls`."""
        config = self._transport.current()
        return None if config is None else NamedUpstreamTls(config, self._sni, self._san, self._alpn)


class NamedUpstreamTls:
    """Stands for an `UpstreamTlsConfig`."""

    __slots__ = ("_config", "_sni", "context")

    def __init__(self, config: Any, sni: str, san: str, alpn: tuple[str, ...]) -> None:
        self.context: Any = NamedContext(config.context, san, alpn) if san or alpn else config.context
        self._config = config
        self._sni = sni

    def server_name(self, hostname: str) -> str:
        """See `UpstreamTlsConfig`."""
        return self._sni or self._config.server_name(hostname)


class NamedContext:
    """A client's context for a connection whose peer's certificate must be for `name`, and that offers `alpn`."""

    __slots__ = ("_alpn", "_context", "_name")

    def __init__(self, context: Any, name: str, alpn: tuple[str, ...] = ()) -> None:
        self._alpn = alpn
        self._context = context
        self._name = name

    @property
    def key_log_ranges(self) -> Any:
        """See `TlsContext`."""
        return self._context.key_log_ranges

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        context = self._context
        if self._alpn:
            # A connection copies the list of its context when it is made.
            context.set_alpn_protocols(self._alpn)
        made: CheckedSslObject = context.wrap_bio(*args, **options)
        if self._alpn:
            context.set_alpn_protocols(context.protocols)
        made.wanted_name = self._name
        return made
