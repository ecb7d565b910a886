"""What is fuzzed: a parser, what must hold of it, examples to begin with, and the inputs worth keeping."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

CORPORA = Path(__file__).parent / "corpora"


@dataclass(frozen=True)
class Target:
    """`run` raises nothing, whatever the bytes; `AssertionError` or any other error is a finding."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]

    @property
    def file(self) -> Path:
        """Saved inputs: one literal of Python a line, in order."""
        return CORPORA / f"{self.name}.txt"

    def saved(self) -> list[bytes]:
        """What earlier explorations kept; nothing before the first."""
        return (
            [ast.literal_eval(line) for line in self.file.read_text().splitlines()]
            if self.file.exists()
            else []
        )

    def save(self, inputs: Iterable[bytes]) -> None:
        """Replace what is saved."""
        lines = [repr(data) for data in sorted(set(inputs), key=lambda data: (len(data), data))]
        self.file.write_text("".join(f"{line}\n" for line in lines))


TARGETS: dict[str, Target] = {}


def target(*seeds: bytes) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Registers a function as the target of its name."""

    def register(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        name = run.__name__
        assert name not in TARGETS
        TARGETS[name] = Target(name, run, seeds)
        return run

    return register
