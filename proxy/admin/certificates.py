"""Reads PEM certificates for `/certs` and for `server.days_until_first_cert_expiring`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from cryptography import x509
from envoy.admin.v3 import certs_pb2

from proxy.admin.state import LoadedCertificate

_DAY: Final = 86400

#: What Envoy shows for `days_until_first_cert_expiring` when no certificate is loaded.
NO_CERTIFICATE: Final = 2**32 - 1


def _load(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem) if pem else []
    except ValueError:
        return []


def certificate_details(pem: bytes, path: str) -> Iterator[Any]:
    """One `CertificateDetails` per certificate in `pem`; text that holds none gives none."""
    now = time.time()
    for certificate in _load(pem):
        details = certs_pb2.CertificateDetails(path=path, serial_number=_serial(certificate))
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        details.valid_from.FromDatetime(begins)
        details.expiration_time.FromDatetime(ends)
        details.days_until_expiration = max(0, int((ends.timestamp() - now) // _DAY))
        for name in _alternative_names(certificate):
            entry = details.subject_alt_names.add()
            if isinstance(name, x509.DNSName):
                entry.dns = name.value
            elif isinstance(name, x509.UniformResourceIdentifier):
                entry.uri = name.value
            elif isinstance(name, x509.IPAddress):
                entry.ip_address = str(name.value)
        yield details


def _serial(certificate: x509.Certificate) -> str:
    digits = f"{certificate.serial_number:x}"
    return "0" + digits if len(digits) % 2 else digits


def _alternative_names(certificate: x509.Certificate) -> Iterable[x509.GeneralName]:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()


def days_until_first_expiry(certificates: Iterable[LoadedCertificate]) -> int:
    """Whole days until the first certificate expires, 0 if one has; `NO_CERTIFICATE` if there is none."""
    ends = [
        certificate.not_valid_after_utc.timestamp()
        for loaded in certificates
        for pem in (loaded.chain, loaded.ca)
        for certificate in _load(pem)
    ]
    return max(0, int((min(ends) - time.time()) // _DAY)) if ends else NO_CERTIFICATE
