"""What the standard library's TLS lacks for a proxy: checks at the end of a handshake, the name a client asked for,
sessions to resume.

Both classes stand where the event loop expects the standard library's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from proxy.connection import openssl
from proxy.connection.tls_checks import PeerChecks, key_usage_fits, server_name_presented
from proxy.connection.tls_errors import (
    HANDSHAKE_FAILURE,
    NO_COMMON_SIGNATURES,
    NO_SHARED_CIPHER,
    NO_SHARED_SIGNATURES,
    STAPLE_MISSING,
    HelloRefused,
    KeyUsageRefused,
    NameMismatch,
    PeerRefused,
    reason_name,
)
from proxy.connection.tls_names import names_of
from proxy.connection.tls_stapling import StapleAction

if TYPE_CHECKING:
    from proxy.connection.tls_key_log import KeyLogRanges

#: A session, and the name that its server was asked for by.
NamedSession = tuple[str | None, ssl.SSLSession]


class CheckedSslObject(ssl.SSLObject):
    """An `SSLObject` whose handshake also runs `checks`; `requested_sni` is what a client sent.

    With `checks_server_name` the peer's certificate must be for the name that was sent to it as SNI.
    With `on_failure` set, a failed handshake is told to it and then looks as if more input were needed: the
    loop's TLS drops the line before the alert is out whenever an error reaches it.
    """

    checks: PeerChecks | None = None
    #: What a check found that is to be overlooked.
    overlooked: PeerRefused | None = None
    checks_server_name = False
    #: A name that the peer's certificate must be for besides all that, "" for none.
    wanted_name = ""
    requested_sni = ""
    #: Whether a client's hello has been read, and its version agreed on.
    greeted = False
    on_failure: Callable[[ssl.SSLError], None] | None = None
    #: What became of a client's request for the status of our certificate.
    staple_action = StapleAction.NONE
    #: Takes the session of a client for later connections.
    sessions: deque[NamedSession] | None = None

    def do_handshake(self) -> None:
        """As the standard library's; raises a `PeerRefused` for a certificate that a check does not like."""
        try:
            super().do_handshake()
            self._check_key_usage()
            if self.checks is not None:
                self.overlooked = self.checks.run(self)
            if self.checks_server_name and self.server_hostname:
                self._check_server_name(self.server_hostname)
            if self.wanted_name:
                self._check_wanted_name(self.wanted_name)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._note_staple()
            if self.staple_action == StapleAction.FAIL:
                error.reason = STAPLE_MISSING
            elif reason_name(error) == NO_SHARED_SIGNATURES:
                tells = openssl.AVAILABLE and openssl.negotiated_version(self) == "TLSv1.3"
                error.reason = NO_COMMON_SIGNATURES if tells else NO_SHARED_CIPHER
            elif reason_name(error) == HANDSHAKE_FAILURE and not self.server_side and self.cipher() is None:
                raise HelloRefused from error
            if self.on_failure is None:
                raise
            self.on_failure(error)
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "handshake failed") from None
        self._note_staple()
        if self.sessions is not None and self.version() != "TLSv1.3":
            self._keep_session(self.sessions)

    def _note_staple(self) -> None:
        if self.server_side and openssl.AVAILABLE:
            self.staple_action = openssl.staple_action(self)

    def unwrap(self) -> None:
        """As the standard library's. TLS 1.3 sends sessions after the handshake: by now they are here."""
        if self.sessions is not None:
            self._keep_session(self.sessions)
        super().unwrap()

    def _keep_session(self, sessions: deque[NamedSession]) -> None:
        session = self.session
        if session is not None and (session.has_ticket or session.id):
            sessions.append((self.server_hostname, session))

    def _check_key_usage(self) -> None:
        der = self.getpeercert(True)
        if not der:
            return
        # A client signs with its key whatever the cipher suite.
        cipher = None if self.server_side or self.version() == "TLSv1.3" else self.cipher()
        if not key_usage_fits(der, "" if cipher is None else cipher[0]):
            raise KeyUsageRefused

    def _check_wanted_name(self, name: str) -> None:
        if not server_name_presented(self, name):
            names = [presented for _, presented in names_of(self.getpeercert())]
            raise NameMismatch(
                names, f"verify SAN list, expected SANs: [{name}], certificate SANs: [{', '.join(names)}]"
            )

    def _check_server_name(self, name: str) -> None:
        if not server_name_presented(self, name):
            raise NameMismatch([presented for _, presented in names_of(self.getpeercert())])


class TlsContext(ssl.SSLContext):
    """A context of either side. `certificate_der` is the (first) certificate that it shows, b"" if none,
    `protocols` what it offers or takes by ALPN.

    Of several certificates, the one that a connection shows is asked of the library (`shows_several`).

    `sessions` keeps a client's last sessions, newest last; a connection resumes the newest of
    its server name.
    """

    certificate_der = b""
    shows_several = False
    #: Of whose connections secrets are written, None for everybody's or nobody's.
    key_log_ranges: KeyLogRanges | None = None
    #: Whether something is asked of the peer's certificate.
    validates = False
    protocols: Sequence[str] = ()
    sessions: deque[NamedSession] | None = None
    _half_closing: type[CheckedSslObject] | None = None

    def wrap_bio(self, *args: Any, half_closes: bool = False, **options: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`; with `half_closes` it is a `HalfClosingSslObject`."""
        if half_closes:
            whole = cast("type[CheckedSslObject]", self.sslobject_class)
            if self._half_closing is None:
                from proxy.connection.tls_half_close import half_closing_class  # HTTP does without

                self._half_closing = half_closing_class(whole)
            self.sslobject_class = self._half_closing
            made = cast("CheckedSslObject", super().wrap_bio(*args, **options))
            self.sslobject_class = whole
        else:
            made = cast("CheckedSslObject", super().wrap_bio(*args, **options))
        sessions = self.sessions
        if sessions is not None:
            made.sessions = sessions
            name = made.server_hostname
            for kept in reversed(sessions):
                if kept[0] == name:
                    made.session = kept[1]
                    # A session of TLS 1.3 should be used once (RFC 8446, C.4); those of 1.2 come back each time.
                    if len(sessions) > 1:
                        sessions.remove(kept)
                    break
        return made


def use_checks(context: ssl.SSLContext, checks: PeerChecks, *, server_name: bool = False) -> None:
    """Let every handshake of `context` run `checks`, and match the server's name if asked to."""
    attributes = {"checks": checks if checks.any else None, "checks_server_name": server_name}
    context.sslobject_class = type("SslObject", (CheckedSslObject,), attributes)


def ssl_protocol_class(loop: asyncio.AbstractEventLoop) -> Any:
    """The protocol that carries TLS in connections of `loop`; the loops have it, but no public name for it."""
    if type(loop).__module__.startswith("uvloop"):
        from uvloop import loop as uvloop_loop

        return vars(uvloop_loop)["SSLProtocol"]
    from asyncio.sslproto import SSLProtocol

    return SSLProtocol
