from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from proxy.app.connection_counts import SharedCounter, SharedCounts


@pytest.fixture
def counts() -> Iterator[SharedCounts]:
    table = SharedCounts.create(workers=2, columns=3)
    yield table
    table.close()


def test_workers_count_apart_and_see_the_sum(counts: SharedCounts) -> None:
    first, second = SharedCounter(counts, 0, 1), SharedCounter(counts, 1, 1)
    first.increase()
    first.increase()
    second.increase()
    second.decrease()
    second.increase()
    assert first.total() == second.total() == counts.total(1) == 3
    assert counts.total(0) == 0


def test_another_process_sees_the_same_table(counts: SharedCounts) -> None:
    attached = SharedCounts(os.dup(counts.fd), workers=2, columns=3)
    SharedCounter(attached, 1, 2).increase()
    assert counts.total(2) == 1
    attached.close()


def test_what_a_dead_worker_held_no_longer_counts(counts: SharedCounts) -> None:
    SharedCounter(counts, 0, 1).increase()
    SharedCounter(counts, 1, 1).increase()
    counts.clear_worker(0)
    assert counts.total(1) == 1


def test_there_is_no_column_beyond_the_last(counts: SharedCounts) -> None:
    with pytest.raises(IndexError, match="column 3 of 3"):
        counts.place(0, 3)
