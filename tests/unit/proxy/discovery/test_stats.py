from __future__ import annotations

from dataclasses import replace

import xxhash
from envoy.config.core.v3 import config_source_pb2
from envoy.service.runtime.v3 import rtds_pb2

from proxy.config.resources import ResourceWant
from proxy.discovery.stats import WantedStats
from tests.unit.proxy.discovery.tables import ADS, Tables, run
from xds_client.api import StreamCounters, Update
from xds_client.resource_types import ResourceType

SOURCE = config_source_pb2.ConfigSource(**ADS)
FIRST = ResourceWant(ResourceType.RUNTIME, "first", SOURCE.SerializeToString(), "runtime.")
SECOND = replace(FIRST, name="second")


def test_layers_of_the_runtime_count_together() -> None:
    async def test(tables: Tables) -> None:
        tables.wanted.hold([FIRST, SECOND], "bootstrap")
        stats = WantedStats(tables.wanted, lambda _place: True)
        await tables.bring(ResourceType.RUNTIME, rtds_pb2.Runtime(name="first"), version="7")
        tables.consumers[ResourceType.RUNTIME].missing("second")
        counters = stats.counters()
        assert counters["runtime.update_success"] == 1
        assert counters["runtime.init_fetch_timeout"] == 1
        assert counters["runtime.update_attempt"] == 4
        assert stats.gauges()["runtime.update_time"] == 1_000_000

    run(test)


def test_a_refused_response_and_a_broken_stream_count_for_every_resource() -> None:
    async def test(tables: Tables) -> None:
        tables.wanted.hold([FIRST], "bootstrap")
        counted = tables.asked[ResourceType.RUNTIME].counters
        counted.update_rejected += 1
        second = replace(SECOND, stat_prefix="second.")
        tables.wanted.hold([second], "bootstrap")
        counted.update_rejected += 1
        counted.update_failure += 1
        counters = WantedStats(tables.wanted, lambda _place: True).counters()
        assert (counters["runtime.update_rejected"], counters["runtime.update_attempt"]) == (2, 4)
        assert (counters["second.update_rejected"], counters["second.update_attempt"]) == (1, 3)
        assert counters["second.update_failure"] == 1

    run(test)


def test_what_comes_again_or_is_taken_away_counts_and_moves_the_version() -> None:
    async def test(tables: Tables) -> None:
        tables.wanted.hold([FIRST], "bootstrap")
        await tables.bring(ResourceType.RUNTIME, rtds_pb2.Runtime(name="first"), version="1")
        stats = WantedStats(tables.wanted, lambda _place: True)
        consumer = tables.consumers[ResourceType.RUNTIME]
        await consumer.apply(Update(ResourceType.RUNTIME, "2", (), (), unchanged=("first",)))
        assert stats.texts() == {"runtime.version_text": "2"}
        await consumer.apply(Update(ResourceType.RUNTIME, "", (), ("first",)))
        assert stats.counters()["runtime.update_success"] == 3
        assert stats.texts() == {"runtime.version_text": ""}
        assert stats.gauges()["runtime.version"] == xxhash.xxh64_intdigest("")

    run(test)


def test_a_stream_of_one_type_stands_with_what_it_brings() -> None:
    async def test(tables: Tables) -> None:
        tables.wanted.hold([FIRST], "bootstrap")
        stats = WantedStats(tables.wanted, lambda _place: True)
        assert not [name for name in stats.counters() if "control_plane" in name]
        counted = tables.asked[ResourceType.RUNTIME].counters
        counted.stream = StreamCounters(connected_state=1, rate_limit_enforced=2, identifier="server")
        assert stats.counters()["runtime.control_plane.rate_limit_enforced"] == 2
        assert stats.gauges()["runtime.control_plane.connected_state"] == 1
        assert stats.texts()["runtime.control_plane.identifier"] == "server"

    run(test)


def test_layers_that_come_again_or_go_are_loaded() -> None:
    async def test(tables: Tables) -> None:
        values: list[bytes | None] = []
        tables.wanted.observers[ResourceType.RUNTIME] = lambda entry: values.append(entry.value)
        tables.wanted.hold([FIRST], "bootstrap")
        await tables.bring(ResourceType.RUNTIME, rtds_pb2.Runtime(name="first"))
        consumer = tables.consumers[ResourceType.RUNTIME]
        await consumer.apply(Update(ResourceType.RUNTIME, "2", (), (), unchanged=("first",)))
        await consumer.apply(Update(ResourceType.RUNTIME, "3", (), ("first",)))
        body = rtds_pb2.Runtime(name="first").SerializeToString()
        assert values == [body, body, None]

    run(test)
