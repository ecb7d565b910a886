from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from proxy.app.command_line import parse
from proxy.app.log_control import LogControl
from proxy.app.logs import LogFile, LogLevels


class Levels(LogLevels):
    """Does not touch the loggers of this process."""

    def apply(self) -> None:
        pass


def control(path: str = "", loop: Any = None) -> tuple[LogControl, LogFile, list[Any]]:
    told: list[Any] = []
    file = LogFile(path)
    return LogControl(loop, parse(["-c", "x.yaml"]), file, Levels("info", {}), told.append), file, told


def test_workers_hear_of_all_levels_when_one_changes() -> None:
    logs, _file, told = control()
    logs.set_levels({"http": "debug"})
    ((kind, levels),) = told
    assert kind == "levels"
    assert (levels["http"], levels["main"]) == ("debug", "info")


def test_a_log_that_cannot_be_opened_again_stops_none_of_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    logs, file, told = control(str(folder / "outrider.log"))
    reopened: list[str] = []
    logs.on_reopen.append(lambda: reopened.append("admin"))
    (folder / "outrider.log").unlink()
    folder.rmdir()
    logs.reopen()
    assert told == [("reopen_logs",)]
    assert reopened == ["admin"]
    file.close()


def test_events_go_nowhere_unless_a_file_is_named_and_follow_a_rotation(tmp_path: Path) -> None:
    async def run() -> None:
        logs, _file, _told = control(loop=asyncio.get_running_loop())
        assert logs.event_file("") is None
        write = logs.event_file(str(tmp_path / "events"))
        assert write is not None
        write("first\n")
        logs.reopen()
        (tmp_path / "events").rename(tmp_path / "events.1")
        logs.reopen()
        write("second\n")
        logs.close()

    asyncio.run(run())
    assert (tmp_path / "events.1").read_text() == "first\n"
    assert (tmp_path / "events").read_text() == "second\n"
