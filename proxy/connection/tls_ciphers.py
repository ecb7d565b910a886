"""Cipher suites and protocol versions: Envoy's (BoringSSL's) words turned into OpenSSL's."""

from __future__ import annotations

import re
import ssl
from typing import Final

#: What Envoy offers by default, without the brackets of equal preference, which OpenSSL does not know.
DEFAULT: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
)

#: Suites that BoringSSL has, by OpenSSL name; their IANA names stand beside them.
_KNOWN: Final = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-SHA": "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "ECDHE-ECDSA-AES256-SHA": "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "ECDHE-RSA-AES128-GCM-SHA256": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE-RSA-AES128-SHA": "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "ECDHE-RSA-AES128-SHA256": "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "ECDHE-RSA-AES256-SHA": "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "ECDHE-PSK-AES128-CBC-SHA": "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA",
    "ECDHE-PSK-AES256-CBC-SHA": "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA",
    "ECDHE-PSK-CHACHA20-POLY1305": "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
    "PSK-AES128-CBC-SHA": "TLS_PSK_WITH_AES_128_CBC_SHA",
    "PSK-AES256-CBC-SHA": "TLS_PSK_WITH_AES_256_CBC_SHA",
    "AES128-GCM-SHA256": "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "AES256-GCM-SHA384": "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "AES128-SHA": "TLS_RSA_WITH_AES_128_CBC_SHA",
    "AES256-SHA": "TLS_RSA_WITH_AES_256_CBC_SHA",
}
_BY_NAME: Final = {name: name for name in _KNOWN} | {iana: name for name, iana in _KNOWN.items()}
_ALIASES: Final = frozenset(
    {"ALL", "HIGH", "FIPS", "ECDHE", "EECDH", "kECDHE", "kEECDH", "kRSA", "aRSA", "aECDSA", "ECDSA", "RSA"}
    | {"AES", "AES128", "AES256", "AESGCM", "AES128GCM", "AES256GCM", "CHACHA20", "SHA", "SHA1", "PSK"}
)

#: Groups of equal preference are not nested, and each ends.
_GROUPS: Final = re.compile(r"[^\[\]|]*(?:\[[^\[\]]*\][^\[\]|]*)*")

#: `TlsParameters.TlsProtocol` → version; 0 (AUTO) means the default of the side.
VERSIONS: Final = {
    1: ssl.TLSVersion.TLSv1,
    2: ssl.TLSVersion.TLSv1_1,
    3: ssl.TLSVersion.TLSv1_2,
    4: ssl.TLSVersion.TLSv1_3,
}


def translate(suites: list[str]) -> tuple[str, list[str]]:
    """The OpenSSL cipher string for Envoy's `cipher_suites`, and the words that BoringSSL would refuse.

    A group `[A|B]` of equal preference becomes `A:B`.
    """
    words: list[str] = []
    unknown: list[str] = []
    text = ":".join(suites)
    if not _GROUPS.fullmatch(text):
        return "", suites
    for word in re.split(r"[:|\[\],\s]+", text):
        if not word:
            continue
        sign = word[0] if word[0] in "!-+" else ""
        name = word[len(sign) :]
        known = _BY_NAME.get(name)
        if word == "DEFAULT":
            name = "ALL"
        elif word != "@STRENGTH" and known is None and not _ALIASES.issuperset(name.split("+")):
            unknown.append(word)
        words.append(sign + (known or name))
    return ":".join(words), unknown
