"""Several certificates in one server context: which a client gets, by the name it asks for and by key type.

Envoy's rules: an exact name before a wildcard; of several certificates for one name the first of each key type, of
which OpenSSL takes one that the client can use; a name that nobody has gets the first certificate.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from proxy.connection.tls_object import TlsContext
from proxy.connection.tls_stapling import Staple

ECDSA: Final = "ECDSA"
RSA: Final = "RSA"


class Certificate(Struct, frozen=True):
    """A certificate with its key, readable and fitting. Chain and key are PEM, `der` is the leaf."""

    chain: bytes
    key: bytes
    password: bytes
    der: bytes
    staple: Staple | None = None

    @property
    def key_type(self) -> str:
        """Of the algorithm, from its object identifier in the DER."""
        return RSA if b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" in self.der else ECDSA


class Selection:
    """Contexts by server name; `default` is that of a client that names nothing, and carries the handshake."""

    def __init__(
        self,
        certificates: Sequence[Certificate],
        make: Callable[[Sequence[Certificate]], TlsContext],
        *,
        full_scan: bool,
    ) -> None:
        self._make = make
        self._certificates = certificates
        self._made: dict[tuple[int, ...], TlsContext] = {}
        everything = range(len(certificates))
        self.default = self._context(everything)
        self._by_name: dict[str, TlsContext] = {}
        self._unknown = self.default
        if len(certificates) > 1:
            if not full_scan:
                self._unknown = self._context([0])
            members: dict[str, list[int]] = {}
            for index in everything:
                for name in server_names(certificates[index].der):
                    members.setdefault(name.removeprefix("*") if name.startswith("*.") else name, []).append(
                        index
                    )
            self._by_name = {name: self._context(indices) for name, indices in members.items()}

    @property
    def contexts(self) -> list[TlsContext]:
        """All of them."""
        return list(self._made.values())

    def _context(self, indices: Sequence[int]) -> TlsContext:
        """The context with the first certificate of each key type."""
        first: dict[str, int] = {}
        for index in indices:
            first.setdefault(self._certificates[index].key_type, index)
        key = tuple(sorted(first.values()))
        if key not in self._made:
            self._made[key] = self._make([self._certificates[index] for index in key])
        return self._made[key]

    def choose(self, name: str) -> TlsContext:
        """The context for a client that asks for `name` (lower case), "" for none."""
        if not name or not self._by_name:
            return self.default
        dot = name.find(".", 1)
        return self._by_name.get(name) or self._by_name.get(name[dot:] if dot > 0 else "") or self._unknown


def server_names(der: bytes) -> list[str]:
    """The DNS names of a certificate; its common name if it has no alternative names at all."""
    from cryptography import x509  # costs memory that a single certificate need not

    certificate = x509.load_der_x509_certificate(der)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return [str(common[0].value)] if common else []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]


def sni_callback(selection: Selection, *, required: bool) -> Callable[..., int | None]:
    """For `ssl.SSLContext.sni_callback`: remembers the name and chooses the certificate."""
    several = len(selection.contexts) > 1

    def on_name(ssl_object: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        del context
        wanted = (name or "").lower()
        ssl_object.requested_sni = wanted  # type: ignore[attr-defined]
        ssl_object.greeted = True  # type: ignore[attr-defined]
        if required and not wanted:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        if several:
            ssl_object.context = selection.choose(wanted)
        return None

    return on_name
