"""Listeners of real Envoy and ours: bytes, statistics, access logs, and which configs are refused."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certs import Authority, Issued
from tests.support.configs import Json, address, file_log, typed
from tests.support.differential import Pair, Side, same_verdict
from tests.support.managers import logging_apart

NETWORK = "envoy.extensions.filters.network."
TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
LOG = (
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% "
    "%CONNECTION_TERMINATION_DETAILS% %FILTER_CHAIN_NAME% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_PEER_URI_SAN% "
    "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%"
)
LISTENERS = ("echo", "direct", "limited", "unmatched", "empty", "wildcard", "tls", "mutual", "slow", "small")


def network_filter(kind: str, **fields: Any) -> Json:
    return {"name": kind.partition(".")[0], "typed_config": typed(NETWORK + kind, **fields)}


ECHO = network_filter("echo.v3.Echo")


def listener(name: str, *chains: Json, **fields: Any) -> Json:
    return {
        "name": name,
        "stat_prefix": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "access_log": [file_log(LOG)],
        "filter_chains": list(chains),
        **fields,
    }


def tls(issued: Issued, **fields: Any) -> Json:
    certificate = {
        "certificate_chain": {"filename": str(issued.certificate)},
        "private_key": {"filename": str(issued.key)},
    }
    common = {"tls_certificates": [certificate], **fields.pop("common", {})}
    return {"name": "tls", "typed_config": typed(TLS, common_tls_context=common, **fields)}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Iterator[Pair]:
    direct = network_filter("direct_response.v3.Config", response={"inline_string": "hello"})
    limit = network_filter(
        "connection_limit.v3.ConnectionLimit", stat_prefix="cl", max_connections=1, delay="0.3s"
    )
    issued = authority.issue("server.test")
    validation = {
        "trusted_ca": {"filename": str(authority.certificate)},
        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "spiffe://good/a"}}],
    }
    listeners = [
        listener("echo", {"name": "e", "filters": [ECHO]}),
        listener("direct", {"filters": [direct]}),
        listener("limited", {"filters": [limit, ECHO]}),
        listener("unmatched", {"filter_chain_match": {"destination_port": 1}, "filters": [ECHO]}),
        listener("empty", {}),
        listener("wildcard", {"filters": [ECHO]}, address=address("{{wildcard_port}}", "0.0.0.0")),
        listener(
            "tls", {"filters": [ECHO], "transport_socket": tls(issued, common={"alpn_protocols": ["x"]})}
        ),
        listener(
            "mutual",
            {
                "filters": [ECHO],
                "transport_socket": tls(
                    issued, require_client_certificate=True, common={"validation_context": validation}
                ),
            },
        ),
        listener(
            "slow",
            {"filters": [ECHO], "transport_socket": tls(issued), "transport_socket_connect_timeout": "0.3s"},
        ),
        listener("small", {"filters": [ECHO]}, per_connection_buffer_limit_bytes=1),
        listener(
            "path", {"filters": [ECHO]}, address={"pipe": {"path": "{{dir}}/listen.sock", "mode": 0o640}}
        ),
        listener("abstract", {"filters": [ECHO]}, address={"pipe": {"path": "@{{dir}}"}}),
    ]
    config = {
        "admin": {"address": address("{{admin_port}}")},
        "static_resources": {"listeners": listeners},
        "layered_runtime": {
            "layers": [
                {
                    "name": "static",
                    "static_layer": {"envoy.resource_limits.listener.direct.connection_limit": 0},
                }
            ]
        },
    }
    with Pair(config, origins=(), listeners=LISTENERS) as started:
        yield started


def converse(port: int, data: bytes, timeout: float = 5.0) -> tuple[bytes, str]:
    """What comes back until the peer closes, after `data`; and how it ended."""
    with socket.create_connection(("127.0.0.1", port), timeout) as client:
        client.sendall(data)
        received = b""
        try:
            while True:
                more = client.recv(65536)
                if not more:
                    return received, "closed"
                received += more
                if data and received == data:
                    return received, "echoed"
        except ConnectionResetError:
            return received, "reset"


def on(name: str, data: bytes) -> Callable[[Side], tuple[bytes, str]]:
    return lambda side: converse(side.proxy.ports[name], data)


@contextlib.contextmanager
def logged(pair: Pair, mask: Callable[[str], str], lines: int = 1) -> Iterator[list[str]]:
    """What happens inside makes both sides log `lines` equal lines; they are in the list afterwards."""
    before = pair.lines_logged()
    found: list[str] = []
    yield found
    pair.logged_since(before, lines)
    found += pair.same_log(lines, mask)


def failure(line: str) -> str:
    """The transport failure reason."""
    return line.rpartition(" ")[2]


def hide_port(line: str) -> str:
    words = line.split(" ")
    words[2] = words[2].partition(":")[0]
    return " ".join(words)


def test_echo(pair: Pair) -> None:
    with logged(pair, hide_port) as lines, pair.same_stats("listener.echo."):
        assert pair.same_value("echo", on("echo", b"x" * 300_000), settle=0) == (b"x" * 300_000, "echoed")
    assert " e " in lines[0]


def test_a_tiny_buffer_still_carries_everything(pair: Pair) -> None:
    with logged(pair, hide_port):
        assert pair.same_value("echo", on("small", b"y" * 500_000), settle=0)[1] == "echoed"


def test_a_listener_over_its_limit_closes_at_once(pair: Pair) -> None:
    with pair.same_stats("listener.direct."):
        assert pair.same_value("reply", on("direct", b""), settle=0) == (b"", "closed")


def test_a_connection_without_a_chain(pair: Pair) -> None:
    with logged(pair, hide_port) as lines, pair.same_stats("listener.unmatched."):
        pair.same_value("reply", on("unmatched", b""), settle=0)
    assert lines[0].startswith("NR filter_chain_not_found 127.0.0.1 127.0.0.1 - ")


def test_a_chain_without_filters(pair: Pair) -> None:
    with logged(pair, hide_port), pair.same_stats("listener.empty."):
        assert pair.same_value("reply", on("empty", b""), settle=0)[0] == b""


def test_a_wildcard_listener_logs_the_address_of_the_connection(pair: Pair) -> None:
    with logged(pair, hide_port) as lines:
        pair.same_value("echo", on("wildcard", b"x"), settle=0)
    assert "127.0.0.1 127.0.0.1" in lines[0]


def test_a_connection_over_the_filter_s_limit_waits_and_is_closed(pair: Pair) -> None:
    def overload(side: Side) -> tuple[bytes, str, bool]:
        with socket.create_connection(("127.0.0.1", side.proxy.ports["limited"]), 5) as first:
            first.sendall(b"a")
            assert first.recv(1) == b"a"
            started = time.monotonic()
            reply = converse(side.proxy.ports["limited"], b"b")
            return *reply, time.monotonic() - started > 0.25

    with logged(pair, hide_port, 2), pair.same_stats("listener.limited.", "connection_limit.cl."):
        assert pair.same_value("overload", overload, settle=0)[2]


@pytest.mark.parametrize("name", ["path", "abstract"])
def test_a_unix_socket(pair: Pair, name: str) -> None:
    def place(side: Side) -> str:
        directory = str(side.proxy.values["dir"])
        return f"{directory}/listen.sock" if name == "path" else f"\0{directory}"

    def converse_unix(side: Side) -> tuple[bytes, int]:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(place(side))
            client.sendall(b"x")
            mode = Path(place(side)).stat().st_mode & 0o777 if name == "path" else 0
            return client.recv(10), mode

    with logged(pair, lambda line: re.sub(r"/tmp/[^/ ]*", "", line)):
        assert pair.same_value("unix", converse_unix, settle=0) == (b"x", 0o640 if name == "path" else 0)


def shake(port: int, context: ssl.SSLContext, name: str | None) -> tuple[str, ...]:
    """Version, cipher and application protocol of a handshake and one echo, or what went wrong."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 5) as raw,
            context.wrap_socket(raw, server_hostname=name) as client,
        ):
            client.sendall(b"x")
            echoed = client.recv(1).decode()
            return (
                client.version() or "",
                str(client.cipher()),
                str(client.selected_alpn_protocol()),
                echoed,
            )
    except ssl.SSLError as error:
        return ("error", error.reason or "")


