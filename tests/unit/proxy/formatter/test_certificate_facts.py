from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from proxy.formatter.certificate_facts import certificate_facts
from proxy.formatter.fingerprints import sha1_of, sha256_of

BEGIN = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
_KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(names: list[x509.GeneralName]) -> bytes:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme, Inc"),
            x509.NameAttribute(NameOID.COMMON_NAME, "a"),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b.c"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
        .public_key(_KEY.public_key())
        .serial_number(0xABC)
        .not_valid_before(BEGIN)
        .not_valid_after(BEGIN + datetime.timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(_KEY, SHA256()).public_bytes(Encoding.DER)


def test_names_read_as_openssl_prints_them() -> None:
    facts = certificate_facts(certificate([]))
    assert facts.subject == "emailAddress=a@b.c,CN=a,O=Acme\\, Inc,C=US"
    assert facts.issuer == "CN=ca"
    assert facts.serial == "0abc"
    assert facts.not_after - facts.not_before == 86400
    assert facts.not_before == BEGIN.timestamp()


def test_alternative_names_are_listed_by_kind() -> None:
    facts = certificate_facts(
        certificate(
            [
                x509.UniformResourceIdentifier("spiffe://a/b"),
                x509.UniformResourceIdentifier("spiffe://a/c"),
                x509.DNSName("a.example"),
                x509.IPAddress(ipaddress.ip_address("::1")),
                x509.RFC822Name("x@y.z"),
                x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x03abc"),
                x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x02\x01\x05"),
            ]
        )
    )
    assert facts.uri_sans == "spiffe://a/b,spiffe://a/c"
    assert (facts.dns_sans, facts.ip_sans, facts.email_sans) == ("a.example", "::1", "x@y.z")
    assert facts.othername_sans == "abc,"


def test_the_whole_certificate_is_url_encoded() -> None:
    text = certificate_facts(certificate([])).url_encoded_pem
    assert text.startswith("-----BEGIN%20CERTIFICATE-----%0A")
    assert not set("\n +/=") & set(text)


def test_what_is_no_certificate_has_no_facts() -> None:
    assert certificate_facts(b"junk").subject == ""
    assert certificate_facts(b"junk").serial == ""


def test_fingerprints_are_of_the_bytes() -> None:
    assert sha1_of(b"abc") == "a9993e364706816aba3e25717850c26c9cd0d89d"
    assert sha256_of(b"abc").startswith("ba7816bf8f01cfea")


def test_a_name_that_cannot_be_read_is_empty() -> None:
    facts = certificate_facts(certificate([x509.DNSName("a.test")]).replace(b"Acme", b"A\xffme"))
    assert (facts.subject, facts.issuer, facts.dns_sans) == ("", "CN=ca", "a.test")
