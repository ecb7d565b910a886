"""Reads PEM certificates for `/certs` and for `server.days_until_first_cert_expiring`.

Imported when there are any: `cryptography` costs memory and a start's time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.x509 import ocsp
from envoy.admin.v3 import certs_pb2

from proxy.admin.state import Expiries, LoadedCertificate

_DAY: Final = 86400


def _load(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem) if pem else []
    except ValueError:
        return []


def _validity(staple: bytes) -> tuple[datetime, datetime] | None:
    """thisUpdate of an OCSP response, and nextUpdate or now for none, as in Envoy; None if it is no response."""
    try:
        response = ocsp.load_der_ocsp_response(staple)
        return response.this_update_utc, response.next_update_utc or datetime.now(UTC)
    except ValueError:
        return None


def certificate_details(pem: bytes, path: str, staple: bytes = b"") -> Iterator[Any]:
    """One `CertificateDetails` per certificate in `pem`; text that holds none gives none.

    `staple` is the OCSP response (DER) for the first.
    """
    now = time.time()
    for index, certificate in enumerate(_load(pem)):
        details = certs_pb2.CertificateDetails(path=path, serial_number=_serial(certificate))
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        details.valid_from.FromDatetime(begins)
        details.expiration_time.FromDatetime(ends)
        details.days_until_expiration = max(0, int((ends.timestamp() - now) // _DAY))
        validity = _validity(staple) if staple and index == 0 else None
        if validity is not None:
            details.ocsp_details.valid_from.FromDatetime(validity[0])
            details.ocsp_details.expiration.FromDatetime(validity[1])
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


def first_expiries(certificates: Iterable[LoadedCertificate]) -> Expiries:
    """What expires first of all that is loaded."""
    certificate_ends: list[float] = []
    staple_ends: list[float] = []
    for loaded in certificates:
        for pem in (loaded.chain, loaded.ca):
            certificate_ends += [one.not_valid_after_utc.timestamp() for one in _load(pem)]
        validity = _validity(loaded.staple) if loaded.staple else None
        if validity is not None:
            staple_ends.append(validity[1].timestamp())
    return Expiries(min(certificate_ends, default=None), min(staple_ends, default=None))
