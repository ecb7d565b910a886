"""Memory of what is open and does nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Final

from bench.load import loads
from bench.load.bed import bed
from bench.load.http2_generator import idle_streams
from bench.load.processes import memory
from bench.load.scenario import Scenario
from bench.load.settings import Round, Settings, order
from bench.load.tls_client import idle_connections

#: Connections that come before those that are counted, so that what a proxy grows once does not count.
_FIRST: Final = 500


def connections(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """`count` connections that have had one answer each."""
    tls = scenario.load.tls
    with bed(scenario) as made:
        for number in range(settings.rounds):
            samples: Round = {}
            for name in order(settings, number):
                subject = made.start(name)
                with (
                    contextlib.closing(subject),
                    idle_connections(subject.port, _FIRST, tls=tls),
                ):
                    before = memory(subject.pid)
                    with idle_connections(subject.port, scenario.count, tls=tls):
                        after = memory(subject.pid)
                    samples[name] = {
                        "kib_per_connection": (after.rss - before.rss) * 1024 / scenario.count,
                        "errors": 0,
                    }
            yield samples


def streams(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """Memory with `count` and with twice as many requests that never end, so that neither side has anything to do.

    The first half fills what the allocator had left over.
    """
    count = scenario.count
    with bed(scenario) as made:
        for number in range(settings.rounds):
            samples: Round = {}
            for name in order(settings, number):
                subject = made.start(name)
                with contextlib.closing(subject):
                    errors = loads.run(scenario.load, subject.port, 1, 1).errors
                    with idle_streams(subject.port, count):
                        before = memory(subject.pid)
                        with idle_streams(subject.port, count):
                            after = memory(subject.pid)
                            errors += 2 * count - subject.stat("cluster.origin.upstream_rq_active")
                    samples[name] = {
                        "rss_kb_per_stream": (after.rss - before.rss) * 1024 / count,
                        "pss_kb_per_stream": (after.pss - before.pss) * 1024 / count,
                        "errors": errors,
                    }
            yield samples
