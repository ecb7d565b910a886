"""What the log shows of a certificate, computed from its DER bytes and remembered for the last few."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from msgspec import Struct

from proxy.formatter.wire import to_wire

#: OpenSSL's short names where RFC 4514 has none; Envoy prints these.
_SHORT_NAMES = {
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.TITLE: "title",
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.POSTAL_CODE: "postalCode",
}
_URL_ESCAPES = str.maketrans({"\n": "%0A", " ": "%20", "+": "%2B", "/": "%2F", "=": "%3D"})
#: Simple ASN.1 string types by tag, as they may stand in an otherName.
_STRING_TAGS = {0x04: "latin-1", 0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii", 0x1A: "ascii"}


class CertificateFacts(Struct, frozen=True):
    """Texts are "" where the certificate says nothing. Times are seconds since the epoch."""

    subject: str = ""
    issuer: str = ""
    serial: str = ""
    uri_sans: str = ""
    dns_sans: str = ""
    ip_sans: str = ""
    email_sans: str = ""
    othername_sans: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    url_encoded_pem: str = ""


_NONE = CertificateFacts()

#: What reading a part of a certificate may raise. OpenSSL takes some for good that are not.
MALFORMED = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


@lru_cache(maxsize=64)
def certificate_facts(der: bytes) -> CertificateFacts:
    """The facts of a certificate; empty what cannot be parsed of it, for a log line must not fail."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except MALFORMED:
        return _NONE
    try:
        names: Iterable[x509.GeneralName] = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except (x509.ExtensionNotFound, *MALFORMED):
        names = ()
    names = list(names)
    return CertificateFacts(
        subject=_name(certificate, "subject"),
        issuer=_name(certificate, "issuer"),
        serial=_serial(certificate.serial_number),
        uri_sans=_joined(n.value for n in names if isinstance(n, x509.UniformResourceIdentifier)),
        dns_sans=_joined(n.value for n in names if isinstance(n, x509.DNSName)),
        ip_sans=_joined(str(n.value) for n in names if isinstance(n, x509.IPAddress)),
        email_sans=_joined(n.value for n in names if isinstance(n, x509.RFC822Name)),
        othername_sans=_joined(_other_name(n.value) for n in names if isinstance(n, x509.OtherName)),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        url_encoded_pem=certificate.public_bytes(Encoding.PEM).decode("ascii").translate(_URL_ESCAPES),
    )


def _name(certificate: x509.Certificate, whose: str) -> str:
    try:
        name: x509.Name = getattr(certificate, whose)
    except MALFORMED:
        return ""
    text = name.rfc4514_string(_SHORT_NAMES)
    if text.isascii():
        return text
    # RFC 2253 as OpenSSL prints it: bytes beyond ASCII as `\C3`.
    return "".join(chr(byte) if byte < 0x80 else f"\\{byte:02X}" for byte in text.encode("utf-8"))


def _serial(number: int) -> str:
    text = f"{number:x}"
    return text if len(text) % 2 == 0 else "0" + text


def _joined(values: Iterable[str]) -> str:
    return to_wire(",".join(values))


def _other_name(der: bytes) -> str:
    """The text of a short ASN.1 string; "" for any other type."""
    if len(der) < 2 or der[0] not in _STRING_TAGS or der[1] != len(der) - 2:
        return ""
    return der[2:].decode(_STRING_TAGS[der[0]], "replace")
