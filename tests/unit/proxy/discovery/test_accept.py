from __future__ import annotations

import logging

import pytest

from proxy.base.errors import Problem
from proxy.discovery import accept


def test_what_has_no_effect_is_told_once_however_many_resources_have_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "_told", set())
    caplog.set_level(logging.WARNING)
    accept.tell("Cluster a", [Problem(".filters[0].x", "has no effect"), Problem("y['k'].z", "is odd")])
    accept.tell("Cluster b", [Problem("filters[7].x", "has no effect"), Problem("filters[7].x", "is new")])
    assert caplog.messages == [
        "Cluster a: filters[0].x: has no effect",
        "Cluster a: y['k'].z: is odd",
        "Cluster b: filters[7].x: is new",
    ]
