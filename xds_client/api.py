"""What a user of the client sees: resources, updates, consumers, subscriptions, status, counters.

A consumer gets increments whatever the protocol: the client works out what a state-of-the-world response removes,
and hands on only resources whose bytes differ from those accepted before.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, Final, Protocol

from msgspec import Struct, field

from xds_client.resource_types import ResourceType

WILDCARD: Final = "*"
"""The name that stands for every resource of a type that the server wants this node to have."""

INITIAL_FETCH_TIMEOUT: Final = 15.0
"""Seconds, `core.v3.ConfigSource.initial_fetch_timeout` when unset; 0 there means to wait for ever."""


class Resource(Struct, frozen=True):
    """One resource as it came.

    `body` is the serialised message inside the Any, `type_url` the Any's. `version` is the resource's own one
    (delta), else the `version_info` of the response it came in. `ttl` is in seconds, None for no expiry.
    `aliases` and `metadata` (a serialised `core.v3.Metadata`) are those of its `discovery.v3.Resource` wrapper.
    """

    name: str
    version: str
    body: bytes
    type_url: str
    ttl: float | None = None
    aliases: tuple[str, ...] = ()
    metadata: bytes = b""


class Update(Struct, frozen=True):
    """What changes for one subscription. `version` is `version_info` or `system_version_info`.

    `unchanged` names what came again as it was accepted before, for subscriptions by name, and `further` has what
    came once more under a name of the same list. `control_plane` is the
    server's identifier. `from_cache` is set when the resources came before this subscription named them: nothing
    is sent to the server for such an update. `incremental` tells that it came by the delta protocol.
    """

    type: ResourceType
    version: str
    added: tuple[Resource, ...]
    removed: tuple[str, ...]
    control_plane: str = ""
    from_cache: bool = False
    unchanged: tuple[str, ...] = ()
    further: tuple[Resource, ...] = ()
    incremental: bool = False


class Rejection(Struct, frozen=True):
    """One refused resource. `reason` is a whole sentence for the operator, `path` the field it is about or "".

    `along` tells that nothing is wrong with it but what it came with; the server is not told of it. `further` tells
    that it came after one of the same name, which is in force.
    """

    name: str
    reason: str
    path: str = ""
    along: bool = False
    further: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class RefusedWhole(list[Rejection]):
    """Rejections of an update of which nothing was applied, and nothing removed: one for each resource in it."""

    @classmethod
    def of(cls, bad: Sequence[Rejection], update: Update) -> RefusedWhole:
        """Refuse an update for what is wrong with some of its resources."""
        named = {rejection.name for rejection in bad}
        reason = f"it came with {', '.join(sorted(named))}, for which all of the response was refused"
        rest = [resource.name for resource in update.added if resource.name not in named]
        return cls([*bad, *(Rejection(name, reason, along=True) for name in rest)])


class Consumer(Protocol):
    """Takes the resources of one subscription. No method is called after `Subscription.close`."""

    async def apply(self, update: Update) -> Sequence[Rejection]:
        """Apply what is valid; no rejection is an ACK, else the NACK's `error_detail` holds every reason.

        The next response of the same stream waits until this returns, so it must not wait for a resource of
        another subscription: `XdsClient.pause` holds the ACK back while something warms. An exception refuses
        the whole update with its text.
        """
        ...

    def missing(self, name: str, *, said: bool = False) -> None:
        """The server has no such resource: it did not come in `initial_fetch_timeout`, or, if the server has
        `said` so, was not in an answer that had to hold it. It may still come later. Not called for wildcards.
        """
        ...

    def failed(self, reason: str) -> None:
        """Start-up must not wait for this subscription any longer: `initial_fetch_timeout` ran out without an
        answer, or the source can never work. Called at most once; updates may still come.
        """
        ...


class Subscription(Protocol):
    """A standing request for resources of one type from one source."""

    counters: SubscriptionCounters

    def add(self, names: Iterable[str]) -> None:
        """Ask for these too. One that is here already, for another subscription, is delivered `from_cache`."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Ask no more; no removal is reported for them."""
        ...

    def refresh(self, names: Iterable[str]) -> None:
        """Deliver these again: from the server if it answers a repeated request, else from the cache."""
        ...

    def close(self) -> None:
        """End it; idempotent."""
        ...


class ClientStatus(Enum):
    """`admin.v3.ClientResourceStatus`."""

    UNKNOWN = 0
    REQUESTED = 1
    DOES_NOT_EXIST = 2
    ACKED = 3
    NACKED = 4
    RECEIVED_ERROR = 5
    TIMEOUT = 6


class ResourceStatus(Struct, frozen=True):
    """One resource; times are Unix seconds, 0 for never. `rejected_*` tell of the last refused form, if any.

    `waiting_since` is when it was asked for, 0 once it has come.
    """

    name: str
    client_status: ClientStatus
    version: str = ""
    last_updated: float = 0.0
    rejected_version: str = ""
    rejected_reason: str = ""
    rejected_path: str = ""
    rejected_at: float = 0.0
    waiting_since: float = 0.0