def handshakes(name: str, context: ssl.SSLContext, server_name: str | None = "server.test") -> Any:
    return lambda side: shake(side.proxy.ports[name], context, server_name)


def test_tls(pair: Pair, authority: Authority) -> None:
    attempt = handshakes("tls", authority.client_context(alpn=("h", "x")))
    with logged(pair, hide_port), pair.same_stats("listener.tls."):
        assert pair.same_value("tls", attempt, settle=0)[2:] == ("x", "x")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_with_the_right_name(pair: Pair, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.client_context(authority.issue("spiffe://good/a"))
    context.maximum_version = version
    # What clients prefer by default depends on who built their Python.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    with logged(pair, hide_port) as lines, pair.same_stats("listener.mutual."):
        assert pair.same_value("tls", handshakes("mutual", context), settle=0)[3] == "x"
    assert "spiffe://good/a" in lines[0]


@pytest.mark.parametrize("first", ["", "ECDHE-ECDSA-AES256-GCM-SHA384:"], ids=["most", "more"])
def test_a_client_that_prefers_another_cipher(pair: Pair, authority: Authority, first: str) -> None:
    context = authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{first}ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256")
    attempt = handshakes("tls", context)
    with logging_apart(pair, 1):
        pair.same_value("cipher", lambda side: attempt(side)[1], settle=0)


def test_a_client_with_another_name_gets_nothing(pair: Pair, authority: Authority) -> None:
    context = authority.client_context(authority.issue("spiffe://evil/a"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def echoed(side: Side) -> bool:
        return shake(side.proxy.ports["mutual"], context, "server.test")[-1] == "x"

    names = ("listener.mutual.ssl.fail_verify_san", "listener.mutual.ssl.handshake")
    with logged(pair, failure) as lines, pair.same_stats(*names):
        assert pair.same_value("tls", echoed, settle=0) is False
    assert "verify_cert_failed:_SAN_matcher,_certificate_SANs_are_[spiffe://evil/a]" in lines[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_without_a_certificate_is_refused(
    pair: Pair, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.client_context()
    context.maximum_version = version
    # Whether a 1.3 client reads the alert before it notices the closed connection is a matter of luck.
    attempt = handshakes("mutual", context)
    with logged(pair, failure), pair.same_stats("listener.mutual."):
        assert pair.same_value("tls", lambda side: attempt(side)[0], settle=0) == "error"


def test_old_protocols_and_strange_ciphers_are_told_so(pair: Pair, authority: Authority) -> None:
    old = authority.client_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    strange = authority.client_context()
    strange.maximum_version = ssl.TLSVersion.TLSv1_2
    strange.set_ciphers("ECDHE-ECDSA-AES256-SHA")
    for context in (old, strange):
        with logged(pair, failure), pair.same_stats("listener.tls."):
            assert pair.same_value("tls", handshakes("tls", context), settle=0)[0] == "error"


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x01\x02\x03 garbage for a record"])
def test_garbage_instead_of_a_handshake(pair: Pair, garbage: bytes) -> None:
    with logged(pair, failure) as lines, pair.same_stats("listener.tls."):
        pair.both(on("tls", garbage))
    assert lines[0].startswith("TLS_error:")


def test_a_client_that_leaves_during_the_handshake(pair: Pair) -> None:
    def leave(side: Side) -> None:
        with socket.create_connection(("127.0.0.1", side.proxy.ports["tls"]), 5) as client:
            client.sendall(b"\x16\x03\x01")

    with logged(pair, hide_port), pair.same_stats("listener.tls."):
        pair.both(leave)


def test_a_client_that_says_nothing(pair: Pair) -> None:
    with logged(pair, hide_port) as lines, pair.same_stats("listener.slow."):
        assert pair.same_value("reply", on("slow", b""), settle=0) == (b"", "closed")
    assert "transport socket timeout was reached" in lines[0]


def validated(**fields: Any) -> Json:
    static = {"name": "l", "address": address(1), "filter_chains": [{"filters": [ECHO]}], **fields}
    return {"static_resources": {"listeners": [static]}}


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({}, True),
        ({"filter_chains": []}, False),
        ({"filter_chains": [], "default_filter_chain": {"filters": [ECHO]}}, True),
        ({"filter_chains": [{}]}, True),
        ({"filter_chains": [{"filters": [ECHO]}, {"filters": [ECHO]}]}, False),
        ({"filter_chains": [{"filters": [ECHO, ECHO]}]}, False),
        (
            {"filter_chains": [{"filter_chain_match": {"server_names": ["w*.a.com"]}, "filters": [ECHO]}]},
            False,
        ),
        (
            {
                "filter_chains": [
                    {"filter_chain_match": {"source_ports": [1, 2]}, "filters": [ECHO]},
                    {"filter_chain_match": {"source_ports": [2, 3]}, "filters": [ECHO]},
                ]
            },
            False,
        ),
        ({"address": address(1, "localhost")}, False),
        ({"address": {"socket_address": {"address": "127.0.0.1", "port_value": 70000}}}, False),
        ({"address": {"socket_address": {"address": "::1", "port_value": 1, "ipv4_compat": True}}}, False),
        ({"address": {"socket_address": {"address": "::", "port_value": 1, "ipv4_compat": True}}}, True),
        ({"address": {"pipe": {"path": "@abstract"}}}, True),
        ({"connection_balance_config": {"exact_balance": {}}}, True),
        ({"connection_balance_config": {}}, False),
        ({"socket_options": [{"level": 1, "name": 9, "int_value": 1}]}, True),
        ({"max_connections_to_accept_per_socket_event": 0}, False),
        ({"bind_to_port": False}, True),
        (
            {
                "filter_chains": [
                    {
                        "filters": [
                            network_filter(
                                "connection_limit.v3.ConnectionLimit", stat_prefix="x", max_connections=1
                            )
                        ]
                    }
                ]
            },
            False,
        ),
        ({"filter_chains": [{"filters": [{"name": "envoy.filters.network.echo"}]}]}, False),
    ],
)
def test_both_refuse_the_same_listeners(fields: Json, accepted: bool) -> None:
    assert same_verdict(validated(**fields))[0] is accepted
