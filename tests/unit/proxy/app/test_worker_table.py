from __future__ import annotations

import pytest

from proxy.app.worker_table import restart_delay


def test_the_first_failure_costs_no_time() -> None:
    assert restart_delay(1) == 0.0


@pytest.mark.parametrize(("failures", "least", "most"), [(2, 0.08, 0.12), (4, 0.32, 0.48), (99, 4.0, 6.0)])
def test_further_failures_wait_ever_longer_with_jitter_and_a_limit(
    failures: int, least: float, most: float
) -> None:
    assert all(least <= restart_delay(failures) <= most for _ in range(50))
