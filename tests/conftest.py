"""Checks for all tests: no child process outlives the module that started it, known differences stay true."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iptables.plan import Step
from iptables.runner import Runner
from tests.support import known_differences

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of live processes may fail twice where the machine stalls for longer than the timeouts they wait for.

    A third failure is one. The summary lists what was run again.
    """
    for item in items:
        if item.path.relative_to(ROOT / "tests").parts[0] not in ("unit", "fuzz"):
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=1))


def _children() -> set[int]:
    """Live (not zombie) children of this process, whichever thread started them."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        except OSError:
            continue
    return {pid for pid in found if _state(pid) not in ("Z", "")}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


@pytest.fixture(scope="module", autouse=True)
def no_leaked_process() -> Iterator[None]:
    """Set up before and torn down after the fixtures of the module, so that it sees what they forgot."""
    before = _children()
    yield
    deadline = time.monotonic() + 2
    while (left := _children() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    if left:
        commands = {
            pid: Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in left
        }
        pytest.fail(f"processes left behind by this module: {commands}")


@pytest.fixture(scope="module", autouse=True)
def no_leaked_socket() -> Iterator[None]:
    """Garbage that warns of what it left open does so in its own module, not in the test that runs by then.

    What is left then is looked at no more: to look at it again for each module doubles the time of the unit tests.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def known_differences_stay_true(request: pytest.FixtureRequest) -> Iterator[None]:
    """A listed difference that did not show fails its test."""
    failed_before = request.session.testsfailed
    yield
    node = request.node.nodeid.removeprefix("tests/differential/")
    stale = known_differences.KNOWN.no_longer_needed(node)
    if stale and request.session.testsfailed == failed_before:
        pytest.fail(f"known_differences.yaml lists what no longer differs: {stale}")


@pytest.fixture(scope="session", autouse=True)
def environment() -> None:
    """A proxy in the caller's environment would carry test traffic elsewhere."""
    for name in list(os.environ):
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def packet_rules_of_the_machine() -> Iterator[None]:
    """No test may change them: capture rules are for namespaces that tests made themselves."""
    machine = os.readlink("/proc/self/ns/net")
    execute = Runner.execute

    def guarded(runner: Runner, step: Step) -> None:
        assert os.readlink("/proc/thread-self/ns/net") != machine, f"a test would change this machine: {step}"
        execute(runner, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "execute", guarded)
        yield
