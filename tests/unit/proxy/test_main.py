from __future__ import annotations

import pytest

from proxy.__main__ import main


def test_version_and_help_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert "outrider  version: " in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert "USAGE" in capsys.readouterr().out
    assert main(["--hot-restart-version"]) == 0
    assert capsys.readouterr().out == "outrider.1\n"
    assert main(["--hot-restart-version", "--disable-hot-restart"]) == 0
    assert capsys.readouterr().out == "disabled\n"


def test_a_wrong_command_line_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nonsense"]) == 1
    assert "PARSE ERROR" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["explain"])
def test_verbs_to_come_are_refused(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 1
    assert capsys.readouterr().err == f"error: 'outrider {verb}' is not in this version\n"


def test_capturing_traffic_needs_to_be_asked_for_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["iptables"]) == 1
    assert "nothing was changed" in capsys.readouterr().err
