"""What is asked of a peer's certificate beyond the trust chain: names, pins, depth, SPIFFE trust domains.

The standard library has no hook into the verification, so all this runs when the handshake is otherwise done and
before the peer's first byte is looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import ssl
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source
from proxy.connection import openssl
from proxy.connection.tls_errors import ChainRefused, NameMismatch, PeerRefused, PinMismatch
from proxy.connection.tls_names import (
    NameTest,
    all_names_of,
    any_matches,
    compile_name_tests,
    dns_name_matches,
    names_of,
)

SPIFFE: Final = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
_SPIFFE_SCHEME: Final = "spiffe://"
#: `ssl` keeps the numbers of its encodings to itself.
_ENCODING_DER: Final = 2
_SHA256_BYTES: Final = 32
_KEY_USAGE: Final = b"\x06\x03\x55\x1d\x0f"
_CRITICAL: Final = b"\x01\x01\xff"
_DIGITAL_SIGNATURE: Final = 0x80
_KEY_ENCIPHERMENT: Final = 0x20
#: The two spellings of `verify_certificate_hash`.
_HEX: Final = re.compile("(?:[0-9A-Fa-f]{2})+", re.ASCII)
_FINGERPRINT: Final = re.compile("[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+", re.ASCII)
_ACCEPT_UNTRUSTED: Final = 1  # CertificateValidationContext.TrustChainVerification
_NO_ISSUER: Final = "X509_verify_cert: certificate verification error: unable to get local issuer certificate"


class PeerChecks(Struct, frozen=True):
    """See module.

    `hashes` and `spki_hashes` are SHA-256 digests, of which one must fit if there are any. `max_depth` is the
    most certificates behind the peer's, its anchor among them, -1 for any number; 0 means 1, as in Envoy.
    `trust_domains` is, by SPIFFE trust domain, the DER of the certificates that may anchor its chains; None leaves
    trust domains alone.
    """

    names: tuple[NameTest, ...] = ()
    hashes: frozenset[bytes] = frozenset()
    spki_hashes: frozenset[bytes] = frozenset()
    max_depth: int = -1
    trust_domains: Mapping[str, frozenset[bytes]] | None = None
    #: ACCEPT_UNTRUSTED: who fails a check, or the verification by `authorities`, is let in.
    lenient: bool = False
    authorities: bool = False

    @property
    def any(self) -> bool:
        """Whether there is anything to check."""
        return bool(
            self.names
            or self.hashes
            or self.spki_hashes
            or self.max_depth >= 0
            or self.trust_domains is not None
            or self.lenient
        )

    @property
    def needs_certificate(self) -> bool:
        """Whether a peer without a certificate cannot pass."""
        return bool(self.names or self.hashes or self.spki_hashes or self.trust_domains is not None)

    def run(self, ssl_object: Any) -> PeerRefused | None:
        """Check the peer of a finished handshake; raises a `PeerRefused`, or returns it if it is overlooked."""
        try:
            self._check(ssl_object)
        except PeerRefused as refusal:
            if not self.lenient:
                raise
            return refusal
        return None

    def _check(self, ssl_object: Any) -> None:
        der = ssl_object.getpeercert(True)
        if not der:
            return
        # A resumed session has no chain; it was checked when the session began.
        fresh = not ssl_object.session_reused
        if self.lenient and self.authorities and fresh and not openssl.chain_is_verified(ssl_object):
            raise ChainRefused(_NO_ISSUER)
        if self.trust_domains is not None and fresh:
            self._check_trust_domain(ssl_object, der)
        if self.max_depth >= 0 and fresh and len(verified_chain(ssl_object)) - 1 > max(self.max_depth, 1):
            raise ChainRefused(_NO_ISSUER)  # what BoringSSL says of a chain that it may not follow
        if self.names:
            names = names_of(ssl_object.getpeercert())
            if any(kind == "othername" for kind, _ in names):
                names = all_names_of(der)
            if not any_matches(self.names, names):
                words = "" if self.trust_domains is None else "SAN match"  # of Envoy's SPIFFE validator
                raise NameMismatch([name for _, name in names], words)
        if (self.hashes or self.spki_hashes) and not self._pinned(der):
            raise PinMismatch

    def _pinned(self, der: bytes) -> bool:
        if hashlib.sha256(der).digest() in self.hashes:
            return True
        return bool(self.spki_hashes) and spki_digest(der) in self.spki_hashes

    def _check_trust_domain(self, ssl_object: Any, der: bytes) -> None:
        assert self.trust_domains is not None
        if _may_sign(der):
            raise ChainRefused("cert precheck")
        domain = trust_domain_of(names_of(ssl_object.getpeercert()))
        anchors = self.trust_domains.get(domain)
        if anchors is None:
            raise ChainRefused("no trust bundle store")
        chain = verified_chain(ssl_object)
        if not chain or chain[-1] not in anchors:
            raise ChainRefused(_NO_ISSUER)


def compile_peer_checks(message: Any, path: str, ctx: CompileContext) -> tuple[PeerChecks, bytes]:
    """The checks of a `CertificateValidationContext`, and the PEM of what a SPIFFE validator trusts."""
    names = compile_name_tests(message, path, ctx)
    domains: dict[str, frozenset[bytes]] | None = None
    bundle = b""
    if message.HasField("custom_validator_config"):
        domains, bundle = _spiffe(message, f"{path}.custom_validator_config", ctx)
        names = tuple(test for test in names if test[0] == "URI")
    spiffe = domains is not None  # that validator knows no ACCEPT_UNTRUSTED
    return (
        PeerChecks(
            names,
            _hashes(message.verify_certificate_hash, f"{path}.verify_certificate_hash", ctx),
            _spki_hashes(message.verify_certificate_spki, f"{path}.verify_certificate_spki", ctx),
            message.max_verify_depth.value if message.HasField("max_verify_depth") else -1,
            domains,
            message.trust_chain_verification == _ACCEPT_UNTRUSTED and not spiffe,
            message.HasField("trusted_ca") or message.HasField("system_root_certs"),
        ),
        bundle,
    )


def verified_chain(ssl_object: Any) -> tuple[bytes, ...]:
    """The chain that the peer was validated by in DER, its own certificate first; () if nothing was validated."""
    if hasattr(ssl_object, "get_verified_chain"):
        return tuple(ssl_object.get_verified_chain() or ())
    # Python 3.11 and 3.12 have it below the public class only.
    chain = ssl_object._sslobj.get_verified_chain() or ()
    return tuple(certificate.public_bytes(_ENCODING_DER) for certificate in chain)


def presented_chain(ssl_object: Any) -> tuple[bytes, ...]:
    """The certificates that the peer has sent in DER, its own first; of a resumed session only that."""
    if hasattr(ssl_object, "get_unverified_chain"):
        return tuple(ssl_object.get_unverified_chain() or ())
    chain = ssl_object._sslobj.get_unverified_chain() or ()  # see `verified_chain`
    return tuple(certificate.public_bytes(_ENCODING_DER) for certificate in chain)


def server_name_presented(ssl_object: ssl.SSLObject, name: str) -> bool:
    """Whether the peer's certificate is for `name`, a DNS name or an IP address."""
    return any(
        dns_name_matches(name, presented) if kind == "DNS" else kind == "IP Address" and presented == name
        for kind, presented in names_of(ssl_object.getpeercert())
    )


