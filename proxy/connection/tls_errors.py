"""Failed handshakes in Envoy's words, for `%DOWNSTREAM_TRANSPORT_FAILURE_REASON%` and its upstream twin."""

from __future__ import annotations

import ssl
from typing import Final

#: BoringSSL's numbers of the reasons that a peer can cause (ssl.h, `SSL_R_*`); an alert's is 1000 + its code.
_REASONS: Final = {
    "BAD_PACKET_LENGTH": 112,
    "BAD_SIGNATURE": 115,
    "CONNECTION_REJECTED": 133,
    "CERTIFICATE_VERIFY_FAILED": 125,
    "DECODE_ERROR": 137,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": 139,
    "ENCRYPTED_LENGTH_TOO_LONG": 146,
    "HTTPS_PROXY_REQUEST": 155,
    "KEY_USAGE_BIT_INCORRECT": 302,
    "HTTP_REQUEST": 156,
    "INVALID_ALPN_PROTOCOL": 269,
    "NO_APPLICATION_PROTOCOL": 307,
    "NO_COMMON_SIGNATURE_ALGORITHMS": 253,
    "NO_SHARED_CIPHER": 184,
    "NO_SHARED_GROUP": 266,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": 192,
    "UNEXPECTED_RECORD": 225,
    "UNSUPPORTED_PROTOCOL": 240,
    "WRONG_VERSION_NUMBER": 247,
    "SSLV3_ALERT_BAD_RECORD_MAC": 1020,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": 1040,
    "SSLV3_ALERT_BAD_CERTIFICATE": 1042,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": 1043,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": 1044,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": 1045,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": 1046,
    "SSLV3_ALERT_ILLEGAL_PARAMETER": 1047,
    "TLSV1_ALERT_UNKNOWN_CA": 1048,
    "TLSV1_ALERT_ACCESS_DENIED": 1049,
    "TLSV1_ALERT_DECODE_ERROR": 1050,
    "TLSV1_ALERT_DECRYPT_ERROR": 1051,
    "TLSV1_ALERT_PROTOCOL_VERSION": 1070,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": 1071,
    "TLSV1_ALERT_INTERNAL_ERROR": 1080,
    "TLSV1_ALERT_USER_CANCELLED": 1090,
    "TLSV1_UNRECOGNIZED_NAME": 1112,
    "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY": 1115,
    "TLSV1_ALERT_CERTIFICATE_REQUIRED": 1116,
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": 1120,
}
#: Reasons for which OpenSSL and BoringSSL have different words.
_RENAMED: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "TLSV1_ALERT_CERTIFICATE_REQUIRED",
    "TLSV1_ALERT_NO_RENEGOTIATION": "TLSV1_ALERT_USER_CANCELLED",
    "NO_SUITABLE_KEY_SHARE": "NO_SHARED_GROUP",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "NO_COMMON_SIGNATURE_ALGORITHMS",
    "BAD_RECORD_TYPE": "WRONG_VERSION_NUMBER",
    "PACKET_LENGTH_TOO_LONG": "ENCRYPTED_LENGTH_TOO_LONG",
    "RECORD_LENGTH_MISMATCH": "DECODE_ERROR",
    "UNEXPECTED_MESSAGE": "UNEXPECTED_RECORD",
}
_SSL_LIBRARY: Final = 16 << 24

#: X509_V_ERR_UNABLE_TO_GET_CRL and X509_V_ERR_CERT_REVOKED.
_REVOCATION_CODES: Final = frozenset({3, 23})
#: For a connection that came before its secrets.
SECRET_MISSING: Final = "TLS error: Secret is not supplied by SDS"  # noqa: S105  (a text)
#: A client wants to know the status of our certificate, and policy demands a response that is not there.
STAPLE_MISSING: Final = "CONNECTION_REJECTED"
NO_SHARED_SIGNATURES: Final = "NO_SHARED_SIGNATURE_ALGORITHMS"
#: What BoringSSL says instead, of TLS 1.3 and of older versions.
NO_COMMON_SIGNATURES: Final = "NO_COMMON_SIGNATURE_ALGORITHMS"
NO_SHARED_CIPHER: Final = "NO_SHARED_CIPHER"
HANDSHAKE_FAILURE: Final = "SSLV3_ALERT_HANDSHAKE_FAILURE"
NO_CERTIFICATE: Final = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
VERIFY_FAILED: Final = "CERTIFICATE_VERIFY_FAILED"


class PeerRefused(ssl.SSLCertVerificationError):
    """The peer's certificate is trusted, but a check of our own says no. `details` are Envoy's words for it."""

    def __init__(self, details: str) -> None:
        super().__init__(1, details)
        self.details = details


class NameMismatch(PeerRefused):
    """The peer's certificate has none of the wanted subject alternative names."""

    def __init__(self, names: list[str], details: str = "") -> None:
        super().__init__(details or f"SAN matcher, certificate SANs are [{', '.join(names)}]")
        self.names = names


class PinMismatch(PeerRefused):
    """The peer's certificate, or its key, is none of those that were pinned."""

    def __init__(self) -> None:
        super().__init__("cert hash and spki")


class ChainRefused(PeerRefused):
    """The chain is not what the validation context wants."""


class HelloRefused(ssl.SSLError):
    """A server has nothing in common with our hello: it alerts of a failed handshake before anything else."""

    def __init__(self) -> None:
        super().__init__(1, "hello refused")
        self.reason = HANDSHAKE_FAILURE


class KeyUsageRefused(ssl.SSLError):
    """The key of the peer's certificate is not for what the agreed cipher suite does with it."""

    def __init__(self) -> None:
        super().__init__(1, "key usage bit incorrect")
        self.reason = "KEY_USAGE_BIT_INCORRECT"


def reason_name(error: BaseException) -> str:
    """BoringSSL's name of the failure, such as `WRONG_VERSION_NUMBER`; "" if this is no TLS error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return VERIFY_FAILED
    if not isinstance(error, ssl.SSLError):
        return ""
    reason = getattr(error, "reason", None) or ""  # one that Python itself raises has none
    return _RENAMED.get(reason, reason)


def failure_reason(error: BaseException) -> str | None:
    """`TLS_error:|<number>:SSL routines:OPENSSL_internal:<reason>:TLS_error_end`, or None if it is none."""
    name = reason_name(error)
    if not name:
        return None
    text = f"TLS_error:|{_SSL_LIBRARY + _REASONS.get(name, 0)}:SSL routines:OPENSSL_internal:{name}"
    if isinstance(error, PeerRefused):
        text += f":verify cert failed: {error.details}"
    elif isinstance(error, ssl.SSLCertVerificationError):
        cause = getattr(error, "verify_message", "")
        if getattr(error, "verify_code", 0) in _REVOCATION_CODES:
            cause = f"certificate revocation check against provided CRLs failed: {cause}"
        text += f":verify cert failed: X509_verify_cert: certificate verification error: {cause}"
    elif isinstance(error, HelloRefused):
        text += f"|{_SSL_LIBRARY + 154}:SSL routines:OPENSSL_internal:HANDSHAKE_FAILURE_ON_CLIENT_HELLO"
    elif name == NO_CERTIFICATE:
        text += ":peer did not provide required client certificate"
    return f"{text}:TLS_error_end"
