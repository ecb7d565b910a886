"""The direct_response filter."""

from __future__ import annotations

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


def test_it_answers_and_closes() -> None:
    transport = connect(accept(listener(chain(direct_response("gone"))), services()))
    assert transport.written == b"gone"
    assert transport.closed


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
