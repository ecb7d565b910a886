"""`TlsParameters`: versions, cipher suites and curves of a context."""

from __future__ import annotations

import ssl
import warnings
from typing import Any, Final

from proxy.config.context import CompileContext
from proxy.connection import openssl, tls_ciphers

_CURVES: Final = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
#: What OpenSSL has besides, and Envoy's library has not.
_UNKNOWN_CURVES: Final = frozenset({"P-224", "secp224r1", "X448", "x448"})
#: Names of signature algorithms that OpenSSL spells in another way.
_SIGNATURES: Final = {"rsa_pkcs1_sha1": "RSA+SHA1", "ecdsa_sha1": "ECDSA+SHA1"}


def apply_parameters(
    context: ssl.SSLContext, message: Any, path: str, ctx: CompileContext, default_maximum: ssl.TLSVersion
) -> None:
    """Set what `message` says, Envoy's defaults where it says nothing."""
    minimum = tls_ciphers.VERSIONS.get(message.tls_minimum_protocol_version, ssl.TLSVersion.TLSv1_2)
    maximum = tls_ciphers.VERSIONS.get(message.tls_maximum_protocol_version, default_maximum)
    if minimum > maximum:
        ctx.problem(path, f"minimum version {minimum.name} is above the maximum version {maximum.name}")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are the operator's decision
        context.minimum_version = minimum
        context.maximum_version = maximum
    ciphers = tls_ciphers.DEFAULT
    unknown: list[str] = []
    if any(message.cipher_suites):
        ciphers, unknown = tls_ciphers.translate(list(message.cipher_suites))
        if minimum < ssl.TLSVersion.TLSv1_2:
            ciphers += ":@SECLEVEL=0"  # OpenSSL's higher levels have no TLS 1.0 and 1.1 at all
    if unknown:
        ctx.problem(
            f"{path}.cipher_suites",
            f"failed to initialize cipher suites {':'.join(message.cipher_suites)}. "
            f"The following ciphers were rejected when tried individually: {', '.join(unknown)}",
        )
        return
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        ctx.problem(f"{path}.cipher_suites", f"none of the cipher suites is available: {ciphers}")
    _apply_curves(context, message, path, ctx)
    _apply_signature_algorithms(context, message, path, ctx)


def _apply_curves(context: ssl.SSLContext, message: Any, path: str, ctx: CompileContext) -> None:
    names = list(message.ecdh_curves)
    if not names:
        return
    text = ":".join(names)
    if not _UNKNOWN_CURVES.isdisjoint(text.split(":")):
        known = False
    elif openssl.AVAILABLE:
        known = openssl.set_groups(context, names)
    elif len(names) > 1:
        ctx.problem(f"{path}.ecdh_curves", f"a list of several: {openssl.UNAVAILABLE}")
        return
    else:
        try:
            context.set_ecdh_curve(_CURVES.get(text, text))
            known = True
        except ValueError:
            known = False
    if not known:
        ctx.problem(f"{path}.ecdh_curves", f"Failed to initialize ECDH curves {text}")


def _apply_signature_algorithms(
    context: ssl.SSLContext, message: Any, path: str, ctx: CompileContext
) -> None:
    names = list(message.signature_algorithms)
    if not names:
        return
    if not openssl.AVAILABLE:
        ctx.problem(f"{path}.signature_algorithms", openssl.UNAVAILABLE)
    elif not openssl.set_signature_algorithms(context, [_SIGNATURES.get(name, name) for name in names]):
        ctx.problem(
            f"{path}.signature_algorithms", f"Failed to initialize TLS signature algorithms {':'.join(names)}"
        )
