from __future__ import annotations

import argparse

import pytest

from iptables.cli import main
from iptables.config import build
from iptables.doctor_command import run
from tests.unit.iptables.fake_machine import FakeMachine


def options(**given: str) -> argparse.Namespace:
    default = {
        "to": "",
        "source": "",
        "uid": "1000",
        "gid": "",
        "protocol": "tcp",
        "direction": "out",
        "interface": "",
    }
    return argparse.Namespace(**{**default, **given})


def test_a_packet_is_followed_through_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    config = build({}, {})
    machine = FakeMachine(config)
    machine.chains[4]["nat"] = {
        "OUTPUT": ["-o lo -j RETURN", "-p tcp -j ISTIO_OUTPUT"],
        "ISTIO_OUTPUT": ["-p tcp -j REDIRECT --to-ports 15001"],
    }
    assert run(config, options(to="10.0.0.1:80"), machine) == 0
    printed = capsys.readouterr().out
    assert "OUTPUT rule 2: -p tcp -j ISTIO_OUTPUT" in printed
    assert "=> redirected to port 15001 of this machine" in printed
    run(config, options(to="127.0.0.1:80"), machine)
    assert "not captured" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["10.0.0.1", "10.0.0.1:0", "host:80", "[::1]:x"])
def test_a_destination_that_is_none(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    from iptables.errors import SettingError

    config = build({}, {})
    with pytest.raises(SettingError, match="is not an address and a port"):
        run(config, options(to=where), FakeMachine(config))


def test_an_unknown_direction_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--direction", "up"]) == 1
    assert "invalid choice: 'up'" in capsys.readouterr().err
