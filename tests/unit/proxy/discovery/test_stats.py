from __future__ import annotations

from dataclasses import replace

from envoy.config.core.v3 import config_source_pb2
from envoy.service.runtime.v3 import rtds_pb2

from proxy.config.resources import ResourceWant
from proxy.discovery.stats import WantedStats
from tests.unit.proxy.discovery.tables import ADS, Tables, run
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
        assert counters["runtime.update_attempt"] == 3
        assert stats.gauges()["runtime.update_time"] == 1_000_000

    run(test)
