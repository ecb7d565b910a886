from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from proxy.app.command_line import Options
from proxy.app.validate import validate


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_good_config_is_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(Options(config_yaml="node: {id: a}")) == 0
    assert capsys.readouterr().out == "configuration '' OK\n"


def test_a_bad_one_is_refused_with_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(Options(config_yaml="nodes: {id: a}")) == 1
    text = capsys.readouterr().err
    assert "--config-yaml:1:1: nodes: " in text
    assert "1 problem" in text
