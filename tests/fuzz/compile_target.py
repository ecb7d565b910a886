"""Bootstraps that were something else before: read, checked and compiled whole, as `--mode validate` does."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from proxy.app.command_line import Options
from proxy.app.config_loading import load
from proxy.base.errors import ConfigError, Problem
from tests.fuzz.target import target

_ROOT = Path(__file__).resolve().parents[2]
_PLACEHOLDER = re.compile(r"\{\{\w+\}\}")
#: Bytes of one change: place (two), what to do, with what (two).
_CHANGE = 5
_OPEN = os.open
_MOST_CHANGES = 12
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**32, 2**64, 1.5, -0.0, 1e308, "", "a", "*", "/", "0s", "1s", "-1s",
    "0.0000001s", "1e400", "%REQ(a)%", "%", "(", "a" * 300, "127.0.0.1", "::1", "1.2.3.0/33", "HUNDRED", "\0", "é",
    [], {}, [{}], [None], {"a": None}, {"seconds": 1, "nanos": -1}, {"numerator": 1, "denominator": "MILLION"},
    {"prefix": ""}, {"safe_regex": {"regex": "("}}, {"inline_string": "x"},
    {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"a": [1]}},
)  # fmt: skip
Place = tuple[Any, Any]


@functools.cache
def _bases() -> list[Any]:
    """Configs of the documentation and of the examples."""
    files = [
        *(_ROOT / "examples").glob("*.yaml"),
        *(_ROOT / "tests/differential/documentation").glob("*.yaml"),
    ]
    return [yaml.safe_load(_PLACEHOLDER.sub("10001", path.read_text())) for path in sorted(files)]


def _places(tree: Any) -> list[Place]:
    """Every (container, key or index) of a tree."""
    found: list[Place] = []
    open_containers = [tree]
    while open_containers:
        container = open_containers.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                open_containers.append(container[key])
    return found


@functools.cache
def _pieces() -> tuple[list[Any], list[str]]:
    """Parts of all configs and of fields whose verdict is known, and the names of fields in them."""
    verdicts = yaml.safe_load((_ROOT / "tests/differential/config_verdicts.yaml").read_text())
    places = [place for tree in [*_bases(), verdicts] for place in _places(tree)]
    pieces = {json.dumps(container[key]): container[key] for container, key in places}
    names = {key for container, key in places if isinstance(container, dict)}
    return [pieces[text] for text in sorted(pieces)], sorted(names)


def _change(tree: Any, data: bytes) -> None:
    places = _places(tree)
    if not places:
        return
    container, key = places[int.from_bytes(data[:2]) % len(places)]
    choice = int.from_bytes(data[3:])
    pieces, names = _pieces()
    match data[2] % 6:
        case 0:
            container[key] = copy.deepcopy(_VALUES[choice % len(_VALUES)])
        case 1:
            container[key] = copy.deepcopy(pieces[choice % len(pieces)])
        case 2:
            del container[key]
        case 3 if isinstance(container, list):
            container.insert(choice % (len(container) + 1), copy.deepcopy(container[key]))
        case 3:
            container[names[choice % len(names)]] = container.pop(key)
        case 4 if isinstance(container, dict):
            container[names[choice % len(names)]] = copy.deepcopy(_VALUES[data[2] // 6 % len(_VALUES)])
        case 5 if isinstance(container, dict) and isinstance(container[key], dict):
            container[key].update(
                copy.deepcopy(piece) if isinstance(piece := pieces[choice % len(pieces)], dict) else {}
            )


def _open_existing(path: Any, flags: int, mode: int = 0o777) -> int:
    """As `os.open`; the files of access logs, which a config names as it likes, are not made."""
    return _OPEN(path, flags & ~os.O_CREAT, mode)


@target(*(bytes((number,)) for number in range(27)), b"\x03\0\x10\0\0\x05\0\x20\x01\x00\x30\0\x05\x04\1\7")
def compiled_config(data: bytes) -> None:
    """A config, or every problem with a reason; the first byte chooses a base, the others change it."""
    if not data:
        return
    tree = copy.deepcopy(_bases()[data[0] % len(_bases())])
    for at in range(1, min(len(data), _CHANGE * _MOST_CHANGES), _CHANGE):
        _change(tree, data[at : at + _CHANGE].ljust(_CHANGE, b"\0"))
    problems: tuple[Problem, ...] = ()
    try:
        with mock.patch.object(os, "open", _open_existing):
            load(Options(config_yaml=json.dumps(tree)))
    except ConfigError as error:
        problems = error.problems or (Problem("", ""),)
    assert all(problem.reason for problem in problems)
