"""Fields of discovered resources that no proto known here has: counted and logged, or refused.

A control plane that is newer than the proxy sends them. As in Envoy they are allowed unless
`--reject-unknown-dynamic-fields` is given: then one in a resource refuses the response, and one in an extension's
config refuses the resource.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from msgspec.structs import replace

from proxy.admin.redact import known_class
from proxy.config.extensions import TYPED_STRUCTS, type_name_of
from proxy.discovery.forwarding_client import ForwardingClient
from proxy.discovery.turns import Turns
from xds_client.api import (
    Client,
    Consumer,
    RefusedWhole,
    Rejection,
    Resource,
    Subscription,
    Update,
)
from xds_client.resource_types import ResourceType

logger = logging.getLogger("outrider.config")

_ANY: Final = "google.protobuf.Any"

#: How many contents of an Any are kept with what is unknown in them, and up to which size in bytes: the same
#: extensions repeat in thousands of resources.
_MEMO: Final = 1024
_MEMO_BYTES: Final = 1024


def unknown_fields(message_type: Any, body: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is unknown in a message, in Envoy's words: in itself, and in whatever its Anys hold.

    Bytes that are no such message have nothing unknown.
    """
    try:
        message = message_type.FromString(body)
    except DecodeError:
        return (), ()
    own: tuple[str, ...] = ()
    size = message.ByteSize()
    known = message
    if _has_unknown(message, size):
        known = message_type.FromString(body)
        own = tuple(_described(known, ()))
    # An Any that is not empty has a type URL, and that a slash.
    if b"/" not in body or not _holds_any(message.DESCRIPTOR):
        return own, ()
    below: list[str] = []
    for packed in _anys(known):
        look = _in_any if len(packed.value) <= _MEMO_BYTES else _in_any.__wrapped__
        below += look(packed.type_url, packed.value)
    return own, tuple(below)


def _has_unknown(message: Any, size: int) -> bool:
    """Whether anything is lost when `message` forgets what it does not know. It forgets it."""
    message.DiscardUnknownFields()
    return bool(message.ByteSize() != size)


@lru_cache(maxsize=_MEMO)
def _in_any(type_url: str, value: bytes) -> tuple[str, ...]:
    name = type_name_of(type_url)
    kind = None if name in TYPED_STRUCTS else known_class(name)
    if kind is None:
        return ()
    own, below = unknown_fields(kind, value)
    return own + below


def _described(message: Any, parents: tuple[str, ...]) -> Iterator[str]:
    name = message.DESCRIPTOR.full_name
    unknown = UnknownFieldSet(message)
    numbers = [str(unknown[index].field_number) for index in range(len(unknown))]
    if numbers:
        where = "::".join(parents) or "root"
        yield f"type {name}({where}) with unknown field set {{{', '.join(numbers)}}}"
    for below in _below(message):
        if below.DESCRIPTOR.full_name != _ANY:
            yield from _described(below, (*parents, name))


def _anys(message: Any) -> Iterator[Any]:
    for below in _below(message, _holds_any):
        if below.DESCRIPTOR.full_name == _ANY:
            yield below
        else:
            yield from _anys(below)


def _below(message: Any, relevant: Callable[[Descriptor], bool] = lambda _: True) -> Iterator[Any]:
    """The messages in the fields of a message, of relevant types."""
    for field, value in message.ListFields():
        kind = _message_type(field)
        if kind is None or not relevant(kind):
            continue
        if not field.is_repeated:
            yield value
        elif field.message_type.GetOptions().map_entry:
            yield from value.values()
        else:
            yield from value


@cache
def _message_type(field: FieldDescriptor) -> Descriptor | None:
    """The type of the messages in a field, of the values if it is a map; None for other fields."""
    kind: Descriptor | None = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        kind = kind.fields_by_name["value"].message_type
    return kind


@cache
def _holds_any(descriptor: Descriptor) -> bool:
    """Whether a message of this type is an Any, or may have one in it."""
    seen: set[str] = set()
    pending = [descriptor]
    while pending:
        one = pending.pop()
        if one.full_name == _ANY:
            return True
        if one.full_name not in seen:
            seen.add(one.full_name)
            pending.extend(kind for field in one.fields if (kind := _message_type(field)) is not None)
    return False


class UnknownFieldsClient(ForwardingClient):
    """A `Client` that looks at what `client` brings before anybody applies it.

    `count` is called for each unknown field set that was not seen before, unless they are refused (`reject`).
    """

    def __init__(self, client: Client, count: Callable[[], None], *, reject: bool) -> None:
        super().__init__(client)
        self._count = count
        self._reject = reject
        self._seen: set[str] = set()

    def subscribe(
        self,
        type: ResourceType,  # noqa: A002 - the word of the protocol
        source: Any,
        names: Iterable[str],
        consumer: Consumer,
    ) -> Subscription:
        """See `Client.subscribe`."""
        return self._client.subscribe(type, source, names, _Inspector(self, consumer))

    def look(self, kind: ResourceType, resource: Resource) -> tuple[str, bool]:
        """Why a resource is refused, "" if it is not, and whether all that came with it is."""
        own, below = unknown_fields(known_class(kind.value), resource.body)
        found = own + below
        if not found:
            return "", False
        if self._reject:
            return f"Protobuf message ({found[0]}) has unknown fields", bool(own)
        for text in found:
            if text not in self._seen:
                self._seen.add(text)
                self._count()
                logger.warning("Unknown field: %s", text)
        return "", False


class _Inspector:
    """The `Consumer` of one subscription."""

    def __init__(self, owner: UnknownFieldsClient, consumer: Consumer) -> None:
        self._owner = owner
        self._consumer = consumer
        self.missing = consumer.missing
        self.failed = consumer.failed

    async def apply(self, update: Update) -> Sequence[Rejection]:
        """See `Consumer`."""
        rejections = []
        refused_whole = False
        turns = Turns()
        for resource in update.added:
            reason, whole = self._owner.look(update.type, resource)
            if reason:
                refused_whole = refused_whole or whole
                rejections.append(Rejection(resource.name, reason))
            if turns.over:
                await turns.next()
        if not rejections:
            return await self._consumer.apply(update)
        if refused_whole:
            # Whoever waits for the first answer has had it.
            self._consumer.failed("; ".join(map(str, rejections)))
            return RefusedWhole.of(rejections, update)
        refused = {rejection.name for rejection in rejections}
        rest = tuple(resource for resource in update.added if resource.name not in refused)
        others = await self._consumer.apply(replace(update, added=rest))
        both = [*rejections, *others]
        return RefusedWhole(both) if isinstance(others, RefusedWhole) else both
