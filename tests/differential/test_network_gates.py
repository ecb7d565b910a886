"""Network filters that decide about connections: replies, statistics and access logs of real Envoy and ours."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.support.configs import Json, address, file_log, typed
from tests.support.differential import Pair, Side, pair_fixture, same_verdict

NETWORK = "envoy.extensions.filters.network."
LOG = (
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_LOCAL_CLOSE_REASON% "
    "%FILTER_STATE(envoy.tcp_proxy.cluster:PLAIN)% %FILTER_STATE(mine:PLAIN)% %FILTER_STATE(address:PLAIN)% "
    "%DYNAMIC_METADATA(envoy.filters.network.rbac)% %DYNAMIC_METADATA(envoy.common)%"
)
ANY = [{"any": True}]


def network_filter(kind: str, **fields: Any) -> Json:
    return {"name": kind.partition(".")[0], "typed_config": typed(NETWORK + kind, **fields)}


ECHO = network_filter("echo.v3.Echo")


def rbac(prefix: str, **fields: Any) -> Json:
    return network_filter("rbac.v3.RBAC", stat_prefix=prefix, **fields)


def policy(permission: Json | None = None, principal: Json | None = None) -> Json:
    given = (one if one is not None else {"any": True} for one in (permission, principal))
    return dict(zip(("permissions", "principals"), ([one] for one in given), strict=True))


def value(key: str, text: str, **fields: Any) -> Json:
    return {"object_key": key, "format_string": {"text_format_source": {"inline_string": text}}, **fields}


def listener(name: str, *filters: Json, **fields: Any) -> Json:
    return {
        "name": name,
        "stat_prefix": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "access_log": [file_log(LOG)],
        "filter_chains": [{"filters": [*filters, ECHO]}],
        **fields,
    }


LOOPBACK = {"address_prefix": "127.0.0.0", "prefix_len": 8}
RULES: dict[str, Json] = {
    "allowed": {"policies": {"p": policy({"destination_ip": LOOPBACK}, {"direct_remote_ip": LOOPBACK})}},
    "port": {"policies": {"p": policy({"destination_port_range": {"start": 1, "end": 2}})}},
    "denied": {
        "action": "DENY",
        "policies": {
            "other": policy({"destination_port": 1}),
            " my  \tpolicy é": policy(None, {"source_ip": LOOPBACK}),
        },
    },
    "nobody": {},
    "logged": {"action": "LOG", "policies": {"p": policy({"not_rule": {"url_path": {"path": {"exact": "/"}}}})}},
    "tls": {"policies": {"p": policy(None, {"authenticated": {}})}},
    "named": {"policies": {"p": policy({"requested_server_name": {"exact": ""}}, {"remote_ip": LOOPBACK})}},
}  # fmt: skip
SHADOW: Json = {
    "rules": RULES["allowed"],
    "shadow_rules": RULES["denied"],
    "shadow_rules_stat_prefix": "sh",
}
STATE = network_filter(
    "set_filter_state.v3.Config",
    on_new_connection=[
        value("envoy.tcp_proxy.cluster", "c-%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        value("mine", "<%FILTER_STATE(envoy.tcp_proxy.cluster:PLAIN)%>", factory_key="envoy.string"),
        value("address", "1.2.3.4:80", factory_key="envoy.network.transport_socket.original_dst_address"),
    ],
)
LIMITED = network_filter(
    "local_ratelimit.v3.LocalRateLimit",
    stat_prefix="lr",
    token_bucket={"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "3600s"},
)
pair = pair_fixture(
    {
        "admin": {"address": address("{{admin_port}}")},
        "static_resources": {
            "listeners": [
                *(listener(name, rbac(name, rules=rules)) for name, rules in RULES.items()),
                listener("shadow", rbac("shadow", **SHADOW)),
                listener("empty", rbac("empty")),
                listener("state", STATE),
                listener("limited", LIMITED),
            ]
        },
    },
    origins=(),
    listeners=(*RULES, "shadow", "empty", "state", "limited"),
)


def converse(port: int) -> bytes:
    """What comes back for two bytes: them, or nothing."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(b"hi")
        return client.recv(10)


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("allowed", b"hi"),
        ("port", b""),
        ("denied", b""),
        ("nobody", b""),
        ("logged", b"hi"),
        ("tls", b""),
        ("named", b"hi"),
        ("shadow", b"hi"),
        ("empty", b"hi"),
        ("state", b"hi"),
    ],
)
def test_a_connection_passes_or_does_not(pair: Pair, name: str, reply: bytes) -> None:
    before = pair.lines_logged()
    with pair.same_stats(f"{name}.rbac.", f"listener.{name}."):
        assert pair.same_value(name, lambda side: converse(side.proxy.ports[name]), settle=0) == reply
    pair.logged_since(before, 1)
    pair.same_log()


def test_connections_over_the_rate_are_closed(pair: Pair) -> None:
    def outcome(side: Side) -> bytes:
        try:
            return converse(side.proxy.ports["limited"])
        except ConnectionResetError:
            return b""

    with pair.same_stats("local_rate_limit.lr.", "listener.limited."):
        # The end of each must be logged before the next, or the order of the lines is chance.
        for reply in (b"hi", b"hi", b"", b""):
            before = pair.lines_logged()
            assert pair.same_value("reply", outcome, settle=0) == reply
            pair.logged_since(before, 1)
    assert all("URX" in line for line in pair.same_log(2))


def validated(one: Json) -> Json:
    chains = [{"filters": [one, ECHO]}]
    return {
        "static_resources": {"listeners": [{"name": "l", "address": address(1), "filter_chains": chains}]}
    }


@pytest.mark.parametrize(
    ("one", "accepted"),
    [
        (rbac("r", rules={"policies": {"p": policy({"header": {"name": "a"}})}}), False),
        (rbac("r", rules={"policies": {"p": policy(None, {"header": {"name": "a"}})}}), False),
        (rbac("r", rules={"policies": {"p": {"permissions": ANY}}}), False),
        (rbac("r", rules={"policies": {"p": policy({"any": False})}}), False),
        (rbac("r", rules={"policies": {"p": policy({})}}), False),
        (rbac("r", rules={"policies": {"p": policy({"destination_port": 70000})}}), False),
        (rbac("r", rules={"policies": {"p": policy({"destination_ip": {"address_prefix": "x"}})}}), False),
        (rbac("r", rules={"policies": {"p": policy({"destination_port_range": {"start": 2, "end": 2}})}}), False),
        (rbac("r", delay_deny="1s"), True),
        (rbac("", rules={}), False),
        (network_filter("set_filter_state.v3.Config", on_new_connection=[value("x", "y")]), False),
        (network_filter("set_filter_state.v3.Config", on_new_connection=[value("", "y")]), False),
        (network_filter("set_filter_state.v3.Config", on_new_connection=[{"object_key": "envoy.string"}]), False),
        (network_filter("sni_cluster.v3.SniCluster"), True),
        (network_filter("local_ratelimit.v3.LocalRateLimit", stat_prefix="x"), False),
        (
            network_filter(
                "local_ratelimit.v3.LocalRateLimit",
                stat_prefix="x",
                token_bucket={"max_tokens": 1, "fill_interval": "0.04s"},
            ),
            False,
        ),
    ],
)  # fmt: skip
def test_both_refuse_the_same(one: Json, accepted: bool) -> None:
    assert same_verdict(validated(one))[0] is accepted
