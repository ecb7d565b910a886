"""TLS contexts: Envoy's `DownstreamTlsContext` and `UpstreamTlsContext` as `ssl.SSLContext`.

Records are carried by the event loop's own TLS. What goes beyond the standard library's checks runs at the end
of the handshake inside the context's own `SSLObject` class (`tls_object`), so that a peer that fails it never
reaches a protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from msgspec import Struct

from proxy.base.stream_info import TlsInfo
from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source
from proxy.connection import openssl
from proxy.connection.tls_checks import compile_peer_checks, presented_chain
from proxy.connection.tls_key_log import apply_key_log
from proxy.connection.tls_material import (
    load_authorities,
    load_revocations,
    read_certificate,
    use_certificate,
)
from proxy.connection.tls_object import CheckedSslObject, TlsContext, use_checks
from proxy.connection.tls_parameters import apply_parameters
from proxy.connection.tls_secrets import (
    CERTIFICATE,
    TICKET_KEYS,
    VALIDATION,
    RotatingTls,
    SecretSource,
    inline_secret,
    named_secret,
)
from proxy.connection.tls_selection import Certificate, Selection, sni_callback
from proxy.connection.tls_sessions import Sessions
from proxy.connection.tls_stapling import MUST_STAPLE, StapleAction, answers, demands_staple

#: OpenSSL: take ChaCha20 if the client prefers it, which is what Envoy's `[A|B]` groups amount to.
_OP_PRIORITIZE_CHACHA: Final = 1 << 21
#: OpenSSL: X509_V_FLAG_NO_CHECK_TIME.
_VERIFY_NO_CHECK_TIME: Final = 0x200000
_TICKET_KEYS_SDS: Final = "session_ticket_keys_sds_secret_config"

#: Who agrees on this has to speak before the stream's own bytes: see `proxy.filters.network.istio`.
_PEER_EXCHANGE: Final = "istio-peer-exchange"


class DownstreamTlsConfig(Struct, frozen=True):
    """How to be a TLS server."""

    context: TlsContext
    sessions: Sessions

    def current(self) -> Self:
        """Itself; see `RotatingTls`."""
        return self


class UpstreamTlsConfig(Struct, frozen=True):
    """How to be a TLS client; `server_name` tells what to pass as `server_hostname`."""

    context: TlsContext
    sni: str
    auto_host_sni: bool = False

    def current(self) -> Self:
        """Itself; see `RotatingTls`."""
        return self

    def server_name(self, hostname: str) -> str:
        """The name to send to a host whose endpoint is called `hostname` ("" for none)."""
        return (hostname if self.auto_host_sni else "") or self.sni


DownstreamTls = DownstreamTlsConfig | RotatingTls[DownstreamTlsConfig]
UpstreamTls = UpstreamTlsConfig | RotatingTls[UpstreamTlsConfig]


def compile_downstream_tls(message: Any, path: str, ctx: CompileContext) -> DownstreamTls:
    """A `DownstreamTlsContext`."""
    sources = _secrets(message, path, ctx)
    if not sources:
        return _downstream(message, path, ctx)
    rotating = RotatingTls(sources, lambda at: _downstream(_with_secrets(message, sources), path, at))
    rotating.prepare(ctx)
    if not rotating.ready:
        _check_what_is_here(message, path, ctx)
    return rotating


def compile_upstream_tls(
    message: Any, path: str, ctx: CompileContext, default_alpn: Sequence[str] = ()
) -> UpstreamTls:
    """An `UpstreamTlsContext`; without a validation context the server is not verified, as in Envoy.

    `default_alpn` is what is offered if the message names nothing.
    """
    sources = _secrets(message, path, ctx)
    if not sources:
        return _upstream(message, path, ctx, default_alpn)
    rotating = RotatingTls(
        sources, lambda at: _upstream(_with_secrets(message, sources), path, at, default_alpn)
    )
    rotating.prepare(ctx)
    if not rotating.ready:
        _check_what_is_here(message, path, ctx)
    return rotating


# -- secrets


def _secrets(message: Any, path: str, ctx: CompileContext) -> tuple[SecretSource, ...]:
    """The secrets of a context, in the order in which `_with_secrets` uses them."""
    common, at_keys = message.common_tls_context, f"{path}.{_TICKET_KEYS_SDS}"
    path = f"{path}.common_tls_context"
    sources = [
        inline_secret(certificate, CERTIFICATE, f"{path}.tls_certificates[{i}]", ctx)
        for i, certificate in enumerate(common.tls_certificates)
        if certificate.HasField("watched_directory")
    ]
    sources += [
        named_secret(one, CERTIFICATE, f"{path}.tls_certificate_sds_secret_configs[{i}]", ctx)
        for i, one in enumerate(common.tls_certificate_sds_secret_configs)
    ]
    validation = _validation_secret(common)
    if validation is not None:
        sources.append(
            named_secret(validation, VALIDATION, f"{path}.validation_context_sds_secret_config", ctx)
        )
    elif common.validation_context.HasField("watched_directory"):
        inline = common.validation_context
        sources.append(inline_secret(inline, VALIDATION, f"{path}.validation_context", ctx))
    if _has_ticket_keys_by_name(message):
        wanted = message.session_ticket_keys_sds_secret_config
        sources.append(named_secret(wanted, TICKET_KEYS, at_keys, ctx))
    return tuple(sources)


def _has_ticket_keys_by_name(message: Any) -> bool:
    return _TICKET_KEYS_SDS in message.DESCRIPTOR.fields_by_name and message.HasField(_TICKET_KEYS_SDS)


def _validation_secret(common: Any) -> Any:
    match common.WhichOneof("validation_context_type"):
        case "validation_context_sds_secret_config":
            return common.validation_context_sds_secret_config
        case "combined_validation_context":
            return common.combined_validation_context.validation_context_sds_secret_config
    return None


def with_secrets(message: Any, ctx: CompileContext) -> Any:
    """A copy of a context with every secret that is here in the place of its name."""
    return _with_secrets(message, _secrets(message, "", ctx))


def _with_secrets(message: Any, sources: tuple[SecretSource, ...]) -> Any:
    """A copy of a context with its secrets in the places of their names; one that is missing is empty."""
    made = type(message)()
    made.CopyFrom(message)
    common = made.common_tls_context
    values = iter([source.value or secret_pb2.Secret() for source in sources])
    for certificate in common.tls_certificates:
        if certificate.HasField("watched_directory"):
            certificate.CopyFrom(next(values).tls_certificate)
    count = len(common.tls_certificate_sds_secret_configs)
    common.tls_certificates.extend(next(values).tls_certificate for _ in range(count))
    if _validation_secret(common) is not None:
        default = type(common.validation_context)()
        if common.HasField("combined_validation_context"):
            default.CopyFrom(common.combined_validation_context.default_validation_context)
        default.MergeFrom(next(values).validation_context)
        common.validation_context.CopyFrom(default)
    elif common.validation_context.HasField("watched_directory"):
        common.validation_context.CopyFrom(next(values).validation_context)
    if _has_ticket_keys_by_name(made):
        made.session_ticket_keys.CopyFrom(next(values).session_ticket_keys)
    return made


def _check_what_is_here(message: Any, path: str, ctx: CompileContext) -> None:
    """Problems of a context that do not depend on the secrets it waits for."""
    common, path = message.common_tls_context, f"{path}.common_tls_context"
    parameters = common.tls_params
    fixed = common.HasField("validation_context") and not common.validation_context.HasField(
        "watched_directory"
    )
    # A context takes time to make, and in a mesh thousands of clusters wait for secrets.
    if not (fixed or parameters.cipher_suites or parameters.ecdh_curves or parameters.signature_algorithms):
        return
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    apply_parameters(context, parameters, f"{path}.tls_params", ctx, ssl.TLSVersion.TLSv1_3)
    if fixed:
        _Validation(common.validation_context, f"{path}.validation_context", ctx).apply(context, ctx)


# -- contexts


def _downstream(message: Any, path: str, ctx: CompileContext) -> DownstreamTlsConfig:
    common, at = message.common_tls_context, f"{path}.common_tls_context"
    validation = _Validation(common.validation_context, f"{at}.validation_context", ctx)
    checks = validation.checks
    if message.require_client_certificate.value and not validation.trusts:
        ctx.warning(
            f"{path}.require_client_certificate",
            "has no effect without a trusted_ca in validation_context, as in Envoy: clients need no certificate",
        )
    # Envoy has a client without a certificate pass none of these tests, so they imply that one is required.
    required = (checks.needs_certificate and not checks.lenient) or (
        message.require_client_certificate.value and validation.trusts
    )

    sessions = Sessions(message, path, ctx)

    def make(certificates: Sequence[Certificate], problems: CompileContext) -> TlsContext:
        context = TlsContext(ssl.PROTOCOL_TLS_SERVER)
        _apply_common(context, common, at, problems, ssl.TLSVersion.TLSv1_3)
        context.options |= ssl.OP_NO_RENEGOTIATION
        if message.prefer_client_ciphers:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        else:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | _OP_PRIORITIZE_CHACHA
        sessions.apply(context)
        validation.apply(context, problems)
        if validation.asks:
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        use_checks(context, checks)
        _show(context, certificates, at, problems)
        if staple_answers is not None:
            openssl.set_stapling(context, staple_answers)
        return context

    staple_answers: Callable[[bytes], tuple[StapleAction, bytes]] | None = None
    first = make((), ctx)
    certificates = _certificates(common, at, ctx)
    if not common.tls_certificates:
        ctx.problem(f"{at}.tls_certificates", "no TLS certificates found for server context")
    staples = {one.der: (one.staple, demands_staple(one.der)) for one in certificates}
    for staple, demanded in staples.values():
        if staple is None and (demanded or message.ocsp_staple_policy == MUST_STAPLE):
            ctx.problem(
                f"{at}.tls_certificates",
                "OCSP response is required for must-staple certificate"
                if demanded
                else "Required OCSP response is missing from TLS context",
            )
    if not certificates or ctx.problems:
        return DownstreamTlsConfig(first, sessions)
    if openssl.AVAILABLE:
        staple_answers = answers(message.ocsp_staple_policy, staples)
    elif any(staple for staple, _ in staples.values()):
        ctx.problem(f"{at}.tls_certificates", f"ocsp_staple: {openssl.UNAVAILABLE}")
    selection = Selection(
        certificates,
        lambda chosen: make(chosen, ctx),
        full_scan=message.full_scan_certs_on_sni_mismatch.value,
    )
    selection.default.sni_callback = sni_callback(selection, required=message.require_sni.value)
    return DownstreamTlsConfig(selection.default, sessions)


def _upstream(message: Any, path: str, ctx: CompileContext, default_alpn: Sequence[str]) -> UpstreamTlsConfig:
    if len(message.sni) > 255:
        ctx.problem(f"{path}.sni", "value length must be at most 255 bytes")
    if "\0" in message.sni:
        ctx.problem(f"{path}.sni", "SNI names containing NULL-byte are not allowed")
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    common, at = message.common_tls_context, f"{path}.common_tls_context"
    _apply_common(context, common, at, ctx, ssl.TLSVersion.TLSv1_2, default_alpn)
    if not message.allow_renegotiation:
        context.options |= ssl.OP_NO_RENEGOTIATION
    validation = _Validation(common.validation_context, f"{at}.validation_context", ctx)
    validation.apply(context, ctx)
    checks = validation.checks
    verifies = validation.trusts and not checks.lenient
    context.verify_mode = ssl.CERT_REQUIRED if validation.asks else ssl.CERT_NONE
    by_name = message.auto_sni_san_validation
    if by_name and not validation.trusts:
        ctx.problem(
            f"{path}.auto_sni_san_validation",
            "'auto_sni_san_validation' was configured without configuring a trusted CA",
        )
    system = common.validation_context.HasField("system_root_certs")
    if verifies and not (checks.needs_certificate or system or by_name):
        ctx.warning(at, "the server's certificate is verified, but any name in it is accepted")
    use_checks(context, checks, server_name=by_name)
    sessions = message.max_session_keys.value if message.HasField("max_session_keys") else 1
    if sessions:
        context.sessions = deque(maxlen=sessions)
    if len(common.tls_certificates) > 1:
        ctx.problem(
            f"{at}.tls_certificates", "Multiple TLS certificates are not supported for client contexts"
        )
    certificates = _certificates(common, at, ctx)
    _show(context, certificates, at, ctx)
    return UpstreamTlsConfig(context, message.sni, message.auto_host_sni)


class _Validation:
    """A `CertificateValidationContext`, read once and applied to several contexts."""

    def __init__(self, message: Any, path: str, ctx: CompileContext) -> None:
        self._path = path
        self._message = message
        self.checks, self._bundle = compile_peer_checks(message, path, ctx)
        self._authorities = self._read("trusted_ca", ctx)
        self._revocations = self._read("crl", ctx)
        # They stand in for authorities of one's own, and are not trusted beside them.
        self._system = message.HasField("system_root_certs") and not message.HasField("trusted_ca")
        self._spiffe = message.HasField("custom_validator_config")
        self.trusts = self.checks.authorities or self._spiffe
        #: Whether a client is asked for a certificate.
        self.asks = self.trusts or self.checks.lenient or self.checks.needs_certificate
        #: Whether the checks alone decide. The library can only verify what it is asked for.
        self._accepts_any = self.asks and (self.checks.lenient or not self.trusts)
        if self._accepts_any and not openssl.AVAILABLE:
            ctx.problem(path, f"peers without a trusted_ca, or ACCEPT_UNTRUSTED: {openssl.UNAVAILABLE}")
        if not self.trusts and message.HasField("crl"):
            ctx.problem(f"{path}.crl", "Failed to load CRL without trusted CA")
        if not self.trusts and message.allow_expired_certificate:
            ctx.problem(
                f"{path}.allow_expired_certificate",
                "Certificate validity period is always ignored without trusted CA",
            )
        if self.checks.names and not self.trusts:
            ctx.problem(
                path, "verifying names of certificates without a trusted CA is insecure and not allowed"
            )

    def _read(self, field: str, ctx: CompileContext) -> bytes | None:
        if not self._message.HasField(field):
            return None
        problems = len(ctx.problems)
        content = read_data_source(getattr(self._message, field), f"{self._path}.{field}", ctx)
        return content if len(ctx.problems) == problems else None

    def apply(self, context: TlsContext, ctx: CompileContext) -> None:
        """Trust what is to be trusted."""
        context.validates = self.trusts or self.checks.needs_certificate
        if self._accepts_any and openssl.AVAILABLE:
            openssl.accept_any_peer(context)
        # The trust domains of a SPIFFE validator replace trusted_ca, as in Envoy.
        if self._spiffe:
            load_authorities(context, self._bundle, f"{self._path}.custom_validator_config", ctx)
        elif self._authorities is not None:
            load_authorities(context, self._authorities, f"{self._path}.trusted_ca", ctx)
        if self._system:
            context.set_default_verify_paths()
        if self._revocations is not None:
            leaf_only = self._message.only_verify_leaf_cert_crl
            load_revocations(context, self._revocations, f"{self._path}.crl", ctx, leaf_only=leaf_only)
        if self._message.allow_expired_certificate:
            context.verify_flags |= _VERIFY_NO_CHECK_TIME


def _apply_common(
    context: TlsContext,
    common: Any,
    path: str,
    ctx: CompileContext,
    default_maximum: ssl.TLSVersion,
    default_alpn: Sequence[str] = (),
) -> None:
    apply_parameters(context, common.tls_params, f"{path}.tls_params", ctx, default_maximum)
    # Envoy joins the list by commas before it takes it apart, so one entry may name several.
    named = ",".join(common.alpn_protocols).split(",") if common.alpn_protocols else []
    alpn = [name for name in named if name != _PEER_EXCHANGE] or list(default_alpn)
    context.protocols = alpn
    if alpn:
        try:
            context.set_alpn_protocols(alpn)
        except ssl.SSLError as error:
            ctx.problem(f"{path}.alpn_protocols", str(error))
    if common.HasField("key_log"):
        apply_key_log(context, common.key_log, f"{path}.key_log", ctx)


def _certificates(common: Any, path: str, ctx: CompileContext) -> list[Certificate]:
    found = (
        read_certificate(certificate, f"{path}.tls_certificates[{i}]", ctx)
        for i, certificate in enumerate(common.tls_certificates)
    )
    return [certificate for certificate in found if certificate is not None]


def _show(context: TlsContext, certificates: Sequence[Certificate], path: str, ctx: CompileContext) -> None:
    for certificate in certificates:
        try:
            use_certificate(context, certificate)
        except ssl.SSLError as error:
            ctx.problem(f"{path}.tls_certificates", str(error))
    if certificates:
        context.certificate_der = certificates[0].der
        context.shows_several = len(certificates) > 1 and openssl.AVAILABLE


# -- what a handshake has come to


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
    if isinstance(ssl_object, CheckedSslObject):
        info.sni = ssl_object.requested_sni if ssl_object.server_side else ssl_object.server_hostname or ""
    context = ssl_object.context
    if isinstance(context, TlsContext):
        info.local_certificate_der = _shown_certificate(ssl_object, context)
    if isinstance(context, TlsContext):
        info.peer_certificate_der = ssl_object.getpeercert(True) or b""
        if (
            context.validates
            and info.peer_certificate_der
            and getattr(ssl_object, "overlooked", None) is None
        ):
            info.peer_certificate_validated = not ssl_object.session_reused
            info.peer_chain_der = presented_chain(ssl_object)
    if info.version != "TLSv1.3" and ssl_object.session is not None:
        info.session_id = ssl_object.session.id.hex()
    return info


def describe_failed(ssl_object: CheckedSslObject, info: TlsInfo) -> None:
    """Enter into `info` what the handshake of a client had come to when it failed."""
    if openssl.AVAILABLE:
        info.cipher = openssl.pending_cipher(ssl_object)
        # BoringSSL says this of connections that have not agreed on a version.
        info.version = openssl.negotiated_version(ssl_object) if ssl_object.greeted else "TLSv1.2"
    with contextlib.suppress(ValueError):  # it failed before it was over
        info.peer_certificate_der = ssl_object.getpeercert(True) or b""
        info.peer_chain_der = presented_chain(ssl_object)
    if isinstance(ssl_object.context, TlsContext):
        info.local_certificate_der = _shown_certificate(ssl_object, ssl_object.context)


def _shown_certificate(ssl_object: ssl.SSLObject, context: TlsContext) -> bytes:
    return openssl.shown_certificate(ssl_object) if context.shows_several else context.certificate_der
