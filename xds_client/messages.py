"""Discovery messages on the wire, and the name of a resource that only its bytes tell."""

from __future__ import annotations

from typing import Any, Final

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from xds_client.resource_types import TYPE_PREFIX

WRAPPER: Final = "envoy.service.discovery.v3.Resource"

INTERNAL: Final = 13
"""`google.rpc.Code` of every NACK."""

MAX_ERROR_DETAIL: Final = 4096
"""Bytes of a NACK's message: what Envoy leaves of it, since servers limit the size of metadata and logs."""

MAX_LIFETIME: Final = 9_223_372_035
"""Seconds of a TTL: the most that any nanoseconds may follow in 64 bits of them, which is where Envoy ends."""

_MAX_NANOS: Final = 999_999_999

_LONG_DETAIL: Final = "...(truncated)"


def _named_message() -> Any:
    """A message with field 1 alone: in every resource type that is its name. The rest is skipped unread."""
    file = descriptor_pb2.FileDescriptorProto(name="xds_client/named.proto", syntax="proto3")
    field = file.message_type.add(name="Named").field.add(name="name", number=1)
    field.type = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    field.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    pool = descriptor_pool.DescriptorPool()
    return message_factory.GetMessageClass(
        pool.AddSerializedFile(file.SerializeToString()).message_types_by_name["Named"]
    )


_Named: Final = _named_message()


def body_name(body: bytes) -> str:
    """The name inside a serialised resource. Raises ValueError for bytes that are no message."""
    try:
        name: str = _Named.FromString(body).name
    except DecodeError as error:
        raise ValueError("the bytes of a resource are not a protobuf message") from error
    return name


def same_type(left: str, right: str) -> bool:
    """Whether two type URLs name one message."""
    return left.rpartition("/")[2] == right.rpartition("/")[2]


def is_wrapper(type_url: str) -> bool:
    """Whether an Any holds a `discovery.v3.Resource` around the resource."""
    return type_url == TYPE_PREFIX + WRAPPER or type_url.rpartition("/")[2] == WRAPPER


def decode_response(data: bytes, *, delta: bool) -> Any:
    """A `DiscoveryResponse` or `DeltaDiscoveryResponse`. Raises ValueError for undecodable bytes."""
    kind = discovery_pb2.DeltaDiscoveryResponse if delta else discovery_pb2.DiscoveryResponse
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ValueError("the response is not a discovery response") from error


def seconds(duration: Any) -> float:
    """A `google.protobuf.Duration` in seconds."""
    value: float = duration.seconds + duration.nanos / 1e9
    return value


def lifetime(duration: Any) -> float:
    """A `discovery.v3.Resource.ttl` in seconds. Raises ValueError for what Envoy refuses as a duration."""
    if duration.seconds < 0 or duration.nanos < 0:
        raise ValueError(f"Invalid duration: Expected positive duration: {_plain(duration)}")
    if duration.nanos > _MAX_NANOS or duration.seconds > MAX_LIFETIME:
        raise ValueError(f"Invalid duration: Duration out-of-range: {_plain(duration)}")
    return seconds(duration)


def _plain(duration: Any) -> str:
    return f"seconds: {duration.seconds} nanos: {duration.nanos}"


def set_error(request: Any, reason: str) -> None:
    """Make a request a NACK."""
    data = reason.encode("utf-8", "replace")
    if len(data) > MAX_ERROR_DETAIL:
        reason = data[:MAX_ERROR_DETAIL].decode("utf-8", "ignore") + _LONG_DETAIL
    request.error_detail.code = INTERNAL
    request.error_detail.message = reason
