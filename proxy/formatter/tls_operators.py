"""Operators on the TLS session of either side and on its certificates.

What reads certificates costs memory and time to load (`cryptography`), so it comes with the first operator that is
compiled and needs it; no request waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from proxy.base.stream_info import StreamInfo, TlsInfo
from proxy.config.context import CompileContext
from proxy.formatter.date_format import DateFormat
from proxy.formatter.fingerprints import sha1_of, sha256_of
from proxy.formatter.parse import Command
from proxy.formatter.spec import Argument, Facts, Operator, OperatorSpec, fact, operator

if TYPE_CHECKING:
    from proxy.formatter.certificate_facts import CertificateFacts

_Side = Callable[[StreamInfo], TlsInfo | None]
_Certificate = Callable[[TlsInfo], bytes]


def _facts_of(der: bytes) -> CertificateFacts:
    from proxy.formatter.certificate_facts import certificate_facts

    return certificate_facts(der)


def _serial_of(der: bytes) -> str:
    return _facts_of(der).serial


def _loads_facts(spec: OperatorSpec) -> OperatorSpec:
    def build(command: Command, context: CompileContext) -> Operator:
        _facts_of(b"")
        return spec.build(command, context)

    return replace(spec, build=build)


def _downstream(info: StreamInfo) -> TlsInfo | None:
    return info.connection.tls


def _upstream(info: StreamInfo) -> TlsInfo | None:
    return info.upstream_tls


_FACTS: dict[_Side, Facts] = {_downstream: Facts.NONE, _upstream: Facts.UPSTREAM}


def _peer(tls: TlsInfo) -> bytes:
    return tls.peer_certificate_der


def _local(tls: TlsInfo) -> bytes:
    return tls.local_certificate_der


def _session(side: _Side, describe: Callable[[TlsInfo], str]) -> OperatorSpec:
    def text(info: StreamInfo) -> str | None:
        tls = side(info)
        return None if tls is None else describe(tls) or None

    return fact(text, facts=_FACTS[side])


def _certificate(
    side: _Side, which: _Certificate, describe: Callable[[CertificateFacts], str]
) -> OperatorSpec:
    return _loads_facts(_session(side, lambda tls: describe(_facts_of(which(tls))) if which(tls) else ""))


def _digest(describe: Callable[[bytes], str]) -> OperatorSpec:
    return _session(_downstream, lambda tls: describe(_peer(tls)) if _peer(tls) else "")


def _chain(describe: Callable[[bytes], str]) -> OperatorSpec:
    def text(tls: TlsInfo) -> str:
        chain = tls.peer_chain_der or ((_peer(tls),) if _peer(tls) else ())
        return ",".join(describe(der) for der in chain)

    return _session(_downstream, text)


def _issuer(describe: Callable[[bytes], str]) -> OperatorSpec:
    return _session(
        _downstream, lambda tls: describe(tls.peer_chain_der[1]) if len(tls.peer_chain_der) > 1 else ""
    )


def _validity(side: _Side, moment_of: Callable[[CertificateFacts], float]) -> OperatorSpec:
    def build(command: Command, _context: CompileContext) -> Operator:
        render = DateFormat(command.argument).render

        def text(info: StreamInfo) -> str | None:
            tls = side(info)
            if tls is None or not tls.peer_certificate_der:
                return None
            return render(moment_of(_facts_of(tls.peer_certificate_der)))

        return operator(text, facts=_FACTS[side])

    return _loads_facts(OperatorSpec(build, Argument.OPTIONAL))


_SANS: dict[str, Callable[[CertificateFacts], str]] = {
    "URI": lambda facts: facts.uri_sans,
    "DNS": lambda facts: facts.dns_sans,
    "IP": lambda facts: facts.ip_sans,
    "EMAIL": lambda facts: facts.email_sans,
    "OTHERNAME": lambda facts: facts.othername_sans,
}

OPERATORS: dict[str, OperatorSpec] = {
    "UPSTREAM_SERVER_NAME": _session(_upstream, lambda tls: tls.sni),
    "DOWNSTREAM_LOCAL_SUBJECT": _certificate(_downstream, _local, lambda facts: facts.subject),
    "DOWNSTREAM_PEER_SERIAL": _loads_facts(_digest(_serial_of)),
    "DOWNSTREAM_PEER_FINGERPRINT_256": _digest(sha256_of),
    "DOWNSTREAM_PEER_FINGERPRINT_1": _digest(sha1_of),
    "DOWNSTREAM_PEER_CHAIN_SERIALS": _loads_facts(_chain(_serial_of)),
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256": _chain(sha256_of),
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1": _chain(sha1_of),
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256": _issuer(sha256_of),
    "DOWNSTREAM_PEER_ISSUER_SERIAL": _loads_facts(_issuer(_serial_of)),
}
for _prefix, _side in (("DOWNSTREAM", _downstream), ("UPSTREAM", _upstream)):
    OPERATORS[f"{_prefix}_TLS_VERSION"] = _session(_side, lambda tls: tls.version)
    OPERATORS[f"{_prefix}_TLS_CIPHER"] = _session(_side, lambda tls: tls.cipher)
    OPERATORS[f"{_prefix}_TLS_GROUP"] = _session(_side, lambda tls: tls.group)
    OPERATORS[f"{_prefix}_TLS_SESSION_ID"] = _session(_side, lambda tls: tls.session_id)
    OPERATORS[f"{_prefix}_PEER_SUBJECT"] = _certificate(_side, _peer, lambda facts: facts.subject)
    OPERATORS[f"{_prefix}_PEER_ISSUER"] = _certificate(_side, _peer, lambda facts: facts.issuer)
    OPERATORS[f"{_prefix}_PEER_CERT"] = _certificate(_side, _peer, lambda facts: facts.url_encoded_pem)
    OPERATORS[f"{_prefix}_PEER_CERT_V_START"] = _validity(_side, lambda facts: facts.not_before)
    OPERATORS[f"{_prefix}_PEER_CERT_V_END"] = _validity(_side, lambda facts: facts.not_after)
    for _kind, _describe in _SANS.items():
        if _prefix == "DOWNSTREAM" or _kind in {"URI", "DNS", "IP"}:
            OPERATORS[f"{_prefix}_PEER_{_kind}_SAN"] = _certificate(_side, _peer, _describe)
            OPERATORS[f"{_prefix}_LOCAL_{_kind}_SAN"] = _certificate(_side, _local, _describe)
