"""Runs `outrider iptables` again and again in the network namespace of this process: `python -m` this module.

A line of JSON on stdin is one run: the words of the command line, and after how many steps the process is to end as
if it were killed (-1: never). A line of JSON on stdout tells its status and what it wrote. Each run is a process of
its own, forked off before anything has happened, which spares the imports. Words that begin with `!` are a shell
script instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from typing import IO

from iptables.cli import main
from iptables.plan import Step
from iptables.runner import Runner

KILLED = 137


def run(words: list[str], stop: int) -> dict[str, object]:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            _become(words, stop, output, errors)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        errors.seek(0)
        return {"status": status, "output": output.read().decode(), "errors": errors.read().decode()}


def _become(words: list[str], stop: int, output: IO[bytes], errors: IO[bytes]) -> None:
    os.dup2(output.fileno(), 1)
    os.dup2(errors.fileno(), 2)
    _stop_after(stop)
    status = 1
    try:
        status = main(words)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _stop_after(steps: int) -> None:
    """End this process between two steps; every table is a step, since the kernel takes one at a time."""
    real = Runner.execute
    left = steps

    def execute(self: Runner, step: Step) -> None:
        nonlocal left
        for text in step.text.split("COMMIT\n") if step.tool == "restore" else [step.text]:
            if step.tool == "restore" and not text:
                continue
            if left == 0:
                os._exit(KILLED)
            left -= 1
            whole = f"{text}COMMIT\n" if step.tool == "restore" else text
            real(self, Step(step.tool, step.version, step.arguments, whole, step.optional))

    if steps >= 0:
        Runner.execute = execute  # type: ignore[method-assign]


def serve() -> None:
    for line in sys.stdin:
        words, stop = json.loads(line)
        if words and words[0].startswith("!"):
            script = subprocess.run(["sh", "-c", words[0][1:]], capture_output=True, text=True, check=False)
            found: dict[str, object] = {
                "status": script.returncode,
                "output": script.stdout,
                "errors": script.stderr,
            }
        else:
            found = run(words, stop)
        sys.stdout.write(f"{json.dumps(found)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
