from __future__ import annotations

import pytest

from bench.load.http2_generator import parse_h2load

REPORT = """\
finished in 2.00s, 6728.00 req/s, 2.11MB/s
requests: 13456 total, 13584 started, 13456 done, 13455 succeeded, {failed} failed, 0 errored, 0 timeout
status codes: 13455 2xx, 0 3xx, 0 4xx, {bad} 5xx
traffic: 4.21MB (4415250) total, 132.62KB (135802) headers (space savings 91.81%), 3.85MB (4036800) data
                     min         max         mean         sd        +/- sd
time for request:     6.05ms     58.30ms     18.71ms      8.67ms    74.83%
time for connect:      105us       287us       204us        52us    62.50%
"""


def test_a_run_of_h2load_is_read() -> None:
    load = parse_h2load(REPORT.format(failed=0, bad=0))
    assert (load.requests, load.errors, load.seconds, load.mean_ms) == (13456, 0, 2.0, 18.71)


def test_failed_requests_and_bad_statuses_are_errors() -> None:
    assert parse_h2load(REPORT.format(failed=1, bad=2)).errors == 3


def test_output_without_a_result_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no result"):
        parse_h2load("connect: refused")
