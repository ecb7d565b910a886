"""Listener filters of real Envoy and ours: what they find, which chain that leads to, what is refused."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.client_hellos import (
    BROWSER,
    TLS13,
    alpn,
    extension,
    message,
    name_list,
    records,
    server_name,
    ssl2,
    supported_versions,
)
from tests.support.configs import Json, address, bootstrap, connection_manager, file_log, typed
from tests.support.differential import Pair, Side, same_verdict

LISTENER_FILTERS = "envoy.extensions.filters.listener."
LOG = (
    "%FILTER_CHAIN_NAME% %REQUESTED_SERVER_NAME% %TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT% %RESPONSE_FLAGS% "
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %CONNECTION_TERMINATION_DETAILS%"
)
LISTENERS = ("tls", "http", "strict", "small", "wait", "go_on", "off", "rate", "proxy", "optional", "v2only")


def listener_filter(kind: str, **fields: Any) -> Json:
    disabled = fields.pop("disabled", None)
    made: Json = {"name": kind, "typed_config": typed(LISTENER_FILTERS + kind, **fields)}
    return made if disabled is None else {**made, "filter_disabled": disabled}


def log_to(name: str, text: str) -> Json:
    """An access log of its own file."""
    made = file_log(text)
    made["typed_config"]["path"] = f"{{{{dir}}}}/{name}.log"
    return made


def reply(text: str, **match: Any) -> Json:
    """A filter chain that answers with its name."""
    config = typed(
        "envoy.extensions.filters.network.direct_response.v3.Config", response={"inline_string": text}
    )
    return {
        "name": text,
        "filter_chain_match": match,
        "filters": [{"name": "direct_response", "typed_config": config}],
    }


def listener(name: str, filters: list[Json], chains: list[Json], **fields: Any) -> Json:
    return {
        "name": name,
        "stat_prefix": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "access_log": [log_to(name, LOG)],
        "listener_filters": filters,
        "filter_chains": chains,
        **fields,
    }


def tls(**fields: Any) -> Json:
    return listener_filter("tls_inspector.v3.TlsInspector", **fields)


def proxy_protocol(**fields: Any) -> Json:
    return listener_filter("proxy_protocol.v3.ProxyProtocol", **fields)


BY_TLS = [
    reply("named", server_names=["*.example.com"]),
    reply("h2", transport_protocol="tls", application_protocols=["h2"]),
    reply("tls", transport_protocol="tls"),
    reply("raw", transport_protocol="raw_buffer"),
]
ANY = [reply("any")]
ADDRESSES = (
    "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
)


def http(name: str, **fields: Any) -> Json:
    rules = [
        {"tlv_type": 1, "on_tlv_present": {"key": "alpn"}},
        {"tlv_type": 0xEA, "on_tlv_present": {"key": "x", "metadata_namespace": "own"}},
    ]
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
    }
    manager = connection_manager(
        {"name": "local", "virtual_hosts": [host]}, access_log=[log_to(f"{name}_requests", ADDRESSES)]
    )
    return listener(name, [proxy_protocol(rules=rules, stat_prefix=name, **fields)], [{"filters": [manager]}])


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    versions = [
        reply("1.0", application_protocols=["http/1.0"]),
        reply("1.1", application_protocols=["http/1.1"]),
        reply("h2c", application_protocols=["h2c"]),
        reply("other"),
    ]
    rate = listener_filter(
        "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="rl",
        token_bucket={"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "3600s"},
    )
    ports = {"destination_port_range": {"start": "{{off_port}}", "end": 65536}}
    listeners = [
        listener("tls", [tls(enable_ja3_fingerprinting=True, enable_ja4_fingerprinting=True)], BY_TLS),
        listener("http", [listener_filter("http_inspector.v3.HttpInspector")], versions),
        listener("strict", [tls(close_connection_on_client_hello_parsing_errors=True)], BY_TLS),
        listener("small", [tls(max_client_hello_size=300)], BY_TLS),
        listener("wait", [tls()], ANY, listener_filters_timeout="1s"),
        listener(
            "go_on",
            [tls()],
            ANY,
            listener_filters_timeout="1s",
            continue_on_listener_filters_timeout=True,
        ),
        listener("off", [tls(disabled={"and_match": {"rules": [ports, {"any_match": True}]}})], ANY),
        listener("rate", [rate], ANY),
        http("proxy"),
        http("optional", allow_requests_without_proxy_protocol=True),
        http("v2only", disallowed_versions=["V1"]),
    ]
    with Pair(bootstrap(listeners), origins=(), listeners=LISTENERS) as started:
        yield started


def say(port: int, *parts: bytes, wait: float = 0.0, enough: int = 1 << 20) -> bytes:
    """What comes back before the connection is closed, or its first bytes; `wait` seconds between the parts."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        try:
            for i, part in enumerate(parts):
                if i:
                    time.sleep(wait)
                client.sendall(part)
            while len(received) < enough and (more := client.recv(65536)):
                received += more
        except ConnectionError:
            pass
        return received


