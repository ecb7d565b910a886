"""What every scenario takes and gives: the choices of the command line, samples, rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from bench.load.generator import generator_name
from bench.load.subjects import NAMES

# One sample: name of the figure → value. `errors` other than 0 makes a run worthless.
Sample = dict[str, float]
# Proxy → its sample.
Round = dict[str, Sample]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line chooses; `duration` in seconds per sample, `requests` for the soak."""

    rounds: int = 3
    duration: float = 4.0
    connections: int = 32
    clusters: int = 10_000
    requests: int = 2_000_000
    proxies: tuple[str, ...] = NAMES


@dataclass(frozen=True, slots=True)
class Scenario:
    """`run` yields rounds; `default` ones run when none is named.

    With `series` the rounds are a course over time, shown one by one, and have no medians or ratios. `limits`
    are the greatest ratios to Envoy, by figure, that are allowed; `ceilings` the greatest values of Outrider
    itself. `generator` is what makes the load.
    """

    name: str
    title: str
    run: Callable[[Settings], Iterator[Round]]
    default: bool = False
    series: bool = False
    limits: Mapping[str, float] = field(default_factory=dict)
    ceilings: Mapping[str, float] = field(default_factory=dict)
    generator: str = field(default_factory=generator_name)


def order(settings: Settings, number: int) -> tuple[str, ...]:
    """Each round starts with the other proxy, so that neither always runs on the warmer machine."""
    return settings.proxies if number % 2 == 0 else settings.proxies[::-1]
