"""What becomes of a connection by the service's answer. The calls themselves are tested beside Envoy."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.auth.v3 import external_auth_pb2

from proxy.base.address import Address
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.config.extensions import message_class
from proxy.filters.network import ext_authz
from tests.support.listeners import chain, compile_checked, compiled, echo, listener, network_filter, numbers
from tests.support.listeners import services as make_services

message_class(ext_authz.FACTORY.type_name)
SERVICE = {"envoy_grpc": {"cluster_name": "authz"}}
UAEX = ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE


def config(**fields: Any) -> dict[str, Any]:
    given = {"stat_prefix": "s", "transport_api_version": "V3", "grpc_service": SERVICE, **fields}
    return listener(chain(network_filter("ext_authz.v3.ExtAuthz", **given), echo()))


class Client:
    """Calls that the test answers; with `at_once`, as they are made."""

    def __init__(self, at_once: bytes | None = None) -> None:
        self.at_once = at_once
        self.user: Any = None
        self.cancelled = 0

    def call(self, path: str, message: bytes, connection: ConnectionInfo, user: Any) -> Any:
        assert path == "/envoy.service.auth.v3.Authorization/Check"
        self.user = user
        if self.at_once is None:
            return self
        user.on_grpc_success(self.at_once)
        return None

    def cancel(self) -> None:
        self.cancelled += 1


class Bench:
    def __init__(self, client: Client | None = None, **fields: Any) -> None:
        self.client = client or Client()
        self.services = make_services()
        gate, _ = compiled(config(**fields)).chains[0].filters
        made = gate.factory.create(gate.config, self.services, None)  # type: ignore[arg-type]
        made._client = self.client
        address = Address("127.0.0.1", 1)
        self.connection = ConnectionInfo(1, address, address, 0.0, DrainState())
        self.decided: list[bool] = []
        self.pending = made.on_first_data(self.connection, self)

    def on_decided(self, passes: bool) -> None:
        self.decided.append(passes)

    @property
    def numbers(self) -> dict[str, int]:
        return {name.removeprefix("ext_authz.s."): value for name, value in numbers(self.services).items()}


def response(code: int, **values: Any) -> bytes:
    message = external_auth_pb2.CheckResponse()
    message.status.code = code
    message.dynamic_metadata.update(values)
    return message.SerializeToString()


def test_ok_lets_a_connection_pass_and_leaves_metadata() -> None:
    bench = Bench()
    assert bench.numbers == {"active": 1, "total": 1}
    bench.client.user.on_grpc_success(response(0, a=1))
    assert bench.decided == [True]
    assert bench.connection.dynamic_metadata[ext_authz.NAMESPACE] == {"a": 1, "ext_authz_duration": 0}
    assert bench.numbers == {"ok": 1, "total": 1}


def test_an_answer_may_come_at_once() -> None:
    assert Bench(Client(response(0))).pending is True
    denied = Bench(Client(response(16)))
    assert denied.pending is False
    assert denied.decided == []


def test_denial_closes_with_envoys_words() -> None:
    bench = Bench()
    bench.client.user.on_grpc_success(response(7))
    assert bench.decided == [False]
    connection = bench.connection
    assert (connection.response_flags, connection.response_code_details) == (UAEX, "ext_authz_denied")
    assert connection.local_close_reason == "ext_authz_close"
    assert bench.numbers == {"cx_closed": 1, "denied": 1, "total": 1}


@pytest.mark.parametrize("garbage", [False, True])
def test_an_error_closes_unless_it_may_pass(garbage: bool) -> None:
    for allowed, counted in (
        (False, {"cx_closed": 1, "error": 1, "total": 1}),
        (True, {"error": 1, "failure_mode_allowed": 1, "total": 1}),
    ):
        bench = Bench(failure_mode_allow=allowed)
        if garbage:
            bench.client.user.on_grpc_success(b"\xff")
        else:
            bench.client.user.on_grpc_failure(14, "")
        assert bench.decided == [allowed]
        assert bench.numbers == counted
        assert bench.connection.response_code_details == (None if allowed else "ext_authz_error")


def test_a_connection_that_goes_cancels_the_call() -> None:
    bench = Bench()
    bench.pending.cancel()
    assert bench.client.cancelled == 1
    assert bench.numbers == {"total": 1}


def test_who_is_not_asked_about_passes() -> None:
    matcher = {"filter": "f", "path": [{"key": "k"}], "value": {"bool_match": True}}
    bench = Bench(filter_enabled_metadata=matcher)
    assert bench.pending is True
    assert bench.numbers == {"disabled": 1}


@pytest.mark.parametrize(
    "fields",
    [{"stat_prefix": ""}, {"transport_api_version": "V2"}, {"grpc_service": None}],
    ids=lambda fields: next(iter(fields)),
)
def test_what_is_missing_is_named(fields: dict[str, Any]) -> None:
    made = config()
    typed = made["filter_chains"][0]["filters"][0]["typed_config"]
    typed.update(fields)
    if typed["grpc_service"] is None:
        del typed["grpc_service"]
    _, problems = compile_checked(made)
    assert any(next(iter(fields)) in problem for problem in problems)
