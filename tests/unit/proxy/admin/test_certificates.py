from __future__ import annotations

import datetime
import json
import time
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.admin.certificates import certificate_details, first_expiries
from proxy.admin.state import NO_CERTIFICATE, Expiries, LoadedCertificate
from tests.support.admin_state import FakeAdminState, ask


def _pem(days: float, names: list[x509.GeneralName] | None = None) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(0xABC)
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_certificate_is_shown_as_envoy_shows_it() -> None:
    state = FakeAdminState()
    names = [
        x509.DNSName("a.com"),
        x509.UniformResourceIdentifier("spiffe://x/y"),
        x509.IPAddress(ip_address("1.2.3.4")),
        x509.RFC822Name("a@b.c"),
    ]
    state.loaded_certificates = [LoadedCertificate(_pem(99.5, names), "chain.pem", _pem(5), "ca.pem")]
    (entry,) = json.loads(ask(state, "/certs")[2])["certificates"]
    (chain,) = entry["cert_chain"]
    assert chain["path"] == "chain.pem"
    assert chain["serial_number"] == "0abc"
    assert chain["days_until_expiration"] == "99"
    assert chain["subject_alt_names"][:3] == [
        {"dns": "a.com"},
        {"uri": "spiffe://x/y"},
        {"ip_address": "1.2.3.4"},
    ]
    assert entry["ca_cert"][0]["path"] == "ca.pem"


def test_text_that_is_no_certificate_gives_none() -> None:
    assert list(certificate_details(b"rubbish", "x")) == []


@pytest.mark.parametrize(("days", "expected"), [(3.5, 3), (-1, 0)])
def test_the_first_to_expire_counts(days: float, expected: int) -> None:
    certificates = [LoadedCertificate(_pem(50.5)), LoadedCertificate(_pem(60.5), ca=_pem(days))]
    assert first_expiries(certificates).days(time.time()) == expected


def test_without_certificates_the_gauge_shows_envoys_marker() -> None:
    assert first_expiries([]).days(0.0) == NO_CERTIFICATE


def test_seconds_until_a_response_expires_count_down_to_zero() -> None:
    assert [Expiries(staple=10.0).staple_seconds(now) for now in (3.5, 12.0)] == [6, 0]
    assert Expiries().staple_seconds(0.0) == 0
