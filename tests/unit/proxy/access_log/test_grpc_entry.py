"""How the facts of a stream become an entry. That Envoy says the same of the same stream is tested beside it."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import (
    AccessLogType,
    HTTPAccessLogEntry,
    ResponseFlags,
    TCPAccessLogEntry,
    TLSProperties,
)
from google.protobuf.wrappers_pb2 import StringValue

from proxy.access_log.grpc_entry import CommonFields, LoggedHeaders, http_entry, tcp_entry
from proxy.base.address import Address
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import TlsInfo
from proxy.formatter.custom_tags import CustomTag
from tests.support.streams import START, cluster, connection, context, host, stream


def http(info: Any, fields: CommonFields | None = None) -> HTTPAccessLogEntry:
    render = http_entry(fields or CommonFields(), LoggedHeaders(), context().wall_clock)
    return HTTPAccessLogEntry.FromString(render(info))


def tcp(info: Any) -> TCPAccessLogEntry:
    return TCPAccessLogEntry.FromString(tcp_entry(CommonFields(), context().wall_clock)(info))


def test_a_request_and_its_response() -> None:
    entry = http(
        stream(
            [("user-agent", "curl"), ("x-forwarded-for", "1.2.3.4"), ("x-request-id", "r")],
            path="/a?b",
            bytes_received=3,
            bytes_sent=5,
            response_code_details="via_upstream",
            request_id="r",
            route_name="named",
            attempt_count=2,
            response_complete=START + 0.5,
        )
    )
    request, response, common = entry.request, entry.response, entry.common_properties
    assert entry.protocol_version == HTTPAccessLogEntry.HTTP11
    assert (request.path, request.authority, request.user_agent) == ("/a?b", "ex.com", "curl")
    assert (request.forwarded_for, request.request_id) == ("1.2.3.4", "r")
    assert (request.request_body_bytes, response.response_body_bytes) == (3, 5)
    assert (response.response_code.value, response.response_code_details) == (200, "via_upstream")
    assert (common.stream_id, common.route_name, common.upstream_request_attempt_count) == ("r", "named", 2)
    assert common.start_time.ToMilliseconds() == int(START * 1000)
    assert common.duration.ToMilliseconds() == 500
    assert common.downstream_remote_address.socket_address.port_value == 53986


def test_moments_are_told_as_time_since_the_start_and_only_where_they_came() -> None:
    common = http(
        stream(request_complete=START + 0.25, upstream_first_byte_sent=START - 0.001)
    ).common_properties
    assert common.time_to_last_rx_byte.ToMilliseconds() == 250
    # What began before the stream, such as a byte of a connection that was there.
    assert common.time_to_first_upstream_tx_byte.ToMilliseconds() == 0
    assert not common.HasField("time_to_first_upstream_rx_byte")


@pytest.mark.parametrize(
    "kind", ["TcpUpstreamConnected", "TcpPeriodic", "DownstreamStart", "DownstreamPeriodic"]
)
def test_an_entry_before_the_end_has_no_duration(kind: str) -> None:
    common = http(stream(access_log_type=kind)).common_properties
    assert common.intermediate_log_entry
    assert not common.HasField("duration")
    assert common.access_log_type == AccessLogType.Value(kind)


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        (ResponseFlag.NO_ROUTE_FOUND, "no_route_found"),
        (ResponseFlag.UPSTREAM_REQUEST_TIMEOUT, "upstream_request_timeout"),
        (ResponseFlag.FAILED_LOCAL_HEALTH_CHECK, "failed_local_healthcheck"),
        (ResponseFlag.DNS_RESOLUTION_FAILED, "dns_resolution_failure"),
    ],
)
def test_flags_are_fields(flag: ResponseFlag, field: str) -> None:
    told = http(stream(flags=int(flag))).common_properties.response_flags
    assert [one.name for one, _ in told.ListFields()] == [field]


def test_a_refusal_of_an_external_service_says_so() -> None:
    told = http(
        stream(flags=int(ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE))
    ).common_properties.response_flags
    assert told.unauthorized_details.reason == ResponseFlags.Unauthorized.EXTERNAL_SERVICE


def test_every_flag_that_the_proto_has_is_told() -> None:
    told = http(stream(flags=sum(map(int, ResponseFlag)))).common_properties.response_flags
    missing = {field.name for field in ResponseFlags.DESCRIPTOR.fields} - {
        field.name for field, _ in told.ListFields()
    }
    assert missing == set()


def test_bytes_that_are_no_text_do_not_break_the_entry() -> None:
    info = stream([("user-agent", "caf\xc3\xa9"), ("referer", "caf\xe9")])
    request = http(info).request
    assert (request.user_agent, request.referer) == ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "caf!")


def test_the_host_and_what_went_wrong_there() -> None:
    upstream = host("10.0.0.1", 80)
    upstream.cluster = None
    common = http(
        stream(
            upstream_host=upstream,
            upstream_cluster=cluster("c"),
            upstream_local_address=Address("10.0.0.9", 4000),
            upstream_transport_failure_reason="refused",
        )
    ).common_properties
    assert common.upstream_remote_address.socket_address.address == "10.0.0.1"
    assert common.upstream_local_address.socket_address.port_value == 4000
    assert (common.upstream_cluster, common.upstream_transport_failure_reason) == ("c", "refused")


def test_chosen_objects_of_the_filter_state_and_all_metadata() -> None:
    info = stream(
        filter_state={"a": "1", "b": "2", "c": object()}, dynamic_metadata={"f": {"k": "v", "n": 1.0}}
    )
    common = http(info, CommonFields(("a", "c", "none"))).common_properties
    assert list(common.filter_state_objects) == ["a"]
    value = StringValue()
    assert common.filter_state_objects["a"].Unpack(value)
    assert value.value == "1"
    assert dict(common.metadata.filter_metadata["f"]) == {"k": "v", "n": 1.0}


def test_a_tag_without_a_value_is_not_told() -> None:
    fields = CommonFields(tags=(CustomTag("a", lambda _info: "1"), CustomTag("b", lambda _info: "")))
    assert dict(http(stream(), fields).common_properties.custom_tags) == {"a": "1"}


def test_tls_has_its_version_suite_and_name() -> None:
    tls = TlsInfo()
    tls.version, tls.cipher, tls.session_id = "TLSv1.3", "TLS_AES_128_GCM_SHA256", "ab"
    info = stream(connection=connection(tls=tls, requested_server_name="a.test", ja3_fingerprint="j"))
    told = http(info).common_properties.tls_properties
    assert (told.tls_version, told.tls_cipher_suite.value) == (TLSProperties.TLSv1_3, 0x1301)
    assert (told.tls_sni_hostname, told.tls_session_id, told.ja3_fingerprint) == ("a.test", "ab", "j")
    tls.cipher = "NONE-OF-OURS"
    assert http(info).common_properties.tls_properties.tls_cipher_suite.value == 0xFFFF


def test_a_connection_is_known_by_the_same_id_in_all_its_entries() -> None:
    one, other = connection(), connection()
    other.id = 8
    ids = [
        tcp(stream(connection=made, request=None)).common_properties.stream_id for made in (one, one, other)
    ]
    assert ids[0] == ids[1] != ids[2]


def test_a_request_that_could_not_be_read_still_has_an_entry() -> None:
    info = stream(response_code=400, response=None)
    info.request = None
    entry = http(info)
    assert entry.HasField("request")
    assert entry.response.response_code.value == 400
    assert not entry.request.path
