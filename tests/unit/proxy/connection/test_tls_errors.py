"""Failures in Envoy's words."""

from __future__ import annotations

import ssl

from proxy.connection.tls_errors import NameMismatch, failure_reason, reason_name


def error(reason: str) -> ssl.SSLError:
    made = ssl.SSLError(1, "text")
    made.reason = reason
    return made


def test_an_alert_has_boringssl_s_number() -> None:
    assert failure_reason(error("TLSV1_ALERT_UNKNOWN_CA")) == (
        "TLS_error:|268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA:TLS_error_end"
    )


def test_words_of_openssl_alone_are_renamed() -> None:
    assert reason_name(error("TLSV13_ALERT_CERTIFICATE_REQUIRED")) == "TLSV1_ALERT_CERTIFICATE_REQUIRED"


def test_a_lost_connection_is_no_tls_error() -> None:
    assert failure_reason(ConnectionResetError()) is None


def test_a_wrong_name_lists_the_names_there_are() -> None:
    assert "SAN matcher, certificate SANs are [a, b]" in (failure_reason(NameMismatch(["a", "b"])) or "")
