from __future__ import annotations

from pathlib import Path

import pytest

from proxy.__main__ import main
from tests.support.outrider import ROOT


def test_a_folder_can_be_checked_without_serving_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["control-plane", "--check", str(ROOT / "examples" / "mesh" / "resources")]) == 0
    (tmp_path / "a.yaml").write_text("resources:\n- {}\n")
    assert main(["control-plane", "--check", str(tmp_path)]) == 1
    assert f"{tmp_path}/a.yaml:2:3: resources[0]: this is no type of resource" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nonexistent"], "/nonexistent is no directory"),
        ([".", "--port", "70000"], "--port must be between 0 and 65535"),
    ],
)
def test_a_wrong_command_line_ends_with_1(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["control-plane", *arguments]) == 1
    assert capsys.readouterr().err.strip() == message
