"""Statistics of TLS handshakes, under Envoy's names."""

from __future__ import annotations

import ssl
from typing import Any, ClassVar

from proxy.base.stats import StatGroup
from proxy.base.stream_info import TlsInfo
from proxy.connection.tls_errors import (
    NO_CERTIFICATE,
    VERIFY_FAILED,
    NameMismatch,
    PeerRefused,
    PinMismatch,
    reason_name,
)
from proxy.connection.tls_secrets import RotatingTls
from proxy.connection.tls_stapling import StapleAction


class SslStats(StatGroup):
    """`listener.<address>.ssl.*` and `cluster.<name>.ssl.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "connection_error",
        "handshake",
        "session_reused",
        "no_certificate",
        "fail_verify_no_cert",
        "fail_verify_error",
        "fail_verify_san",
        "fail_verify_cert_hash",
        "ocsp_staple_failed",
        "ocsp_staple_omitted",
        "ocsp_staple_requests",
        "ocsp_staple_responses",
    )

    connection_error: int
    handshake: int
    session_reused: int
    no_certificate: int
    fail_verify_no_cert: int
    fail_verify_error: int
    fail_verify_san: int
    fail_verify_cert_hash: int
    ocsp_staple_failed: int
    ocsp_staple_omitted: int
    ocsp_staple_requests: int
    ocsp_staple_responses: int

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._named: dict[str, int] = {}

    def counters(self) -> dict[str, int]:
        """With one counter for each cipher and version that was negotiated."""
        values = super().counters()
        values.update((self.prefix + name, count) for name, count in self._named.items())
        return values

    def succeeded(self, info: TlsInfo, *, reused: bool, overlooked: PeerRefused | None) -> None:
        """Count a finished handshake, and what was `overlooked` in it."""
        self.handshake += 1
        if overlooked is not None:
            self.failed(overlooked)
        if reused:
            self.session_reused += 1
        if not info.peer_certificate_der:
            self.no_certificate += 1
        named = self._named
        for name in (f"ciphers.{info.cipher}", f"versions.{info.version}"):
            named[name] = named.get(name, 0) + 1

    def stapled(self, action: StapleAction) -> None:
        """Count what became of a client's status request."""
        if action != StapleAction.NONE:
            self.ocsp_staple_requests += 1
            self.ocsp_staple_responses += action == StapleAction.STAPLE
            self.ocsp_staple_omitted += action == StapleAction.OMIT
            self.ocsp_staple_failed += action == StapleAction.FAIL

    def failed(self, error: BaseException | None) -> None:
        """Count a failed handshake; a peer that merely went away is no error."""
        name = "" if error is None else reason_name(error)
        if isinstance(error, NameMismatch):
            self.fail_verify_san += 1
        elif isinstance(error, PinMismatch):
            self.fail_verify_cert_hash += 1
        elif name == VERIFY_FAILED:
            self.fail_verify_error += 1
        elif name == NO_CERTIFICATE:
            self.fail_verify_no_cert += 1
        elif isinstance(error, ssl.SSLError):
            self.connection_error += 1


class SecretStats(StatGroup):
    """`listener.<address>.server_ssl_socket_factory.*` and `cluster.<name>.client_ssl_socket_factory.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "ssl_context_update_by_sds",
        "downstream_context_secrets_not_ready",
        "upstream_context_secrets_not_ready",
    )

    ssl_context_update_by_sds: int
    downstream_context_secrets_not_ready: int
    upstream_context_secrets_not_ready: int

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        #: Contexts whose updates are counted: those of one worker, as all workers have the same.
        self.counted: list[RotatingTls[Any]] = []

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        values = super().counters()
        updates = sum(tls.updates for tls in self.counted)
        if updates:
            values[f"{self.prefix}ssl_context_update_by_sds"] = updates
        return values

    def count(self, tls: Any) -> None:
        """Count the updates of `tls`, if it can have any."""
        if isinstance(tls, RotatingTls):
            self.counted.append(tls)
