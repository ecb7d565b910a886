"""A mux with its groups and subscriptions; the loop's clock moves when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import xxhash

from tests.unit.xds_client.messages import Recorder, cluster, delta, endpoints, sotw, wrapped
from xds_client.api import WILDCARD, ClientStatus, RefusedWhole, Rejection, Update
from xds_client.mux import Mux
from xds_client.resource_types import ResourceType

CLUSTER = ResourceType.CLUSTER
ENDPOINT = ResourceType.ENDPOINT


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still but for `advance`."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def loop() -> Iterator[SteppedLoop]:
    made = SteppedLoop()
    yield made
    made.close()


def play(loop: SteppedLoop, scenario: Callable[[Mux], Awaitable[None]], *, delta: bool = False) -> None:
    async def run() -> None:
        mux = Mux("test", loop, lambda: 50.0, delta=delta)
        mux.connected()
        await scenario(mux)
        await mux.close()

    loop.run_until_complete(run())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def take(mux: Mux, response: Any) -> None:
    mux.received(response)
    await settle()


def test_each_subscription_gets_its_own_names(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        first, second = Recorder(), Recorder()
        group = mux.group(ENDPOINT)
        group.subscribe(first, ["a", "b"], 15)
        group.subscribe(second, ["b", "c"], 15)
        request = mux.next_request()
        assert list(request.resource_names) == ["a", "b", "c"]
        await take(mux, sotw(endpoints("a"), endpoints("b"), kind=ENDPOINT))
        assert (first.events, second.events) == ([("+", "a", "b")], [("+", "b")])
        assert mux.next_request().response_nonce == "n1"
        assert mux.next_request() is None

    play(loop, scenario)


def test_counters_are_those_of_envoy(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        consumer = Recorder()
        watch = mux.group(CLUSTER).subscribe(consumer, [WILDCARD], 15)
        await take(mux, sotw(cluster("a"), version="v1"))
        counters = watch.counters
        assert (counters.update_attempt, counters.update_success, counters.update_rejected) == (2, 1, 0)
        assert (counters.version_text, counters.version) == ("v1", xxhash.xxh64_intdigest("v1"))
        assert counters.update_time == 50_000
        assert len(counters.update_durations) == 1
        consumer.refuse["a"] = "no"
        await take(mux, sotw(cluster("a", 1), version="v2", nonce="n2"))
        assert (counters.update_attempt, counters.update_success, counters.update_rejected) == (3, 1, 1)
        assert counters.version_text == "v1"
        mux.disconnected()
        assert (counters.update_attempt, counters.update_failure) == (4, 1)

    play(loop, scenario)


def test_a_paused_type_sends_nothing_and_then_one_request(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        group = mux.group(ENDPOINT)
        watch = group.subscribe(Recorder(), ["a"], 15)
        mux.next_request()
        group.pause()
        group.pause()
        for name in "bcd":
            watch.add([name])
        watch.remove(["a"])
        assert mux.next_request() is None
        group.resume()
        assert mux.next_request() is None
        group.resume()
        assert list(mux.next_request().resource_names) == ["b", "c", "d"]
        assert mux.next_request() is None

    play(loop, scenario)


class RefusesBad(Recorder):
    """Applies nothing of an update that has a resource called `bad`."""

    async def apply(self, update: Update) -> Any:
        if any(resource.name == "bad" for resource in update.added):
            return RefusedWhole.of([Rejection("bad", "is bad")], update)
        return await super().apply(update)


def test_what_was_refused_with_others_is_brought_again_without_them(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        consumer = RefusesBad()
        mux.group(CLUSTER).subscribe(consumer, [WILDCARD], 15)
        mux.next_request()
        await take(mux, sotw(cluster("old")))
        mux.next_request()
        await take(mux, sotw(cluster("bad"), cluster("good"), version="2", nonce="n2"))
        nack = mux.next_request()
        assert (nack.version_info, nack.error_detail.message) == ("1", "bad: is bad")
        assert consumer.events == [("+", "old")]
        statuses = {one.name: one.client_status for one in mux.group(CLUSTER).status().resources}
        assert statuses["old"] is ClientStatus.ACKED
        assert statuses["good"] is statuses["bad"] is ClientStatus.NACKED
        await take(mux, sotw(cluster("good"), version="3", nonce="n3"))
        assert mux.next_request().version_info == "3"
        assert consumer.events[1:] == [("+", "good"), ("-", "old")]

    play(loop, scenario)


def test_an_answer_waits_while_its_type_is_paused(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        group = mux.group(CLUSTER)
        group.subscribe(Recorder(), [WILDCARD], 15)
        mux.next_request()
        group.pause()
        await take(mux, sotw(cluster("a")))
        assert mux.next_request() is None
        group.resume()
        assert mux.next_request().version_info == "1"

    play(loop, scenario)


def test_what_does_not_come_in_time_is_reported_once_and_may_come_later(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        consumer = Recorder()
        watch = mux.group(ENDPOINT).subscribe(consumer, ["a", "b"], 15)
        loop.advance(14)
        await settle()
        await take(mux, sotw(endpoints("a"), kind=ENDPOINT))
        loop.advance(1.5)
        await settle()
        assert consumer.events == [("+", "a"), ("missing", "b")]
        assert watch.counters.init_fetch_timeout == 1
        statuses = {one.name: one.client_status for one in mux.group(ENDPOINT).status().resources}
        assert statuses == {"a": ClientStatus.ACKED, "b": ClientStatus.TIMEOUT}
        loop.advance(100)
        await settle()
        await take(mux, sotw(endpoints("b"), version="2", nonce="n2", kind=ENDPOINT))
        assert consumer.events[2:] == [("+", "b")]

    play(loop, scenario)


def test_start_up_does_not_wait_for_a_silent_server(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        waiting, patient = Recorder(), Recorder()
        mux.group(CLUSTER).subscribe(waiting, [WILDCARD], 15)
        mux.group(CLUSTER).subscribe(patient, [WILDCARD], 0)
        mux.disconnected()
        assert waiting.events == [], "a lost connection alone does not end waiting"
        loop.advance(16)
        await settle()
        assert [event[0] for event in waiting.events] == ["failed"]
        assert patient.events == []

    play(loop, scenario)


def test_a_refused_first_response_ends_waiting(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        consumer = Recorder()
        mux.group(CLUSTER).subscribe(consumer, [WILDCARD], 15)
        response = sotw(cluster("a"))
        response.resources[0].value = b"\xff"
        await take(mux, response)
        assert [event[0] for event in consumer.events] == ["failed"]

    play(loop, scenario)


def test_a_newcomer_gets_what_is_here_without_a_request(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        group = mux.group(CLUSTER)
        group.subscribe(Recorder(), [WILDCARD], 15)
        await take(mux, sotw(cluster("a"), cluster("b")))
        while mux.next_request() is not None:
            pass
        late, named = Recorder(), Recorder()
        group.subscribe(late, [WILDCARD], 15)
        group.subscribe(named, ["b"], 15)
        await settle()
        assert (late.events, named.events) == ([("+", "a", "b")], [("+", "b")])
        assert all(update.from_cache for update in late.updates)

    play(loop, scenario)


def test_an_empty_answer_to_a_wildcard_is_told(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        consumer = Recorder()
        mux.group(CLUSTER).subscribe(consumer, [WILDCARD], 15)
        await take(mux, delta())
        assert consumer.events == [("+",)]
        loop.advance(20)
        await settle()
        assert len(consumer.events) == 1

    play(loop, scenario, delta=True)


def test_a_lifetime_ends_unless_it_is_prolonged(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        consumer = Recorder()
        mux.group(CLUSTER).subscribe(consumer, [WILDCARD], 15)
        await take(mux, delta(wrapped("a", cluster("a"), ttl=3), wrapped("b", cluster("b"), ttl=3)))
        loop.advance(2)
        await take(mux, delta(wrapped("a", ttl=3), nonce="n2"))
        loop.advance(1.5)
        await settle()
        assert consumer.events[-1] == ("-", "b")
        loop.advance(2)
        await settle()
        assert consumer.events[-1] == ("-", "a")
        # The same bytes again are news now.
        await take(mux, delta(wrapped("a", cluster("a")), nonce="n3"))
        assert consumer.events[-1] == ("+", "a")

    play(loop, scenario, delta=True)


def test_a_consumer_that_raises_refuses_its_update(loop: SteppedLoop) -> None:
    class Broken(Recorder):
        async def apply(self, update: Any) -> Any:
            raise RuntimeError("oops")

    async def scenario(mux: Mux) -> None:
        mux.group(CLUSTER).subscribe(Broken(), [WILDCARD], 15)
        mux.next_request()
        await take(mux, sotw(cluster("a")))
        assert "RuntimeError: oops" in mux.next_request().error_detail.message

    play(loop, scenario)


def test_refreshing_delivers_again(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        consumer = Recorder()
        watch = mux.group(ENDPOINT).subscribe(consumer, ["a"], 15)
        await take(mux, sotw(endpoints("a"), kind=ENDPOINT))
        while mux.next_request() is not None:
            pass
        watch.refresh(["a"])
        await settle()
        assert consumer.events == [("+", "a"), ("+", "a")]
        assert list(mux.next_request().resource_names) == ["a"], "Envoy asks again too"

    play(loop, scenario)


def test_what_comes_again_as_it_is_is_told_by_name(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        first, second = Recorder(), Recorder()
        group = mux.group(ENDPOINT)
        group.subscribe(first, ["a", "b"], 15)
        group.subscribe(second, ["c"], 15)
        await take(mux, sotw(endpoints("a"), endpoints("b"), endpoints("c"), kind=ENDPOINT))
        changed = endpoints("b")
        changed.policy.weighted_priority_health = True
        await take(mux, sotw(endpoints("a"), changed, version="2", nonce="n2", kind=ENDPOINT))
        assert [update.unchanged for update in first.updates] == [(), ("a",)]
        assert [resource.name for resource in first.updates[1].added] == ["b"]
        assert len(second.updates) == 1

    play(loop, scenario)


def test_a_response_of_a_foreign_type_url_is_ignored(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        consumer = Recorder()
        mux.group(CLUSTER).subscribe(consumer, [WILDCARD], 15)
        mux.next_request()
        response = sotw(cluster("a"))
        response.type_url = "x.y/envoy.config.cluster.v3.Cluster"
        await take(mux, response)
        assert consumer.events == []
        assert mux.next_request() is None

    play(loop, scenario)


def test_a_refused_delta_update_counts_two_attempts(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        consumer = Recorder()
        consumer.refuse = {"a": "bad"}
        watch = mux.group(CLUSTER).subscribe(consumer, [WILDCARD], 15)
        mux.next_request()
        before = watch.counters.update_attempt
        await take(mux, delta(wrapped("a", cluster("a"))))
        assert watch.counters.update_attempt == before + 2
        assert (watch.counters.update_rejected, watch.counters.update_success) == (1, 0)

    play(loop, scenario, delta=True)


def test_after_close_nothing_is_delivered(loop: SteppedLoop) -> None:
    async def scenario(mux: Mux) -> None:
        consumer = Recorder()
        watch = mux.group(CLUSTER).subscribe(consumer, ["a"], 15)
        mux.received(sotw(cluster("a")))
        watch.close()
        watch.close()
        loop.advance(30)
        await settle()
        assert consumer.events == []

    play(loop, scenario)


def test_virtual_hosts_are_found_below_their_route_table(loop: SteppedLoop) -> None:
    from envoy.config.route.v3 import route_components_pb2

    async def scenario(mux: Mux) -> None:
        group = mux.group(ResourceType.VIRTUAL_HOST)
        table, other = Recorder(), Recorder()
        watch = group.subscribe(table, ["table"], 15)
        group.subscribe(other, ["other"], 15)
        assert list(mux.next_request().resource_names_subscribe) == []
        host = route_components_pb2.VirtualHost(name="host")
        await take(mux, delta(wrapped("table/host", host), kind=ResourceType.VIRTUAL_HOST))
        assert (table.events, other.events) == ([("+", "table/host")], [])
        while mux.next_request() is not None:
            pass
        watch.add(["table/late.com"])
        assert list(mux.next_request().resource_names_subscribe) == ["table/late.com"]

    play(loop, scenario, delta=True)
