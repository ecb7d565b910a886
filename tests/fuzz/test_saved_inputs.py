"""What explorations have kept, and the examples they begin with, run through every parser."""

from __future__ import annotations

import pytest

from tests.fuzz.all_targets import TARGETS
from tests.fuzz.target import CORPORA


@pytest.mark.parametrize("name", TARGETS)
def test_every_saved_input_gets_a_verdict(name: str) -> None:
    target = TARGETS[name]
    for data in (b"", *target.seeds, *target.saved()):
        try:
            target.run(data)
        except Exception as error:
            raise AssertionError(f"{name}: {data!r}") from error


def test_saved_inputs_belong_to_a_target() -> None:
    assert {path.stem for path in CORPORA.iterdir()} == set(TARGETS)
