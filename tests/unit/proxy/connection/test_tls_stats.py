"""Counts of handshakes."""

from __future__ import annotations

import ssl

from proxy.base.stream_info import TlsInfo
from proxy.connection.tls_errors import ChainRefused, NameMismatch, PinMismatch
from proxy.connection.tls_stats import SslStats


def test_ciphers_and_versions_are_counted_by_name() -> None:
    stats = SslStats("listener.a.ssl.")
    info = TlsInfo()
    info.cipher, info.version, info.peer_certificate_der = "C", "V", b"x"
    stats.succeeded(info, reused=True, overlooked=None)
    counters = {name: count for name, count in stats.counters().items() if count}
    assert counters == {
        "listener.a.ssl.handshake": 1,
        "listener.a.ssl.session_reused": 1,
        "listener.a.ssl.ciphers.C": 1,
        "listener.a.ssl.versions.V": 1,
    }


def test_failures_are_told_apart() -> None:
    stats = SslStats("x.")
    stats.failed(None)
    stats.failed(ConnectionResetError())
    stats.failed(NameMismatch([]))
    stats.failed(ssl.SSLCertVerificationError())
    error = ssl.SSLError()
    error.reason = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    stats.failed(error)
    stats.failed(ssl.SSLError())
    assert (stats.fail_verify_san, stats.fail_verify_error, stats.fail_verify_no_cert) == (1, 1, 1)
    assert stats.connection_error == 1


def test_what_is_overlooked_is_counted() -> None:
    stats = SslStats("listener.a.ssl.")
    info = TlsInfo()
    info.peer_certificate_der = b"x"
    for overlooked in (ChainRefused(""), NameMismatch([]), PinMismatch()):
        stats.succeeded(info, reused=False, overlooked=overlooked)
    assert (stats.handshake, stats.fail_verify_error, stats.fail_verify_san) == (3, 1, 1)
    assert stats.fail_verify_cert_hash == 1
