"""The direct_response filter."""

from __future__ import annotations

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.filters.network.direct_response import DirectResponseProtocol
from tests.support.listeners import (
    accept,
    chain,
    compile_checked,
    connect,
    direct_response,
    listener,
    network_filter,
    services,
)
from tests.support.memory_transport import MemoryTransport


def test_it_answers_and_closes() -> None:
    transport = connect(accept(listener(chain(direct_response("gone"))), services()))
    assert transport.written == b"gone"
    assert transport.closed


def test_the_access_log_tells_who_answered() -> None:
    connection = ConnectionInfo(1, Address("192.0.2.7", 1), Address("10.0.0.1", 80), 0.0, DrainState())
    protocol = DirectResponseProtocol(connection, b"gone")
    protocol.connection_made(MemoryTransport())
    assert connection.response_code_details == "direct_response"


def test_without_a_response_it_only_closes() -> None:
    transport = connect(accept(listener(chain(network_filter("direct_response.v3.Config"))), services()))
    assert not transport.written
    assert transport.closed


def test_a_missing_file_is_a_problem_of_the_config() -> None:
    missing = network_filter("direct_response.v3.Config", response={"filename": "/nowhere"})
    _, problems = compile_checked(listener(chain(missing)))
    assert problems == [
        (
            "listener.filter_chains[0].filters[0].typed_config.response.filename: cannot read '/nowhere': "
            "No such file or directory"
        )
    ]
