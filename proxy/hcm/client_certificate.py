"""x-forwarded-client-cert: what the client's certificate said, passed on or kept out.

Source: `forward_client_cert_details` and `set_current_client_cert_details` of the HCM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.base.headers import HeaderMap
from proxy.base.stream_info import ConnectionInfo, TlsInfo
from proxy.formatter.fingerprints import sha256_of

if TYPE_CHECKING:
    from cryptography import x509

SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET, ALWAYS_FORWARD_ONLY = range(5)
_NAME: Final = "x-forwarded-client-cert"


def apply_xfcc(headers: HeaderMap, connection: ConnectionInfo, mode: int, details: tuple[str, ...]) -> None:
    """Bring the XFCC field of a request into the state that `mode` asks for."""
    if mode == ALWAYS_FORWARD_ONLY:
        return
    tls = connection.tls
    if mode == SANITIZE or tls is None or not tls.peer_certificate_der:
        headers.remove(_NAME)
        return
    if mode == FORWARD_ONLY:
        return
    element = _element(tls, details)
    present = headers.get(_NAME)
    if mode == APPEND_FORWARD and present:
        element = f"{present},{element}"
    headers.set(_NAME, element)


def _element(tls: TlsInfo, details: tuple[str, ...]) -> str:
    # Imported late: it costs a worker 10 MB, and only mutual TLS with XFCC needs it.
    from cryptography import x509

    from proxy.formatter.certificate_facts import certificate_facts

    peer = x509.load_der_x509_certificate(tls.peer_certificate_der)
    facts = certificate_facts(tls.peer_certificate_der)
    parts: list[str] = []
    if tls.local_certificate_der:
        local = x509.load_der_x509_certificate(tls.local_certificate_der)
        parts.extend(f"By={uri}" for uri in _alternative_names(local, x509.UniformResourceIdentifier))
    parts.append(f"Hash={sha256_of(tls.peer_certificate_der)}")
    if "cert" in details:
        parts.append(f'Cert="{facts.url_encoded_pem}"')
    if "chain" in details:
        chain = tls.peer_chain_der or (tls.peer_certificate_der,)
        parts.append(f'Chain="{"".join(certificate_facts(one).url_encoded_pem for one in chain)}"')
    if "subject" in details:
        parts.append(f'Subject="{facts.subject}"')
    if "uri" in details:
        uris = _alternative_names(peer, x509.UniformResourceIdentifier)
        parts.extend(f"URI={uri}" for uri in uris or [""])
    if "dns" in details:
        parts.extend(f"DNS={name}" for name in _alternative_names(peer, x509.DNSName))
    return ";".join(parts)


def _alternative_names(
    certificate: x509.Certificate, kind: type[x509.DNSName | x509.UniformResourceIdentifier]
) -> list[str]:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(kind)
