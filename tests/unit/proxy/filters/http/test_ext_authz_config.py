from __future__ import annotations

from typing import Any

from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from google.protobuf.json_format import ParseDict

from proxy.config.context import CompileContext
from proxy.filters.http.ext_authz_config import ExtAuthzConfig, compile_ext_authz, compile_ext_authz_route

SERVICE = {"envoy_grpc": {"cluster_name": "authz"}}


def compiled(**fields: Any) -> tuple[ExtAuthzConfig, str]:
    message = ParseDict(
        {"transport_api_version": "V3", "grpc_service": SERVICE, **fields}, ext_authz_pb2.ExtAuthz()
    )
    context = CompileContext()
    return compile_ext_authz(message, "f", context), str(context.problems)


def test_defaults_are_those_of_envoy() -> None:
    config, problems = compiled()
    assert problems in {"[]", "()"}
    assert (config.service.timeout, config.status_on_error, config.failure_mode_allow) == (0.2, 403, False)
    assert config.tells is None
    assert not config.deny_at_disable()


def test_what_is_not_spoken_is_refused_by_name() -> None:
    assert "transport_api_version" in compiled(transport_api_version="V2")[1]
    retries = {**SERVICE, "retry_policy": {}}
    assert "grpc_service.retry_policy" in compiled(grpc_service=retries)[1]
    values = {**SERVICE, "initial_metadata": [{"key": "x", "value": "%REQ(:PATH)%"}]}
    assert "initial_metadata[0].value" in compiled(grpc_service=values)[1]


def test_names_are_allowed_and_disallowed() -> None:
    config, _ = compiled(
        allowed_headers={"patterns": [{"prefix": "x-"}]}, disallowed_headers={"patterns": [{"exact": "x-b"}]}
    )
    assert config.tells is not None
    assert [config.tells(name) for name in ("x-a", "x-b", "y")] == [True, False, False]


def test_a_route_switches_off_or_extends_the_context() -> None:
    made = [
        compile_ext_authz_route(ParseDict(fields, ext_authz_pb2.ExtAuthzPerRoute()), "r", CompileContext())
        for fields in ({"disabled": True}, {"check_settings": {"context_extensions": {"a": "b"}}})
    ]
    assert [(one.disabled, dict(one.extensions)) for one in made] == [(True, {}), (False, {"a": "b"})]
