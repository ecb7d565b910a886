"""HTTP options of a cluster in both spellings."""

import ssl

import envoy.extensions.http.header_formatters.preserve_case.v3.preserve_case_pb2
import envoy.extensions.transport_sockets.tls.v3.tls_pb2
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2  # noqa: F401
import pytest

from proxy.upstream.cluster_config import UpstreamProtocol
from tests.support.cluster_messages import compiled, problems

KEY = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PRESERVE_CASE = (
    "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
)


def typed(**fields):
    return {"typed_extension_protocol_options": {KEY: {"@type": f"type.googleapis.com/{KEY}", **fields}}}


def tls(**fields):
    type_url = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return {
        "transport_socket": {"name": "tls", "typed_config": {"@type": type_url, "common_tls_context": fields}}
    }


TLS = tls()


def test_defaults_are_envoys():
    options = compiled().http
    assert options.idle_timeout == 3600.0
    assert options.max_requests_per_connection == 0
    assert options.max_headers_count == 100
    assert options.max_response_headers_kb == 80


def test_the_older_fields():
    options = compiled(
        max_requests_per_connection=3,
        common_http_protocol_options={"idle_timeout": "0s", "max_connection_duration": "9s"},
        http_protocol_options={"enable_trailers": True, "header_key_format": {"proper_case_words": {}}},
    ).http
    assert options.max_requests_per_connection == 3
    assert options.idle_timeout == 0.0
    assert options.max_connection_duration == 9.0
    assert options.enable_trailers
    assert options.proper_case


def test_the_typed_options_replace_the_older_fields():
    options = compiled(
        common_http_protocol_options={"max_headers_count": 7},
        http2_protocol_options={},
        **typed(
            explicit_http_config={"http_protocol_options": {"allow_chunked_length": True}},
            common_http_protocol_options={
                "headers_with_underscores_action": "DROP_HEADER",
                "max_requests_per_connection": 8,
                "max_headers_count": 5,
            },
        ),
    ).http
    assert options.max_requests_per_connection == 8
    assert options.allow_chunked_length
    assert options.max_headers_count == 5


def test_header_case_can_be_preserved():
    formatter = {"name": "preserve_case", "typed_config": {"@type": PRESERVE_CASE}}
    http1 = {"header_key_format": {"stateful_formatter": formatter}}
    assert compiled(http_protocol_options=http1).http.preserve_case


@pytest.mark.parametrize(
    ("fields", "protocol"),
    [
        ({}, UpstreamProtocol.HTTP1),
        ({"http_protocol_options": {}}, UpstreamProtocol.HTTP1),
        ({"http2_protocol_options": {}}, UpstreamProtocol.HTTP2),
        ({"protocol_selection": "USE_DOWNSTREAM_PROTOCOL"}, UpstreamProtocol.DOWNSTREAM),
        (
            {
                "http_protocol_options": {},
                "http2_protocol_options": {},
                "protocol_selection": "USE_DOWNSTREAM_PROTOCOL",
            },
            UpstreamProtocol.DOWNSTREAM,
        ),
        (typed(explicit_http_config={"http_protocol_options": {}}), UpstreamProtocol.HTTP1),
        (typed(explicit_http_config={"http2_protocol_options": {}}), UpstreamProtocol.HTTP2),
        (typed(use_downstream_protocol_config={}), UpstreamProtocol.DOWNSTREAM),
        ({**typed(auto_config={}), **TLS}, UpstreamProtocol.AUTO),
        (
            {
                **typed(explicit_http_config={"http_protocol_options": {}}),
                "http2_protocol_options": {},
                "protocol_selection": "USE_DOWNSTREAM_PROTOCOL",
            },
            UpstreamProtocol.HTTP1,
        ),
    ],
)
def test_the_protocol_follows_from_the_options(fields, protocol):
    assert compiled(**fields).protocol is protocol


