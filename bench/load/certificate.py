"""A certificate of its own for the TLS listeners of load tests; the generators do not check it."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.x509.oid import NameOID


class Certificate(msgspec.Struct, frozen=True):
    """Two PEM files."""

    certificate: Path
    key: Path


def client_context(certificate: Certificate) -> ssl.SSLContext:
    """A client that trusts `certificate`, whatever it is asked for by."""
    context = ssl.create_default_context(cafile=str(certificate.certificate))
    context.check_hostname = False
    return context


def make_certificate(directory: Path, *, rsa: bool = False) -> Certificate:
    """A self-signed certificate for a day, written into `directory`: P-256, or RSA of 2,048 bits."""
    key = generate_private_key(65537, 2048) if rsa else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    made = Certificate(directory / "bench.pem", directory / "bench.key")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return made
