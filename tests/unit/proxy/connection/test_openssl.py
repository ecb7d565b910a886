"""What is called in OpenSSL itself takes effect on contexts of the standard library."""

from __future__ import annotations

import gc
import ssl

import pytest

from proxy.connection import openssl


def test_the_library_of_this_interpreter_is_reached() -> None:
    assert openssl.AVAILABLE


def test_unknown_names_are_told() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert openssl.set_groups(context, ["X25519", "P-256", "P-384"])
    assert not openssl.set_groups(context, ["X25519", "P-1"])
    assert openssl.set_signature_algorithms(context, ["ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256"])
    assert not openssl.set_signature_algorithms(context, ["rot13"])


def test_a_refused_name_does_not_explain_later_errors() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    openssl.set_groups(context, ["P-1"])
    connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()


def test_what_callbacks_know_of_a_context_goes_with_it() -> None:
    before = len(openssl._callback_data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    openssl.set_ticket_keys(context, (b"a" * 80, b"b" * 80))
    assert len(openssl._callback_data) == before + 1
    del context
    gc.collect()
    assert len(openssl._callback_data) == before
