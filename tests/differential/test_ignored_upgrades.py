"""`ignore_http_11_upgrade`: clients that offer a change of protocol are served as if they had not."""

from __future__ import annotations

from typing import Final

import pytest

from tests.support.differential import Pair
from tests.support.managers import get, managers_fixture, same_everywhere
from tests.support.origin import HELLO

IGNORED: Final = [
    {"prefix": "TLS/"},
    {"exact": "foo"},
    {"exact": "Baz", "ignore_case": True},
    {"safe_regex": {"regex": "x[0-9]"}},
]
UPGRADES: Final = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
pair = managers_fixture(
    {
        "some": {"http_protocol_options": {"ignore_http_11_upgrade": IGNORED}},
        "some_and_websocket": {"http_protocol_options": {"ignore_http_11_upgrade": IGNORED}, **UPGRADES},
        "none": UPGRADES,
        "sockets": {
            "http_protocol_options": {"ignore_http_11_upgrade": [{"exact": "websocket"}]},
            **UPGRADES,
        },
    }
)
VALUES: Final = (
    "foo",
    "Foo",
    "BAZ",
    "TLS/1.2",
    "TLS/1.2, foo",
    "TLS/1.2 ,\tfoo",
    "TLS/1.2,HTTP/2.0",
    "foo, bar",
    "bar",
    "x1",
    "x12",
    "h2c",
    "H2C",
    "h2c, foo",
    "foo, h2c",
    ",",
    "foo,",
    "",
)


@pytest.mark.parametrize("name", ["some", "some_and_websocket", "none"])
@pytest.mark.parametrize("connection", ["Upgrade", "upgrade, keep-alive, x-y, http2-settings", "keep-alive"])
def test_protocols_that_are_ignored(pair: Pair, name: str, connection: str) -> None:
    fields: Final = (f"Connection: {connection}", "X-Y: 1", "HTTP2-Settings: AAA")
    cases = [(name, get("/", *fields, f"Upgrade: {value}"), HELLO) for value in VALUES]
    cases.append((name, get("/", *fields, "Upgrade: foo", "Upgrade: bar"), HELLO))
    cases.append((name, get("/", *fields, "Upgrade: foo", "Upgrade: TLS/1.2"), HELLO))
    with pair.same_stats(f"http.{name}.downstream_rq_"):
        same_everywhere(pair, cases)


@pytest.mark.parametrize("value", ["websocket", "foo, websocket", "websocket, foo", "WebSocket,x1,TLS/1.0"])
def test_what_is_left_is_asked_for(pair: Pair, value: str) -> None:
    fields = ("Connection: Upgrade", f"Upgrade: {value}")
    # The origin answers without changing the protocol, and ends the connection.
    closing = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
    cases = [(name, get("/", *fields), closing) for name in ("some", "some_and_websocket", "sockets")]
    same_everywhere(pair, cases)