def said(name: str, corpus: list[bytes]) -> Any:
    return lambda side: [(data[:60], say(side.proxy.ports[name], data)) for data in corpus]


def logged(pair: Pair, name: str, lines: int) -> list[str]:
    """The last lines of a log, which must agree, in any order."""

    def read(side: Side) -> list[str]:
        path = f"{side.proxy.values['dir']}/{name}.log"
        found = side.proxy.access_log(lines, path=path)[-lines:]
        # A client's own port is never the same.
        return sorted("direct" if line.startswith("127.0.0.1:") else line for line in found)

    found: list[str] = pair.same_value("log", read)
    assert len(found) == lines
    return found


HELLOS = {
    "browser": records(BROWSER),
    "in small records": records(BROWSER, (1,) * 30),
    "in two records": records(BROWSER, (100,)),
    "SSL 3 record": records(BROWSER, version=0x0300),
    "odd record version": records(BROWSER, version=0x03FF),
    "followed by more": records(BROWSER) + b"x" * 3000,
    "no extensions": records(message()),
    "no name": records(message(supported_versions(TLS13))),
    "no name, h2": records(message(alpn(b"x", b"h2"))),
    "other name": records(message(server_name(b"other.org"), alpn(b"h2"))),
    "trailing dot": records(message(server_name(b"a.example.com."))),
    "odd characters": records(message(server_name(b"a_b!.example.com"))),
    "two names": records(message(extension(0, name_list((0, b"a.example.com"), (0, b"b.example.com"))))),
    "another type of name": records(message(extension(0, name_list((1, b"a.example.com"))))),
    "empty name": records(message(extension(0, name_list((0, b""))))),
    "NUL in name": records(message(server_name(b"a\0.example.com"))),
    "name of 255": records(message(server_name(b"a" * 243 + b".example.com"))),
    "name of 256": records(message(server_name(b"a" * 244 + b".example.com"))),
    "extension twice": records(message(extension(77, b""), extension(77, b""))),
    "cut extension": records(message(server_name(b"a.example.com"), extension(77, b"")[:3])),
    "no protocols": records(message(extension(16, b"\0\0"))),
    "empty protocol": records(message(extension(16, b"\0\1\0"))),
    "protocols cut": records(message(extension(16, b"\0\4\2h2\3"))),
    "old version": records(message(version=0x0300)),
    "no known version": records(message(supported_versions(0x0300, 0x7F1C))),
    "no versions": records(message(supported_versions())),
    "strange version": records(message(version=0x0399)),
    "no ciphers": records(message(ciphers=())),
    "no null compression": records(message(compression=b"\1")),
    "several compressions": records(message(compression=b"\1\0")),
    "long session id": records(message(session_id=bytes(33))),
    "not a hello": records(message(kind=2)),
    "trailing byte": records(b"\1\0\0\x2c" + message()[4:] + b"\0"),
    "empty record first": b"\x16\3\1\0\0" + records(BROWSER),
    "33 empty records": b"\x16\3\1\0\0" * 33 + records(BROWSER),
    "warning first": b"\x15\3\1\0\2\1\x5a" + records(BROWSER),
    "fatal alert": b"\x15\3\1\0\2\2\x28" + records(BROWSER),
    "application data": b"\x17\3\3\0\1x" + b"y" * 10,
    "change cipher spec first": b"\x14\3\3\0\1\1" + records(BROWSER),
    "record too long": b"\x16\3\1\xff\xff" + bytes(20),
    "message too long": b"\x16\3\1\0\4\1\0\x40\1" + bytes(20),
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "five bytes": b"\x16hell",
    "name in capitals": records(message(server_name(b"A.EXAMPLE.COM"))),
    "address for a name": records(message(server_name(b"127.0.0.1"))),
    "address of IPv6 for a name": records(message(server_name(b"::1"))),
    "wildcard for a name": records(message(server_name(b"*.example.com"))),
    "leading dot": records(message(server_name(b".example.com"))),
    "TLS 1.0 throughout": records(message(server_name(b"a.example.com"), version=0x0301)),
    "SSL 2": ssl2(),
    "SSL 2 with a session": ssl2(session=bytes(16)),
    "SSL 2 with suites of its own": ssl2(suites=b"\x01\x00\x80\x07\x00\xc0\x00\x00\x2f"),
    "SSL 2 with nothing but those": ssl2(suites=b"\x01\x00\x80\x07\x00\xc0"),
    "SSL 2 without suites": ssl2(suites=b""),
    "SSL 2 with a cut suite": ssl2(suites=b"\x00\x00\x2f\x00"),
    "SSL 2 with more": ssl2()[:1] + bytes([ssl2()[1] + 1]) + ssl2()[2:] + b"x",
    "SSL 2 with less": ssl2()[:1] + bytes([ssl2()[1] - 1]) + ssl2()[2:],
    "SSL 2 of that version": ssl2(version=0x0002),
    "SSL 2 of an odd version": ssl2(version=0x03FE),
    "SSL 2, then more": ssl2() + b"x" * 300,
    "long SSL 2": ssl2(challenge=bytes(4000)),
    "too long SSL 2": ssl2(challenge=bytes(5000)),
    "short SSL 2": b"\x80\x02\x01\x03\x01",
    "shortest SSL 2": b"\x80\x03\x01\x03\x01" + bytes(30),
    "a long hello": records(message(server_name(b"a.example.com"), extension(21, bytes(16000)))),
    "a long hello in records": records(message(extension(21, bytes(16000))), (4000, 4000, 4000)),
}


