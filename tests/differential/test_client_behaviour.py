"""What clients such as curl see in corners of HTTP/1.1 that ordinary traffic meets, and how they are counted."""

from __future__ import annotations

import pytest

from tests.support.configs import bootstrap, cluster, connection_manager, listener, route, virtual_host
from tests.support.differential import Pair, pair_fixture

TABLE = {"name": "local", "virtual_hosts": [virtual_host([route()])]}
UPGRADES = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
CONFIG = bootstrap(
    [
        listener([connection_manager(TABLE, **UPGRADES)]),
        listener([connection_manager(TABLE)], name="other"),
    ],
    [cluster()],
)
pair = pair_fixture(CONFIG, listeners=("listener", "other"))

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"HTTP/1.1 416 Range Not Satisfiable\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n", b"1\r\na\r\n0\r\n\r\n"])
def test_an_empty_chunked_body_stays_chunked(pair: Pair, body: bytes) -> None:
    assert pair.same(GET, CHUNKED + body).status == 416


def test_managers_with_one_stat_prefix_count_together(pair: Pair) -> None:
    with pair.same_stats("http.ingress."):
        pair.same(GET)
        pair.same(GET, listener="other")
        pair.same(b"GET / HTTP/1.1\r\n\r\n", listener="other")
