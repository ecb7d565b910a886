from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import pytest
from envoy.config.core.v3 import config_source_pb2

from proxy.discovery import patience, surviving_client, surviving_watch
from proxy.discovery.snapshot_file import Section
from proxy.discovery.surviving_client import SurvivingClient
from xds_client.api import (
    Consumer,
    Rejection,
    Resource,
    StreamStatus,
    SubscriptionCounters,
    Update,
)
from xds_client.resource_types import ResourceType

CDS, EDS = ResourceType.CLUSTER, ResourceType.ENDPOINT
ADS = config_source_pb2.ConfigSource()
ADS.ads.SetInParent()
SOURCE = ADS.SerializeToString(deterministic=True)


def resource(name: str, body: bytes = b"1", kind: ResourceType = CDS) -> Resource:
    return Resource(name, "1", body, kind.type_url)


def section(kind: ResourceType, collection: str, *names: str) -> Section:
    return Section(kind, SOURCE, collection, "7", 900.0, tuple(resource(name, kind=kind) for name in names))


class Store:
    """A snapshot in memory."""

    path = "memory"
    saved = 0.0

    def __init__(self, *sections: Section) -> None:
        self.kept = list(sections)
        self.exists = bool(sections)
        self.changes = 0
        self.sections: Callable[[], Awaitable[list[Section]]]

    async def read(self) -> list[Section]:
        return self.kept

    def note_change(self) -> None:
        self.changes += 1

    async def close(self) -> None:
        pass


class Asked:
    """The subscription of the client below."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.names: list[str] = []
        self.counters = SubscriptionCounters()

    def add(self, names: Iterable[str]) -> None:
        self.names += names

    def remove(self, names: Iterable[str]) -> None:
        self.names = [name for name in self.names if name not in set(names)]

    def refresh(self, names: Iterable[str]) -> None:
        raise AssertionError(names)

    def close(self) -> None:
        self.names.clear()


class Server:
    """The client below, with a stream that a test connects or breaks."""

    def __init__(self) -> None:
        self.asked: dict[ResourceType, Asked] = {}
        self.connected = False
        self.error = "connection refused"

    def subscribe(self, kind: ResourceType, _source: Any, names: Iterable[str], consumer: Consumer) -> Asked:
        asked = self.asked[kind] = Asked(consumer)
        asked.add(names)
        return asked

    def stream_status(self, _kind: ResourceType, _source: Any) -> StreamStatus:
        return StreamStatus("ads", "server", self.connected, last_error="" if self.connected else self.error)

    async def answer(
        self, kind: ResourceType, *resources: Resource, removed: Sequence[str] = ()
    ) -> Sequence[Rejection]:
        self.connected = True
        return await self.asked[kind].consumer.apply(Update(kind, "8", resources, tuple(removed)))

    async def close(self) -> None:
        pass


class Table:
    """Takes everything but what is called "bad"; remembers what it was told."""

    def __init__(self) -> None:
        self.here: dict[str, bytes] = {}
        self.updates: list[Update] = []
        self.gone: list[str] = []
        self.failures: list[str] = []

    async def apply(self, update: Update) -> Sequence[Rejection]:
        self.updates.append(update)
        for name in update.removed:
            self.here.pop(name, None)
        for one in update.added:
            if one.name != "bad":
                self.here[one.name] = one.body
        return [Rejection(one.name, "no") for one in update.added if one.name == "bad"]

    def missing(self, name: str, *, said: bool = False) -> None:
        self.gone.append(name)

    def failed(self, reason: str) -> None:
        self.failures.append(reason)


class World:
    """A surviving client between a server and tables."""

    def __init__(self, *kept: Section, delta: bool = False) -> None:
        self.server = Server()
        self.store = Store(*kept)
        api = config_source_pb2.ApiConfigSource(api_type=8 if delta else 2)
        if delta:
            api.api_type = api.DELTA_GRPC
        self.started = False
        self.client = SurvivingClient(
            asyncio.get_running_loop(),
            self.server,  # type: ignore[arg-type]
            self.store,  # type: ignore[arg-type]
            api,
            lambda: 1000.0,
            lambda: self.started,
        )
        self.table = Table()

    def subscribe(self, kind: ResourceType, *names: str, table: Table | None = None) -> Any:
        return self.client.subscribe(kind, ADS, names, table or self.table)

    async def settle(self) -> None:
        """Let everything that is due happen."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def kept(self) -> dict[tuple[ResourceType, str], tuple[float, list[str]]]:
        """What would be written."""
        return {
            (one.type, one.collection): (one.confirmed, sorted(resource.name for resource in one.resources))
            for one in await self.store.sections()
        }


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surviving_client, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(surviving_watch, "_SETTLE_SECONDS", 0.0)


