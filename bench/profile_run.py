"""`python -m bench.profile_run SCENARIO [--seconds 6] [--output worker.svg]`: a flame graph of a worker under load.

py-spy (of the bench extra) samples the worker from outside, so that it runs as it always does; on most systems that
takes root.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from pathlib import Path

from bench.load import loads
from bench.load.bed import bed
from bench.load.processes import cpu_by_process, tree
from bench.load.scenario import Scenario, all_scenarios

_SAMPLES_PER_SECOND = 500
#: The load begins before, and ends after, what is sampled.
_MARGIN = 1.0


def profile(scenario: Scenario, seconds: float, output: Path) -> None:
    """Raises RuntimeError with the words of py-spy if it cannot."""
    with bed(scenario) as made:
        subject = made.start("outrider")
        before = cpu_by_process(tree(subject.pid))
        loads.run(scenario.load, subject.port, _MARGIN, 32)
        spent = {pid: used - before.get(pid, 0.0) for pid, used in cpu_by_process(tree(subject.pid)).items()}
        worker = max(spent, key=lambda pid: spent[pid])
        load = threading.Thread(
            target=loads.run, args=(scenario.load, subject.port, seconds + 2 * _MARGIN, 32), daemon=True
        )
        load.start()
        done = subprocess.run(
            [
                *("py-spy", "record", "--pid", str(worker), "--duration", f"{seconds:g}"),
                *("--rate", str(_SAMPLES_PER_SECOND), "--format", "flamegraph", "--output", str(output)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        load.join()
        if done.returncode:
            raise RuntimeError(f"py-spy: {done.stderr.strip() or done.stdout.strip()}")


def main() -> int:
    """The exit status."""
    scenarios = {name: one for name, one in all_scenarios().items() if one.measure == "throughput"}
    parser = argparse.ArgumentParser(prog="python -m bench.profile_run")
    parser.add_argument("scenario", choices=scenarios, metavar="SCENARIO", help=", ".join(scenarios))
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--output", type=Path, default=Path("worker.svg"))
    given = parser.parse_args()
    try:
        profile(scenarios[given.scenario], given.seconds, given.output)
    except FileNotFoundError:
        print("py-spy is not installed: pip install -e '.[bench]'", file=sys.stderr)
        return 1
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"written to {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
