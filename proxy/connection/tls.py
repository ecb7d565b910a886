"""TLS contexts: Envoy's `DownstreamTlsContext` and `UpstreamTlsContext` as `ssl.SSLContext`.

Records are carried by the event loop's own TLS. What goes beyond the standard library's checks, such as
subject alternative names, runs at the end of the handshake inside the context's own `SSLObject` class, so
that a peer that fails it never reaches a protocol.
"""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from proxy.base.stream_info import TlsInfo
from proxy.config.context import CompileContext
from proxy.connection import tls_ciphers
from proxy.connection.tls_errors import NameMismatch
from proxy.connection.tls_material import load_authorities, load_certificate, load_revocations
from proxy.connection.tls_names import NameTest, any_matches, compile_name_tests, names_of

#: OpenSSL: take ChaCha20 if the client prefers it, which is what Envoy's `[A|B]` groups amount to.
_OP_PRIORITIZE_CHACHA: Final = 1 << 21
#: `ssl` keeps the numbers of its encodings to itself.
_ENCODING_DER: Final = 2

_COMMON_FIELDS: Final = frozenset({"tls_params", "tls_certificates", "validation_context", "alpn_protocols"})
_DOWNSTREAM_FIELDS: Final = frozenset(
    {
        "common_tls_context",
        "require_client_certificate",
        "require_sni",
        "disable_stateless_session_resumption",
    }
    | {"prefer_client_ciphers"}
)
_UPSTREAM_FIELDS: Final = frozenset({"common_tls_context", "sni", "allow_renegotiation"})
_PARAMETER_FIELDS: Final = frozenset(
    {"tls_minimum_protocol_version", "tls_maximum_protocol_version", "cipher_suites", "ecdh_curves"}
)
_CERTIFICATE_FIELDS: Final = frozenset({"certificate_chain", "private_key", "password"})
_VALIDATION_FIELDS: Final = frozenset(
    {"trusted_ca", "system_root_certs", "match_typed_subject_alt_names", "match_subject_alt_names", "crl"}
    | {"only_verify_leaf_cert_crl"}
)
_CURVES: Final = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}


class CheckedSslObject(ssl.SSLObject):
    """An `SSLObject` whose handshake also checks the peer's names; `requested_sni` is what a client sent.

    With `on_failure` set, a failed handshake is told to it and then looks as if more input were needed: the
    loop's TLS drops the line before the alert is out whenever an error reaches it.
    """

    name_tests: tuple[NameTest, ...] = ()
    requested_sni = ""
    on_failure: Callable[[ssl.SSLError], None] | None = None

    def do_handshake(self) -> None:
        """As the standard library's; raises `NameMismatch` for a certificate with no wanted name."""
        try:
            super().do_handshake()
            if self.name_tests:
                self._check_names()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if self.on_failure is None:
                raise
            self.on_failure(error)
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "handshake failed") from None

    def _check_names(self) -> None:
        names = names_of(self.getpeercert())
        if not any_matches(self.name_tests, names):
            raise NameMismatch([name for _, name in names])


@dataclass(frozen=True, slots=True)
class DownstreamTlsConfig:
    """How to be a TLS server. `verifies` tells whether clients are asked for a certificate."""

    context: ssl.SSLContext
    verifies: bool
    certificate_der: bytes


@dataclass(frozen=True, slots=True)
class UpstreamTlsConfig:
    """How to be a TLS client; pass `sni` as `server_hostname` ("" sends none)."""

    context: ssl.SSLContext
    sni: str
    verifies: bool
    certificate_der: bytes


def compile_downstream_tls(message: Any, path: str, ctx: CompileContext) -> DownstreamTlsConfig:
    """A `DownstreamTlsContext`."""
    _refuse_others(message, _DOWNSTREAM_FIELDS, path, ctx)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    common, at = message.common_tls_context, f"{path}.common_tls_context"
    tests = _apply_common(context, common, at, ctx, default_maximum=ssl.TLSVersion.TLSv1_3)
    if not common.tls_certificates:
        ctx.problem(f"{at}.tls_certificates", "no TLS certificates found for server context")
    context.options |= ssl.OP_NO_RENEGOTIATION
    if message.prefer_client_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | _OP_PRIORITIZE_CHACHA
    if message.disable_stateless_session_resumption:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    trusts = _trusts(common)
    if message.require_client_certificate.value and not trusts:
        ctx.problem(
            f"{path}.require_client_certificate",
            "needs a trusted_ca in validation_context: unverified client certificates are not supported",
        )
    if trusts:
        # Name matchers cannot be satisfied without a certificate: they imply that one is required.
        required = message.require_client_certificate.value or bool(tests)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    _set_object_class(context, tests)
    context.sni_callback = _require_sni if message.require_sni.value else _remember_sni
    return DownstreamTlsConfig(context, trusts, _load_certificates(context, common, at, ctx))


def compile_upstream_tls(message: Any, path: str, ctx: CompileContext) -> UpstreamTlsConfig:
    """An `UpstreamTlsContext`; without a validation context the server is not verified, as in Envoy."""
    _refuse_others(message, _UPSTREAM_FIELDS, path, ctx)
    if len(message.sni) > 255:
        ctx.problem(f"{path}.sni", "value length must be at most 255 bytes")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    common, at = message.common_tls_context, f"{path}.common_tls_context"
    tests = _apply_common(context, common, at, ctx, default_maximum=ssl.TLSVersion.TLSv1_2)
    if not message.allow_renegotiation:
        context.options |= ssl.OP_NO_RENEGOTIATION
    trusts = _trusts(common)
    context.verify_mode = ssl.CERT_REQUIRED if trusts else ssl.CERT_NONE
    if trusts and not tests and not common.validation_context.HasField("system_root_certs"):
        ctx.warning(at, "the server's certificate is verified, but any name in it is accepted")
    _set_object_class(context, tests)
    return UpstreamTlsConfig(context, message.sni, trusts, _load_certificates(context, common, at, ctx))