def test_without_a_server_the_snapshot_is_applied() -> None:
    async def test() -> None:
        world = World(section(CDS, "*", "a", "b"), section(EDS, "", "a", "unused"))
        world.subscribe(CDS, "*")
        endpoints = Table()
        watch = world.subscribe(EDS, table=endpoints)
        await world.settle()
        assert set(world.table.here) == {"a", "b"}
        (update,) = world.table.updates
        assert (update.version, update.from_cache) == ("7", True)
        watch.add(["a", "other"])
        await world.settle()
        assert set(endpoints.here) == {"a"}
        use = world.client.use()
        assert use.unconfirmed == {CDS: ("a", "b"), EDS: ("a",)}
        assert use.confirmed == 900.0

    asyncio.run(test())


def test_a_server_that_answers_is_never_preempted() -> None:
    async def test() -> None:
        world = World(section(CDS, "*", "a"))
        world.server.connected = True
        world.subscribe(CDS, "*")
        await world.settle()
        assert world.table.updates == []
        await world.server.answer(CDS, resource("x"))
        await world.settle()
        assert set(world.table.here) == {"x"}
        assert world.client.use().unconfirmed == {}

    asyncio.run(test())


def test_a_server_that_is_silent_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        world = World(section(CDS, "*", "a"))
        world.server.connected = True
        monkeypatch.setattr(patience, "ANSWER_SECONDS", 0.0)
        monkeypatch.setattr(patience, "LATE_SECONDS", 0.0)
        world.subscribe(CDS, "*")
        await world.settle()
        assert set(world.table.here) == {"a"}

    asyncio.run(test())


def test_what_the_snapshot_gave_outlives_the_time_limit_of_the_fetch() -> None:
    async def test() -> None:
        world = World(section(EDS, "", "a"))
        world.subscribe(EDS, "a")
        await world.settle()
        world.server.asked[EDS].consumer.missing("a")
        await world.settle()
        assert (set(world.table.here), world.table.gone) == ({"a"}, [])
        assert world.client.use().unconfirmed == {EDS: ("a",)}
        assert await world.kept() == {(EDS, ""): (900.0, ["a"])}
        world.server.asked[EDS].consumer.missing("a", said=True)
        assert world.table.gone == ["a"]
        assert world.client.use().unconfirmed == {}

    asyncio.run(test())


def test_a_name_that_the_first_answer_leaves_out_is_taken_from_the_snapshot_in_a_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        world = World(section(EDS, "", "a", "b", "c"))
        world.server.connected = True
        monkeypatch.setattr(patience, "LATE_SECONDS", 0.0)
        watch = world.subscribe(EDS, "a", "b")
        await world.server.answer(EDS, resource("b", b"2", EDS))
        await world.settle()
        assert world.table.here == {"b": b"2"}
        monkeypatch.setattr(patience, "ANSWER_SECONDS", 0.0)
        await world.settle()
        assert world.table.here == {"a": b"1", "b": b"2"}
        assert world.client.use().unconfirmed == {EDS: ("a",)}
        world.started = True
        watch.add(["c"])
        await world.settle()
        assert set(world.table.here) == {"a", "b"}

    asyncio.run(test())


def test_the_first_whole_answer_removes_what_is_gone() -> None:
    async def test() -> None:
        world = World(section(CDS, "*", "a", "b"))
        world.subscribe(CDS, "*")
        await world.settle()
        await world.server.answer(CDS, resource("a", b"2"), resource("c"))
        assert world.table.here == {"a": b"2", "c": b"1"}
        assert world.table.updates[-1].removed == ("b",)
        assert world.client.use().unconfirmed == {}
        assert await world.kept() == {(CDS, "*"): (1000.0, ["a", "c"])}

    asyncio.run(test())


def test_an_answer_that_is_refused_leaves_the_removal_to_the_next() -> None:
    async def test() -> None:
        world = World(section(CDS, "*", "a", "b"))
        world.subscribe(CDS, "*")
        await world.settle()
        assert await world.server.answer(CDS, resource("a"), resource("bad"))
        await world.server.answer(CDS)
        assert [update.removed for update in world.table.updates[1:]] == [("b",), ("b",)]

    asyncio.run(test())


