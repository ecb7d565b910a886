from __future__ import annotations

from typing import Any

from proxy.config.demands import Demands


class User:
    def __init__(self) -> None:
        self.answers = 0

    def on_demanded(self) -> None:
        self.answers += 1


def test_each_thing_is_asked_for_once_and_everybody_hears_of_it() -> None:
    sent: list[tuple[Any, ...]] = []
    demands, one, two, gone = Demands(sent.append), User(), User(), User()
    demands.ask("key", "name", one)
    demands.ask("key", "name", two)
    demands.ask("key", "name", gone)
    demands.ask("CLUSTER", "name", two, b"source")
    demands.forget("key", "name", gone)
    assert sent == [("demand", "key", "name", b""), ("demand", "CLUSTER", "name", b"source")]
    demands.answer("key", "name")
    demands.answer("key", "name")
    assert (one.answers, two.answers, gone.answers) == (1, 1, 0)
    demands.forget("key", "name", one)
    demands.ask("key", "name", one)
    assert len(sent) == 3