class StreamStatus(Struct, frozen=True):
    """One connection to a control plane. `source` names it: `ads`, or the target.

    `next_retry` is Unix seconds, 0 when connected or trying.
    """

    source: str
    target: str
    connected: bool
    identifier: str = ""
    last_error: str = ""
    connected_since: float = 0.0
    next_retry: float = 0.0


class TypeStatus(Struct, frozen=True):
    """One type of one source. `version` is the last accepted one of a response, `rejected_version` the last
    refused, "" once a later one was accepted.
    """

    type: ResourceType
    source: str
    version: str
    rejected_version: str
    rejected_reason: str
    paused: bool
    resources: tuple[ResourceStatus, ...]


class Status(Struct, frozen=True):
    """A snapshot for admin pages."""

    streams: tuple[StreamStatus, ...]
    types: tuple[TypeStatus, ...]


class StreamCounters(Struct):
    """Envoy's `control_plane.*` of one stream."""

    connected_state: int = 0
    pending_requests: int = 0
    rate_limit_enforced: int = 0
    identifier: str = ""


class SubscriptionCounters(Struct):
    """Envoy's stats of one subscription, under Envoy's names.

    `update_time` is Unix milliseconds, `version` the xxHash64 of `version_text`. `update_durations` are the
    milliseconds of each update since the reader last emptied the list; it keeps the newest 1,000. `stream` is the
    stream that brings the type, None for the aggregated one and for what is no stream.
    """

    update_attempt: int = 0
    update_success: int = 0
    update_failure: int = 0
    update_rejected: int = 0
    init_fetch_timeout: int = 0
    update_time: int = 0
    version: int = 0
    version_text: str = ""
    update_durations: list[float] = field(default_factory=list)
    stream: StreamCounters | None = None
    #: Whether to ask for a resource counts as an attempt; a file is only read.
    asks: bool = True


class ServerTls(Protocol):
    """How to be a TLS client of a control plane: a context that makes every check of the config itself."""

    @property
    def context(self) -> ssl.SSLContext:
        """What connections are made with."""
        ...

    def server_name(self, hostname: str) -> str:
        """The SNI for a host whose endpoint is called `hostname`; "" for none."""
        ...


class Surroundings(Struct, frozen=True):
    """What the client needs to know of the process it runs in.

    `node` is a `core.v3.Node`, `ads_config` the `core.v3.ApiConfigSource` of the bootstrap or None.
    `cluster` gives the `cluster.v3.Cluster` of the bootstrap with a name, None for
    unknown ones. `read_response` makes a serialised
    `discovery.v3.DiscoveryResponse` of a file: its bytes and path; it raises ValueError or a `ConfigError` that
    says what is wrong. `draw` gives numbers in [0, 1), `clock` Unix seconds. `tls` says how to speak TLS to the
    hosts of a `Cluster` that has a transport socket, None for plain text; it raises `ConfigError`. It is asked
    before every connection, so that secrets may change.
    """

    node: Any
    ads_config: Any
    cluster: Callable[[str], Any]
    read_response: Callable[[bytes, str], bytes]
    draw: Callable[[], float]
    clock: Callable[[], float]
    tls: Callable[[Any], ServerTls | None] | None = None


class Client(Protocol):
    """The client of the discovery protocols; `xds_client.client.XdsClient` is it."""

    def subscribe(
        self,
        type: ResourceType,  # noqa: A002 - the word of the protocol
        source: Any,
        names: Iterable[str],
        consumer: Consumer,
    ) -> Subscription:
        """Begin a subscription. `source` is a `core.v3.ConfigSource`, `names` may be `(WILDCARD,)`.

        Raises `ConfigError` for a source that can never work. Nothing is delivered before the next turn of the
        loop.
        """
        ...

    def pause(self, *types: ResourceType) -> AbstractContextManager[None]:
        """Send no request of these types, ACKs included, until the context ends or `close` of it is called.

        May be nested. What changes meanwhile goes out as one request.
        """
        ...

    def status(self) -> Status:
        """What is known, of every stream and resource."""
        ...

    def streams(self) -> tuple[StreamStatus, ...]:
        """The streams of `status`, without looking at resources."""
        ...

    def types(self) -> tuple[TypeStatus, ...]:
        """The types of `status`, without their resources."""
        ...

    def stream_status(
        self,
        type: ResourceType,  # noqa: A002 - the word of the protocol
        source: Any,
    ) -> StreamStatus:
        """What is known of the stream that brings resources of a type from a `core.v3.ConfigSource`."""
        ...

    def stream_counters(self) -> dict[str, StreamCounters]:
        """By source: `ads` or the target."""
        ...

    async def close(self) -> None:
        """End every stream and task; idempotent."""
        ...
