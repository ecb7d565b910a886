"""Loads certificates, keys and authorities into an `ssl.SSLContext`.

The standard library takes chains, keys and revocation lists from files only. They go through a memory file,
so that a key given inline never lies on a disk.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source
from proxy.connection.tls_selection import Certificate
from proxy.connection.tls_stapling import read_staple

_KEY_REASONS = {
    "KEY_VALUES_MISMATCH": "the private key does not match the certificate",
    "PEM_LIB": "not PEM, or cut off",
    "BAD_DECRYPT": "the private key is encrypted and `password` is wrong or missing",
    "EE_KEY_TOO_SMALL": "the key is too small (RSA needs 2048 bits)",
    "CA_MD_TOO_WEAK": "the signature's digest is too weak",
}


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("outrider-tls", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as writer:
            writer.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def read_certificate(message: Any, path: str, ctx: CompileContext) -> Certificate | None:
    """A `TlsCertificate`, readable and with a fitting key; None with a problem reported if it is unusable."""
    problems = len(ctx.problems)
    chain = _required(message, "certificate_chain", b"CERTIFICATE-----", path, ctx)
    key = _required(message, "private_key", b"PRIVATE KEY-----", path, ctx)
    password = b""
    if message.HasField("password"):
        password = read_data_source(message.password, f"{path}.password", ctx)
    if len(ctx.problems) > problems:
        return None
    try:
        der = ssl.PEM_cert_to_DER_cert(_first_certificate(chain))
        certificate = Certificate(chain, key, password, der, read_staple(message, der, path, ctx))
        use_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate)
    except (ssl.SSLError, ValueError) as error:
        ctx.problem(path, f"cannot use this certificate and key: {_explain(error)}")
        return None
    return certificate


def use_certificate(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Show `certificate` to peers, beside those of other key types; raises `ssl.SSLError`."""
    with _memory_file(certificate.chain) as chain_file, _memory_file(certificate.key) as key_file:
        # The callable keeps OpenSSL from asking the terminal.
        context.load_cert_chain(chain_file, key_file, lambda: certificate.password)


def load_authorities(context: ssl.SSLContext, content: bytes, path: str, ctx: CompileContext) -> None:
    """Trust the certificates of a PEM bundle, intermediate ones too (Envoy accepts partial chains)."""
    try:
        context.load_verify_locations(cadata=content.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        ctx.problem(path, f"failed to load trusted CA certificates: {_explain(error)}")
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def load_revocations(
    context: ssl.SSLContext, content: bytes, path: str, ctx: CompileContext, *, leaf_only: bool
) -> None:
    """Refuse certificates on the revocation lists of a PEM file; each issuer needs a list, as in Envoy."""
    try:
        with _memory_file(content) as file:
            context.load_verify_locations(cafile=file)
    except (ssl.SSLError, ValueError) as error:
        ctx.problem(path, f"failed to load CRL: {_explain(error)}")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF if leaf_only else ssl.VERIFY_CRL_CHECK_CHAIN


def _required(message: Any, field: str, mark: bytes, path: str, ctx: CompileContext) -> bytes:
    if not message.HasField(field):
        ctx.problem(f"{path}.{field}", "a certificate needs both certificate_chain and private_key")
        return b""
    problems = len(ctx.problems)
    content = read_data_source(getattr(message, field), f"{path}.{field}", ctx)
    if mark not in content and len(ctx.problems) == problems:
        kind = mark.rstrip(b"-").decode().lower()
        ctx.problem(f"{path}.{field}", f"holds no PEM {kind} (a line '-----BEGIN ... {mark.decode()}')")
    return content


def _first_certificate(chain: bytes) -> str:
    text = chain.decode("ascii", "ignore")
    end = "-----END CERTIFICATE-----"
    begin = text.find("-----BEGIN CERTIFICATE-----")
    return text[begin : text.find(end, begin) + len(end)]


def _explain(error: Exception) -> str:
    reason = getattr(error, "reason", None) or ("PEM_LIB" if "PEM lib" in str(error) else "")
    return _KEY_REASONS.get(reason, reason.lower().replace("_", " ") or str(error))
