"""Which resources hold secrets, by the marks of Envoy's protos (`udpa.annotations.sensitive`)."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, Final

from google.protobuf import any_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from udpa.annotations import sensitive_pb2

from proxy.admin.redact import known_class, unpacked
from xds_client.resource_types import ResourceType

_ANY: Final = "google.protobuf.Any"
_NAMES_OF_SECRETS: Final = frozenset(
    f"envoy.config.core.v3.{name}"
    for name in ("DataSource.filename", "DataSource.environment_variable", "WatchedDirectory.path")
)
#: The same extensions repeat in thousands of resources; larger ones are not kept.
_MEMO_BYTES: Final = 1024

_TEXTS: Final = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def is_secret(kind: ResourceType, body: bytes) -> bool:
    """Whether a resource may only be kept encrypted: a Secret, or one with a secret written into it.

    What cannot be read counts as one.
    """
    if kind is ResourceType.SECRET:
        return True
    try:
        return _holds_secret(known_class(kind.value).FromString(body))
    except DecodeError:
        return True


class SecretMemo:
    """`is_secret`, with the answers of the last round kept: from one to the next most resources are the same."""

    def __init__(self) -> None:
        self._before: dict[bytes, bool] = {}
        self._now: dict[bytes, bool] = {}

    def next_round(self) -> None:
        """Forget what the last round did not ask for."""
        self._before, self._now = self._now, {}

    def __call__(self, kind: ResourceType, body: bytes) -> bool:
        """See `is_secret`."""
        known = self._before.get(body)
        answer = self._now[body] = is_secret(kind, body) if known is None else known
        return answer


def _holds_secret(message: Any) -> bool:
    if message.DESCRIPTOR.full_name == _ANY:
        return _any_holds_secret(message)
    for field, value in message.ListFields():
        marked, messages, is_map = _facts(field)
        if marked:
            if _has_text(field, value):
                return True
        elif messages:
            values = value.values() if is_map else value if field.is_repeated else (value,)
            for one in values:
                if _holds_secret(one):
                    return True
    return False


def _any_holds_secret(packed: Any) -> bool:
    if len(packed.value) <= _MEMO_BYTES:
        return _small_any_holds_secret(packed.type_url, packed.value)
    inner = unpacked(packed)
    return inner is not None and _holds_secret(inner)


@lru_cache(maxsize=1024)
def _small_any_holds_secret(type_url: str, value: bytes) -> bool:
    inner = unpacked(any_pb2.Any(type_url=type_url, value=value))
    return inner is not None and _holds_secret(inner)


def _has_text(field: FieldDescriptor, value: Any) -> bool:
    """Whether a field that is marked, or stands below one, says anything. Names of files and variables do not."""
    if field.message_type is None:
        return field.type in _TEXTS and field.full_name not in _NAMES_OF_SECRETS
    if field.message_type.GetOptions().map_entry:
        below = field.message_type.fields_by_name["value"]
        return any(_has_text(below, one) for one in value.values())
    return any(
        _has_text(below, one)
        for message in (value if field.is_repeated else (value,))
        for below, one in message.ListFields()
    )


@cache
def _facts(field: FieldDescriptor) -> tuple[bool, bool, bool]:
    """Whether a field is marked, whether it leads to messages that may hold a secret, whether it is a map."""
    marked = bool(field.GetOptions().Extensions[sensitive_pb2.sensitive])
    kind = field.message_type
    is_map = False
    if kind is not None and kind.GetOptions().map_entry:
        is_map = True
        kind = kind.fields_by_name["value"].message_type
    return marked, kind is not None and _may_hold_secret(kind), is_map


def _may_hold_secret(top: Descriptor) -> bool:
    """Whether a message of this type has a secret or an Any in a field of its own or below."""
    seen: set[str] = set()
    pending = [top]
    while pending:
        descriptor = pending.pop()
        if descriptor.full_name == _ANY:
            return True
        if descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            if field.GetOptions().Extensions[sensitive_pb2.sensitive]:
                return True
            if field.message_type is not None:
                pending.append(field.message_type)
    return False
