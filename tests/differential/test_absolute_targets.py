"""`send_fully_qualified_url`: upstreams that are forward proxies get the whole URL, beside Envoy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.certs import Authority
from tests.support.configs import HTTP_OPTIONS, Json, cluster, file_log, http_proxy, route, typed
from tests.support.differential import Pair, Side
from tests.support.managers import get, post
from tests.support.origin import HELLO, Origin


def absolute(name: str, port: str = "origin", **fields: Any) -> Json:
    options = typed(
        HTTP_OPTIONS, explicit_http_config={"http_protocol_options": {"send_fully_qualified_url": True}}
    )
    return cluster(
        name, f"{{{{{port}_port}}}}", typed_extension_protocol_options={HTTP_OPTIONS: options}, **fields
    )


CHECK: Final = {
    "timeout": "1s",
    "interval": "60s",
    "unhealthy_threshold": 1,
    "healthy_threshold": 1,
    "http_health_check": {"path": "/check", "host": "checked.test"},
}
CHECKED: Final = "GET http://checked.test/check HTTP/1.1"
CONFIG: Final = http_proxy(
    routes=[
        route("plain", "/plain"),
        route("rewritten", "/old", prefix_rewrite="/new", host_rewrite_literal="other.test:81"),
        {
            "match": {"connect_matcher": {}},
            "route": {"cluster": "rewritten", "upgrade_configs": [{"upgrade_type": "CONNECT"}]},
        },
        route("rewritten", "/"),
    ],
    clusters=[
        cluster("plain", "{{origin_port}}"),
        absolute("rewritten"),
        absolute("checked", health_checks=[CHECK]),
    ],
)
REQUESTS: Final = {
    "no option": get("/plain?q"),
    "get": get("/a?b=c", host="x.test:8080"),
    "rewritten": get("/old/a?b"),
    "body": post("/upload", b"x" * 2000),
    "forwarded as https": get("/a", "x-forwarded-proto: https"),
    "absolute already": b"GET http://y.test/z?w HTTP/1.1\r\nHost: x.test\r\n\r\n",
    "connect": b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair(CONFIG) as made:
        yield made


def start_lines(side: Side) -> list[str]:
    return [request.start for request in side.origins["origin"].requests]


@pytest.mark.parametrize("name", REQUESTS)
def test_the_upstream_gets_the_same_target(pair: Pair, name: str) -> None:
    def targets(side: Side) -> list[str]:
        side.run(REQUESTS[name], HELLO, None, {"methods": [REQUESTS[name].split(b" ")[0].decode()]})
        return start_lines(side)

    envoy, outrider = pair.both(targets)
    assert outrider == envoy
    assert len(outrider) == 1
    assert ("://" in outrider[0]) == (name not in {"no option", "connect"})


UPSTREAM_TLS: Final = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
SCHEME_LOG: Final = "%REQ(:SCHEME)% %REQ(X-FORWARDED-PROTO)%"


@pytest.mark.parametrize("matched", [True, False])
def test_the_scheme_may_follow_the_host(matched: bool, tmp_path: Path) -> None:
    """`scheme_header_transformation.match_upstream`: the scheme is that of the connection upstream."""
    issued = Authority(tmp_path).issue("server.test")
    encrypted = {"name": "tls", "typed_config": typed(UPSTREAM_TLS)}
    config = http_proxy(
        routes=[route("encrypted", "/encrypted"), route("plain", "/")],
        clusters=[absolute("plain"), absolute("encrypted", "secure", transport_socket=encrypted)],
        hcm={
            "scheme_header_transformation": {"match_upstream": matched},
            "access_log": [file_log(SCHEME_LOG)],
        },
    )
    origins = {"origin": Origin, "secure": lambda: Origin(tls=issued.server_context())}

    def seen(side: Side) -> list[str]:
        lines = []
        for path in ("/encrypted", "/plain", "/encrypted"):
            done = side.run(get(path), HELLO, None, {})
            lines += [request.start for found in done.upstream.values() for request in found]
        return lines

    with Pair(config, origins=origins) as pair:
        envoy, outrider = pair.both(seen)
        assert outrider == envoy
        assert any(line.startswith("GET https://") for line in outrider) == matched
        pair.same_log(3)


def test_a_request_after_others_on_one_connection(pair: Pair) -> None:
    def targets(side: Side) -> list[str]:
        side.run([get("/one"), get("/two", host="b")], [HELLO, HELLO], None, {"methods": ["GET", "GET"]})
        return start_lines(side)

    envoy, outrider = pair.both(targets)
    assert outrider == envoy


def test_health_checks_do_so_too() -> None:
    def checks(side: Side) -> set[str]:
        return {line for line in start_lines(side) if "/check" in line}

    with Pair(CONFIG) as pair:
        deadline = time.monotonic() + 5
        while pair.both(checks) != ({CHECKED}, {CHECKED}):
            assert time.monotonic() < deadline, pair.both(checks)
            time.sleep(0.05)
