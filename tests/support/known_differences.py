"""Differences from Envoy that are meant, each with its reason: tests/differential/known_differences.yaml.

An entry is `test` (a test id, without parameters it stands for all of them), `where` (the places that differ,
shell patterns allowed) and `reason`. A place that is listed and no longer differs fails the test, so that the
list stays true.
"""

from __future__ import annotations

import fnmatch
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.compare import Difference

FILE = Path(__file__).resolve().parents[1] / "differential" / "known_differences.yaml"


@dataclass
class Entry:
    """One known difference. `seen` collects the test ids (with parameters) → places met in this run."""

    test: str
    where: tuple[str, ...]
    reason: str
    seen: dict[str, set[str]] = field(default_factory=dict)

    def applies_to(self, test_id: str) -> bool:
        return test_id == self.test or test_id.startswith(self.test + "[")


def load(path: Path = FILE) -> list[Entry]:
    """Every entry; AssertionError for one that is malformed."""
    entries = []
    raw: list[dict[str, Any]] = yaml.safe_load(path.read_text()) or []
    for number, item in enumerate(raw):
        assert set(item) == {"test", "where", "reason"}, f"{path.name} entry {number}: test, where and reason"
        assert item["reason"].strip(), f"{path.name} entry {number}: the reason is empty"
        where = (item["where"],) if isinstance(item["where"], str) else tuple(item["where"])
        entries.append(Entry(item["test"], where, item["reason"]))
    return entries


def current_test() -> str:
    """Id of the running test, relative to tests/differential."""
    test_id = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    return test_id.removeprefix("tests/differential/")


class KnownDifferences:
    """The list, applied to the running test."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries

    def unexpected(self, differences: list[Difference]) -> list[Difference]:
        """The differences that no entry of the running test lists; the others are noted as seen."""
        test_id = current_test()
        entries = [entry for entry in self.entries if entry.applies_to(test_id)]
        for entry in entries:
            entry.seen.setdefault(test_id, set())
        left = []
        for difference in differences:
            listed = False
            for entry in entries:
                for pattern in entry.where:
                    if fnmatch.fnmatchcase(difference.where, pattern.replace("[", "[[]")):
                        entry.seen[test_id].add(pattern)
                        listed = True
            if not listed:
                left.append(difference)
        return left

    def no_longer_needed(self, test_id: str) -> list[str]:
        """Places listed for a test that has run to its end and did not differ there."""
        return [
            f"{entry.test}: {pattern}"
            for entry in self.entries
            if test_id in entry.seen
            for pattern in entry.where
            if pattern not in entry.seen[test_id]
        ]


KNOWN = KnownDifferences(load())
