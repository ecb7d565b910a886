"""What a control plane has sent, as one file: written whole, checked whole when it is read.

    outrider-snapshot 1 <SHA-256 of all that follows, in hexadecimal>
    {"node": {"id": ..., "cluster": ...}, "saved": <Unix seconds>, "sections": [{...}, ...]}
    <a serialised `discovery.v3.DeltaDiscoveryResponse` for each section, one after the other>

A section that holds secrets is a Fernet token of its response instead, or is left out where there is no key. What
is damaged, too old, or of another node is refused whole with a `SnapshotError`: there is nothing to repair by hand,
the next control plane that answers brings a new one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError
from msgspec import Struct
from msgspec.structs import replace

from proxy.discovery.snapshot_secrets import is_secret
from xds_client.api import Resource
from xds_client.resource_types import ResourceType

_MAGIC: Final = b"outrider-snapshot"
_FORMAT: Final = b"1"


class SnapshotError(ValueError):
    """A snapshot cannot be used; the text says why in one line."""


class Section(Struct, frozen=True):
    """The accepted resources of one type from one source.

    `source` is a serialised `core.v3.ConfigSource`; `collection` the wildcard that they were listed by, "" for
    those asked for by name. `confirmed` is the Unix second at which the control plane last stood by them.
    """

    type: ResourceType
    source: bytes
    collection: str
    version: str
    confirmed: float
    resources: tuple[Resource, ...]

    @property
    def key(self) -> tuple[ResourceType, bytes, str]:
        """What tells it from other sections."""
        return self.type, self.source, self.collection


class Identity(Struct, frozen=True):
    """Whose snapshot it is: `id` and `cluster` of the node."""

    id: str
    cluster: str


def read_key(path: str) -> Fernet:
    """The key in a file: 32 bytes, raw or in base64. Raises OSError, or ValueError for anything else."""
    with open(path, "rb") as file:
        content = file.read(1024)
    if len(content) != 32:
        try:
            content = base64.b64decode(
                content.strip().translate(bytes.maketrans(b"-_", b"+/")), validate=True
            )
        except binascii.Error:
            content = b""
    if len(content) != 32:
        raise ValueError("a key is 32 bytes, as they are or in base64")
    return Fernet(base64.urlsafe_b64encode(content))


def encode(
    sections: Iterable[Section],
    identity: Identity,
    now: float,
    key: Fernet | None,
    is_secret: Callable[[ResourceType, bytes], bool] = is_secret,
) -> bytes:
    """The file's content. Secrets are encrypted with `key`, or left out."""
    heads: list[dict[str, Any]] = []
    bodies: list[bytes] = []
    for section in sections:
        for part, sealed in _parts(section, is_secret):
            if sealed and key is None:
                continue
            body = _response(part)
            if sealed and key is not None:
                body = key.encrypt(body)
            heads.append(
                {
                    "type": part.type.value,
                    "source": base64.b64encode(part.source).decode(),
                    "collection": part.collection,
                    "confirmed": part.confirmed,
                    "sealed": sealed,
                    "bytes": len(body),
                }
            )
            bodies.append(body)
    head = {"node": {"id": identity.id, "cluster": identity.cluster}, "saved": now, "sections": heads}
    rest = json.dumps(head).encode() + b"\n" + b"".join(bodies)
    return b" ".join((_MAGIC, _FORMAT, hashlib.sha256(rest).hexdigest().encode())) + b"\n" + rest


def decode(content: bytes, identity: Identity, oldest: float, key: Fernet | None) -> list[Section]:
    """The sections that were confirmed at `oldest` or later. Raises `SnapshotError`.

    Sealed ones are left out without a key.
    """
    line, _, rest = content.partition(b"\n")
    words = line.split(b" ")
    if len(words) != 3 or words[0] != _MAGIC:
        raise SnapshotError("it is damaged: it does not begin as a snapshot does")
    if words[1] != _FORMAT:
        raise SnapshotError(f"its format is {words[1].decode(errors='replace')}, and only 1 is known here")
    if hashlib.sha256(rest).hexdigest().encode() != words[2]:
        raise SnapshotError("it is damaged: its checksum does not fit")
    text, _, body = rest.partition(b"\n")
    try:
        sections = list(_sections(json.loads(text), body, identity, key))
    except (KeyError, TypeError, ValueError, DecodeError) as error:
        if isinstance(error, SnapshotError):
            raise
        raise SnapshotError(f"it is damaged: {error}") from error
    recent = [section for section in sections if section.confirmed >= oldest]
    if sections and not recent:
        age = oldest - max(section.confirmed for section in sections)
        raise SnapshotError(f"it is too old, by {age:.0f} s")
    return recent


def _sections(head: Any, body: bytes, identity: Identity, key: Fernet | None) -> Iterator[Section]:
    node = Identity(head["node"]["id"], head["node"]["cluster"])
    if node != identity:
        raise SnapshotError(f"it is of another node, {node.id!r} of cluster {node.cluster!r}")
    merged: dict[tuple[ResourceType, bytes, str], Section] = {}
    start = 0
    for one in head["sections"]:
        part = body[start : start + one["bytes"]]
        start += one["bytes"]
        if one["sealed"]:
            if key is None:
                continue
            try:
                part = key.decrypt(part)
            except InvalidToken as error:
                raise SnapshotError("its secrets were encrypted with another key") from error
        section = _read(one, part)
        before = merged.get(section.key)
        if before is not None:
            section = replace(before, resources=before.resources + section.resources)
        merged[section.key] = section
    yield from merged.values()


def _read(head: Any, body: bytes) -> Section:
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(body)
    return Section(
        ResourceType(head["type"]),
        base64.b64decode(head["source"]),
        head["collection"],
        response.system_version_info,
        float(head["confirmed"]),
        tuple(
            Resource(
                one.name,
                one.version,
                one.resource.value,
                one.resource.type_url,
                None,
                tuple(one.aliases),
                one.metadata.SerializeToString() if one.HasField("metadata") else b"",
            )
            for one in response.resources
        ),
    )


def _parts(
    section: Section, is_secret: Callable[[ResourceType, bytes], bool]
) -> Iterator[tuple[Section, bool]]:
    """A section in two: what may be read by anybody who can read the file, and what may not."""
    secret = [is_secret(section.type, one.body) for one in section.resources]
    for sealed in (False, True):
        chosen = tuple(one for one, hidden in zip(section.resources, secret, strict=True) if hidden is sealed)
        if chosen or (not sealed and not section.resources):
            yield replace(section, resources=chosen), sealed


def _response(section: Section) -> bytes:
    response = discovery_pb2.DeltaDiscoveryResponse(
        system_version_info=section.version, type_url=section.type.type_url
    )
    for one in section.resources:
        entry = response.resources.add(name=one.name, version=one.version, aliases=one.aliases)
        entry.resource.type_url = one.type_url
        entry.resource.value = one.body
        if one.metadata:
            entry.metadata.ParseFromString(one.metadata)
    serialized: bytes = response.SerializeToString()
    return serialized