@pytest.mark.parametrize("name", ["tls", "strict", "small"])
def test_hellos(pair: Pair, name: str) -> None:
    def answers(side: Side) -> dict[str, bytes]:
        return {title: say(side.proxy.ports[name], data) for title, data in HELLOS.items()}

    with pair.same_stats("tls_inspector.", f"listener.{name}."):
        envoy, outrider = pair.both(answers)
        assert outrider == envoy
    assert {b"named", b"h2", b"tls", b"raw"} <= set(envoy.values()) or name != "tls"
    logged(pair, name, len(HELLOS))


@pytest.mark.parametrize("name", ["tls", "small"])
def test_a_hello_that_is_too_large(pair: Pair, name: str) -> None:
    data = records(message(extension(21, bytes(16380))))[: 16384 if name == "tls" else 300]
    with pair.same_stats("tls_inspector.", f"listener.{name}."):
        assert pair.same_value("reply", lambda side: say(side.proxy.ports[name], data), settle=0) == b""


def test_a_hello_in_many_segments(pair: Pair) -> None:
    data = records(BROWSER)
    parts = [data[i : i + 40] for i in range(0, len(data), 40)]
    with pair.same_stats("tls_inspector.", "listener.tls."):
        answer = pair.same_value(
            "reply", lambda side: say(side.proxy.ports["tls"], *parts, wait=0.01), settle=0
        )
    assert answer == b"named"


REQUEST_LINES = [
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.0\r\n",
    b"GET / HTTP/1.1\n",
    b"GET / HTTP/1.2\r\n",
    b"GET / HTTP/2.0\r\n",
    b"GET / HTTP/0.9\r\n",
    b"GET /\r\n",
    b"GET\r\n",
    b"get / http/1.1\r\n",
    b"get / HTTP/1.1\r\n",
    b"ODD / HTTP/1.1\r\n",
    b"O(D / HTTP/1.1\r\n",
    b"GET  / HTTP/1.1\r\n",
    b"GET /  HTTP/1.1\r\n",
    b"GET / a HTTP/1.1\r\n",
    b"GET / HTTP/1.1 \r\n",
    b"GET / HTTP/1.1x\r\n",
    b"GET / HTTP/11\r\n",
    b"GET / HTTQ/1.1\r\n",
    b"GET\t/ HTTP/1.1\r\n",
    b" GET / HTTP/1.1\r\n",
    b"GET http://a/ HTTP/1.1\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"hello\r\n",
    b"hello world\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"\r\nGET / HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx",
    b"PRI * HTTP/1.1\r\n",
    b"\x16\x02\x01\0\0\n",
    b"\0abcd\n",
]


def test_http_versions(pair: Pair) -> None:
    with pair.same_stats("http_inspector.", "listener.http."):
        envoy, outrider = pair.both(said("http", REQUEST_LINES))
        assert outrider == envoy
    assert {b"1.0", b"1.1", b"h2c", b"other"} <= {answer for _, answer in envoy}


