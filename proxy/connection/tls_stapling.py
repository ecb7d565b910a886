"""OCSP responses that a server staples to its certificate (RFC 6066, section 8), after Envoy's policies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final

from msgspec import Struct

from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source

#: `DownstreamTlsContext.OcspStaplePolicy`.
LENIENT_STAPLING: Final = 0
STRICT_STAPLING: Final = 1
MUST_STAPLE: Final = 2


class Staple(Struct, frozen=True):
    """A DER `OCSPResponse` for one certificate.

    `expires_at` is its nextUpdate in seconds since the epoch; without one it counts as expired (0), as in Envoy.
    """

    response: bytes
    expires_at: float


class StapleAction(IntEnum):
    """What became of a client's status request; NONE if it made none."""

    NONE = 0
    STAPLE = 1
    OMIT = 2
    FAIL = 3


def choose_action(policy: int, staple: Staple | None, now: float) -> StapleAction:
    """What a client that asks for the status gets at `now` (seconds since the epoch)."""
    if staple is not None and staple.expires_at >= now:
        return StapleAction.STAPLE
    if policy == MUST_STAPLE or (policy == STRICT_STAPLING and staple is not None):
        return StapleAction.FAIL
    return StapleAction.OMIT


def answers(
    policy: int, staples: Mapping[bytes, tuple[Staple | None, bool]], clock: Callable[[], float] = time.time
) -> Callable[[bytes], tuple[StapleAction, bytes]]:
    """Gives the action, and the response to staple, for the certificate (DER) that a handshake has chosen.

    `staples` has, by certificate, its response and whether the certificate itself demands one.
    """

    def answer(certificate: bytes) -> tuple[StapleAction, bytes]:
        staple, demanded = staples.get(certificate, (None, False))
        action = choose_action(MUST_STAPLE if demanded else policy, staple, clock())
        return action, staple.response if staple is not None and action == StapleAction.STAPLE else b""

    return answer


def read_staple(message: Any, der: bytes, path: str, ctx: CompileContext) -> Staple | None:
    """The `ocsp_staple` of a `TlsCertificate` whose certificate is `der`; None if it has none or it is unusable."""
    if not message.HasField("ocsp_staple"):
        return None
    path = f"{path}.ocsp_staple"
    problems = len(ctx.problems)
    content = read_data_source(message.ocsp_staple, path, ctx)
    if len(ctx.problems) > problems or not content:
        return None
    from cryptography import x509  # costs memory that most configurations need not
    from cryptography.x509 import ocsp

    try:
        response = ocsp.load_der_ocsp_response(content)
        if response.response_status != ocsp.OCSPResponseStatus.SUCCESSFUL:
            ctx.problem(path, "OCSP response was unsuccessful")
            return None
        singles = list(response.responses)
        if len(singles) != 1:
            ctx.problem(path, "OCSP Response must be for one certificate only")
            return None
        single = singles[0]
        matches = single.serial_number == x509.load_der_x509_certificate(der).serial_number
        until = single.next_update_utc
    except ValueError as error:
        ctx.problem(path, f"holds no OCSP response in DER: {error}")
        return None
    if not matches:
        ctx.problem(path, "OCSP response does not match its TLS certificate")
        return None
    return Staple(content, until.timestamp() if until is not None else 0.0)


def demands_staple(der: bytes) -> bool:
    """Whether a certificate has the TLS feature "status_request" (RFC 7633), known as must-staple."""
    # Its object identifier, 1.3.6.1.5.5.7.1.24; whoever lacks it is spared the parsing.
    if b"\x2b\x06\x01\x05\x05\x07\x01\x18" not in der:
        return False
    from cryptography import x509

    try:
        features = (
            x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.TLSFeature).value
        )
    except (x509.ExtensionNotFound, ValueError):
        return False
    return x509.TLSFeatureType.status_request in features
