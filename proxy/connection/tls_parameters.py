"""`TlsParameters`: versions, cipher suites and curves of a context."""

from __future__ import annotations

import ssl
import warnings
from typing import Any, Final

from proxy.config.context import CompileContext
from proxy.connection import tls_ciphers

_CURVES: Final = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}


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
    if message.cipher_suites:
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


def _apply_curves(context: ssl.SSLContext, message: Any, path: str, ctx: CompileContext) -> None:
    if not message.ecdh_curves:
        return
    if len(message.ecdh_curves) > 1:
        ctx.problem(f"{path}.ecdh_curves", "Python's ssl takes one curve: a list of several is not supported")
        return
    name = message.ecdh_curves[0]
    try:
        context.set_ecdh_curve(_CURVES.get(name, name))
    except ValueError:
        ctx.problem(f"{path}.ecdh_curves[0]", f"failed to initialize ECDH curves {name}")
