"""What is known of resources that a control plane brings, for `/ready`, `/xds`, `/csds` and `/init_dump`."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from xds_client.api import ClientStatus, StreamStatus
from xds_client.resource_types import ResourceType


class Refusal(Struct, frozen=True):
    """The newest form of a resource that was refused. `at` is in Unix seconds, `path` a field or ""."""

    version: str
    reason: str
    path: str = ""
    at: float = 0.0
    serialized: bytes = b""


class Discovered(Struct, frozen=True):
    """One resource of one type and source; times are Unix seconds, 0 for never.

    `serialized` is the accepted message, b"" if there is none or if it is not kept. `waiting_since` is when it was
    asked for, or began to warm, 0 if nothing is waited for; `waiting_for` is what it needs itself.
    `from_snapshot` is set while the control plane has not confirmed it.
    """

    type: ResourceType
    name: str
    source: str
    status: ClientStatus
    version: str = ""
    updated: float = 0.0
    serialized: bytes = b""
    waiting_since: float = 0.0
    waiting_for: tuple[str, ...] = ()
    refusal: Refusal | None = None
    from_snapshot: bool = False
    warming: bool = False


class DiscoveredType(Struct, frozen=True):
    """One type of one source. `version` is the last accepted one, `refused_version` the last refused, or ""."""

    type: ResourceType
    source: str
    version: str = ""
    refused_version: str = ""
    refused_reason: str = ""


class Missing(Struct, frozen=True):
    """Something that the proxy was told to have and has not; `since` is in Unix seconds.

    `kind` is a word such as "listener" or "secret"; `name` is "*" for everything that a control plane lists.
    `blocking` tells what was promised before the proxy went live.
    """

    kind: str
    name: str
    since: float
    waiting_for: tuple[str, ...] = ()
    blocking: bool = True


class Snapshot(Struct, frozen=True):
    """The resources kept on disk. `confirmed` is when the control plane last stood by those `in_use`, by type.

    `saved` is when this process last wrote `path`; times are Unix seconds, 0 for never.
    """

    path: str
    saved: float = 0.0
    confirmed: float = 0.0
    in_use: tuple[tuple[ResourceType, int], ...] = ()


class Readiness(Struct, frozen=True):
    """What `/ready` tells in JSON. `refused` is the resource with the newest refusal."""

    missing: Sequence[Missing] = ()
    refused: Discovered | None = None
    streams: Sequence[StreamStatus] = ()
    snapshot: Snapshot | None = None
