from bench.client.tally import Tally


def test_the_warm_up_does_not_count() -> None:
    tally = Tally(10.0)
    tally.answered(9.9, 10.1, "200", "")
    tally.failed(9.9, 10.1, "timeout")
    assert (tally.succeeded, tally.error_count, tally.latencies().count) == (0, 0, 0)


def test_what_waited_counts_with_the_time_it_waited() -> None:
    tally = Tally(0.0)
    tally.failed(1.0, 3.0, "timeout")
    tally.left_over(2.0, 3.0)
    tally.failed(1.0, 1.5, "reset")
    assert (tally.latencies().count, tally.latencies().greatest) == (2, 2.0)
    assert (tally.errors, tally.unsent) == ({"timeout": 1, "reset": 1}, 1)


def test_a_long_run_is_kept_in_few_intervals() -> None:
    tally = Tally(0.0)
    for second in range(5000):
        tally.answered(second, second + 0.5, "200", "")
        tally.close_interval(second + 1.0)
    assert len(tally.intervals) <= 601
    assert tally.latencies().count == 5000
    assert tally.intervals[-1].begin + tally.intervals[-1].seconds == 5000
