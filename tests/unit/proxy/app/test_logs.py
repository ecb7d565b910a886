from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.app import logs
from proxy.app.command_line import DEFAULT_LOG_FORMAT


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    for names in logs.COMPONENTS.values():
        for name in names:
            logging.getLogger(name).setLevel(logging.NOTSET)
    for name in logs.COMPONENTS:
        logging.getLogger(f"outrider.{name}").setLevel(logging.NOTSET)


def record(text: str, name: str = "proxy.app.controller", level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 12, text, None, None, "run")


def test_a_line_looks_like_envoys() -> None:
    line = logs.compile_format(DEFAULT_LOG_FORMAT)(record("hello"))
    pattern = (
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\]\[\d+\]\[info\]\[main\] \[[^\]]+test_logs\.py:12\] hello"
    )
    assert re.fullmatch(pattern, line)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%v", "a\nb"),
        ("%_", "a\\nb"),
        ("%j", "a\\nb"),
        ("%l %L %n", "warning W main"),
        ("%s:%# %!", "test_logs.py:12 run"),
        ("100%% %q %", "100% %q %"),
        ("%^x%$", "x"),
    ],
)
def test_spdlog_flags(pattern: str, expected: str) -> None:
    assert logs.compile_format(pattern)(record("a\nb", level=logging.WARNING)) == expected


def test_control_characters_can_be_escaped() -> None:
    assert logs.compile_format("%v", escape=True)(record("a\nb\x1b")) == "a\\nb\\x1b"


@pytest.mark.parametrize(
    ("logger", "component"),
    [
        ("proxy.admin.server", "admin"),
        ("proxy.upstream.cluster", "upstream"),
        ("proxy.upstream.discovery.dns", "dns"),
        ("proxy.app", "main"),
        ("outrider.dns", "dns"),
        ("asyncio", "misc"),
        ("somebody.else", "misc"),
    ],
)
def test_every_logger_belongs_to_a_component(logger: str, component: str) -> None:
    assert logs.component_of(logger) == component


def test_levels_are_set_by_component_and_can_change(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    logs.configure(str(path), "%n %v", False)
    levels = logs.LogLevels("warning", {"upstream": "debug"})
    logging.getLogger("proxy.upstream.cluster").debug("shown")
    logging.getLogger("proxy.app.x").info("hidden")
    levels.set({"main": "trace"})
    logging.getLogger("proxy.app.x").log(logs.TRACE, "now shown")
    levels.set_all("off")
    logging.getLogger("proxy.app.x").critical("never")
    assert path.read_text() == "upstream shown\nmain now shown\n"
    assert levels.describe()["upstream"] == "off"


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    target = logs.configure(str(path), "%v", False)
    target.write("one\n")
    path.rename(tmp_path / "old.txt")
    target.reopen()
    target.write("two\n")
    assert path.read_text() == "two\n"
    assert (tmp_path / "old.txt").read_text() == "one\n"


def test_a_traceback_shows_only_at_debug_level(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    logs.configure(str(path), "%v", False)
    levels = logs.LogLevels("info", {})
    logger = logging.getLogger("proxy.app.x")
    try:
        raise ValueError("broken")
    except ValueError as error:
        logger.error("failed: %s", error, exc_info=error)
        levels.set({"main": "debug"})
        logger.error("failed: %s", error, exc_info=error)
    text = path.read_text()
    assert text.startswith("failed: broken\nfailed: broken\nTraceback")


def test_an_entry_that_cannot_be_formatted_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    logs.configure(str(path), "%v", False)
    logs.LogLevels("info", {})
    logging.getLogger("proxy.app.x").info("%d", "text")
    assert "cannot format the log entry" in path.read_text()
