"""The client's address as the source of upstream connections."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.config.context import CompileContext
from proxy.connection.upstream_source import UpstreamSource
from proxy.filters.listener.api import Decision
from proxy.filters.listener.original_src import FACTORY


def source_of(client: Address, **fields: Any) -> UpstreamSource | None:
    ctx = CompileContext()
    config = FACTORY.compile(original_src_pb2.OriginalSrc(**fields), "filter", ctx)
    assert not ctx.problems
    made = FACTORY.create(config, cast("Any", None), cast("Any", None))
    connection = ConnectionInfo(1, client, Address("10.0.0.1", 80), 0.0, DrainState())
    assert made.accept(connection, asyncio.Transport()) is Decision.CONTINUE
    return connection.upstream_source


@pytest.mark.parametrize("ip", ["10.0.0.9", "fd00::9"])
def test_the_address_without_its_port(ip: str) -> None:
    assert source_of(Address(ip, 4711), mark=7, bind_port=True) == UpstreamSource(ip, 7)
    assert source_of(Address(ip, 4712)) == UpstreamSource(ip, 0)


def test_a_unix_socket_has_no_address() -> None:
    assert source_of(Address(path="@")) is None
