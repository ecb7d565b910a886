"""Sessions: whose tickets open where, and keys that are refused."""

from __future__ import annotations

import ssl
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from proxy.connection import openssl
from tests.support.certs import Authority
from tests.support.tls_configs import certificate, downstream


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def shake(server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLObject:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname="server.test", session=session)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [one, other]
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
    other.write(b"a")
    one.read(1)
    return one


def resumes(first: dict[str, Any], second: dict[str, Any], client: ssl.SSLContext) -> bool:
    """Whether a session of one context is resumed in another."""
    sessions: list[ssl.SSLObject] = []
    for message in (first, second):
        config, problems = downstream(message)
        assert not problems
        config.sessions.renew_keys()
        sessions.append(shake(config.context, client, sessions[0].session if sessions else None))
    return bool(sessions[1].session_reused)


def test_contexts_made_twice_share_sessions_but_not_with_others(authority: Authority) -> None:
    pair = certificate(authority.issue("server.test"))
    plain = {"common_tls_context": {"tls_certificates": [pair]}}
    asking = {
        "common_tls_context": {
            "tls_certificates": [pair],
            "validation_context": {"trusted_ca": {"filename": str(authority.certificate)}},
        }
    }
    client = authority.client_context()
    assert resumes(plain, plain, client)
    assert not resumes(plain, asking, client)


def test_the_same_configured_key_does_not_carry_a_session_past_other_checks(authority: Authority) -> None:
    pair = certificate(authority.issue("server.test"))
    keys = {"session_ticket_keys": {"keys": [{"inline_bytes": b64encode(b"k" * 80).decode()}]}}
    trust = {"trusted_ca": {"filename": str(authority.certificate)}}
    plain = {"common_tls_context": {"tls_certificates": [pair]}, **keys}
    asking = {"common_tls_context": {"tls_certificates": [pair], "validation_context": trust}, **keys}
    client = authority.client_context(authority.issue("client.test"))
    assert resumes(plain, plain, client)
    assert not resumes(plain, asking, client)


def test_keys_of_our_own_are_replaced_every_day(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 86400.0 * 20000
    monkeypatch.setattr(time, "time", lambda: now)
    config, _ = downstream(
        {"common_tls_context": {"tls_certificates": [certificate(authority.issue("server.test"))]}}
    )
    client = authority.client_context()
    config.sessions.renew_keys()
    session = shake(config.context, client, None).session
    assert shake(config.context, client, session).session_reused
    now += 86400.0
    config.sessions.renew_keys()
    assert not shake(config.context, client, session).session_reused


def test_a_key_of_the_wrong_length_is_refused(authority: Authority) -> None:
    _, problems = downstream(
        {
            "common_tls_context": {"tls_certificates": [certificate(authority.issue("server.test"))]},
            "session_ticket_keys": {"keys": [{"inline_string": "short"}]},
        }
    )
    assert problems == [
        "tls.session_ticket_keys.keys[0]: Incorrect TLS session ticket key length. Length 5, expected length 80."
    ]


def test_without_access_to_openssl_the_fields_are_refused(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openssl, "AVAILABLE", False)
    _, problems = downstream(
        {
            "common_tls_context": {"tls_certificates": [certificate(authority.issue("server.test"))]},
            "session_timeout": "60s",
            "disable_stateful_session_resumption": True,
        }
    )
    assert [problem.partition(":")[0] for problem in problems] == [
        "tls.session_timeout",
        "tls.disable_stateful_session_resumption",
    ]
