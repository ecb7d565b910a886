"""What is known of one type of resource on one stream, whichever protocol the stream speaks. No I/O, no clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct, field

from xds_client.api import WILDCARD, ClientStatus, Rejection, Resource, ResourceStatus
from xds_client.messages import lifetime
from xds_client.names import collection_of, is_collection
from xds_client.resource_types import ResourceType


class Change(Struct):
    """What a response means. `problem` refuses it whole; then nothing else is set.

    `added` has resources that differ from the accepted ones; `unchanged` names those that do not, `heartbeats`
    those that came without a body, `renewed` has those that differ in their version alone, and `further` what came
    once more under a name of a list. `absent` were asked for and are known not to exist. `rejections` were found
    while reading. `errors` are the server's own, by name. `lifetimes` has the TTLs in seconds of what came, None
    for no expiry. `generation` is the stream that it came on.
    """

    version: str = ""
    nonce: str = ""
    control_plane: str = ""
    generation: int = 0
    added: list[Resource] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    heartbeats: list[str] = field(default_factory=list)
    further: list[Resource] = field(default_factory=list)
    renewed: list[Resource] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    lifetimes: dict[str, float | None] = field(default_factory=dict)
    problem: str = ""
    refused_whole: bool = False
    """Whether nothing of it was applied, and nothing removed."""
    everything: bool = False
    """Whether it came when everything was asked for."""


class Record:
    """One resource: the accepted form, the last refused one, and why it is not here."""

    __slots__ = (
        "error",
        "refused",
        "refused_at",
        "refused_version",
        "resource",
        "status",
        "updated",
        "waiting_since",
    )

    def __init__(self, since: float) -> None:
        self.resource: Resource | None = None
        self.status = ClientStatus.REQUESTED
        self.updated = 0.0
        self.waiting_since = since
        self.refused: Rejection | None = None
        self.refused_version = ""
        self.refused_at = 0.0
        self.error = ""

    def accept(self, resource: Resource, now: float) -> None:
        """This form is in force."""
        self.resource = resource
        self.status = ClientStatus.ACKED
        self.updated = now
        self.waiting_since = 0.0
        self.settle()

    def found(self) -> None:
        """A resource came that goes by this name too."""
        self.status = ClientStatus.ACKED
        self.waiting_since = 0.0

    def settle(self) -> None:
        """The server took back what was refused."""
        self.refused = None
        self.refused_version = ""
        self.refused_at = 0.0
        self.error = ""
        if self.resource is not None:
            self.status = ClientStatus.ACKED

    def refuse(self, rejection: Rejection, version: str, now: float) -> None:
        """A form was refused; the accepted one stays in force."""
        self.refused = rejection
        self.refused_version = version
        self.refused_at = now
        self.status = ClientStatus.NACKED
        self.waiting_since = 0.0

    def lose(self, status: ClientStatus) -> None:
        """It is gone."""
        self.resource = None
        self.status = status

    def describe(self, name: str) -> ResourceStatus:
        """The snapshot for admin pages."""
        refused = self.refused
        return ResourceStatus(
            name=name,
            client_status=self.status,
            version="" if self.resource is None else self.resource.version,
            last_updated=self.updated,
            rejected_version=self.refused_version,
            rejected_reason=self.error if refused is None else refused.reason,
            rejected_path="" if refused is None else refused.path,
            rejected_at=self.refused_at,
            waiting_since=self.waiting_since,
        )


class TypeState(ABC):
    """Names asked for, resources accepted, requests due. Names are in their normal form.

    `names` is what is asked for, `WILDCARD` among it; `records` has every name asked for or accepted. What was
    dropped is parked until the server was told, and kept up to date: the server would not send it again.
    """

    def __init__(self, kind: ResourceType) -> None:
        self.kind = kind
        self.names: dict[str, None] = {}
        self.records: dict[str, Record] = {}
        self.version = ""
        self.rejected_version = ""
        self.rejected_reason = ""
        self.answered = False
        """Whether there was an answer to asking for everything."""
        self.generation = 0
        self._parked: dict[str, None] = {}

    def wants(self, name: str) -> bool:
        """Whether a resource of this name was asked for, by itself, its collection or the wildcard."""
        for names in (self.names, self._parked):
            if name in names or WILDCARD in names or collection_of(name) in names:
                return True
        return False

    def wants_resource(self, resource: Resource) -> bool:
        """The same of a resource, which may go by other names too."""
        return self.wants(resource.name) or any(alias in self.names for alias in resource.aliases)

    def accepted(self, name: str) -> Resource | None:
        """The form in force."""
        record = self.records.get(name)
        return None if record is None else record.resource

    def change_interest(self, added: Iterable[str], removed: Iterable[str], now: float) -> None:
        """Ask for further names, or no more for some."""
        dropped = [name for name in removed if name in self.names]
        for name in dropped:
            del self.names[name]
        fresh = [name for name in added if name not in self.names]
        self._interest_changed(fresh, dropped)
        for name in fresh:
            self._parked.pop(name, None)
            self.names[name] = None
            if not is_collection(name) and name not in self.records:
                self.records[name] = Record(now)
        self._parked.update(dict.fromkeys(dropped))

    def _told_server(self) -> None:
        """A request left: what is parked is forgotten on both sides."""
        parked = list(self._parked)
        self._parked.clear()
        self.answered = self.answered and WILDCARD in self.names
        if any(is_collection(name) for name in parked):
            parked = list(self.records)
        for name in parked:
            if not self.wants(name):
                self.records.pop(name, None)

    def conclude(self, change: Change, rejections: Sequence[Rejection], now: float) -> None:
        """A response was applied but for `rejections`: note it, and owe the server an ACK or a NACK."""
        reasons = [change.problem] if change.problem else _reasons(rejections)
        if not change.problem:
            self._note(change, rejections, now)
        if reasons:
            self.rejected_version = change.version
            self.rejected_reason = "\n".join(dict.fromkeys(reasons))
        else:
            self.rejected_version = self.rejected_reason = ""
            self.version = change.version
        self._owe(change, self.rejected_reason)

    def _note(self, change: Change, rejections: Sequence[Rejection], now: float) -> None:
        self.answered = self.answered or change.everything
        refused = {rejection.name: rejection for rejection in rejections if not rejection.further}
        for resource in change.added:
            if not self.wants_resource(resource):
                continue
            for alias in resource.aliases:
                if alias != resource.name and (named := self.records.get(alias)) is not None:
                    named.found()
            record = self.records.get(resource.name)
            if record is None:
                record = self.records[resource.name] = Record(0.0)
            rejection = refused.get(resource.name)
            if rejection is not None:
                record.refuse(rejection, resource.version or change.version, now)
            else:
                record.accept(resource, now)
        added = {resource.name for resource in change.added} if rejections else ()
        for rejection in rejections:
            # What came first under that name, or before, is in force.
            record = self.records.get(rejection.name)
            if record is not None and (rejection.further or rejection.name not in added):
                record.refuse(rejection, change.version, now)
        for name in (*change.unchanged, *change.heartbeats):
            if (record := self.records.get(name)) is not None and record.refused is not None:
                record.settle()
        for resource in change.renewed:
            if (record := self.records.get(resource.name)) is not None:
                record.resource = resource
        for name in () if change.refused_whole else change.removed:
            self.lose(name, ClientStatus.DOES_NOT_EXIST)
        for name in change.absent:
            self.lose(name, ClientStatus.DOES_NOT_EXIST)
        for name, reason in change.errors:
            if (record := self.records.get(name)) is not None:
                record.status = ClientStatus.RECEIVED_ERROR
                record.error = reason

    def lose(self, name: str, status: ClientStatus) -> None:
        """A resource is gone; one that is asked for by name keeps its record."""
        record = self.records.get(name)
        if record is None:
            return
        if name in self.names:
            record.lose(status)
        else:
            del self.records[name]

    @staticmethod
    def _server_errors(response: Any) -> list[tuple[str, str]]:
        return [(error.resource_name.name, error.error_detail.message) for error in response.resource_errors]

    def start_stream(self) -> None:
        """A new stream: nothing of the old one is owed, and everything has to be asked for again."""
        self.generation += 1
        self._told_server()
        self._stream_started()

    @property
    @abstractmethod
    def pending(self) -> bool:
        """Whether a request is due."""

    @abstractmethod
    def request(self) -> Any:
        """The next request, without a node. Call only when `pending`."""

    @abstractmethod
    def receive(self, response: Any) -> Change:
        """What a response changes. Changes nothing itself; `conclude` does."""

    @abstractmethod
    def repeat(self) -> None:
        """Ask for what is asked for once more, if the protocol has a way to."""

    @abstractmethod
    def _interest_changed(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Called when `removed` have left `names` and before `added` come to it or leave what is parked."""

    @abstractmethod
    def _stream_started(self) -> None: ...

    @abstractmethod
    def _owe(self, change: Change, error: str) -> None: ...


def _reasons(rejections: Sequence[Rejection]) -> list[str]:
    return [str(rejection) for rejection in rejections if not rejection.along]


def wrapped(wrapper: Any, name: str, version: str) -> Resource:
    """The resource in a `discovery.v3.Resource`. Raises ValueError for a TTL that is no lifetime."""
    return Resource(
        name,
        version,
        wrapper.resource.value,
        wrapper.resource.type_url,
        lifetime(wrapper.ttl) if wrapper.HasField("ttl") else None,
        tuple(wrapper.aliases),
        wrapper.metadata.SerializeToString() if wrapper.HasField("metadata") else b"",
    )
