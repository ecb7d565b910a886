"""How much of a resource is used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.base.errors import ConfigError
from proxy.overload.monitors import CgroupMemory, Connections, FixedHeap, InjectedResource, PressureError


def test_the_heap_is_the_memory_of_all_processes() -> None:
    one = FixedHeap(1 << 30, lambda: [os.getpid()]).pressure()
    two = FixedHeap(1 << 30, lambda: [os.getpid(), os.getpid()]).pressure()
    assert 0.001 < one < two
    assert FixedHeap(1 << 30, lambda: [2**22 + 1]).pressure() == 0.0


@pytest.mark.parametrize("text", ["", "x", "-0.1", "1.1", "nan", "inf", "9" * 400, "\xff"])
def test_an_injected_pressure_has_to_be_a_share(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pressure"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(PressureError):
        InjectedResource(str(file)).pressure()


def test_an_injected_pressure_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "pressure"
    monitor = InjectedResource(str(file))
    with pytest.raises(PressureError, match="No such file"):
        monitor.pressure()
    for text in ("0.5", "1", "0\n"):
        file.write_text(text)
        assert monitor.pressure() == float(text)


def test_connections_are_held_against_their_limit() -> None:
    assert Connections(4, lambda: 3).pressure() == 0.75


def test_a_control_group_of_version_2(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert CgroupMemory(0, tmp_path).pressure() == 0.0
    assert CgroupMemory(600, tmp_path).pressure() == 0.5
    (tmp_path / "memory.max").write_text("400\n")
    assert CgroupMemory(600, tmp_path).pressure() == 0.75
    (tmp_path / "memory.current").write_text("?")
    with pytest.raises(PressureError):
        CgroupMemory(600, tmp_path).pressure()


def test_a_control_group_of_version_1(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    (memory / "memory.usage_in_bytes").write_text("1")
    (memory / "memory.limit_in_bytes").write_text(str(9223372036854771712))
    assert CgroupMemory(0, tmp_path).pressure() == 0.0
    (memory / "memory.limit_in_bytes").write_text("2")
    assert CgroupMemory(0, tmp_path).pressure() == 0.5


def test_without_a_control_group_there_is_no_monitor(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No supported cgroup memory implementation found"):
        CgroupMemory(0, tmp_path)
