"""The RBAC network filter."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from proxy.base.address import Address
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, DrainState, TlsInfo
from proxy.filters.api import ListenerFacts
from proxy.filters.network.rbac import FACTORY, NAMESPACE, RbacFilter
from tests.support.certs import Authority
from tests.support.listeners import (
    accept,
    chain,
    compile_checked,
    compiled,
    connect,
    echo,
    listener,
    network_filter,
    numbers,
    services,
)

ANY = [{"any": True}]


def rbac(**fields: Any) -> dict[str, Any]:
    return network_filter("rbac.v3.RBAC", **{"stat_prefix": "r", **fields})


def policy(permissions: Any = ANY, principals: Any = ANY) -> dict[str, Any]:
    return {"permissions": permissions, "principals": principals}


def made(of: WorkerServices, **fields: Any) -> RbacFilter:
    config = compiled(listener(chain(rbac(**fields), echo()))).chains[0].filters[0].config
    gate: RbacFilter = FACTORY.create(config, of, ListenerFacts("l", "a", "listener.l."))
    return gate


def connection(**facts: Any) -> ConnectionInfo:
    result = ConnectionInfo(1, Address("10.1.2.3", 5), Address("10.0.0.1", 80), 0.0, DrainState())
    for name, value in facts.items():
        setattr(result, name, value)
    return result


def allows(one: dict[str, Any], of: ConnectionInfo | None = None) -> bool:
    return made(services(), rules={"policies": {"p": one}}).on_new_connection(of or connection())


@pytest.mark.parametrize(
    ("rule", "permitted"),
    [
        ({"any": True}, True),
        ({"destination_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}, True),
        ({"destination_ip": {"address_prefix": "11.0.0.0", "prefix_len": 8}}, False),
        ({"destination_port": 80}, True),
        ({"destination_port": 81}, False),
        ({"destination_port_range": {"start": 80, "end": 81}}, True),
        ({"destination_port_range": {"start": 1, "end": 80}}, False),
        ({"requested_server_name": {"suffix": ".a.com"}}, True),
        ({"requested_server_name": {"exact": "a.com"}}, False),
        ({"not_rule": {"destination_port": 80}}, False),
        ({"and_rules": {"rules": [{"any": True}, {"destination_port": 81}]}}, False),
        ({"or_rules": {"rules": [{"destination_port": 81}, {"any": True}]}}, True),
        ({"url_path": {"path": {"prefix": "/"}}}, False),
        ({"metadata": {"filter": "f", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}}, True),
        ({"sourced_metadata": {"metadata_source": "ROUTE", "metadata_matcher": {
            "filter": "f", "path": [{"key": "k"}], "value": {"present_match": True}}}}, False),
    ],
)  # fmt: skip
def test_permissions(rule: dict[str, Any], permitted: bool) -> None:
    of = connection(requested_server_name="x.a.com", dynamic_metadata={"f": {"k": "v"}})
    assert allows(policy(permissions=[rule]), of) is permitted


@pytest.mark.parametrize(
    ("principal", "identified"),
    [
        ({"source_ip": {"address_prefix": "10.1.2.3", "prefix_len": 32}}, True),
        ({"remote_ip": {"address_prefix": "10.1.0.0", "prefix_len": 16}}, True),
        ({"direct_remote_ip": {"address_prefix": "10.1.0.0", "prefix_len": 16}}, False),
        ({"not_id": {"source_ip": {"address_prefix": "10.1.2.3", "prefix_len": 32}}}, False),
        ({"or_ids": {"ids": [{"authenticated": {}}, {"any": True}]}}, True),
        ({"and_ids": {"ids": [{"authenticated": {}}, {"any": True}]}}, False),
        ({"filter_state": {"key": "s", "string_match": {"exact": "v"}}}, True),
        ({"filter_state": {"key": "t", "string_match": {"exact": "v"}}}, False),
        ({"filter_state": {"key": "a", "address_match": {"ranges": [
            {"address_prefix": "1.2.3.0", "prefix_len": 24}]}}}, True),
    ],
)  # fmt: skip
def test_principals(principal: dict[str, Any], identified: bool) -> None:
    of = connection(
        direct_remote_address=Address("9.9.9.9", 1), filter_state={"s": "v", "a": Address("1.2.3.4", 5)}
    )
    assert allows(policy(principals=[principal]), of) is identified


def test_any_tls_connection_is_authenticated_unless_a_name_is_asked_for() -> None:
    of = connection(tls=TlsInfo())
    assert allows(policy(principals=[{"authenticated": {}}]), of)
    assert not allows(policy(principals=[{"authenticated": {"principal_name": {"exact": "a"}}}]), of)


def test_a_certificate_s_names_and_its_subject_are_principals(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("spiffe://a/b", "b.test", common_name="owner")
    of = connection(tls=TlsInfo())
    pem = issued.certificate.read_text()
    of.tls.peer_certificate_der = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 25])  # type: ignore[union-attr]
    for name in ("spiffe://a/b", "b.test", "CN=owner"):
        assert allows(policy(principals=[{"authenticated": {"principal_name": {"exact": name}}}]), of)
    assert not allows(policy(principals=[{"authenticated": {"principal_name": {"exact": "a"}}}]), of)


def test_a_denied_connection_says_which_policy_denied_it() -> None:
    of = services()
    gate = made(of, rules={"action": "DENY", "policies": {"my policy": policy(), "z": policy()}})
    denied = connection()
    assert not gate.on_new_connection(denied)
    assert denied.termination_details == "rbac_access_denied_matched_policy[my_policy]"
    assert denied.local_close_reason == "rbac_deny_close"
    gate = made(of, rules={"policies": {}})
    assert not gate.on_new_connection(denied)
    assert denied.termination_details == "rbac_access_denied_matched_policy[none]"
    assert numbers(of) == {"r.rbac.denied": 2}


def test_shadow_rules_only_count_and_tell() -> None:
    of = services()
    one = connection()
    gate = made(
        of,
        rules={"policies": {"p": policy()}},
        shadow_rules={"action": "DENY", "policies": {"s": policy()}},
        shadow_rules_stat_prefix="sh",
    )
    assert gate.on_new_connection(one)
    assert numbers(of) == {"r.rbac.allowed": 1, "r.rbac.sh.shadow_denied": 1}
    assert one.dynamic_metadata[NAMESPACE] == {
        "shshadow_engine_result": "denied",
        "shshadow_effective_policy_id": "s",
    }


def test_without_rules_everybody_may_pass_uncounted() -> None:
    of = services()
    assert made(of).on_new_connection(connection())
    assert numbers(of) == {}


def test_logging_rules_leave_a_hint() -> None:
    of = connection()
    assert made(services(), rules={"action": "LOG", "policies": {"p": policy()}}).on_new_connection(of)
    assert of.dynamic_metadata == {"envoy.common": {"access_log_hint": True}}


def test_a_denied_connection_is_closed_with_its_first_byte_and_never_answered() -> None:
    acceptor = accept(listener(chain(rbac(rules={}), echo())), services())
    transport = connect(acceptor)
    assert not transport.aborted
    transport.protocol.data_received(b"x")
    assert transport.aborted
    assert transport.written == b""


def test_a_silent_denied_connection_is_closed_in_the_end() -> None:
    of = services()
    transport = connect(accept(listener(chain(rbac(rules={}), echo())), of))
    of.timers.advance(2)  # type: ignore[attr-defined]
    assert transport.aborted


def test_a_denied_connection_may_be_held() -> None:
    of = services()
    transport = connect(accept(listener(chain(rbac(rules={}, delay_deny="3s"), echo())), of))
    transport.protocol.data_received(b"x")
    assert not transport.aborted
    of.timers.advance(4)  # type: ignore[attr-defined]
    assert transport.aborted


def test_what_is_refused() -> None:
    def reasons(**fields: Any) -> list[str]:
        _, problems = compile_checked(listener(chain(rbac(**fields), echo())))
        return [problem.rpartition("typed_config.")[2] for problem in problems]

    assert reasons(stat_prefix="") == ["stat_prefix: value length must be at least 1 characters"]
    assert "CONTINUOUS" in reasons(enforcement_type="CONTINUOUS")[0]
    header = [{"header": {"name": "a"}}]
    assert "Found header" in reasons(rules={"policies": {"p": policy(permissions=header)}})[0]
    assert "Found header" in reasons(rules={"policies": {"p": policy(principals=header)}})[0]
    bad = [{"destination_port_range": {"start": 5, "end": 5}}, {"destination_ip": {"address_prefix": "x"}}]
    found = reasons(rules={"policies": {"p": policy(permissions=bad)}})
    assert len(found) == 2
    assert "range start 5" in found[0]
    assert "malformed" in found[1]
