from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2

from proxy.base.errors import UsageError
from proxy.discovery import snapshot_store
from proxy.discovery.snapshot_file import Identity, Section
from proxy.discovery.snapshot_store import (
    SnapshotStore,
    open_store,
    prepare_directory,
    snapshot_path,
    state_directory,
    write_atomically,
)
from tests.unit.proxy.discovery.test_snapshot_file import CLUSTERS, ME


@pytest.mark.parametrize(
    ("chosen", "environment", "expected"),
    [
        ("/here", {"XDG_STATE_HOME": "/state"}, "/here"),
        ("", {"XDG_STATE_HOME": "/state"}, "/state/outrider"),
        ("", {"XDG_STATE_HOME": "relative"}, "/var/lib/outrider"),
        ("", {}, "/var/lib/outrider"),
    ],
)
def test_the_directory_is_that_of_the_flag_of_xdg_or_of_the_system(
    chosen: str, environment: dict[str, str], expected: str
) -> None:
    assert state_directory(chosen, environment) == expected


def test_every_node_has_a_file_of_its_own() -> None:
    paths = {
        snapshot_path("/d", Identity(*names))
        for names in (("a", "b"), ("a", "c"), ("sidecar~10.0.0.1~x.y~z", ""), ("../..", ""))
    }
    assert len(paths) == 4
    assert all(os.path.dirname(path) == "/d" for path in paths)
    assert any(path.startswith("/d/sidecar_10.0.0.1_x.y_z-") for path in paths)


def test_a_directory_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    assert prepare_directory(str(tmp_path / "new")) == ""
    (tmp_path / "file").write_text("")
    assert prepare_directory(str(tmp_path / "file" / "x")).startswith("it cannot be made: ")


def test_a_file_is_replaced_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "x"
    write_atomically(str(file), b"one")
    write_atomically(str(file), b"two")
    assert file.read_bytes() == b"two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["x"]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def _clusters() -> list[Section]:
    return [CLUSTERS]


def test_nothing_is_kept_without_a_place_and_that_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")

    async def test() -> None:
        loop = asyncio.get_running_loop()
        assert open_store(loop, base_pb2.Node(id="n"), str(tmp_path / "file"), 10, "") is None
        assert open_store(loop, base_pb2.Node(id="n"), str(tmp_path), 10, "") is not None

    with caplog.at_level(logging.WARNING, "outrider.config"):
        run(test())
    (record,) = caplog.records
    assert "what is discovered is not kept over restarts" in record.getMessage()


def test_a_key_file_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    async def test() -> None:
        open_store(asyncio.get_running_loop(), base_pb2.Node(), str(tmp_path), 10, str(tmp_path / "none"))

    with pytest.raises(UsageError, match=r"cannot use --state-key-file .*No such file"):
        run(test())


def test_changes_are_written_together_and_what_is_left_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(snapshot_store, "write_atomically", lambda _path, content: written.append(content))

    async def test() -> None:
        store = SnapshotStore(asyncio.get_running_loop(), str(tmp_path / "s"), ME, clock=lambda: 1000.0)
        store.sections = _clusters
        for _ in range(100):
            store.note_change()
        await asyncio.sleep(0)
        assert written == []
        await store.close()
        assert len(written) == 1
        assert store.saved == 1000.0
        await store.close()
        assert len(written) == 1

    run(test())


def test_a_disk_that_is_full_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_path: str, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot_store, "write_atomically", fail)

    async def test() -> None:
        store = SnapshotStore(asyncio.get_running_loop(), str(tmp_path / "s"), ME)
        for _ in range(2):
            store.note_change()
            await store.close()
        assert store.saved == 0.0

    run(test())
    assert [record.getMessage().count("No space left") for record in caplog.records] == [1]


def test_what_cannot_be_used_is_told_and_gives_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "s"

    async def test() -> None:
        store = SnapshotStore(asyncio.get_running_loop(), str(file), ME, max_age=60, clock=lambda: 2000.0)
        assert not store.exists
        file.write_text("rubbish")
        assert store.exists
        assert await store.read() == []
        store.sections = _clusters
        store.note_change()
        await store.close()
        assert await store.read() == []

    run(test())
    reasons = [record.getMessage().partition("is not used: ")[2] for record in caplog.records]
    assert reasons == ["it is damaged: it does not begin as a snapshot does", "it is too old, by 940 s"]
