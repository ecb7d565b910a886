from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxy.config.ledger import generate

PAGE = Path(__file__).resolve().parents[5] / generate.DEFAULT_PATH


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == generate.render(), "run python -m proxy.config.ledger.generate"


def test_the_page_is_written_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["generate", str(tmp_path / "page.md")])
    generate.main()
    assert (tmp_path / "page.md").read_text() == generate.render()