@pytest.mark.parametrize("kind", ["explicit_http_config", "use_downstream_protocol_config", "auto_config"])
def test_options_of_http2_are_taken_wherever_they_stand(kind):
    config = compiled(**typed(**{kind: {"http2_protocol_options": {"max_concurrent_streams": 7}}}), **TLS)
    assert config.http2.max_concurrent_streams == 7
    assert config.http2.max_headers_kb == 60


def test_limits_of_heads_and_buffers_hold_for_http2_too():
    options = compiled(
        http2_protocol_options={},
        common_http_protocol_options={"max_headers_count": 7, "max_response_headers_kb": 9},
        per_connection_buffer_limit_bytes=1000,
    ).http2
    assert (options.max_headers_count, options.max_headers_kb, options.stream_buffer_bytes) == (7, 9, 1000)


def test_a_limit_of_requests_next_to_typed_options_still_holds():
    fields = typed(explicit_http_config={"http2_protocol_options": {}})
    assert compiled(max_requests_per_connection=3, **fields).http.max_requests_per_connection == 3


@pytest.mark.parametrize(
    ("fields", "offers"),
    [
        ({}, ["http/1.1"]),
        ({"http2_protocol_options": {}}, ["h2"]),
        (typed(auto_config={}), ["h2", "http/1.1"]),
    ],
)
def test_what_is_offered_by_alpn(monkeypatch, fields, offers):
    seen = []
    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", lambda _, names: seen.append(names))
    compiled(**fields, **TLS)
    assert seen == [offers]


def test_with_the_downstream_protocol_each_version_has_its_own_offer(monkeypatch):
    seen = []
    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", lambda _, names: seen.append(names))
    config = compiled(**typed(use_downstream_protocol_config={}), **TLS)
    assert seen == [["http/1.1"], ["h2"]]
    assert config.transport is not config.http2_transport


def test_configured_alpn_is_left_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", lambda _, names: seen.append(names))
    compiled(http2_protocol_options={}, **tls(alpn_protocols=["foo"]))
    assert seen == [["foo"]]


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        (
            typed(explicit_http_config={"http3_protocol_options": {}}),
            "explicit_http_config.http3_protocol_options",
        ),
        (
            typed(use_downstream_protocol_config={"http3_protocol_options": {}}),
            "use_downstream_protocol_config.http3_protocol_options",
        ),
        (typed(auto_config={}), "c.transport_socket"),
        (typed(), "upstream_protocol_options"),
        ({"http_protocol_options": {}, "http2_protocol_options": {}}, "c.http2_protocol_options"),
        (
            {"http_protocol_options": {"ignore_http_11_upgrade": [{"exact": "a"}]}},
            "c.http_protocol_options.ignore_http_11_upgrade",
        ),
        (
            {
                "max_requests_per_connection": 1,
                "common_http_protocol_options": {"max_requests_per_connection": 2},
            },
            "c.max_requests_per_connection",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_field(fields, end):
    ((path, _),) = problems(**fields)
    assert path.endswith(end)


def test_options_of_another_protocol_are_refused():
    other = {"x": {"@type": PRESERVE_CASE}}
    ((path, _),) = problems(typed_extension_protocol_options=other)
    assert path == "c.typed_extension_protocol_options['x']"


HTTP1 = {"explicit_http_config": {"http_protocol_options": {}}}


def test_policies_of_the_cluster_are_compiled():
    config = compiled(
        **typed(
            retry_policy={"retry_on": "5xx", "num_retries": 3},
            request_mirror_policies=[{"cluster": "elsewhere"}],
            **HTTP1,
        )
    )
    assert config.retry_policy.most_retries == 3
    assert [one.cluster for one in config.mirrors] == ["elsewhere"]


def test_no_policy_is_not_the_same_as_an_empty_one():
    assert compiled(**typed(**HTTP1)).retry_policy is None
    assert compiled(**typed(retry_policy={}, **HTTP1)).retry_policy is not None
