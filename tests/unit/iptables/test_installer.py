from __future__ import annotations

import pytest

from iptables import installer
from iptables.config import Config, build
from iptables.errors import ConflictError, MachineError
from iptables.installer import apply, mesh_warnings, plan_apply, remove
from tests.unit.iptables.fake_machine import FakeMachine

FLAGS = {"inbound_ports": "*", "service_cidr": "*", "redirect_dns": "true", "capture_all_dns": "true"}


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "may_change", lambda: True)
    monkeypatch.setattr(installer, "_tidy", lambda *_: None)


def config(**flags: str) -> Config:
    return build({**FLAGS, "ipv6": "false", **flags}, {})


def machine(config: Config, fail_at: int = -1) -> FakeMachine:
    made = FakeMachine(config, fail_at)
    made.chains[4]["nat"] = {
        "PREROUTING": ["-j DOCKER"],
        "INPUT": [],
        "OUTPUT": ["-p tcp -j RETURN", "-j DOCKER"],
        "POSTROUTING": ["-j MASQUERADE"],
        "DOCKER": [],
    }
    return made


def test_what_is_applied_is_found_again_and_removed() -> None:
    found = machine(config())
    before = found.save(4)
    plan = apply(config(), found)
    assert plan.steps
    assert "-j ISTIO_OUTPUT" in found.chains[4]["nat"]["OUTPUT"]
    assert apply(config(), found).steps == ()
    removed = remove(config(), found)
    assert "- iptables -t nat -A OUTPUT -j ISTIO_OUTPUT" in removed
    del found.chains[4]["raw"]
    assert found.save(4) == before


def test_rules_of_another_configuration_need_a_word() -> None:
    found = machine(config())
    apply(config(), found)
    before = found.save(4)
    with pytest.raises(ConflictError, match="use --reconcile"):
        apply(config(envoy_port="16001"), found)
    assert found.save(4) == before
    apply(config(envoy_port="16001", reconcile="true"), found)
    assert "16001" in found.save(4)
    assert "15001" not in found.save(4)


@pytest.mark.parametrize("first", [False, True])
def test_a_step_that_fails_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    """The first configuration, where one was installed."""
    monkeypatch.setattr("iptables.runner.kernel_ipv6", lambda: True)
    both = config(ipv6="true")
    found = machine(both)
    if first:
        apply(both, found)
    before = (found.save(4), found.save(6))
    found.steps, found.fail_at = 0, 1 if first else 2
    with pytest.raises(MachineError, match="the rules are as they were"):
        apply(config(ipv6="true", envoy_port="16001", reconcile="true"), found)
    keys = [_rules(text) for text in (found.save(4), found.save(6))]
    assert keys == [_rules(text) for text in before]


def _rules(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if line.startswith("-A"))


def test_another_mesh_is_named_once() -> None:
    found = machine(config())
    found.chains[4]["nat"] |= {"PROXY_INIT_OUTPUT": [], "PROXY_INIT_REDIRECT": [], "KUMA_MESH_OUTBOUND": []}
    warnings = mesh_warnings(found.installed(routing=False))
    assert [("Linkerd" in text, "Kuma" in text) for text in warnings] == [(True, False), (False, True)]
    with pytest.raises(ConflictError, match="Linkerd"):
        apply(config(), found)


def test_what_is_missing_is_named_with_its_package() -> None:
    found = machine(config())
    with pytest.raises(MachineError, match="nft is not installed; install the package nftables"):
        plan_apply(config(native_nftables="true"), found)
    found.find = lambda name: None if name == "ip" else f"/sbin/{name}"  # type: ignore[method-assign]
    with pytest.raises(MachineError, match="TPROXY needs a route, and `ip` is not installed"):
        plan_apply(config(inbound_interception_mode="TPROXY"), found)


def test_without_the_privilege_nothing_is_read_or_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "may_change", lambda: False)
    for action in (apply, remove):
        with pytest.raises(MachineError, match="NET_ADMIN"):
            action(config(), machine(config()))