def tls_info(transport: asyncio.BaseTransport) -> TlsInfo | None:
    """What the handshake behind a transport established; None for plain text."""
    ssl_object = transport.get_extra_info("ssl_object")
    return None if ssl_object is None else describe(ssl_object)


def describe(ssl_object: ssl.SSLObject, info: TlsInfo | None = None) -> TlsInfo:
    """Facts of a finished handshake, entered into `info` if one is given."""
    info = info or TlsInfo()
    cipher = ssl_object.cipher()
    info.version = ssl_object.version() or ""
    info.cipher = cipher[0] if cipher else ""
    info.alpn = ssl_object.selected_alpn_protocol() or ""
    info.sni = ssl_object.requested_sni if isinstance(ssl_object, CheckedSslObject) else ""
    if ssl_object.context.verify_mode != ssl.CERT_NONE:
        info.peer_certificate_der = ssl_object.getpeercert(True) or b""
        if info.peer_certificate_der:
            info.peer_chain_der = _verified_chain(ssl_object)
    if info.version != "TLSv1.3" and ssl_object.session is not None:
        info.session_id = ssl_object.session.id.hex()
    return info


def _verified_chain(ssl_object: Any) -> tuple[bytes, ...]:
    """The chain that the peer was validated by, its own certificate first."""
    if hasattr(ssl_object, "get_verified_chain"):
        return tuple(ssl_object.get_verified_chain() or ())
    # Python 3.11 and 3.12 have it below the public class only.
    chain = ssl_object._sslobj.get_verified_chain() or ()
    return tuple(certificate.public_bytes(_ENCODING_DER) for certificate in chain)


def _remember_sni(ssl_object: Any, name: str | None, context: ssl.SSLContext) -> int | None:
    del context
    ssl_object.requested_sni = (name or "").lower()
    return None


def _require_sni(ssl_object: Any, name: str | None, context: ssl.SSLContext) -> int | None:
    _remember_sni(ssl_object, name, context)
    return None if name else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


def _set_object_class(context: ssl.SSLContext, tests: tuple[NameTest, ...]) -> None:
    context.sslobject_class = type("SslObject", (CheckedSslObject,), {"name_tests": tests})


def _trusts(common: Any) -> bool:
    validation = common.validation_context
    return bool(validation.HasField("trusted_ca") or validation.HasField("system_root_certs"))


def _refuse_others(message: Any, supported: frozenset[str], path: str, ctx: CompileContext) -> None:
    """A security setting that is not understood must not be passed over."""
    for field, _ in message.ListFields():
        if field.name not in supported:
            ctx.problem(f"{path}.{field.name}", "not supported")


def _apply_common(
    context: ssl.SSLContext, common: Any, path: str, ctx: CompileContext, *, default_maximum: ssl.TLSVersion
) -> tuple[NameTest, ...]:
    _refuse_others(common, _COMMON_FIELDS, path, ctx)
    _apply_parameters(context, common.tls_params, f"{path}.tls_params", ctx, default_maximum)
    if common.alpn_protocols:
        try:
            context.set_alpn_protocols(list(common.alpn_protocols))
        except ssl.SSLError as error:
            ctx.problem(f"{path}.alpn_protocols", str(error))
    validation, at = common.validation_context, f"{path}.validation_context"
    _refuse_others(validation, _VALIDATION_FIELDS, at, ctx)
    if validation.HasField("trusted_ca"):
        load_authorities(context, validation.trusted_ca, f"{at}.trusted_ca", ctx)
    if validation.HasField("system_root_certs"):
        context.set_default_verify_paths()
    if validation.HasField("crl"):
        leaf_only = validation.only_verify_leaf_cert_crl
        load_revocations(context, validation.crl, f"{at}.crl", ctx, leaf_only=leaf_only)
    tests = compile_name_tests(validation, at, ctx)
    if tests and not _trusts(common):
        ctx.problem(at, "verifying names of certificates without a trusted CA is insecure and not allowed")
    return tests


def _load_certificates(context: ssl.SSLContext, common: Any, path: str, ctx: CompileContext) -> bytes:
    """Load every certificate; the first one's DER is returned."""
    first = b""
    kinds: set[str] = set()
    for i, certificate in enumerate(common.tls_certificates):
        at = f"{path}.tls_certificates[{i}]"
        _refuse_others(certificate, _CERTIFICATE_FIELDS, at, ctx)
        der = load_certificate(context, certificate, at, ctx)
        first = first or der
        kind = _key_kind(der)
        if kind in kinds:
            ctx.problem(at, f"a second {kind} certificate: choosing among several by name is not supported")
        kinds.add(kind)
    return first


def _key_kind(der: bytes) -> str:
    """The algorithm of a certificate's key, from its DER object identifier."""
    return "RSA" if b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" in der else "ECDSA"


def _apply_parameters(
    context: ssl.SSLContext, message: Any, path: str, ctx: CompileContext, default_maximum: ssl.TLSVersion
) -> None:
    _refuse_others(message, _PARAMETER_FIELDS, path, ctx)
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
        ctx.problem(f"{path}.ecdh_curves", "a list of more than one curve is not supported")
        return
    name = message.ecdh_curves[0]
    try:
        context.set_ecdh_curve(_CURVES.get(name, name))
    except ValueError:
        ctx.problem(f"{path}.ecdh_curves[0]", f"failed to initialize ECDH curves {name}")
