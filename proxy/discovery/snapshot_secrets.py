"""Which resources hold secrets, by the marks of Envoy's protos, not only those of type Secret.

Most are told apart without parsing: whatever an Any holds is announced by its type URL in the bytes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from udpa.annotations import sensitive_pb2

from proxy.admin.redact import known_class, unpacked
from xds_client.resource_types import ResourceType

_TYPE_NAME: Final = re.compile(rb"/([A-Za-z_][\w.]*\.[A-Z]\w*)")
_ANY: Final = "google.protobuf.Any"
_NAMES_OF_SECRETS: Final = frozenset(
    f"envoy.config.core.v3.{name}"
    for name in ("DataSource.filename", "DataSource.environment_variable", "WatchedDirectory.path")
)
_TEXTS: Final = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def is_secret(kind: ResourceType, body: bytes) -> bool:
    """Whether a resource may only be kept encrypted: a Secret, or one with a secret written into it.

    What cannot be read counts as one.
    """
    if kind is ResourceType.SECRET:
        return True
    names = {match.group(1).decode() for match in _TYPE_NAME.finditer(body)}
    names.add(kind.value)
    if not any(map(_may_hold_secret, names)):
        return False
    try:
        return _holds_secret(known_class(kind.value).FromString(body), hidden=False)
    except DecodeError:
        return True


def _holds_secret(message: Any, *, hidden: bool) -> bool:
    """`hidden` is set below a field that is marked. The name of a file or variable is no secret."""
    if message.DESCRIPTOR.full_name == _ANY:
        inner = unpacked(message)
        return inner is not None and _holds_secret(inner, hidden=hidden)
    for field, value in message.ListFields():
        below = hidden or bool(field.GetOptions().Extensions[sensitive_pb2.sensitive])
        values = value if field.is_repeated else (value,)
        if field.message_type is None:
            if below and field.type in _TEXTS and field.full_name not in _NAMES_OF_SECRETS:
                return True
        elif field.message_type.GetOptions().map_entry:
            entries = value.values()
            if field.message_type.fields_by_name["value"].message_type is None:
                if below:
                    return True
            elif any(_holds_secret(one, hidden=below) for one in entries):
                return True
        elif any(_holds_secret(one, hidden=below) for one in values):
            return True
    return False


@lru_cache(maxsize=1024)
def _may_hold_secret(type_name: str) -> bool:
    """Whether a message of this type has a secret in a field of its own or below, other than in an Any."""
    kind = known_class(type_name)
    if kind is None:
        return False
    seen: set[str] = set()
    pending: list[Descriptor] = [kind.DESCRIPTOR]
    while pending:
        descriptor = pending.pop()
        if descriptor.full_name in seen:
            continue
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            if field.GetOptions().Extensions[sensitive_pb2.sensitive]:
                return True
            if field.message_type is not None:
                pending.append(field.message_type)
    return False