def test_a_client_that_waits_is_closed(pair: Pair) -> None:
    with pair.same_stats("listener.wait."):
        answers = pair.both(lambda side: say(side.proxy.ports["wait"], b"x"))
    assert answers == (b"", b"")
    logged(pair, "wait", 1)


def test_a_client_that_waits_may_go_on(pair: Pair) -> None:
    with pair.same_stats("listener.go_on."):
        assert pair.both(lambda side: say(side.proxy.ports["go_on"], b"x")) == (b"any", b"any")
    logged(pair, "go_on", 1)


def test_a_client_that_leaves_meanwhile(pair: Pair) -> None:
    def leave(side: Side) -> None:
        with socket.create_connection(("127.0.0.1", side.proxy.ports["tls"]), 5) as client:
            client.sendall(b"\x16\3\1")
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""

    with pair.same_stats("listener.tls.", "tls_inspector."):
        pair.both(leave)


def test_a_filter_that_is_off(pair: Pair) -> None:
    with pair.same_stats("listener.off.", "tls_inspector."):
        assert pair.both(lambda side: say(side.proxy.ports["off"])) == (b"any", b"any")


def test_connections_over_the_rate(pair: Pair) -> None:
    with pair.same_stats("listener.rate.", "listener_local_ratelimit."):
        answers = pair.same_value(
            "replies", lambda side: [say(side.proxy.ports["rate"]) for _ in range(4)], settle=0
        )
    assert answers == [b"any", b"any", b"", b""]
    logged(pair, "rate", 4)


def v2(command: int = 0x21, family: int = 0x11, body: bytes | None = None, tail: bytes = b"") -> bytes:
    if body is None:
        body = socket.inet_aton("1.2.3.4") + socket.inet_aton("5.6.7.8") + b"\x10\x00\x00\x50"
    body += tail
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([command, family]) + len(body).to_bytes(2) + body


def six(source: str, destination: str) -> bytes:
    packed = [socket.inet_pton(socket.AF_INET6, one) for one in (source, destination)]
    return v2(family=0x21, body=b"".join(packed) + b"\x10\0\0\x50")


