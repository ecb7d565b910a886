from __future__ import annotations

from pathlib import Path

import pytest

from iptables.config import Config, build
from iptables.errors import MachineError
from iptables.runner import Runner, base_chains, enter, explain, wants_ipv6


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (
            "iptables-restore: Permission denied (you must be root)\n",
            "run as root or with the capability NET_ADMIN",
        ),
        ("Error: Operation not permitted\n", "NET_ADMIN"),
        (
            "Warning: Extension TPROXY is not supported, missing kernel module?\n",
            "load its module with modprobe",
        ),
        ("Another app is currently holding the xtables lock\n", "try again when it has ended"),
        ("iptables-restore: line 7 failed\nTry `--help'\n", "nft failed: iptables-restore: line 7 failed"),
        ("", "nft failed: failed without a word"),
    ],
)
def test_a_failure_is_one_line_with_its_remedy(stderr: str, said: str) -> None:
    text = explain("nft", stderr)
    assert said in text
    assert "\n" not in text


def folder(path: Path, *names: str) -> Runner:
    """A runner that finds programs there alone; each prints its name and what it is given."""
    for name in names:
        program = path / name
        program.write_text('#!/bin/sh\necho "${0##*/} $*"; cat\n')
        program.chmod(0o755)
    runner = Runner(Config())
    runner._folders = [str(path)]
    return runner


@pytest.mark.parametrize(
    ("names", "forced", "command"),
    [
        (("iptables-nft-restore", "iptables-restore"), "", "iptables-nft-save"),
        (("iptables-restore",), "", "iptables-save"),
        (("iptables-nft-restore",), "legacy", "iptables-legacy-save"),
    ],
)
def test_the_binaries_are_those_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], forced: str, command: str
) -> None:
    runner = folder(tmp_path, *names)
    monkeypatch.setattr(runner, "legacy_in_use", lambda: False)
    runner.config = build({"force_iptables_binary": forced}, {})
    assert runner.backend().command("save", 4) == command
    assert runner.backend().command("save", 6) == command.replace("iptables", "ip6tables")


def test_rules_of_legacy_in_use_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = folder(tmp_path, "iptables-nft-restore", "iptables-legacy-save")
    monkeypatch.setattr(runner, "legacy_in_use", lambda: True)
    assert runner.backend().flavour == "legacy"


def test_a_missing_binary_is_named_with_its_package(tmp_path: Path) -> None:
    runner = folder(tmp_path)
    for name, package in (("nft", "nftables"), ("ip", "iproute2"), ("iptables-nft-save", "iptables")):
        with pytest.raises(MachineError, match=f"{name} is not installed; install the package {package}"):
            runner.run(name)
    with pytest.raises(MachineError, match="iptables-restore is not installed"):
        runner.backend()


def test_commands_run_side_by_side_and_answer_in_order(tmp_path: Path) -> None:
    runner = folder(tmp_path, "a", "b")
    found = runner.gather([("a", "1"), ("b", "2")], "text")
    assert [done.stdout for done in found] == ["a 1\ntext", "b 2\ntext"]


def test_chains_of_a_listing() -> None:
    listing = "table ip nat {\nchain OUTPUT {\ntype nat hook output priority 0;\n\t}\n}\ntable inet x {\n}\n"
    assert base_chains(listing) == {("ip", "nat", ""), ("ip", "nat", "OUTPUT"), ("inet", "x", "")}


@pytest.mark.parametrize(
    ("addresses", "dual", "wanted"),
    [
        ((True, True), False, False),
        ((True, True), True, True),
        ((False, True), False, True),
        ((True, False), True, False),
    ],
)
def test_ipv6_is_captured_as_istio_decides(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[bool, bool], dual: bool, wanted: bool
) -> None:
    monkeypatch.setattr("iptables.runner.addresses", lambda: addresses)
    assert wants_ipv6(build({"dual_stack": str(dual)}, {})) is wanted
    assert wants_ipv6(build({"ipv6": "true"}, {})) is True


def test_a_namespace_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="No such file or directory"):
        enter(str(tmp_path / "none"))
    with pytest.raises(MachineError, match="cannot enter"):
        enter(str(tmp_path))
