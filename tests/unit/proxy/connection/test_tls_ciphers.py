"""Envoy's cipher words."""

from __future__ import annotations

import ssl

import pytest

from proxy.connection import tls_ciphers


def test_the_default_is_known_to_openssl() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(tls_ciphers.DEFAULT)
    names = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    assert names == tls_ciphers.DEFAULT.split(":")


@pytest.mark.parametrize(
    ("suites", "translated", "unknown"),
    [
        (
            ["[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]", "AES256-SHA"],
            "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:AES256-SHA",
            [],
        ),
        (["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], "ECDHE-RSA-AES128-GCM-SHA256", []),
        (["ALL:!AES128-SHA"], "ALL:!AES128-SHA", []),
        (["TLS_AES_128_GCM_SHA256"], "TLS_AES_128_GCM_SHA256", ["TLS_AES_128_GCM_SHA256"]),
    ],
)
def test_words_are_translated(suites: list[str], translated: str, unknown: list[str]) -> None:
    assert tls_ciphers.translate(suites) == (translated, unknown)
