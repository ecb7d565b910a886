"""What a reload hears of the process that reads for it."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from proxy.app import config_reading
from proxy.app.command_line import Options
from proxy.app.config_loading import LoadedConfig, load
from proxy.app.config_reading import Request, answer, read_again
from proxy.app.unchangeable import Current
from proxy.base.errors import ConfigError, Problem

BEFORE = "node: {id: a}"
AFTER = "{node: {id: a}, static_resources: {clusters: [{name: c, type: STATIC, connect_timeout: 1s}]}}"


def request(text: str) -> Request:
    return Request(Options(config_yaml=text), Current(load(Options(config_yaml=BEFORE)).bootstrap, {}))


class Process:
    """One that ends with `status` after it has said `output`, or never if that is None."""

    def __init__(self, output: bytes | None, status: int = 0) -> None:
        self.returncode: int | None = None
        self.killed = False
        self.asked: Any = None
        self._output = output
        self._status = status

    async def communicate(self, given: bytes) -> tuple[bytes, None]:
        self.asked = pickle.loads(given)
        if self._output is None:
            await asyncio.Event().wait()
            raise AssertionError
        self.returncode = self._status
        return self._output, None

    def kill(self) -> None:
        self.killed = True

    async def wait(self) -> None:
        self.returncode = -9


def read(process: Process, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    async def start(*_command: str, **_pipes: Any) -> Process:
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    return asyncio.run(read_again(request(AFTER)))


def test_a_change_that_can_be_made_is_loaded_whole() -> None:
    found = answer(request(AFTER))
    assert isinstance(found, LoadedConfig)
    assert [name for name, _ in found.clusters] == ["c"]


def test_a_change_that_cannot_be_made_is_a_problem() -> None:
    found = answer(request("node: {id: b}"))
    assert isinstance(found, list)
    assert [problem.path for problem in found] == ["node.id"]


def test_the_process_is_told_what_runs_and_its_config_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(pickle.dumps(answer(request(AFTER))))
    assert [name for name, _ in read(process, monkeypatch).clusters] == ["c"]
    assert process.asked == request(AFTER)
    assert not process.killed


def test_its_problems_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        read(Process(pickle.dumps([Problem("a.b", "is wrong")])), monkeypatch)
    assert [(one.path, one.reason) for one in caught.value.problems] == [("a.b", "is wrong")]


def test_a_process_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="ended with status 3"):
        read(Process(b"", 3), monkeypatch)


def test_a_process_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_reading, "MOST_SECONDS", 0.01)
    process = Process(None)
    with pytest.raises(ConfigError, match="took longer than"):
        read(process, monkeypatch)
    assert process.killed
