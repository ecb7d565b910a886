from __future__ import annotations

import pytest

from bench.load.generator import Load, parse_wrk

PRINTED = """\
Running 4s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.19ms    1.04ms  21.66ms   91.32%
    Req/Sec    10.11k     1.07k   11.71k    77.50%
  Latency Distribution
     50%  500.00us
     75%    3.32ms
     90%    3.88ms
     99%    1.05s
  40270 requests in 4.00s, 11.52MB read
"""
FAILED = """\
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 90
"""


def test_totals_and_percentiles_of_wrk_are_read_in_seconds_and_milliseconds() -> None:
    assert parse_wrk(PRINTED) == Load(40270, 0, 4.0, 0.5, 1050.0)


def test_every_kind_of_failure_counts_as_an_error() -> None:
    assert parse_wrk(PRINTED + FAILED).errors == 100


def test_anything_else_is_refused() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")
