"""From the start of the process to its first answer, and the memory then."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from functools import partial

from bench.load import configs, loads
from bench.load.bed import Bed, bed
from bench.load.processes import cpu_seconds, memory
from bench.load.scenario import Scenario
from bench.load.settings import Round, Settings, order
from bench.load.subjects import Subject


def start(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """One proxy at a time. Of a mesh, it is the last virtual host that is asked for."""
    with bed(scenario) as made:
        for number in range(settings.rounds):
            samples: Round = {}
            for name in order(settings, number):
                subject = _start(made, scenario, settings, name)
                with contextlib.closing(subject):
                    used = memory(subject.pid)
                    samples[name] = {
                        "seconds_to_answer": subject.seconds_to_answer,
                        "cpu_seconds": cpu_seconds(subject.pid),
                        "rss_mib": used.rss,
                        "pss_mib": used.pss,
                        "errors": 0,
                    }
            yield samples


def _start(made: Bed, scenario: Scenario, settings: Settings, name: str) -> Subject:
    if scenario.config.kind != "mesh":
        return made.start(name)
    make = partial(configs.mesh, origin_port=made.origin_port, count=settings.clusters)
    return made.start_mesh(name, make, configs.mesh_host(settings.clusters - 1))


def worker_memory(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """One worker and `count` of them, after a little traffic."""
    further = scenario.count - 1
    with bed(scenario) as made:
        for number in range(settings.rounds):
            samples: Round = {}
            for name in order(settings, number):
                used = {}
                errors = 0
                for workers in (1, scenario.count):
                    subject = made.start(name, workers=workers)
                    with contextlib.closing(subject):
                        errors += loads.run(scenario.load, subject.port, 1, settings.connections).errors
                        used[workers] = memory(subject.pid)
                samples[name] = {
                    "pss_mib": used[1].pss,
                    "rss_mib": used[1].rss,
                    "pss_mib_per_further_worker": (used[scenario.count].pss - used[1].pss) / further,
                    "errors": errors,
                }
            yield samples
