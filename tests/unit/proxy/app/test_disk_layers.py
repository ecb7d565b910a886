"""Values of the runtime in files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.app.disk_layers import DiskLayer, DiskWatch, read_values, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5\n", "5"),
        ("# why\n7  \n", "7"),
        ("one\ntwo \n\n", "one\ntwo"),
        ("", ""),
        ("# only this\n", ""),
        (" 5", " 5"),
    ],
)
def test_what_a_file_says(text: str, value: str) -> None:
    assert value_of(text) == value


def test_paths_are_keys(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("1")
    (tmp_path / "top").write_text("2")
    assert read_values(DiskLayer("", str(tmp_path))).values == {"a.b.c": "1", "top": "2"}


def test_a_folder_that_is_not_there_is_no_failure(tmp_path: Path) -> None:
    found = read_values(DiskLayer("", str(tmp_path / "nothing")))
    assert (found.missing, found.failed, found.values) == (True, False, {})


def test_folders_without_end_cost_the_layer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "value").write_text("1")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = read_values(DiskLayer("", str(tmp_path)))
    assert (found.missing, found.failed, found.values) == (False, True, {})
    assert "16 folders deep" in caplog.text


def test_a_link_that_is_replaced_is_told_for_each_layer(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link, fresh = tmp_path / "current", tmp_path / "fresh"
    link.symlink_to("one")
    told: list[None] = []
    watch = DiskWatch([DiskLayer(str(link), "x"), DiskLayer(str(link), "y")], lambda: told.append(None))
    (tmp_path / "one" / "value").write_text("1")
    watch.look()
    assert not told
    fresh.symlink_to("two")
    os.replace(fresh, link)
    watch.look()
    watch.look()
    assert len(told) == 2
    link.unlink()
    watch.look()
    assert len(told) == 2
