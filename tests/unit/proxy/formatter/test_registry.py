from __future__ import annotations

import pytest

from proxy.formatter.compile import compile_format
from tests.support.streams import context

#: What Envoy 1.40 says to each form.
ACCEPTED = [
    "%REQ(A?B)%",
    "%REQ(:path)%",
    "%RESPONSE_CODE()%",
    "%RESPONSE_CODE_DETAILS(X)%",
    "%START_TIME()%",
    "%START_TIME(%Q)%",
    "%START_TIME(%E4S)%",
    "%PATH()%",
    "%PATH(WQ:PATH):3%",
    "%PATH(WQ:ORIG:Z)%",
    "%QUERY_PARAMS(ORIG):3%",
    "%QUERY_PARAM(X):3%",
    "%GRPC_STATUS(SNAKE_STRING)%",
    "%COMMON_DURATION(A:B)%",
    "%COMMON_DURATION(:)%",
    "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:ns)%",
    "%FILTER_STATE(a)%",
    "%FILTER_STATE(a:PLAIN):2%",
    "%FILTER_STATE(a:FIELD:x)%",
    "%UPSTREAM_FILTER_STATE(x:PLAIN)%",
    "%DYNAMIC_METADATA(a:b):3%",
    "%METADATA(DYNAMIC)%",
    "%METADATA(VIRTUAL_HOST:a):2%",
    "%REQUESTED_SERVER_NAME(SNI_FIRST:HOST)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(33)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(x)%",
    "%ENVIRONMENT(X):3%",
    "%LISTENER_NAME%",
    "%RESPONSE_TRAILER(X)%",
    "%REQUEST_HEADER(X):3%",
    "%SPAN_ID%",
    "%UPSTREAM_TLS_GROUP%",
    "%UNIQUE_ID%",
    "%UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT%",
    "%UPSTREAM_CONNECTION_IDS_ATTEMPTED%",
    "%EMIT_TIME_LOCAL(X)%",
    "%DOWNSTREAM_PEER_ISSUER_SERIAL%",
    "%UPSTREAM_PEER_CERT_V_START(X)%",
    "%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%",
    '%COALESCE({"operators":["HOSTNAME"]})%',
    '%COALESCE({"operators":[{"command":"REQ","param":"a","max_length":3}]}):2%',
]
REFUSED = [
    "%REQ%",
    "%REQ()%",
    "%REQ(A?B?C)%",
    "%REQ(a,b)%",
    "%REQ(a:b)%",
    "%RESPONSE_CODE:3%",
    "%RESPONSE_CODE(X)%",
    "%RESPONSE_CODE_DETAILS:3%",
    "%START_TIME(%n)%",
    "%START_TIME(%En)%",
    "%START_TIME():3%",
    "%PATH(XX)%",
    "%PATH(WQ:XX)%",
    "%QUERY_PARAM%",
    "%QUERY_PARAMS(X)%",
    "%GRPC_STATUS(x)%",
    "%GRPC_STATUS(NUMBER):3%",
    "%COMMON_DURATION(A)%",
    "%COMMON_DURATION(A:B:xs)%",
    "%COMMON_DURATION(A:B:ms:c)%",
    "%FILTER_STATE%",
    "%FILTER_STATE(:PLAIN)%",
    "%FILTER_STATE(a:XX)%",
    "%FILTER_STATE(a:FIELD)%",
    "%FILTER_STATE(a:PLAIN:x)%",
    "%DYNAMIC_METADATA%",
    "%CLUSTER_METADATA(X):3%",
    "%UPSTREAM_METADATA(X):3%",
    "%METADATA%",
    "%METADATA(XX:a)%",
    "%REQUESTED_SERVER_NAME(XX)%",
    "%REQUESTED_SERVER_NAME(SNI_ONLY:ZZ)%",
    "%REQUESTED_SERVER_NAME():2%",
    "%DOWNSTREAM_REMOTE_ADDRESS(16)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16):2%",
    "%ENVIRONMENT%",
    "%TRACE_ID(X)%",
    "%VIRTUAL_HOST_NAME%",
    "%ROUTE_METADATA(X)%",
    "%NODE_ID%",
    "%UPSTREAM_PEER_SERIAL%",
    "%UPSTREAM_PEER_EMAIL_SAN%",
    "%UPSTREAM_CX_POOL_READY_DURATION%",
    "%REQ_WITHOUT_QUERY(a)%",
    "%COALESCE%",
    "%COALESCE(x)%",
    "%COALESCE({})%",
    f"%COALESCE({'[' * 50_000})%",
    '%COALESCE({"operators":[]})%',
    '%COALESCE({"operators":["REQ"]})%',
    '%COALESCE({"operators":[3]})%',
    '%COALESCE({"operators":[{"param":"a"}]})%',
    '%COALESCE({"operators":[{"command":"NOPE"}]})%',
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_envoy_accepts_is_accepted(text: str) -> None:
    ctx = context()
    compile_format(text, "p", ctx)
    assert ctx.problems == []


@pytest.mark.parametrize("text", REFUSED)
def test_what_envoy_refuses_is_refused(text: str) -> None:
    ctx = context()
    compile_format(text, "p", ctx)
    assert len(ctx.problems) == 1


@pytest.mark.parametrize("text", ["%CEL(request.path)%", "%DOWNSTREAM_CX_RTT%"])
def test_what_only_envoy_knows_is_refused_by_name(text: str) -> None:
    ctx = context()
    compile_format(text, "p", ctx)
    assert "is not supported" in ctx.problems[0].reason


def test_a_command_of_an_extension_works_where_it_is_enabled() -> None:
    ctx = context()
    compile_format("%REQ_WITHOUT_QUERY(:path)%", "p", ctx, extensions={"REQ_WITHOUT_QUERY"})
    assert ctx.problems == []
