from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from proxy.demo.children import Children

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-S",
    "-c",
    "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_text(path: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in path.read_text():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_leaving_ends_even_a_child_that_ignores_sigterm(tmp_path: Path) -> None:
    with Children(tmp_path, grace=0.1) as children:
        children.start("sleeper", SLEEP)
        children.start("stubborn one", STUBBORN)
        wait_for_text(tmp_path / "stubborn-one.log", "up")
        pids = [child.pid for child in children._children]
        assert children.first_ended() is None
        assert all(map(alive, pids))
    assert not any(map(alive, pids))


def test_a_child_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start("quitter", [sys.executable, "-S", "-c", "raise SystemExit('no config')"])
        while (text := children.first_ended()) is None:
            os.sched_yield()
    assert "quitter" in text
    assert "exited with status 1; it said:\nno config" in text
