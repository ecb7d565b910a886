from __future__ import annotations

import math

import pytest

from proxy.admin import histograms


def test_quantiles_lie_where_envoy_puts_them() -> None:
    # Envoy 1.40 printed these for four values of 1, and for three of 0 and one of 1.
    four = histograms.quantile_summary({}, {1: 4})
    assert "P0(nan,1.02) P25(nan,1.02) P50(nan,1.04) P75(nan,1.06) P90(nan,1.08)" in four
    mixed = histograms.quantile_summary({0: 3, 1: 1}, {0: 3, 1: 1})
    assert mixed.startswith("P0(0,0) P25(0,0) P50(0,0) P75(0,0) P90(1.05,1.05)")
    assert mixed.endswith("P99.5(1.05,1.05) P99.9(1.05,1.05) P100(1.05,1.05)")


def test_one_value_is_taken_at_the_middle_of_its_bin() -> None:
    assert histograms.quantiles({26: 1}) == [26.5] * 10
    assert histograms.quantiles({120: 1}) == [125.0] * 10


def test_nothing_recorded_has_no_quantiles() -> None:
    assert all(math.isnan(value) for value in histograms.quantiles({}))


def test_a_rank_does_not_slip_by_rounding() -> None:
    assert histograms.quantiles(dict.fromkeys(range(10, 20), 1))[4] == 18.5


@pytest.mark.parametrize(
    ("lower", "width"), [(0, 0), (1, 0.1), (9, 0.1), (10, 1), (99, 1), (100, 10), (990, 10), (1000, 100)]
)
def test_bins_widen_by_decade(lower: int, width: float) -> None:
    assert histograms.bin_width(lower) == width


def test_buckets_count_bins_that_begin_at_or_below_their_bound() -> None:
    counts = {0: 2, 1: 1, 26: 4, 5_000_000: 1}
    bounds = (0.5, 1.0, 25.0, 50.0)
    assert histograms.cumulative_buckets(counts, bounds) == [2, 3, 3, 7]
    assert histograms.disjoint_buckets(counts, bounds) == [2, 1, 0, 4]


def test_sums_are_those_of_envoy() -> None:
    assert histograms.approximate_sum({26: 1}) == pytest.approx(26.490566037735849)
    assert histograms.approximate_sum({1: 4, 0: 9}) == pytest.approx(4.19047619047619)


def test_summaries_print_as_envoy_prints() -> None:
    assert histograms.bucket_summary((0.5, 1800000.0), [0, 1], [2, 3]) == "B0.5(0,2) B1.8e+06(1,3)"
    assert histograms.detail({26: 1, 1: 4}) == "1,0.1:4, 26,1:1"
    assert histograms.number(99.5) == "99.5"
    assert histograms.number(100.0) == "100"
    assert histograms.default_buckets("any")[-1] == 3600000.0
