"""What of HTTP/2 a connection manager is configured with."""

import pytest

from proxy.hcm.config import CodecType
from tests.support.configs import route, virtual_host
from tests.support.hcm_messages import manager


def compiled(**fields):
    config, problems = manager(**fields)
    assert not problems
    return config


@pytest.mark.parametrize("name", ["AUTO", "HTTP1", "HTTP2"])
def test_codec_types(name):
    assert compiled(codec_type=name).codec_type is CodecType[name]


def test_http3_is_refused():
    _, problems = manager(codec_type="HTTP3")
    assert problems == ["hcm.codec_type: HTTP/3 is not supported; use AUTO, HTTP1 or HTTP2"]


def test_options_are_refused_by_their_path():
    _, problems = manager(http2_protocol_options={"allow_metadata": True})
    assert problems == ["hcm.http2_protocol_options.allow_metadata: METADATA frames are not supported"]


def test_the_limits_on_heads_are_those_of_the_manager():
    config = compiled(max_request_headers_kb=7, common_http_protocol_options={"max_headers_count": 9})
    assert (config.http2.max_headers_kb, config.http2.max_headers_count) == (7, 9)
    assert (compiled().http2.max_headers_kb, compiled().http2.max_headers_count) == (60, 100)


@pytest.mark.parametrize(
    ("of_manager", "own", "lenient"),
    [
        (None, None, False),
        (True, None, True),
        (True, False, False),
        (False, True, True),
        (False, None, False),
    ],
)
def test_the_more_special_option_on_bad_messages_counts(of_manager, own, lenient):
    fields = {}
    if of_manager is not None:
        fields["stream_error_on_invalid_http_message"] = of_manager
    if own is not None:
        fields["http2_protocol_options"] = {"override_stream_error_on_invalid_http_message": own}
    assert compiled(**fields).http2.override_stream_error_on_invalid_http_message is lenient


def test_routes_that_read_request_ids_are_noticed():
    assert not compiled().route_table.reads_ids
    hashed = route(hash_policy=[{"header": {"header_name": "X-Request-ID"}}])
    assert compiled(route_config={"virtual_hosts": [virtual_host([hashed])]}).route_table.reads_ids
