"""What a certificate calls its owner."""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

from proxy.base.regex import wire_text


class PrincipalNames(Struct, frozen=True):
    """As wire text. The subject may be empty; without a certificate everything is."""

    uris: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    subject: str = ""

    @property
    def all(self) -> tuple[str, ...]:
        """In the order in which Envoy compares them."""
        return (*self.uris, *self.dns_names, self.subject)


_NOBODY = PrincipalNames()


@lru_cache(maxsize=256)
def principal_names(der: bytes) -> PrincipalNames:
    """The names in a certificate; those of nobody for b""."""
    if not der:
        return _NOBODY
    # Imported late: it costs a worker 10 MB.
    from cryptography import x509

    from proxy.formatter.certificate_facts import MALFORMED, certificate_facts

    uris: list[str] = []
    dns_names: list[str] = []
    try:
        certificate = x509.load_der_x509_certificate(der)
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris += alternative.get_values_for_type(x509.UniformResourceIdentifier)
        dns_names += alternative.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, *MALFORMED):
        pass
    return PrincipalNames(
        tuple(map(wire_text, uris)),
        tuple(map(wire_text, dns_names)),
        wire_text(certificate_facts(der).subject),
    )
