"""A server and a client over a wire that delays, repeats, corrupts and is cut: in the end both know the same.

Consumers refuse resources, change their subscriptions while an update is applied and hold answers back.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2

from tests.support.xds_protocol import Resources, ServerStream
from xds_client.api import WILDCARD, ClientStatus, Rejection, Update
from xds_client.messages import decode_response
from xds_client.mux import Mux
from xds_client.resource_types import ResourceType
from xds_client.watches import Watch

NAMES = [f"name-{number}" for number in range(12)]
BAD = 999_000
"""Clusters with a buffer limit from here on, and endpoints with such an overprovisioning factor, are refused."""

STEPS = 4000


def cluster(name: str, mark: int) -> Any:
    message = cluster_pb2.Cluster(name=name)
    message.per_connection_buffer_limit_bytes.value = mark
    return message


def endpoint(name: str, mark: int) -> Any:
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    message.policy.overprovisioning_factor.value = mark
    return message


def mark_of(kind: ResourceType, body: bytes) -> int:
    if kind is ResourceType.CLUSTER:
        return int(cluster_pb2.Cluster.FromString(body).per_connection_buffer_limit_bytes.value)
    return int(endpoint_pb2.ClusterLoadAssignment.FromString(body).policy.overprovisioning_factor.value)


class View:
    """A consumer that keeps what it has been told."""

    def __init__(self, simulation: Simulation, kind: ResourceType) -> None:
        self.simulation = simulation
        self.kind = kind
        self.marks: dict[str, int] = {}
        self.watch: Watch | None = None
        self.busy = False

    async def apply(self, update: Update) -> Sequence[Rejection]:
        assert not self.busy, "a consumer got an update while it applied another"
        self.busy = True
        rejections = []
        for resource in update.added:
            mark = mark_of(self.kind, resource.body)
            if mark >= BAD:
                rejections.append(Rejection(resource.name, f"{resource.name} is bad"))
            elif self.watch is not None and self.wants(resource.name):
                self.marks[resource.name] = mark
        for name in update.removed:
            self.marks.pop(name, None)
        draw = self.simulation.draw
        for _ in range(draw.randrange(4)):
            await asyncio.sleep(0)
        if self.simulation.changing and draw.random() < 0.3:
            self.simulation.change_names()
        self.busy = False
        return rejections

    def wants(self, name: str) -> bool:
        return self.watch is None or name in self.watch.names or WILDCARD in self.watch.names

    def missing(self, name: str, *, said: bool = False) -> None:
        assert self.wants(name)

    def failed(self, reason: str) -> None:
        pass


class Simulation:
    """One mux with clusters and endpoints, and a server."""

    def __init__(self, seed: int, kinds: Sequence[ResourceType], *, delta: bool) -> None:
        self.draw = random.Random(seed)
        self.kinds = kinds
        self.delta = delta
        self.resources = Resources()
        self.mux = Mux("test", asyncio.get_running_loop(), lambda: 0.0, delta=delta)
        self.server: ServerStream | None = None
        self.to_server: deque[Any] = deque()
        self.to_client: deque[bytes] = deque()
        self.views: list[View] = []
        self.changing = True
        self.paused: list[Any] = []
        self.counts = dict.fromkeys(("cut", "corrupt", "repeat", "nack"), 0)
        for kind in kinds:
            for _ in range(3):
                self.subscribe(kind)

    def subscribe(self, kind: ResourceType) -> None:
        view = View(self, kind)
        wildcard = kind is ResourceType.CLUSTER and self.draw.random() < 0.5
        names = [WILDCARD] if wildcard else self.draw.sample(NAMES, 3)
        view.watch = self.mux.group(kind).subscribe(view, names, 0)
        self.views.append(view)

    def change_names(self) -> None:
        view = self.draw.choice(self.views)
        watch = view.watch
        assert watch is not None
        if self.draw.random() < 0.1:
            watch.close()
            self.views.remove(view)
            self.subscribe(view.kind)
            return
        names = self.draw.sample(NAMES, 2)
        if view.kind is ResourceType.CLUSTER and self.draw.random() < 0.2:
            names.append(WILDCARD)
        if self.draw.random() < 0.5:
            watch.add(names)
        else:
            watch.remove(names)
            view.marks = {name: mark for name, mark in view.marks.items() if view.wants(name)}
        if self.draw.random() < 0.2:
            watch.refresh(NAMES)

    def change_resources(self) -> None:
        kind = self.draw.choice(self.kinds)
        # State-of-the-world tells of removals for clusters alone.
        if self.draw.random() < 0.3 and (self.delta or kind is ResourceType.CLUSTER):
            self.resources.remove(kind, [self.draw.choice(NAMES)])
        else:
            make = cluster if kind is ResourceType.CLUSTER else endpoint
            names = self.draw.sample(NAMES, self.draw.randrange(1, 4))
            mark = self.draw.randrange(5) + (BAD if self.draw.random() < 0.15 else 0)
            self.resources.set([make(name, mark) for name in names])
        if self.server is not None:
            self.server.push(kind)

    def connect(self) -> None:
        self.server = ServerStream(self.resources, delta=self.delta)
        self.mux.connected()

    def cut(self) -> None:
        self.counts["cut"] += 1
        self.server = None
        self.to_server.clear()
        self.to_client.clear()
        self.mux.disconnected()

    def carry(self) -> None:
        """Move one message, or queue what has to be sent."""
        if self.server is None:
            return
        if (request := self.mux.next_request()) is not None:
            self.to_server.append(request)
        if self.to_server and self.draw.random() < 0.6:
            request = self.to_server.popleft()
            self.counts["nack"] += request.HasField("error_detail")
            self.server.take(request)
        self.to_client.extend(message.SerializeToString() for message in self.server.out)
        self.server.out.clear()
        if self.to_client and self.draw.random() < 0.6:
            self.deliver(self.to_client.popleft())

    def deliver(self, data: bytes) -> None:
        try:
            self.mux.received(decode_response(data, delta=self.delta))
        except ValueError:
            self.cut()

    def corrupt(self) -> None:
        """Damage the next response so that a receiver can tell."""
        if not self.to_client or self.to_client[0].startswith(b"\xff"):
            return
        self.counts["corrupt"] += 1
        response = decode_response(self.to_client[0], delta=self.delta)
        match self.draw.randrange(4):
            case 0:
                self.to_client[0] = b"\xff\xff" + self.to_client[0]
            case 1 if response.resources:
                entry = response.resources[0]
                (entry.resource if self.delta else entry).value = b"\xff\xff\xff"
                self.to_client[0] = response.SerializeToString()
            case 2 if response.resources:
                entry = response.resources[0]
                (entry.resource if self.delta else entry).type_url = "type.googleapis.com/test.Wrong"
                self.to_client[0] = response.SerializeToString()
            case _:
                response.type_url = "type.googleapis.com/test.Unknown"
                self.to_client[0] = response.SerializeToString()

    def repeat(self) -> None:
        if self.to_client:
            self.counts["repeat"] += 1
            self.to_client.appendleft(self.to_client[0])

    def pause(self) -> None:
        group = self.mux.group(self.draw.choice(self.kinds))
        if self.paused:
            self.paused.pop().resume()
        else:
            group.pause()
            self.paused.append(group)

    async def step(self) -> None:
        chance = self.draw.random()
        if self.server is None and chance < 0.3:
            self.connect()
        elif chance < 0.02:
            if self.server is not None:
                self.cut()
        elif chance < 0.04:
            self.corrupt()
        elif chance < 0.06:
            self.repeat()
        elif chance < 0.08:
            self.pause()
        elif chance < 0.16:
            self.change_resources()
        elif chance < 0.24:
            self.change_names()
        else:
            self.carry()
        if self.draw.random() < 0.7:
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Make everything good, begin a new stream, and carry until nothing is left to do."""
        self.changing = False
        while self.paused:
            self.paused.pop().resume()
        for kind in self.kinds:
            make = cluster if kind is ResourceType.CLUSTER else endpoint
            self.resources.set([make(name, self.draw.randrange(5)) for name in self.resources.by_type[kind]])
        if self.server is not None:
            self.cut()
        self.connect()
        quiet = 0
        while quiet < 50:
            server = self.server
            assert server is not None
            done = self.mux.idle and not self.mux.due and not self.to_server and not self.to_client
            quiet = quiet + 1 if done and not server.out else 0
            self.carry()
            await asyncio.sleep(0)

    def check(self) -> None:
        for view in self.views:
            there = self.resources.by_type[view.kind]
            expected = {name: message for name, (_, message) in there.items() if view.wants(name)}
            marks = {
                name: mark_of(view.kind, message.SerializeToString()) for name, message in expected.items()
            }
            assert view.watch is not None
            assert view.marks == marks, (view.kind, list(view.watch.names), view.watch.waiting)
            for status in self.mux.group(view.kind).status().resources:
                if status.name in marks:
                    assert status.client_status is ClientStatus.ACKED, status


async def run(seed: int, kinds: Sequence[ResourceType], *, delta: bool) -> dict[str, int]:
    simulation = Simulation(seed, kinds, delta=delta)
    for _ in range(STEPS):
        await simulation.step()
    await simulation.settle()
    simulation.check()
    await simulation.mux.close()
    return simulation.counts


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@pytest.mark.parametrize(
    "kinds",
    [
        (ResourceType.CLUSTER, ResourceType.ENDPOINT),
        (ResourceType.CLUSTER,),
        (ResourceType.ENDPOINT,),
    ],
    ids=["ads", "clusters", "endpoints"],
)
def test_client_and_server_agree_in_the_end(seed: int, kinds: Sequence[ResourceType], delta: bool) -> None:
    counts = asyncio.run(run(seed, kinds, delta=delta))
    assert counts["cut"]
    assert counts["nack"]
    assert counts["corrupt"] + counts["repeat"]
