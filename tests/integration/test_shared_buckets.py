"""Rate limits are those of the proxy, not of each worker: three workers, many connections, one bucket."""

from __future__ import annotations

import socket
from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.configs import (
    ROUTER,
    bootstrap,
    connection_manager,
    listener,
    typed,
    virtual_host,
)
from tests.support.outrider import Outrider

LIMIT: Final = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
NAME: Final = "envoy.filters.http.local_ratelimit"
ALWAYS: Final = {"default_value": {"numerator": 100}}
REQUESTS: Final = 60


class ThreeWorkers(Outrider):
    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", "3", "-l", "info"]


def limit(prefix: str, tokens: int) -> dict[str, Any]:
    bucket = {"max_tokens": tokens, "fill_interval": "3600s"}
    return typed(
        LIMIT, stat_prefix=prefix, token_bucket=bucket, filter_enabled=ALWAYS, filter_enforced=ALWAYS
    )


def answered(path: str, tokens: int) -> dict[str, Any]:
    return {
        "match": {"prefix": path},
        "direct_response": {"status": 204},
        "typed_per_filter_config": {NAME: limit(path.strip("/"), tokens)},
    }


def test_workers_draw_from_the_same_buckets() -> None:
    filters = [
        {"name": NAME, "typed_config": limit("all", 20)},
        {"name": "router", "typed_config": typed(ROUTER)},
    ]
    rest = {"match": {"prefix": "/"}, "direct_response": {"status": 204}}
    table = {
        "name": "local",
        "virtual_hosts": [virtual_host([answered("/one", 7), answered("/two", 7), rest])],
    }
    manager = connection_manager(table, http_filters=filters)
    with ThreeWorkers(bootstrap([listener([manager])])) as proxy:
        for path, tokens in (("/one", 7), ("/two", 7), ("/", 20)):
            request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
            statuses = [exchange(proxy.port, request).status for _ in range(REQUESTS)]
            # Loopback connections come one after another: no two workers take a token in the same instant.
            assert statuses.count(204) == tokens, path
            assert statuses[:tokens] == [204] * tokens


ECHO: Final = {"name": "echo", "typed_config": typed("envoy.extensions.filters.network.echo.v3.Echo")}


@pytest.mark.parametrize(("kind", "share_key"), [("network", ""), ("network", "together"), ("listener", "")])
def test_connections_draw_from_the_same_bucket(kind: str, share_key: str) -> None:
    fields = {"share_key": share_key} if share_key else {}
    limited = {
        "name": "limit",
        "typed_config": typed(
            f"envoy.extensions.filters.{kind}.local_ratelimit.v3.LocalRateLimit",
            stat_prefix="x",
            token_bucket={"max_tokens": 9, "fill_interval": "3600s"},
            **fields,
        ),
    }
    one = listener([limited, ECHO]) if kind == "network" else listener([ECHO], listener_filters=[limited])
    with ThreeWorkers(bootstrap([one])) as proxy:
        assert [echoes(proxy.port) for _ in range(40)] == [True] * 9 + [False] * 31


def echoes(port: int) -> bool:
    """Whether a new connection is served."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
    except ConnectionError:
        return False
