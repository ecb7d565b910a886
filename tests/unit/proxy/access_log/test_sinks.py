from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from proxy.access_log import descriptors, sinks
from proxy.access_log.sinks import BACKLOG_LIMIT, FLUSH_SIZE, SinkManager


class Loop:
    """Timers and writers that fire when the test says so."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.writers: dict[int, Callable[[], None]] = {}

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.timers.append((delay, callback))
        return cast("Any", self)

    def cancel(self) -> None:
        self.timers.clear()

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        self.writers[fd] = callback

    def remove_writer(self, fd: int) -> None:
        del self.writers[fd]

    def fire(self) -> None:
        (_, callback) = self.timers.pop()
        callback()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def manager(loop: Loop) -> Iterator[SinkManager]:
    made = SinkManager(cast("asyncio.AbstractEventLoop", loop), 10.0)
    yield made
    made.close()


def test_entries_leave_by_timer_and_the_timer_rests_when_there_is_nothing(
    manager: SinkManager, loop: Loop, tmp_path: Path
) -> None:
    write = manager.file(str(tmp_path / "a.log"))
    assert loop.timers == []
    write("one\n")
    write("two \xe9\n")
    assert [delay for delay, _ in loop.timers] == [10.0]
    assert (tmp_path / "a.log").read_bytes() == b""
    loop.fire()
    assert (tmp_path / "a.log").read_bytes() == b"one\ntwo \xe9\n"
    assert loop.timers == []
    counters = manager.stats.counters()
    assert counters["filesystem.flushed_by_timer"] == 1
    assert counters["filesystem.write_buffered"] == 2
    assert counters["filesystem.write_completed"] == 1
    assert manager.stats.write_total_buffered == 0


def test_a_full_buffer_leaves_at_once_in_one_write(manager: SinkManager, tmp_path: Path) -> None:
    write = manager.file(str(tmp_path / "a.log"))
    line = "x" * 1023 + "\n"
    for _ in range(FLUSH_SIZE // 1024):
        write(line)
    assert (tmp_path / "a.log").stat().st_size == FLUSH_SIZE
    assert manager.stats.write_completed == 1


def test_a_path_has_one_sink(manager: SinkManager, tmp_path: Path) -> None:
    assert manager.file(str(tmp_path / "a")) == manager.file(str(tmp_path / "a"))


def test_after_a_rotation_entries_go_to_the_new_file(manager: SinkManager, tmp_path: Path) -> None:
    write = manager.file(str(tmp_path / "a.log"))
    write("old\n")
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    manager.reopen()
    write("new\n")
    manager.flush()
    assert (tmp_path / "a.log.1").read_text() == "old\n"
    assert (tmp_path / "a.log").read_text() == "new\n"


def test_a_failed_reopen_keeps_the_old_file(manager: SinkManager, tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    write = manager.file(str(directory / "a.log"))
    directory.rename(tmp_path / "moved")
    manager.reopen()
    write("kept\n")
    manager.flush()
    assert (tmp_path / "moved" / "a.log").read_text() == "kept\n"
    assert manager.stats.reopen_failed == 1


def test_a_full_disk_is_reported_once_and_loses_nothing_that_fits(
    manager: SinkManager,
    loop: Loop,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    write = manager.file(str(tmp_path / "a.log"))

    def full(_descriptor: object, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(descriptors.Descriptor, "write", full)
        for _ in range(3):
            write("line\n")
            manager.flush()
    assert [record.getMessage() for record in caplog.records] == [
        f"access log: cannot write to {tmp_path / 'a.log'}: No space left on device"
    ]
    assert manager.stats.write_failed == 3
    assert manager.stats.write_total_buffered == 15
    loop.fire()
    assert (tmp_path / "a.log").read_text() == "line\n" * 3
    assert caplog.records[-1].getMessage().endswith("works again")


def test_what_a_failing_path_keeps_is_bounded(
    manager: SinkManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write = manager.file(str(tmp_path / "a.log"))
    monkeypatch.setattr(descriptors.Descriptor, "write", _refuse)
    line = "x" * 1023 + "\n"
    for _ in range(2 * BACKLOG_LIMIT // 1024):
        write(line)
    assert manager.stats.write_total_buffered <= BACKLOG_LIMIT
    assert manager.stats.entries_dropped == BACKLOG_LIMIT // 1024


def _refuse(_descriptor: object, _data: bytes) -> int:
    raise OSError(5, "Input/output error")


def test_a_stopped_reader_of_stdout_does_not_stop_us(
    manager: SinkManager, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setitem(descriptors.STANDARD_STREAMS, "/dev/stdout", writer)
    monkeypatch.setitem(sinks.STANDARD_STREAMS, "/dev/stdout", writer)
    write = manager.file("/dev/stdout")
    sent = [f"{number:06d} {'x' * 93}\n" for number in range(2000)]
    for entry in sent:
        write(entry)
    manager.flush()
    assert len(loop.writers) == 1
    received = b""
    while loop.writers:
        received += os.read(reader, 1 << 20)
        (wake,) = loop.writers.values()
        wake()
    os.set_blocking(reader, False)
    received += os.read(reader, 1 << 20)
    assert received.decode() == "".join(sent)
    manager.close()
    os.close(reader)
    os.close(writer)


def test_what_is_left_at_the_end_is_written(loop: Loop, tmp_path: Path) -> None:
    manager = SinkManager(cast("asyncio.AbstractEventLoop", loop))
    manager.file(str(tmp_path / "a.log"))("last\n")
    manager.close()
    assert (tmp_path / "a.log").read_text() == "last\n"
    assert loop.timers == []
