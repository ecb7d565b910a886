from __future__ import annotations

import os
import signal

from proxy.app import fork_server


def test_it_ends_when_the_controller_does() -> None:
    server = fork_server.start()
    server.control.close()
    _process, status = os.waitpid(server.process, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_one_that_is_still_starting_leaves_signals_to_the_controller() -> None:
    server = fork_server.restart()
    os.kill(server.process, signal.SIGINT)
    server.control.close()
    _process, status = os.waitpid(server.process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
