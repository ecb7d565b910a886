"""What every measure takes and gives: the choices of the command line, samples, rounds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

# One sample: name of the figure → value. `errors` other than 0 makes a run worthless.
Sample = dict[str, float]
# Subject → its sample.
Round = dict[str, Sample]


class Settings(msgspec.Struct, frozen=True):
    """What the command line chooses; `duration` in seconds per sample, `requests` for the soak.

    `subjects` are those that play the scenario at hand.
    """

    rounds: int = 3
    duration: float = 4.0
    connections: int = 32
    clusters: int = 10_000
    requests: int = 2_000_000
    subjects: tuple[str, ...] = ("envoy", "outrider")


def order(settings: Settings, number: int) -> Sequence[str]:
    """Each round starts with another subject, so that none always runs on the warmer machine."""
    first = number % len(settings.subjects)
    return settings.subjects[first:] + settings.subjects[:first]
