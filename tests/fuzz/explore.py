"""Coverage-guided fuzzing of every parser with atheris: `python -m tests.fuzz.explore --seconds 60 --keep`.

Each target runs in a process of its own, from its seeds and its saved inputs. With `--keep`, the inputs that reach
more than those do are saved, as few and as short as libFuzzer can make them. A finding is printed as a literal; the
exit status is 1 then. atheris comes with the `fuzz` extra and exists for Python up to 3.13.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import atheris

from tests.fuzz.target import Target

#: What is measured: the parsers. Each instrumented module takes time at the start.
_MEASURED = [
    *("proxy.base.backtracking", "proxy.base.matchers", "proxy.base.regex"),
    "proxy.codec",
    *(
        f"proxy.config.{name}"
        for name in ("loader", "message_reader", "scalars", "v2_upgrade", "yaml_source")
    ),
    "proxy.filters.listener",
    "proxy.formatter",
    *(f"proxy.hcm.{name}" for name in ("forwarding", "http1_connection", "http2_connection", "normalize")),
    *("proxy.hcm.request_plan", "proxy.hcm.rejection"),
    "proxy.router.uri_template",
    "proxy.transcoding",
    *("proxy.upstream.dns_cache.names", "proxy.upstream.lb.load_report"),
    "proxy.vm.env_file",
    *("iptables.observe", "iptables.observe_nft"),
]
_LONGEST_INPUT = 8192  # more digits than int() takes
_SECONDS_PER_INPUT = 20
_MEMORY_MB = 2048
_LINES_SHOWN = 40


def _targets() -> dict[str, Target]:
    """Every target, with its parser's code instrumented."""
    from tests.fuzz.all_targets import TARGETS

    for one in TARGETS.values():
        for seed in one.seeds:
            one.run(seed)  # imports what is imported late
    for name, module in list(sys.modules.items()):
        if _measured(name):
            for function in _functions(module):
                # Not by the hook of atheris, which takes whole top-level packages: seven times as much.
                atheris.instrument_func(function)
    return TARGETS


def _measured(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in _MEASURED)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Those that are written in a module, methods included."""
    for value in list(vars(module).values()):
        if getattr(value, "__module__", "") != module.__name__:
            continue
        for member in list(vars(value).values()) if isinstance(value, type) else [value]:
            function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
            if isinstance(function, FunctionType) and function.__code__.co_filename == module.__file__:
                yield function


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


#: File, line, next line.
Step = tuple[str, int, int]
TraceFunction = Callable[[FrameType, str, Any], Any]


class Exploration:
    """libFuzzer on one target, in a child process from `start` to `wait`; files are in `folder`."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self._folder = folder
        self._found = folder / "found"
        self._found.mkdir(parents=True)
        for number, data in enumerate([*target.seeds, *target.saved()]):
            (self._found / f"{number:05}").write_bytes(data)
        self._pid = 0

    def start(self, *options: str) -> None:
        """Fork; libFuzzer never returns from its work."""
        self._pid = os.fork()
        if self._pid:
            return
        log = os.open(self._folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        limits = [
            f"-max_len={_LONGEST_INPUT}",
            f"-timeout={_SECONDS_PER_INPUT}",
            f"-rss_limit_mb={_MEMORY_MB}",
        ]
        output = ["-print_final_stats=1", f"-artifact_prefix={self._folder}/finding-"]
        atheris.Setup([self.target.name, *limits, *output, *options, str(self._found)], self._run)
        atheris.Fuzz()
        os._exit(1)

    def _run(self, data: bytes) -> None:
        try:
            self.target.run(data)
        except BaseException:  # noqa: BLE001 - whatever it is, it is a finding
            traceback.print_exc()
            sys.stderr.flush()
            os.abort()  # libFuzzer keeps the input

    def wait(self) -> bool:
        """Whether nothing was found; prints what was."""
        status = os.waitpid(self._pid, 0)[1]
        log = (self._folder / "log").read_text(errors="replace")
        runs = re.search(r"number_of_executed_units: *(\d+)", log)
        _tell(f"{self.target.name}: {runs[1] if runs else 'not even its'} inputs")
        findings = sorted(self._folder.glob("finding-*"))
        for path in findings:
            _tell(f"  {path.name.split('-')[1]}: {path.read_bytes()!r}")
        if status or findings:
            told = [line for line in log.splitlines() if not line.startswith("#")]
            _tell("\n".join(f"  {line}" for line in told[-_LINES_SHOWN:]))
        return not status and not findings

    def keep(self) -> None:
        """Save the shortest inputs that reach all the steps that were reached."""
        reached: set[Step] = set()
        kept = []
        for data in sorted(
            (path.read_bytes() for path in self._found.iterdir()), key=lambda data: (len(data), data)
        ):
            steps = _steps(self.target, data)
            if not steps <= reached:
                reached |= steps
                kept.append(data)
        self.target.save(kept)


def _steps(target: Target, data: bytes) -> set[Step]:
    """From which line to which the measured modules went."""
    files = {module.__file__ for name, module in list(sys.modules.items()) if _measured(name)}
    found: set[Step] = set()

    def enter(frame: FrameType, _event: str, _argument: object) -> TraceFunction | None:
        code = frame.f_code
        if code.co_filename not in files:
            return None
        last = 0

        def step(frame: FrameType, event: str, _argument: object) -> TraceFunction:
            nonlocal last
            if event == "line":
                found.add((code.co_filename, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        target.run(data)
    finally:
        sys.settrace(None)
    return found


def explore(targets: Sequence[Target], seconds: int, *, keep: bool) -> bool:
    """All of them at the same time; whether nothing was found."""
    fine = True
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        explorations = [Exploration(one, Path(folder) / one.name) for one in targets]
        for one in explorations:
            one.start(f"-max_total_time={seconds}")
        for one in explorations:
            well = one.wait()
            fine = fine and well
            if well and keep:
                one.keep()
    return fine


def main(arguments: Sequence[str] | None = None) -> int:
    """See module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (default: 1)")
    parser.add_argument("--keep", action="store_true", help="save the inputs that reach more")
    parser.add_argument("targets", nargs="*", help="their names (default: all)")
    options = parser.parse_args(arguments)
    known = _targets()
    chosen = [known[name] for name in options.targets or known]
    batches = [chosen[at : at + options.jobs] for at in range(0, len(chosen), options.jobs)]
    fine = [explore(batch, options.seconds, keep=options.keep) for batch in batches]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
