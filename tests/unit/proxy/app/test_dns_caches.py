"""The controller's side of DNS caches: who is told what."""

from __future__ import annotations

import asyncio
from typing import Any

from envoy.extensions.common.dynamic_forward_proxy.v3 import dns_cache_pb2
from google.protobuf import json_format

from proxy.app.dns_caches import DnsCaches
from proxy.base.address import Address
from proxy.base.stats import StatRegistry, collect
from proxy.upstream.cluster_config import DnsConfig
from proxy.upstream.discovery.schedule import Answer

A = ("a.test:80", "a.test", 80)
NOBODY = ("nobody.test:80", "nobody.test", 80)


def settings(name: str = "c", **fields: Any) -> bytes:
    message = json_format.ParseDict({"name": name, **fields}, dns_cache_pb2.DnsCacheConfig())
    return message.SerializeToString(deterministic=True)


class Resolver:
    """Knows one name."""

    def resolve_now(self, name: str, config: DnsConfig) -> Answer | None:
        del config
        if name == "a.test":
            return Answer(True, ("10.0.0.1",))
        return Answer(True, details="no such name")

    async def resolve(self, name: str, config: DnsConfig) -> Answer:
        raise NotImplementedError


class Controller:
    """The caches; `told` is what all workers hear."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.stats = StatRegistry()
        self.caches = DnsCaches(
            asyncio.get_running_loop(), self.stats, lambda: 0, self.told.put_nowait, Resolver()
        )

    def resolve(self, host: tuple[str, str, int], waits: bool = True, **fields: Any) -> list[tuple[Any, ...]]:
        """What the worker that asks is told at once."""
        answers: list[tuple[Any, ...]] = []
        self.caches.resolve(answers.append, settings(**fields), *host, waits)
        return answers


def test_all_workers_hear_of_a_host_and_late_ones_at_once() -> None:
    async def run() -> None:
        controller = Controller()
        assert controller.resolve(A) == []
        told = ("resolved", "c", [(*A, "10.0.0.1", "")])
        assert await controller.told.get() == told
        assert controller.resolve(A) == [told]
        assert controller.resolve(A, waits=False) == []
        assert list(controller.caches.messages()) == [told]
        assert controller.caches.addresses("c") == [("a.test:80", Address("10.0.0.1", 80))]
        controller.caches.close()

    asyncio.run(run())


def test_a_host_without_an_address_is_told_with_the_reason() -> None:
    async def run() -> None:
        controller = Controller()
        controller.resolve(NOBODY)
        assert await controller.told.get() == ("resolved", "c", [(*NOBODY, "", "no such name")])
        assert controller.caches.addresses("c") == []
        controller.caches.close()

    asyncio.run(run())


def test_who_finds_no_place_hears_it_alone() -> None:
    async def run() -> None:
        controller = Controller()
        controller.resolve(A, max_hosts=1)
        assert controller.resolve(NOBODY, max_hosts=1) == [("dns_overflow", "c", "nobody.test:80")]
        assert collect(controller.stats)["counters"]["dns_cache.c.host_overflow"] == 1
        controller.caches.close()

    asyncio.run(run())


def test_declared_caches_know_what_they_are_to_know_from_the_beginning() -> None:
    async def run() -> None:
        controller = Controller()
        known = settings("k", preresolve_hostnames=[{"address": "a.test", "port_value": 80}])
        controller.caches.declare([known])
        assert await controller.told.get() == ("resolved", "k", [(*A, "10.0.0.1", "")])
        assert controller.caches.settings == {"k": known}
        assert controller.caches.addresses("other") == []
        controller.caches.close()

    asyncio.run(run())
