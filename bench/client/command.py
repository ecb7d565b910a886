"""`outrider bench URL`."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import uvloop

from bench.client.load import Load
from bench.client.options import Options, parse_options
from bench.client.report import check_directory, write_report
from bench.client.summary import duration, figures, table
from bench.client.tally import Interval, Tally


def main(arguments: Sequence[str]) -> int:
    """0 if a request succeeded, 1 if none did; raises `UsageError`."""
    options = parse_options(arguments)
    if options.driver:
        # The parsers of what drivers print are of our own harness, which a run without them need not load.
        from bench.client.driver import run_driver

        return run_driver(options)
    if options.report:
        check_directory(options.report)
    _allow_descriptors(options.connections)
    live = sys.stderr.isatty()

    def progress(tally: Tally, interval: Interval) -> None:
        if live:
            sys.stderr.write(f"\r\x1b[K{_progress_line(options, tally, interval)}")
            sys.stderr.flush()

    async def run() -> Load:
        load = Load(options, progress)
        await load.run()
        return load

    load = uvloop.run(run())
    if live:
        sys.stderr.write("\r\x1b[K")
    found = figures(load)
    print(table(options.target.url, found))
    if options.report:
        print(f"  {'report':14}{write_report(options.report, options, arguments, found)}")
    return 0 if found["succeeded"] else 1


def _progress_line(options: Options, tally: Tally, interval: Interval) -> str:
    end = f"/{options.duration:g}" if options.duration else ""
    if tally.begin == float("inf"):
        return "warming up"
    latencies = interval.latencies
    return (
        f"{interval.begin + interval.seconds:.0f}{end} s   {latencies.count / interval.seconds:.0f} requests/s   "
        f"p50 {duration(latencies.percentile(50))}   p99 {duration(latencies.percentile(99))}   "
        f"errors {tally.error_count}"
    )


def _allow_descriptors(connections: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 256
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
