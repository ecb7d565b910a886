"""What a second worker brings, and whether workers hinder each other."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final

from bench.load import loads
from bench.load.bed import bed
from bench.load.children import cpus
from bench.load.measures.open_loop import WARM_UP, paced
from bench.load.processes import cpu_seconds
from bench.load.scenario import Scenario
from bench.load.settings import Round, Sample, Settings, order
from bench.load.subjects import Subject

#: Requests a second and connections of each worker: low enough that the machine is not full.
_RATE: Final = 1500
_CONNECTIONS: Final = 16


def scaling(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """One worker and `count` workers of each proxy, in turn.

    With a CPU for each worker and one more for the load, rates of a closed loop tell. Without, CPU per request
    stands in for them, at the same constant rate for each worker: as long as it stays the same, workers do not
    hinder each other.
    """
    count = scenario.count
    available = os.sched_getaffinity(0) | cpus()[0]
    spare = len(available) > count
    proxy_cpus = set(sorted(available)[:count]) if spare else available
    take = _closed if spare else _paced
    with bed(scenario) as made:
        subjects = {
            (name, workers): made.start(name, workers=workers, cpu_set=proxy_cpus)
            for name in settings.subjects
            for workers in (1, count)
        }
        for subject in subjects.values():
            loads.run(scenario.load, subject.port, 1, settings.connections)
        for number in range(settings.rounds):
            samples: Round = {}
            for name in order(settings, number):
                one = take(subjects[name, 1], scenario, settings, 1)
                several = take(subjects[name, count], scenario, settings, count)
                samples[name] = {
                    **{f"{figure}_of_one": value for figure, value in one.items() if figure != "errors"},
                    **{
                        f"{figure}_of_{count}": value
                        for figure, value in several.items()
                        if figure != "errors"
                    },
                    "cpu_growth": several["cpu_us_per_request"] / one["cpu_us_per_request"],
                    **({"rate_growth": several["rate"] / one["rate"]} if spare else {}),
                    "errors": one["errors"] + several["errors"],
                }
            yield samples


def _closed(subject: Subject, scenario: Scenario, settings: Settings, workers: int) -> Sample:
    cpu = cpu_seconds(subject.pid)
    seen = loads.run(scenario.load, subject.port, settings.duration, workers * settings.connections)
    cpu = cpu_seconds(subject.pid) - cpu
    subject.check()
    return {
        "cpu_us_per_request": cpu * 1e6 / max(1, seen.requests),
        "rate": seen.requests / seen.seconds,
        "errors": seen.errors,
    }


def _paced(subject: Subject, scenario: Scenario, settings: Settings, workers: int) -> Sample:
    cpu = cpu_seconds(subject.pid)
    found = paced(subject.port, scenario, settings, _RATE * workers, _CONNECTIONS * workers)
    cpu = cpu_seconds(subject.pid) - cpu
    subject.check()
    requests = found["succeeded"] * (1 + WARM_UP / found["seconds"])
    return {"cpu_us_per_request": cpu * 1e6 / max(1.0, requests), "errors": sum(found["errors"].values())}
