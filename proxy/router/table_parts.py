"""A discovered route table in parts: an update costs what changes, and no worker stalls for a large one.

The controller cuts a serialised `RouteConfiguration` into its virtual hosts and a head, which is the rest, and
sends workers the virtual hosts that are new, in slices. A worker keeps them as bytes until a request is for one;
those that stay keep what was compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import xxhash
from envoy.config.route.v3 import route_components_pb2

from proxy.base.matchers import ascii_lower
from proxy.base.regex import wire_text
from proxy.router.domain_index import DomainIndex

#: A virtual host for a worker: its digest, its domains in lower case, its message.
Part = tuple[bytes, list[str], bytes]
#: Digests of what goes, what comes; for the last slice the head and whether anything reads x-request-id.
Slice = tuple[list[bytes], list[Part], bytes | None, bool]

_VIRTUAL_HOSTS: Final = 2  # RouteConfiguration.virtual_hosts
_REQUEST_ID: Final = b"x-request-id"
_MOST_REMOVED: Final = 1000


class CutTable:
    """What workers have of a table: the controller's side."""

    __slots__ = ("_head", "_hosts", "_reads_ids")

    def __init__(self) -> None:
        self._head = b""
        self._reads_ids = False
        self._hosts: dict[bytes, bytes] = {}

    def update(self, serialized: bytes, slice_bytes: int) -> Iterator[Slice]:
        """Take a checked `RouteConfiguration`; gives what workers do not have."""
        self._head, hosts = cut(serialized)
        self._reads_ids = _REQUEST_ID in serialized.lower()
        before, self._hosts = self._hosts, {xxhash.xxh3_128_digest(host): host for host in hosts}
        removed = [digest for digest in before if digest not in self._hosts]
        added = [(digest, host) for digest, host in self._hosts.items() if digest not in before]
        yield from self._slices(removed, added, slice_bytes)

    def whole(self, slice_bytes: int) -> Iterator[Slice]:
        """Everything, for a worker that has nothing."""
        yield from self._slices([], self._hosts.items(), slice_bytes)

    def _slices(
        self, removed: list[bytes], added: Iterable[tuple[bytes, bytes]], slice_bytes: int
    ) -> Iterator[Slice]:
        for start in range(0, len(removed), _MOST_REMOVED):
            yield removed[start : start + _MOST_REMOVED], [], None, False
        group: list[Part] = []
        size = 0
        for digest, host in added:
            domains = route_components_pb2.VirtualHost.FromString(host).domains
            group.append((digest, [ascii_lower(wire_text(text)) for text in domains], host))
            size += len(host)
            if size >= slice_bytes:
                yield [], group, None, False
                group, size = [], 0
        yield [], group, self._head, self._reads_ids


def cut(serialized: bytes) -> tuple[bytes, list[bytes]]:
    """The head and the virtual hosts of a serialised `RouteConfiguration`, which must be one."""
    head: list[bytes] = []
    hosts: list[bytes] = []
    start = 0
    while start < len(serialized):
        tag, position = _varint(serialized, start)
        match tag & 7:
            case 0:
                _, end = _varint(serialized, position)
            case 1:
                end = position + 8
            case 2:
                size, position = _varint(serialized, position)
                end = position + size
            case 5:
                end = position + 4
            case kind:
                raise ValueError(f"wire type {kind}")
        if tag >> 3 == _VIRTUAL_HOSTS:
            hosts.append(serialized[position:end])
        else:
            head.append(serialized[start:end])
        start = end
    return b"".join(head), hosts


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7


class HostPart:
    """One virtual host in a worker. `compiled` was made with the `facts` of a table."""

    __slots__ = ("compiled", "domains", "facts", "serialized")

    def __init__(self, domains: list[str], serialized: bytes) -> None:
        self.domains = domains
        self.serialized = serialized
        self.compiled: Any = None
        self.facts: Any = None


class TableParts:
    """A table in a worker, complete. `facts` are those that were compiled from the head, None before that."""

    __slots__ = ("facts", "head", "hosts", "index", "reads_ids")

    def __init__(self) -> None:
        self.head = b""
        self.reads_ids = False
        self.hosts: dict[bytes, HostPart] = {}
        self.index = DomainIndex()
        self.facts: Any = None

    def changed(self) -> TableParts:
        """The beginning of another one that has the same virtual hosts so far."""
        other = TableParts()
        other.hosts = self.hosts.copy()
        other.index = self.index.copy()
        return other

    def take(self, removed: Iterable[bytes], added: Iterable[Part]) -> None:
        """Apply a slice."""
        for digest in removed:
            part = self.hosts.pop(digest, None)
            for domain in part.domains if part is not None else ():
                self.index.remove(domain)
        for digest, domains, serialized in added:
            part = self.hosts[digest] = HostPart(domains, serialized)
            for domain in domains:
                self.index.add(domain, part)

    def complete(self, head: bytes, reads_ids: bool, before: TableParts) -> None:
        """This is all; what was compiled of the head of the one before holds if it is the same."""
        self.head = head
        self.reads_ids = reads_ids
        if head == before.head:
            self.facts = before.facts


class TableUpdates:
    """The tables of a worker that are in parts, and those that are coming."""

    def __init__(self) -> None:
        self._tables: dict[str, TableParts] = {}
        self._coming: dict[str, TableParts] = {}

    def take(self, key: str, update: Slice) -> TableParts | None:
        """Apply a slice; gives the table when this was the last one."""
        removed, added, head, reads_ids = update
        before = self._tables.get(key) or TableParts()
        coming = self._coming.get(key)
        if coming is None:
            coming = self._coming[key] = before.changed()
        coming.take(removed, added)
        if head is None:
            return None
        del self._coming[key]
        coming.complete(head, reads_ids, before)
        self._tables[key] = coming
        return coming

    def forget(self, key: str) -> None:
        """It has gone, or comes whole from now on."""
        self._tables.pop(key, None)
        self._coming.pop(key, None)
