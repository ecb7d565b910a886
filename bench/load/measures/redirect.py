"""Connections that redirect rules bring to the proxy, in a network namespace of the measure's own."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import msgspec

from bench.load import loads
from bench.load.bed import bed
from bench.load.measures.open_loop import paced
from bench.load.measures.throughput import sample
from bench.load.own_network import own_network, redirect, tracked
from bench.load.ports import free_port
from bench.load.processes import cpu_seconds, descriptors, memory
from bench.load.scenario import Config, Scenario
from bench.load.settings import Round, Settings, order
from bench.load.subjects import Subject

#: Of redirected connections: 10,000 a minute.
_RATE: Final = 167
_SLICE_SECONDS: Final = 60.0


def redirected(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """What a redirected connection costs the proxy more than one that came to its own port.

    Two proxies of a kind run side by side, one of which restores destinations.
    """
    plain = msgspec.structs.replace(scenario.config, original_dst=False)
    configs: dict[str, Config] = {"direct": plain, "redirected": scenario.config}
    with own_network(), bed(scenario) as made:
        subjects: dict[tuple[str, str], Subject] = {}
        for name in settings.subjects:
            for kind, config in configs.items():
                subject = subjects[name, kind] = made.start(name, config)
                if kind == "redirected":
                    port = free_port()
                    redirect(port, subject.port)
                    subject.port = port
                loads.run(scenario.load, subject.port, 1, settings.connections)
        for number in range(settings.rounds):
            samples: Round = {}
            for name in order(settings, number):
                direct = sample(subjects[name, "direct"], scenario, settings)
                through = sample(subjects[name, "redirected"], scenario, settings)
                samples[name] = {
                    "cpu_us_direct": direct["cpu_us_per_request"],
                    "cpu_us_redirected": through["cpu_us_per_request"],
                    "cpu_us_more": through["cpu_us_per_request"] - direct["cpu_us_per_request"],
                    "errors": direct["errors"] + through["errors"],
                }
            yield samples


def soak(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """10,000 redirected connections a minute, a minute each round: what they leave behind."""
    minute = msgspec.structs.replace(settings, duration=_SLICE_SECONDS)
    with own_network(), bed(scenario) as made:
        for name in settings.subjects:
            subject = made.start(name)
            port = free_port()
            redirect(port, subject.port)
            loads.run(scenario.load, port, 1, settings.connections)
            for number in range(scenario.rounds or settings.rounds):
                cpu = cpu_seconds(subject.pid)
                found = paced(port, scenario, minute, _RATE, new_connections=True)
                entries, lost = tracked()
                subject.check()
                yield {
                    name: {
                        "minute": number + 1,
                        "connections": found["succeeded"],
                        "cpu_us_per_connection": (cpu_seconds(subject.pid) - cpu) * 1e6 / found["succeeded"],
                        "rss_mib": memory(subject.pid).rss,
                        "descriptors": descriptors(subject.pid),
                        "conntrack_entries": entries,
                        "conntrack_lost": lost,
                        "errors": sum(found["errors"].values()),
                    }
                }
