"""HTTP options of a cluster in both spellings."""

import envoy.extensions.http.header_formatters.preserve_case.v3.preserve_case_pb2
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2  # noqa: F401
import pytest

from tests.support.cluster_messages import compiled, problems

KEY = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PRESERVE_CASE = (
    "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
)


def typed(**fields):
    return {"typed_extension_protocol_options": {KEY: {"@type": f"type.googleapis.com/{KEY}", **fields}}}


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
        max_requests_per_connection=3,
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
    assert options.drop_underscores
    assert options.max_headers_count == 5


def test_header_case_can_be_preserved():
    formatter = {"name": "preserve_case", "typed_config": {"@type": PRESERVE_CASE}}
    http1 = {"header_key_format": {"stateful_formatter": formatter}}
    assert compiled(http_protocol_options=http1).http.preserve_case


def test_using_the_downstream_protocol_is_fine_while_that_is_http1():
    compiled(**typed(use_downstream_protocol_config={"http_protocol_options": {}}))


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        (
            typed(explicit_http_config={"http2_protocol_options": {}}),
            "explicit_http_config.http2_protocol_options",
        ),
        (
            typed(explicit_http_config={"http3_protocol_options": {}}),
            "explicit_http_config.http3_protocol_options",
        ),
        (
            typed(use_downstream_protocol_config={"http2_protocol_options": {}}),
            "use_downstream_protocol_config.http2_protocol_options",
        ),
        (typed(auto_config={}), "auto_config"),
        (typed(), "upstream_protocol_options"),
        ({"http2_protocol_options": {}}, "c.http2_protocol_options"),
    ],
)
def test_other_protocols_are_refused_by_field(fields, end):
    ((path, _),) = problems(**fields)
    assert path.endswith(end)


def test_options_of_another_protocol_are_refused():
    other = {"x": {"@type": PRESERVE_CASE}}
    ((path, _),) = problems(typed_extension_protocol_options=other)
    assert path == "c.typed_extension_protocol_options['x']"
