"""What a reload makes of the bootstrap's clusters or listeners, prepared before anything changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import Generic, Protocol, TypeVar

from proxy.base.errors import ConfigError
from proxy.discovery.places import Places


class Known(Protocol):
    """A cluster or listener that is here."""

    @property
    def dynamic(self) -> bool:
        """Whether a control plane has brought it."""


Prepared = TypeVar("Prepared")


class Changes(ABC, Generic[Prepared]):
    """`records` are those that come or change, `added` and `removed` the names of those that come and go."""

    def __init__(self, kind: str, places: Places) -> None:
        self._kind = kind
        self.places = places
        self.records: list[Prepared] = []
        self.added: list[str] = []
        self.removed: list[str] = []

    @property
    def summary(self) -> str:
        """Counts."""
        changed = len(self.records) - len(self.added)
        return f"{len(self.added)} added, {changed} changed, {len(self.removed)} removed"

    def refuse_discovered(self, name: str, before: Known | None) -> None:
        """Raise `ConfigError` for a name that the control plane has taken."""
        if before is not None and before.dynamic:
            raise ConfigError(f"{self._kind} '{name}' is one of the control plane's; choose another name")

    def compare(self, prepared: Iterable[str], static: Collection[str], named: Collection[str]) -> None:
        """See what comes and goes: `static` were the bootstrap's, `named` are, and `prepared` differ."""
        self.added = [name for name in prepared if name not in static]
        self.removed = [name for name in static if name not in named]

    @abstractmethod
    def discard(self) -> None:
        """They are not taken."""
