"""Options of HTTP/2, wherever they stand."""

import pytest
from envoy.config.core.v3 import protocol_pb2
from google.protobuf import json_format

from proxy.codec.http2_options import Http2Options, KeepaliveOptions
from proxy.config.context import CompileContext
from proxy.config.http2_options import compile_http2_options


def compiled(**fields):
    ctx = CompileContext()
    message = json_format.ParseDict(fields, protocol_pb2.Http2ProtocolOptions())
    return compile_http2_options(message, "o", ctx), [problem.path for problem in ctx.problems]


def setting(identifier, value):
    return {"identifier": identifier, "value": value}


def test_without_any_field_the_defaults_hold():
    assert compiled() == (Http2Options(), [])


def test_every_limit_is_taken():
    fields = {
        "hpack_table_size": 1,
        "max_concurrent_streams": 2,
        "initial_stream_window_size": 65535,
        "initial_connection_window_size": 65536,
        "max_outbound_frames": 3,
        "max_outbound_control_frames": 4,
        "max_consecutive_inbound_frames_with_empty_payload": 5,
        "max_inbound_priority_frames_per_stream": 6,
        "max_inbound_window_update_frames_per_data_frame_sent": 7,
        "allow_connect": True,
    }
    options, problems = compiled(**fields)
    assert {name: getattr(options, name) for name in fields} == fields
    assert problems == []


def test_keepalive():
    options, _ = compiled(connection_keepalive={"interval": "2s", "timeout": "1s"})
    assert options.connection_keepalive == KeepaliveOptions(2.0, 1.0, 15.0, 0.0)
    options, _ = compiled(
        connection_keepalive={
            "timeout": "1s",
            "interval_jitter": {"value": 0},
            "connection_idle_interval": "3s",
        }
    )
    assert options.connection_keepalive == KeepaliveOptions(0.0, 1.0, 0.0, 3.0)


def test_the_older_name_of_leniency_yields_to_the_newer():
    assert compiled(stream_error_on_invalid_http_messaging=True)[
        0
    ].override_stream_error_on_invalid_http_message
    assert not compiled(
        stream_error_on_invalid_http_messaging=True, override_stream_error_on_invalid_http_message=False
    )[0].override_stream_error_on_invalid_http_message


def test_custom_settings():
    options, problems = compiled(custom_settings_parameters=[setting(4, 70000), setting(99, 7)])
    assert problems == []
    assert options.initial_stream_window_size == 70000
    assert options.custom_settings == ((99, 7),)


@pytest.mark.parametrize(
    "settings",
    [
        [setting(99, 1), setting(99, 2)],
        [setting(2, 1)],
        [setting(8, 1)],
        [setting(5, 20000)],
        [setting(3, 5)],
    ],
)
def test_custom_settings_that_cannot_be(settings):
    _, problems = compiled(custom_settings_parameters=settings, max_concurrent_streams=1)
    assert problems == [f"o.custom_settings_parameters[{len(settings) - 1}]"]


def test_metadata_is_refused():
    assert compiled(allow_metadata=True)[1] == ["o.allow_metadata"]