def test_a_delta_server_may_answer_in_pieces() -> None:
    async def test() -> None:
        world = World(section(CDS, "*", "a", "b", "c"), delta=True)
        world.subscribe(CDS, "*")
        await world.settle()
        await world.server.answer(CDS, resource("a"))
        await world.server.answer(CDS, resource("b", b"2"))
        assert set(world.table.here) == {"a", "b", "c"}
        await world.settle()
        assert world.table.here == {"a": b"1", "b": b"2"}
        assert await world.kept() == {(CDS, "*"): (1000.0, ["a", "b"])}

    asyncio.run(test())


def test_what_is_unconfirmed_stays_while_the_stream_is_broken_again() -> None:
    async def test() -> None:
        world = World(section(CDS, "*", "a", "b"), delta=True)
        world.subscribe(CDS, "*")
        await world.settle()
        await world.server.answer(CDS, resource("a"))
        world.server.connected = False
        await world.settle()
        assert set(world.table.here) == {"a", "b"}
        world.server.connected = True
        await world.settle()
        assert set(world.table.here) == {"a"}
        await world.client.close()

    asyncio.run(test())


def test_a_name_that_times_out_comes_from_the_snapshot_and_one_that_the_server_denies_does_not() -> None:
    async def test() -> None:
        world = World(section(EDS, "", "a", "b"))
        world.server.connected = True
        world.subscribe(EDS, "a", "b", "c")
        world.server.connected = False
        world.server.error = ""
        consumer = world.server.asked[EDS].consumer
        consumer.missing("a")
        consumer.missing("c")
        await world.settle()
        assert set(world.table.here) == {"a", "b"}
        assert world.table.gone == ["c"]
        other = World(section(EDS, "", "a"))
        other.subscribe(EDS, "a", "b")
        await other.server.answer(EDS, resource("b", kind=EDS))
        other.server.asked[EDS].consumer.missing("a")
        await other.settle()
        assert other.table.gone == ["a"]

    asyncio.run(test())


def test_a_failure_is_told_only_where_the_snapshot_does_not_help() -> None:
    async def test() -> None:
        world = World(section(CDS, "*", "a"))
        world.server.error = ""
        world.subscribe(CDS, "*")
        world.server.asked[CDS].consumer.failed("timed out")
        await world.settle()
        assert (set(world.table.here), world.table.failures) == ({"a"}, [])
        empty = World(section(EDS, "", "a"))
        empty.server.error = ""
        empty.subscribe(CDS, "*")
        empty.server.asked[CDS].consumer.failed("timed out")
        await empty.settle()
        assert empty.table.failures == ["timed out"]

    asyncio.run(test())


def test_what_a_table_refuses_of_the_snapshot_is_not_kept_in_use() -> None:
    async def test() -> None:
        world = World(section(CDS, "*", "a", "bad"))
        world.subscribe(CDS, "*")
        await world.settle()
        assert world.client.use().unconfirmed == {CDS: ("a",)}

    asyncio.run(test())


def test_what_was_not_asked_for_yet_survives_the_first_writing_but_not_a_complete_start() -> None:
    async def test() -> None:
        world = World(section(CDS, "*", "a"), section(EDS, "", "a"))
        world.server.connected = True
        world.subscribe(CDS, "*")
        await world.server.answer(CDS, resource("x"))
        assert await world.kept() == {(CDS, "*"): (1000.0, ["x"]), (EDS, ""): (900.0, ["a"])}
        other = World(section(EDS, "", "a"))
        other.subscribe(CDS, "*")
        await other.server.answer(CDS, resource("x"))
        other.started = True
        assert await other.kept() == {(CDS, "*"): (1000.0, ["x"])}

    asyncio.run(test())


def test_what_is_refused_removed_or_expires_is_not_kept() -> None:
    async def test() -> None:
        world = World()
        watch = world.subscribe(EDS, "a", "b", "brief", "bad")
        brief = Resource("brief", "1", b"1", EDS.type_url, ttl=5.0)
        await world.server.answer(EDS, resource("a"), resource("b"), brief, resource("bad"))
        assert await world.kept() == {(EDS, ""): (1000.0, ["a", "b"])}
        changes = world.store.changes
        watch.remove(["a"])
        assert world.store.changes == changes + 1
        assert world.server.asked[EDS].names == ["b", "brief", "bad"]
        assert await world.kept() == {(EDS, ""): (1000.0, ["b"])}

    asyncio.run(test())


def test_files_are_not_kept() -> None:
    async def test() -> None:
        world = World()
        source = config_source_pb2.ConfigSource()
        source.path_config_source.path = "/x"
        world.client.subscribe(CDS, source, ("*",), world.table)
        assert world.server.asked[CDS].consumer is world.table
        assert await world.kept() == {}

    asyncio.run(test())