def key_usage_fits(der: bytes, cipher: str) -> bool:
    """Whether a certificate's key may be used as a cipher suite of TLS 1.2 (OpenSSL's name) wants, as BoringSSL
    asks; without one, whether it may sign.

    One that says nothing of its usage may be used for anything (RFC 5280, section 4.2.1.3). What is looked for is
    the extension's identifier, wherever it stands: who puts those bytes elsewhere harms their own certificate.
    """
    at = der.find(_KEY_USAGE)
    if at < 0:
        return True
    at += len(_KEY_USAGE)
    if der.startswith(_CRITICAL, at):
        at += len(_CRITICAL)
    value = der[
        at : at + 6
    ]  # OCTET STRING with a BIT STRING: two bytes of each, unused bits, the first eight bits
    if len(value) < 6 or value[0] != 0x04 or value[2] != 0x03:
        return True
    signs = not cipher or "DHE-" in cipher
    return bool(value[5] & (_DIGITAL_SIGNATURE if signs else _KEY_ENCIPHERMENT))


def spki_digest(der: bytes) -> bytes:
    """SHA-256 of the public key of a certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(der).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def trust_domain_of(names: list[tuple[str, str]]) -> str:
    """The trust domain of the first URI among a certificate's names, "" if that is no SPIFFE identity."""
    for kind, name in names:
        if kind == "URI":
            if not name.startswith(_SPIFFE_SCHEME):
                return ""
            domain, slash, _ = name[len(_SPIFFE_SCHEME) :].partition("/")
            return domain if slash else ""
    return ""


