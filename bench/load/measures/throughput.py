"""As many requests as come back: how many, and what each costs the proxy."""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from bench.load import loads
from bench.load.bed import bed
from bench.load.processes import cpu_seconds, memory
from bench.load.scenario import Config, Scenario
from bench.load.settings import Round, Sample, Settings, order
from bench.load.subjects import Subject


def throughput(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """All proxies stay up; the idle ones cost nothing. The first second of load is not counted."""
    with bed(scenario) as made:
        subjects = {}
        for name in settings.subjects:
            subjects[name] = made.start(name)
            loads.run(scenario.load, subjects[name].port, 1, settings.connections)
        for number in range(settings.rounds):
            yield {name: sample(subjects[name], scenario, settings) for name in order(settings, number)}


def sample(subject: Subject, scenario: Scenario, settings: Settings) -> Sample:
    """One slice of load: rates, CPU per request or byte, latencies, memory then."""
    cpu = cpu_seconds(subject.pid)
    seen = loads.run(scenario.load, subject.port, settings.duration, settings.connections)
    cpu = cpu_seconds(subject.pid) - cpu
    subject.check()
    requests = max(1, seen.requests)
    figures: Sample
    if scenario.body:
        size = requests * scenario.body
        figures = {"gb_per_second": size / 1e9 / seen.seconds, "cpu_seconds_per_gb": cpu * 1e9 / size}
    else:
        figures = {
            "requests_per_second": seen.requests / seen.seconds,
            "cpu_us_per_request": cpu * 1e6 / requests,
            **seen.times,
        }
    return {**figures, "rss_mib": memory(subject.pid).rss, "errors": seen.errors}


def added(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """What retries, circuit breakers and outlier detection add to the CPU of a request: with and without them.

    Both run side by side, and each figure is a ratio of two slices that follow each other.
    """
    plain = msgspec.structs.replace(scenario.config, resilience=False)
    configs: dict[str, Config] = {"plain": plain, "more": scenario.config}
    with bed(scenario) as made:
        subjects = {}
        for name in settings.subjects:
            for kind, config in configs.items():
                subjects[name, kind] = made.start(name, config)
                loads.run(scenario.load, subjects[name, kind].port, 1, settings.connections)
        for number in range(settings.rounds):
            samples: Round = {}
            for name in order(settings, number):
                without = sample(subjects[name, "plain"], scenario, settings)
                with_them = sample(subjects[name, "more"], scenario, settings)
                samples[name] = {
                    "cpu_us_per_request_without": without["cpu_us_per_request"],
                    "cpu_us_per_request_with": with_them["cpu_us_per_request"],
                    "cpu_growth": with_them["cpu_us_per_request"] / without["cpu_us_per_request"],
                    "errors": without["errors"] + with_them["errors"],
                }
            yield samples
