"""Which kind of pool a cluster asks for."""

import asyncio

import pytest

from proxy.upstream.pool.api import FOR_HTTP2_CLIENTS
from proxy.upstream.pool.http1 import Http1Pool
from proxy.upstream.pool.http2 import Http2Pool
from tests.support.cluster_messages import compiled, endpoint
from tests.support.upstream_pool import Bench

DOWNSTREAM = {"protocol_selection": "USE_DOWNSTREAM_PROTOCOL"}


@pytest.mark.parametrize(
    ("fields", "key", "kind", "priority"),
    [
        ({}, 0, Http1Pool, 0),
        ({}, 1, Http1Pool, 1),
        ({"http2_protocol_options": {}}, 1, Http2Pool, 1),
        (DOWNSTREAM, 0, Http1Pool, 0),
        (DOWNSTREAM, 1, Http1Pool, 1),
        (DOWNSTREAM, FOR_HTTP2_CLIENTS, Http2Pool, 0),
        (DOWNSTREAM, 1 + FOR_HTTP2_CLIENTS, Http2Pool, 1),
    ],
)
def test_kinds(monkeypatch, fields, key, kind, priority):
    bench = Bench(monkeypatch, compiled(endpoint(), **fields), key)
    assert type(bench.pool) is kind

    async def scenario():
        await bench.request()
        assert bench.cluster.breakers[priority].connections.total() == 1

    asyncio.run(scenario())