def _may_sign(der: bytes) -> bool:
    """Whether a certificate may be an authority's: no identity document may be (X509-SVID, section 5.2).

    One that says nothing of its usage may be anything, as in Envoy.
    """
    from cryptography import x509

    extensions = x509.load_der_x509_certificate(der).extensions
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return True
    except x509.ExtensionNotFound:
        pass
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.key_cert_sign or usage.crl_sign


def _hashes(values: Any, path: str, ctx: CompileContext) -> frozenset[bytes]:
    found = set()
    for i, text in enumerate(values):
        plain = text.replace(":", "") if _FINGERPRINT.fullmatch(text) else text
        digest = bytes.fromhex(plain) if _HEX.fullmatch(plain) else b""
        if len(digest) != _SHA256_BYTES:
            ctx.problem(f"{path}[{i}]", f"Invalid hex-encoded SHA-256 {text}")
        found.add(digest)
    return frozenset(found)


def _spki_hashes(values: Any, path: str, ctx: CompileContext) -> frozenset[bytes]:
    found = set()
    for i, text in enumerate(values):
        try:
            digest = base64.b64decode(text, validate=True)
        except binascii.Error:
            digest = b""
        # Of several spellings that differ in bits without a meaning only one is right.
        if len(digest) != _SHA256_BYTES or base64.b64encode(digest) != text.encode():
            ctx.problem(f"{path}[{i}]", f"Invalid base64-encoded SHA-256 {text}")
        found.add(digest)
    return frozenset(found)


def _spiffe(message: Any, path: str, ctx: CompileContext) -> tuple[dict[str, frozenset[bytes]], bytes]:
    """DER by trust domain, and all of it as PEM."""
    domains: dict[str, frozenset[bytes]] = {}
    config = message.custom_validator_config
    typed = (
        unpack(config.typed_config, f"{path}.typed_config", ctx) if config.HasField("typed_config") else None
    )
    if typed is None or typed.DESCRIPTOR.full_name != SPIFFE:
        if typed is not None or not config.HasField("typed_config"):
            ctx.problem(path, f"certificate validator {config.name!r} is not supported; {SPIFFE} is")
        return domains, b""
    everything: list[bytes] = []
    for i, domain in enumerate(typed.trust_domains):
        at = f"{path}.typed_config.trust_domains[{i}]"
        if domain.name in domains:
            ctx.problem(at, f"Multiple trust bundles are given for one trust domain for {domain.name}")
        before = len(ctx.problems)
        content = read_data_source(domain.trust_bundle, f"{at}.trust_bundle", ctx)
        if len(ctx.problems) > before:
            continue
        anchors = _certificates(content)
        if not anchors:
            ctx.problem(f"{at}.trust_bundle", f"Failed to load trusted CA certificate for {domain.name}")
        if b"-----BEGIN X509 CRL-----" in content:
            ctx.problem(f"{at}.trust_bundle", "revocation lists in a trust bundle are not supported")
        domains[domain.name] = frozenset(anchors)
        everything.append(content)
    return domains, b"\n".join(everything)


def _certificates(pem: bytes) -> list[bytes]:
    """DER of every certificate in a PEM text; [] if it has none or one is broken."""
    text = pem.decode("ascii", "ignore")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    found: list[bytes] = []
    at = text.find(begin)
    try:
        while at >= 0:
            stop = text.find(end, at) + len(end)
            found.append(ssl.PEM_cert_to_DER_cert(text[at:stop]))
            at = text.find(begin, stop)
    except ValueError:
        return []
    return found
