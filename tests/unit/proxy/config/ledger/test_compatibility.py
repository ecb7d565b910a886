from __future__ import annotations

from pathlib import Path

from proxy.config.ledger import compatibility

ROOT = Path(__file__).resolve().parents[5]


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / compatibility.PATH).read_text()
    assert page == compatibility.render(ROOT), "run python -m proxy.config.ledger.generate"


def test_every_listed_difference_is_of_a_test_that_exists() -> None:
    page = compatibility.render(ROOT)
    listed = [
        line.split("`")[1]
        for line in page.partition("## Listed differences")[2].splitlines()
        if line[:3] == "- `"
    ]
    assert listed
    assert all((ROOT / "tests" / module).exists() for module in listed)
