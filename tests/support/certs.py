"""Certificates made on the spot: a test authority and leaf certificates with DNS, IP and SPIFFE names."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Issued:
    """A certificate and its key as PEM files; `chain` has the authority behind the leaf."""

    certificate: Path
    key: Path

    def server_context(self, *, client_ca: Path | None = None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """A server context of the standard library; asks for client certificates if `client_ca` is given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Authority:
    """A certificate authority that writes into `directory`; `certificate` is its PEM file.

    With a `parent` it is an intermediate one, and what it issues has its certificate behind the leaf.
    """

    def __init__(
        self, directory: Path, name: str = "test authority", parent: Authority | None = None
    ) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._count = 0
        signer = parent or self
        certificate = (
            signer._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer._key, hashes.SHA256())
        )
        self._certificate = certificate
        self.certificate = directory / f"{name.replace(' ', '-')}.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._behind_leaf = self.certificate.read_bytes() if parent is not None else b""

    def issue(
        self,
        *names: str,
        common_name: str | None = None,
        starts_in: datetime.timedelta = datetime.timedelta(hours=-1),
        lasts: datetime.timedelta = datetime.timedelta(days=2),
        rsa_key: bool = False,
        must_staple: bool = False,
        signs: bool = True,
    ) -> Issued:
        """A leaf certificate; a name may be a DNS name, an IP or mail address, a URI (`spiffe://...`), or of a type
        of its own (`<object identifier>=<text>`).

        Without `signs` its key is not for signatures.
        """
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
            rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or names[0][:64])])
        builder = self._builder(subject, key.public_key(), starts_in, lasts)
        if must_staple:
            builder = builder.add_extension(
                x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False
            )
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=signs,
                    key_encipherment=rsa_key,
                    content_commitment=False,
                    data_encipherment=False,
                    key_agreement=not signs,
                    key_cert_sign=False,
                    crl_sign=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(self._key, hashes.SHA256())
        )
        self._count += 1
        stem = f"leaf-{self._count}"
        certificate_path = self._directory / f"{stem}.pem"
        key_path = self._directory / f"{stem}.key"
        leaf = certificate.public_bytes(serialization.Encoding.PEM)
        certificate_path.write_bytes(leaf + self._behind_leaf)
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return Issued(certificate_path, key_path)

    def revoke(self, *revoked: Issued) -> Path:
        """A revocation list with the leaves of `revoked`."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - datetime.timedelta(hours=1))
            .next_update(now + datetime.timedelta(days=1))
        )
        for one in revoked:
            number = x509.load_pem_x509_certificate(one.certificate.read_bytes()).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now).build()
            )
        self._count += 1
        path = self._directory / f"revoked-{self._count}.pem"
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    def staple(self, issued: Issued, lasts: datetime.timedelta | None) -> Path:
        """An OCSP response in DER that says `issued` is good; without `lasts` it names no end."""
        now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=x509.load_pem_x509_certificate(issued.certificate.read_bytes()),
            issuer=self._certificate,
            algorithm=hashes.SHA1(),
            cert_status=ocsp.OCSPCertStatus.GOOD,
            this_update=now,
            next_update=None if lasts is None else now + lasts,
            revocation_time=None,
            revocation_reason=None,
        )
        response = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, self._certificate).sign(
            self._key, hashes.SHA256()
        )
        self._count += 1
        path = self._directory / f"staple-{self._count}.der"
        path.write_bytes(response.public_bytes(serialization.Encoding.DER))
        return path

    def client_context(self, issued: Issued | None = None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """A client context that trusts this authority and shows `issued`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.certificate)
        if issued is not None:
            context.load_cert_chain(issued.certificate, issued.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def _builder(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        starts_in: datetime.timedelta = datetime.timedelta(hours=-1),
        lasts: datetime.timedelta = datetime.timedelta(days=2),
    ) -> x509.CertificateBuilder:
        start = datetime.datetime.now(datetime.UTC) + starts_in
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + lasts)
        )


def _general_name(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    if "=" in name:
        kind, _, text = name.partition("=")
        utf8 = text.encode()
        return x509.OtherName(x509.ObjectIdentifier(kind), bytes([0x0C, len(utf8)]) + utf8)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
