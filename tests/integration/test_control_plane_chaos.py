"""A control plane that dies, comes back, is cut, falls silent and is badly connected, at random, under traffic."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.integration.test_mesh import eventually
from tests.support.client import get
from tests.support.configs import http2_cluster
from tests.support.mesh import cluster, endpoints, listener, mesh_bootstrap, route_config
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.steady_load import SteadyLoad
from tests.support.wire import Wire
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

CDS, EDS, LDS, RDS = ResourceType.CLUSTER, ResourceType.ENDPOINT, ResourceType.LISTENER, ResourceType.ROUTE
#: 150 with OUTRIDER_TEST_LOAD=1.
STEPS = 150 if os.environ.get("OUTRIDER_TEST_LOAD") else 30
#: Those that traffic goes to; they are always there, with endpoints that answer.
SERVING = ("one", "two")
#: A response with as many clusters does not fit into a few packets.
MANY = 150


class Story:
    """What happens to the control plane, and what it means the proxy to have."""

    def __init__(self, seed: str, server: XdsServer, wire: Wire, port: int, origins: list[Origin]) -> None:
        self.chance = random.Random(seed)
        self.server = server
        self.wire = wire
        self.port = port
        self.origins = origins
        self.extra: set[str] = set()
        self.number = 0
        self.happened: Counter[str] = Counter()
        troubles = (
            self.kill,
            self.cut,
            self.hold,
            self.stall,
            self.tear,
            self.forget,
            self.refuse,
            self.drip,
        )
        changes = (self.move_endpoints, self.change_routes, self.change_clusters)
        #: Each trouble comes at least once.
        self.steps: list[Callable[[], None]] = [
            *troubles,
            *self.chance.choices((*troubles, *changes, *changes), k=STEPS - len(troubles)),
        ]
        self.chance.shuffle(self.steps)

    def begin(self) -> None:
        self.server.set(
            *(cluster(name) for name in SERVING),
            *(endpoints(name, self.origins[0].port) for name in SERVING),
            route_config("r", "one"),
            listener("l", self.port, "r"),
        )

    def play(self) -> None:
        for step in self.steps:
            self.happened[step.__name__] += 1
            step()
            self.pause(0.1)

    def pause(self, most: float) -> None:
        time.sleep(self.chance.uniform(most / 2, most))

    # What it wants.

    def move_endpoints(self) -> None:
        chosen = self.chance.sample(self.origins, self.chance.randrange(1, len(self.origins) + 1))
        self.server.set(endpoints(self.chance.choice(SERVING), *(origin.port for origin in chosen)))

    def change_routes(self) -> None:
        self.number += 1
        self.server.set(
            route_config("r", {f"/marker-{self.number}": "one", "/": self.chance.choice(SERVING)})
        )

    def change_clusters(self) -> None:
        self.number += 1
        for name in self.chance.sample(sorted(self.extra), len(self.extra) // 2):
            self.extra.discard(name)
            self.server.remove(CDS, name)
        name = f"extra-{self.number}"
        self.extra.add(name)
        self.server.set(endpoints(name, self.origins[0].port), cluster(name))

    def change_something(self) -> None:
        self.chance.choice((self.move_endpoints, self.change_routes, self.change_clusters))()

    # What goes wrong.

    def kill(self) -> None:
        self.server.stop()
        self.change_something()
        self.pause(1.0)
        self.server.start()

    def cut(self) -> None:
        self.server.cut()
        self.change_something()

    def hold(self) -> None:
        kinds = self.chance.sample((CDS, EDS, LDS, RDS), self.chance.randrange(1, 5))
        self.server.hold(*kinds)
        self.change_something()
        self.server.cut()
        self.change_something()
        self.pause(1.0)
        self.server.release(*kinds)

    def stall(self) -> None:
        self.wire.stall()
        self.change_something()
        self.pause(3.0)
        self.wire.mend()

    def tear(self) -> None:
        torn = self.wire.torn
        self.wire.tear()
        self.fill()
        deadline = time.monotonic() + 5.0
        while self.wire.torn == torn and time.monotonic() < deadline:
            time.sleep(0.02)

    def forget(self) -> None:
        self.wire.forget()
        self.change_something()

    def refuse(self) -> None:
        self.wire.refuse()
        self.change_something()
        self.pause(1.0)
        self.wire.mend()

    def drip(self) -> None:
        self.wire.drip()
        self.fill()
        self.pause(1.5)
        self.change_something()
        self.wire.mend()

    def fill(self) -> None:
        """A large response."""
        self.number += 1
        self.extra.update(names := [f"filling-{self.number}-{index}" for index in range(MANY)])
        self.server.set(*(cluster(name, type="STATIC") for name in names))

    def end(self, proxy: ProxyProcess) -> None:
        """Everything is well again: the proxy comes to have what it is meant to have."""
        self.wire.mend()
        marker = "/the-end"
        last = self.origins[-1]
        self.server.set(
            *(endpoints(name, last.port) for name in SERVING),
            # By itself, this prefix leads to nobody else's cluster.
            route_config("r", {marker: "two", "/only": "one"}),
        )
        eventually(lambda: get(self.port).status == 404, 30)
        expected = {*SERVING, *self.extra, "xds"}
        eventually(lambda: names_of(proxy) == expected, 15)
        eventually(lambda: hosts_of(proxy, "one") == hosts_of(proxy, "two") == {f"127.0.0.1:{last.port}"})
        before = len(last.requests)
        assert get(self.port, marker).status == get(self.port, "/only").status == 200
        assert len(last.requests) == before + 2
        self.server.wait_for(lambda: self.server.acked(EDS) and self.server.acked(RDS))
        assert [self.server.nacks(kind) for kind in (CDS, EDS, LDS, RDS)] == [[]] * 4


def names_of(proxy: ProxyProcess) -> set[str]:
    return {line.partition("::")[0] for line in proxy.admin("/clusters")[1].splitlines()}


def hosts_of(proxy: ProxyProcess, name: str) -> set[str]:
    fields = [line.split("::") for line in proxy.admin("/clusters")[1].splitlines()]
    return {one[1] for one in fields if one[0] == name and one[1][:3] == "127"}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_no_request_fails_and_all_comes_right_in_the_end(stack: ExitStack, delta: bool) -> None:
    server = stack.enter_context(XdsServer())
    wire = stack.enter_context(Wire(server.port))
    origins = [stack.enter_context(Origin()) for _ in range(3)]
    config = mesh_bootstrap(wire.port, delta=delta)
    # What is half-open shows by this alone, in Envoy too.
    alive = {"connection_keepalive": {"interval": "1s", "timeout": "1s"}}
    config["static_resources"]["clusters"] = [http2_cluster("xds", wire.port, http2=alive)]
    proxy = stack.enter_context(subject()(config, wait=False))
    story = Story(f"chaos-{delta}", server, wire, proxy.port, origins)
    story.begin()
    proxy.wait_ready(20)
    with SteadyLoad(proxy.port) as load:
        story.play()
    assert (load.failed, load.requests > 10 * STEPS) == (Counter(), True), story.happened
    assert wire.torn
    story.end(proxy)
