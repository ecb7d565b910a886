"""A course over time: mixed clients, with memory and descriptors after each pass over them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from bench.load.bed import bed
from bench.load.generator import run_load
from bench.load.processes import descriptors, memory
from bench.load.scenario import Scenario
from bench.load.settings import Round, Settings

_MODES: Final = ("keepalive", "close", "paths", "post", "abort")


def soak(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """Until as many requests as the command line says have been answered; a round is one pass."""
    with bed(scenario) as made:
        for name in settings.subjects:
            subject = made.start(name)
            done = 0
            while done < settings.requests:
                errors = 0
                for mode in _MODES:
                    load = run_load(subject.port, mode, settings.connections, settings.duration)
                    done += load.requests
                    errors += load.errors
                subject.check()
                yield {
                    name: {
                        "requests": done,
                        "rss_mib": memory(subject.pid).rss,
                        "descriptors": descriptors(subject.pid),
                        "errors": errors,
                    }
                }