V1 = [
    b"TCP4 1.2.3.4 5.6.7.8 4096 80",
    b"TCP6 2001:db8::1 ::1 4096 80",
    b"TCP6 2001:0DB8:0::1 ::FFFF:1.2.3.4 0 65535",
    b"TCP4 1.2.3.4 5.6.7.8 +1 007",
    b"TCP4 1.2.3.4 5.6.7.8 1 2 ",
    b"TCP4 1.2.3.4\0 5.6.7.8 1 2",
    b"UNKNOWN",
    b"UNKNOWN ff::1 whatever there is",
    b"TCP4 1.2.3.4 5.6.7.8 1 2 3",
    b"TCP4 1.2.3.4 5.6.7.8 1",
    b"TCP4  1.2.3.4 5.6.7.8 1 2",
    b"",
    b"TCP5 1.2.3.4 5.6.7.8 1 2",
    b"tcp4 1.2.3.4 5.6.7.8 1 2",
    b"TCP4 01.2.3.4 5.6.7.8 1 2",
    b"TCP4 1.2.3 5.6.7.8 1 2",
    b"TCP4 ::1 ::1 1 2",
    b"TCP4 [::1 [::1 1 2",
    b"TCP6 1.2.3.4 5.6.7.8 1 2",
    b"TCP4 1.2.3.4 5.6.7.8 65536 2",
    b"TCP4 1.2.3.4 5.6.7.8 -1 2",
    b"TCP4 1.2.3.4 5.6.7.8 -0 2",
    b"TCP4 1.2.3.4 5.6.7.8 1x 2",
    b"TCP4 1.2.3.4 5.6.7.8 0x1 2",
    b"TCP4 1.2.3.4 5.6.7.8 \xb2 2",
    b"TCP4 1.2.3.4 5.6.7.8 " + b"0" * 40 + b"9 2",
    b"TCP4 1.2.3.4 5.6.7.8 " + b"9" * 30 + b" 2",
    b"TCP4 0.0.0.0 5.6.7.8 1 2",
    b"TCP4 224.0.0.1 5.6.7.8 1 2",
    b"TCP4 1.2.3.4 255.255.255.255 1 2",
    b"TCP6 :: ::1 1 2",
    b"TCP6 ff02::1 ::1 1 2",
    b"UNKNOWN" + b" " * 100,
    b"UNKNOWN" + b" " * 91,
    b"UNKNOWN" + b" " * 92,
    b"UNKNOWN" + b" " * 93,
    b"UNKNOWN" + b" " * 94,
]
HEADERS = [
    *(b"PROXY " + line + b"\r\n" for line in V1),
    b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"\r\n\r\n\0\r\nQUIX\nxxxxx",
    v2(),
    v2(family=0x12),
    six("2001:db8::1", "::1"),
    six("::ffff:1.2.3.4", "::1"),
    six("::", "::1"),
    six("ff02::1", "::1"),
    v2(0x20, 0x00, b""),
    v2(0x20, 0x31, bytes(300)),
    v2(0x11),
    v2(0x22),
    v2(family=0x10),
    v2(family=0x13),
    v2(family=0x01),
    v2(family=0x31, body=bytes(216)),
    v2(body=bytes(11)),
    v2(family=0x21),
    v2(body=bytes(12)),
    v2(tail=b"\x01\0\2h2"),
    v2(tail=b"\x01\0\0\xea\0\3vpc\x05\0\1a" + b"\xe0\1\0" + bytes(256)),
    v2(tail=b"\x01\0\1a\x01\0\1b"),
    v2(tail=b"\x01\0\5a\xff\xc3\xa9\xc3\xea\0\2\0\x80"),
    v2(tail=b"\x01"),
    v2(tail=b"\x01\0"),
    v2(tail=b"\x01\0\1"),
    v2(tail=b"\x01\0\0\x02\0\2x"),
    v2(tail=b"\x01\0\0" * 5000),
]
REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("name", ["proxy", "optional", "v2only"])
def test_proxy_headers(pair: Pair, name: str) -> None:
    def answers(side: Side) -> dict[bytes, bytes]:
        port = side.proxy.ports[name]
        return {data[:80]: say(port, data + REQUEST, enough=12)[:12] for data in [*HEADERS, b""]}

    prefixes = (f"proxy_proto.{name}.", "downstream_cx_proxy_proto_error", f"listener.{name}.")
    with pair.same_stats(*prefixes):
        envoy, outrider = pair.both(answers)
        assert outrider == envoy
    assert b"HTTP/1.1 200" in envoy.values()
    logged(pair, f"{name}_requests", sum(answer == b"HTTP/1.1 200" for answer in envoy.values()))


def test_a_proxy_header_in_segments(pair: Pair) -> None:
    data = v2(tail=b"\x01\0\2h2") + REQUEST
    parts = [data[i : i + 5] for i in range(0, len(data), 5)]
    with pair.same_stats("proxy_proto.proxy.", "listener.proxy."):
        answer = pair.same_value(
            "reply", lambda side: say(side.proxy.ports["proxy"], *parts, wait=0.005)[:12], settle=0
        )
    assert answer == b"HTTP/1.1 200"


def verdict(*filters: Json, **fields: Any) -> bool:
    made = {"name": "l", "address": address(1), "filter_chains": ANY, "listener_filters": list(filters)}
    return same_verdict({"static_resources": {"listeners": [{**made, **fields}]}})[0]


@pytest.mark.parametrize(
    ("filters", "accepted"),
    [
        ([tls(max_client_hello_size=16384)], True),
        ([tls(max_client_hello_size=16385)], False),
        ([proxy_protocol(disallowed_versions=["V1", "V2"])], False),
        ([proxy_protocol(rules=[{"tlv_type": 256, "on_tlv_present": {"key": "a"}}])], False),
        ([proxy_protocol(rules=[{"tlv_type": 1, "on_tlv_present": {"key": ""}}])], False),
        ([{"name": "envoy.filters.listener.tls_inspector"}], False),
        ([tls(disabled={"or_match": {"rules": [{"any_match": True}]}})], False),
        ([tls(disabled={"destination_port_range": {"start": 1, "end": 70000}})], True),
        ([tls(disabled={})], False),
        (
            [
                listener_filter(
                    "local_ratelimit.v3.LocalRateLimit",
                    stat_prefix="a",
                    token_bucket={"max_tokens": 1, "fill_interval": "0.01s"},
                )
            ],
            False,
        ),
        ([tls(), tls()], True),
    ],
)
def test_what_is_accepted(filters: list[Json], accepted: bool) -> None:
    assert verdict(*filters) is accepted
