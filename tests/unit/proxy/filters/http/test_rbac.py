from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from envoy.extensions.matching.common_inputs.ssl.v3 import ssl_inputs_pb2
from envoy.extensions.matching.input_matchers.ip.v3 import ip_pb2
from envoy.extensions.matching.input_matchers.metadata.v3 import metadata_pb2
from envoy.extensions.rbac.principals.mtls_authenticated.v3 import mtls_authenticated_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from google.protobuf import json_format

from proxy.base.address import Address
from proxy.base.stream_info import TlsInfo
from proxy.config.context import CompileContext
from proxy.filters.http import rbac
from tests.support.certs import Authority
from tests.support.filters import FilteredStream
from tests.support.listeners import numbers, services

DENIED = "rbac_access_denied_matched_policy"
#: What stands in an Any is found only if it is loaded.
LOADED = (
    http_inputs_pb2, ip_pb2, metadata_pb2, mtls_authenticated_pb2, network_inputs_pb2, ssl_inputs_pb2,
)  # fmt: skip


def policy(permission: Any = None, principal: Any = None) -> dict[str, Any]:
    return {"permissions": [permission or {"any": True}], "principals": [principal or {"any": True}]}


def path(**pattern: Any) -> dict[str, Any]:
    return {"url_path": {"path": pattern}}


def compiled(problems: list[str] | None = None, **fields: Any) -> rbac.RbacConfig:
    message = json_format.ParseDict(fields, rbac_pb2.RBAC())
    config: rbac.RbacConfig = rbac.FACTORY.compile(message, "rbac", context := CompileContext())
    if problems is None:
        assert not context.problems
    else:
        problems += context.problems
    return config


def of_route(**fields: Any) -> Any:
    message = json_format.ParseDict(fields, rbac_pb2.RBACPerRoute())
    assert rbac.FACTORY.compile_route is not None
    config = rbac.FACTORY.compile_route(message, "route", context := CompileContext())
    assert not context.problems
    return config


class RoutedStream(FilteredStream):
    """With a route."""

    routed: Any = None

    @property
    def route(self) -> Any:
        return self.routed


class Guarded:
    """Requests through one filter."""

    def __init__(self, config: rbac.RbacConfig) -> None:
        self.services = services()
        assert rbac.FACTORY.create is not None
        self.make: Any = rbac.FACTORY.create(config, self.services, "http.x.")

    def ask(
        self, target: str = "/", *, overrides: Any = None, route: Any = None, **facts: Any
    ) -> RoutedStream:
        stream = RoutedStream(self.make, overrides=overrides)
        stream.routed = route
        fields = facts.pop("fields", {})
        for name, value in facts.items():
            setattr(stream.info if hasattr(type(stream.info), name) else stream.info.connection, name, value)
        stream.begin(end_stream=True, method="GET", path=target, **fields)
        assert bool(stream.replies) is not bool(stream.request)
        return stream

    def refusal(self, target: str = "/", **facts: Any) -> str:
        return "".join(self.ask(target, **facts).replies)

    @property
    def numbers(self) -> dict[str, int]:
        return {name.removeprefix("http.x.rbac."): value for name, value in numbers(self.services).items()}


def test_a_refusal_names_the_policy_that_denied() -> None:
    guarded = Guarded(
        compiled(rules={"action": "DENY", "policies": {"my policy": policy(path(prefix="/a"))}})
    )
    assert guarded.refusal("/a?b") == f"{DENIED}[my_policy]"
    assert guarded.refusal("/b?/a") == ""
    assert guarded.numbers == {"allowed": 1, "denied": 1}


def test_a_refusal_says_that_nothing_allowed_the_request() -> None:
    guarded = Guarded(compiled(rules={"policies": {"p": policy(path(exact="/a"))}}))
    assert guarded.refusal("/b") == f"{DENIED}[none]"
    stream = guarded.ask("/b")
    assert stream.response_head.status == 403
    assert stream.response_body == b"RBAC: access denied"


def test_the_first_policy_by_name_counts() -> None:
    both = {"action": "DENY", "policies": {"b": policy(), "a": policy(), "c": policy()}}
    assert Guarded(compiled(rules=both)).refusal() == f"{DENIED}[a]"


@pytest.mark.parametrize(
    ("permission", "permitted"),
    [
        ({"header": {"name": "x-a", "string_match": {"exact": "a"}}}, True),
        ({"header": {"name": "x-b", "string_match": {"exact": "a"}}}, False),
        ({"not_rule": {"header": {"name": "x-b", "present_match": True}}}, True),
        ({"header": {"name": ":path", "string_match": {"suffix": "?q"}}}, True),
        (path(exact="/users/1"), True),
        ({"and_rules": {"rules": [path(prefix="/users"), {"any": True}, {"destination_port": 22000}]}}, True),
        ({"and_rules": {"rules": [path(prefix="/users"), {"destination_port": 1}, {"any": True}]}}, False),
        ({"or_rules": {"rules": [{"destination_port": 1}, path(suffix="/1")]}}, True),
        ({"or_rules": {"rules": [{"destination_port": 1}, {"any": True}]}}, True),
        ({"destination_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}}, True),
        ({"requested_server_name": {"exact": ""}}, True),
        ({"metadata": {"filter": "f", "path": [{"key": "k"}], "value": {"present_match": True}}}, False),
    ],
)  # fmt: skip
def test_permissions(permission: dict[str, Any], permitted: bool) -> None:
    guarded = Guarded(compiled(rules={"policies": {"p": policy(permission)}}))
    assert (guarded.refusal("/users/1?q", fields={"x_a": "a"}) == "") is permitted


def test_alternatives_of_one_kind_are_each_enough() -> None:
    paths = [path(exact="/a"), path(exact="/b"), path(exact="/C", ignore_case=True), path(prefix="/d/")]
    guarded = Guarded(compiled(rules={"policies": {"p": policy({"or_rules": {"rules": paths}})}}))
    assert [guarded.refusal(target) == "" for target in ("/a?q", "/b", "/c", "/C", "/d/e", "/A", "/e")] == [
        *[True] * 5,
        *[False] * 2,
    ]
    ranges = [{"remote_ip": {"address_prefix": f"10.{number}.0.0", "prefix_len": 16}} for number in range(3)]
    ranges.append({"direct_remote_ip": {"address_prefix": "192.168.0.0", "prefix_len": 16}})
    guarded = Guarded(compiled(rules={"policies": {"p": {**policy(), "principals": ranges}}}))
    assert guarded.refusal(remote_address=Address("10.2.3.4", 0)) == ""
    assert guarded.refusal(remote_address=Address("10.3.3.4", 0))
    assert guarded.refusal(direct_remote_address=Address("192.168.1.1", 0)) == ""
    named = [{"authenticated": {"principal_name": {"exact": name}}} for name in ("a", "")]
    guarded = Guarded(compiled(rules={"policies": {"p": policy(None, {"or_ids": {"ids": named}})}}))
    assert guarded.refusal(tls=TlsInfo()) == ""
    assert guarded.refusal()


def test_each_bad_alternative_is_told_by_its_own_path() -> None:
    problems: list[Any] = []
    ranges = [{"remote_ip": {"address_prefix": text}} for text in ("10.0.0.1", "x", "y")]
    compiled(problems, rules={"policies": {"p": {**policy(), "principals": ranges}}})
    assert [str(problem).partition(":")[0] for problem in problems] == [
        f'rbac.rules.policies["p"].principals[{index}].remote_ip.address_prefix' for index in (1, 2)
    ]


def test_templates_of_paths() -> None:
    of = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
    template = {"uri_template": {"name": "t", "typed_config": {"@type": of, "path_template": "/users/*"}}}
    guarded = Guarded(compiled(rules={"policies": {"p": policy(template)}}))
    assert guarded.refusal("/users/1?q/r") == ""
    assert guarded.refusal("/users/1/2")


def test_parameters_of_a_path_are_ignored_where_the_route_ignores_them() -> None:
    guarded = Guarded(compiled(rules={"action": "DENY", "policies": {"p": policy(path(exact="/a/b"))}}))
    assert guarded.refusal("/a;x/b;y?z") == ""
    assert guarded.refusal("/a;x/b;y?z", route=SimpleNamespace(ignores_path_parameters=True))


def test_metadata_of_the_route() -> None:
    matcher = {"filter": "f", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}
    sourced = {"sourced_metadata": {"metadata_source": "ROUTE", "metadata_matcher": matcher}}
    guarded = Guarded(compiled(rules={"policies": {"p": policy(sourced)}}))
    metadata = json_format.ParseDict({"filter_metadata": {"f": {"k": "v"}}}, base_pb2.Metadata())
    assert guarded.refusal(route=SimpleNamespace(metadata=metadata)) == ""
    assert guarded.refusal(route=SimpleNamespace(metadata=None))
    assert guarded.refusal()


def test_the_client_is_told_from_its_connection() -> None:
    def allows(kind: str) -> bool:
        principal = {kind: {"address_prefix": "10.0.0.0", "prefix_len": 8}}
        guarded = Guarded(compiled(rules={"policies": {"p": policy(None, principal)}}))
        return not guarded.refusal(remote_address=Address("10.1.2.3", 0))

    assert allows("remote_ip")
    assert not allows("direct_remote_ip")
    assert not allows("source_ip")


def test_objects_of_the_stream_come_before_those_of_its_connection() -> None:
    principal = {"filter_state": {"key": "k", "string_match": {"exact": "v"}}}
    guarded = Guarded(compiled(rules={"policies": {"p": policy(None, principal)}}))
    assert guarded.refusal(filter_state={"k": "v"}) == ""
    assert guarded.refusal(filter_state={"k": "w"})
    assert guarded.refusal()


def test_a_certificate_without_names_has_an_empty_one() -> None:
    def allows(**name: Any) -> bool:
        principal = {"authenticated": {"principal_name": name}}
        guarded = Guarded(compiled(rules={"policies": {"p": policy(None, principal)}}))
        return not guarded.refusal(tls=TlsInfo())

    assert allows(exact="")
    assert not allows(prefix="spiffe://")


def validated(**fields: Any) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.rbac.principals.mtls_authenticated.v3.Config"
    return {"custom": {"name": "m", "typed_config": {"@type": kind, **fields}}}


def test_a_certificate_may_have_to_be_a_good_one(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("spiffe://a/b", "b.test")
    pem = issued.certificate.read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n"
    tls = TlsInfo()
    tls.peer_certificate_der = ssl.PEM_cert_to_DER_cert(pem)

    def allows(principal: dict[str, Any], tls: TlsInfo | None) -> bool:
        guarded = Guarded(compiled(rules={"policies": {"p": policy(None, principal)}}))
        return not guarded.refusal(tls=tls)

    anybody = validated(any_validated_client_certificate=True)
    named = validated(san_matcher={"san_type": "URI", "matcher": {"prefix": "spiffe://a/"}})
    other = validated(san_matcher={"san_type": "DNS", "matcher": {"exact": "a.test"}})
    assert [allows(one, tls) for one in (anybody, named, other)] == [False, False, False]
    tls.peer_certificate_validated = True
    assert [allows(one, tls) for one in (anybody, named, other)] == [True, True, False]
    assert not allows(anybody, None)


@pytest.mark.parametrize(
    ("there", "instead"),
    [(b"own", b"o\xffn"), (b"b.test", b"\xff.test"), (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07")],
)
def test_a_malformed_certificate_lacks_names_and_breaks_nothing(
    tmp_path: Path, there: bytes, instead: bytes
) -> None:
    issued = Authority(tmp_path).issue("spiffe://a/b", "b.test", common_name="own")
    pem = issued.certificate.read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n"
    tls = TlsInfo()
    tls.peer_certificate_validated = True
    tls.peer_certificate_der = ssl.PEM_cert_to_DER_cert(pem).replace(there, instead)
    assert instead in tls.peer_certificate_der
    for principal in (
        {"authenticated": {"principal_name": {"exact": "c.test"}}},
        validated(san_matcher={"san_type": "DNS", "matcher": {"exact": "c.test"}}),
    ):
        guarded = Guarded(compiled(rules={"policies": {"p": policy(None, principal)}}))
        assert guarded.refusal(tls=tls) == f"{DENIED}[none]"


def test_shadow_rules_tell_what_they_would_have_done() -> None:
    guarded = Guarded(
        compiled(
            rules={"policies": {"real": policy()}},
            shadow_rules={"action": "DENY", "policies": {"tried": policy(path(exact="/a"))}},
            shadow_rules_stat_prefix="istio_ext_authz_",
            track_per_rule_stats=True,
        )
    )
    told = guarded.ask("/a").info.dynamic_metadata
    assert told == {
        rbac.NAMESPACE: {
            "istio_ext_authz_shadow_engine_result": "denied",
            "istio_ext_authz_shadow_effective_policy_id": "tried",
            "enforced_engine_result": "allowed",
            "enforced_effective_policy_id": "real",
        }
    }
    told = guarded.ask("/b").info.dynamic_metadata
    assert told is not None
    assert "istio_ext_authz_shadow_effective_policy_id" not in told[rbac.NAMESPACE]
    assert guarded.numbers == {
        "allowed": 2,
        "policy.real.allowed": 2,
        "istio_ext_authz_.shadow_allowed": 1,
        "istio_ext_authz_.shadow_denied": 1,
        "istio_ext_authz_.policy.tried.shadow_denied": 1,
    }


def test_what_others_have_told_stays() -> None:
    guarded = Guarded(compiled(rules={"action": "LOG", "policies": {"p": policy(path(exact="/a"))}}))
    for target, hint in (("/a", True), ("/b", False)):
        known = {rbac.NAMESPACE: {"x": 1}, "envoy.common": {"y": 2}}
        told = guarded.ask(target, dynamic_metadata=known).info.dynamic_metadata
        assert told is not None
        assert told["envoy.common"] == {"y": 2, "access_log_hint": hint}
        assert told[rbac.NAMESPACE]["x"] == 1
        assert told[rbac.NAMESPACE]["enforced_engine_result"] == "allowed"


def test_a_route_replaces_the_rules_and_not_the_counters() -> None:
    guarded = Guarded(compiled(rules={}, rules_stat_prefix="mine"))
    assert guarded.refusal()
    for config in (of_route(), of_route(rbac={}), of_route(rbac={"rules": {"action": "DENY"}})):
        assert guarded.refusal(overrides={"filter0": config}) == ""
    assert guarded.numbers == {"mine.denied": 1, "mine.allowed": 1}


def test_without_rules_there_is_nothing_to_do() -> None:
    assert rbac.FACTORY.idle is not None
    assert rbac.FACTORY.idle(compiled())
    assert not rbac.FACTORY.idle(compiled(rules={}))
    assert not rbac.FACTORY.idle(compiled(shadow_rules={}))


def test_at_the_front_of_the_chain_only_refused_requests_get_a_filter() -> None:
    guarded = Guarded(compiled(rules={"action": "DENY", "policies": {"p": policy(path(exact="/a"))}}))
    passing = guarded.ask("/b")
    assert guarded.make.gate(passing, "filter0") is None
    refused = guarded.ask("/a")
    make = guarded.make.gate(refused, "filter0")
    stream = FilteredStream(make)
    stream.begin(end_stream=True)
    assert stream.replies == [f"{DENIED}[p]"]
    assert guarded.numbers == {"allowed": 2, "denied": 2}


ACTION = "type.googleapis.com/envoy.config.rbac.v3.Action"
INPUTS = "type.googleapis.com/envoy.extensions.matching.common_inputs"


def tree(*entries: tuple[str, dict[str, Any], str], otherwise: str = "") -> dict[str, Any]:
    """Each entry is the type of an input, what is in its predicate beside it, and "name ACTION"."""

    def leads_to(text: str) -> dict[str, Any]:
        name, action = text.split()
        return {"action": {"name": "a", "typed_config": {"@type": ACTION, "name": name, "action": action}}}

    matchers = []
    for input_type, match, text in entries:
        fields = match.pop("fields", {})
        one = {"input": {"name": "i", "typed_config": {"@type": input_type, **fields}}, **match}
        matchers.append({"predicate": {"single_predicate": one}, "on_match": leads_to(text)})
    fallback = {"on_no_match": leads_to(otherwise)} if otherwise else {}
    return {"matcher_list": {"matchers": matchers}, **fallback}


def test_a_tree_decides_by_its_actions() -> None:
    header = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"

    def when(value: str) -> dict[str, Any]:
        return {"fields": {"header_name": "X-A"}, "value_match": {"exact": value}}

    guarded = Guarded(
        compiled(matcher=tree((header, when("a"), "allowed ALLOW"), (header, when("b"), "my_policy DENY")))
    )
    assert guarded.refusal(fields={"x_a": "a"}) == ""
    assert guarded.refusal(fields={"x_a": "b"}) == f"{DENIED}[my_policy]"
    assert guarded.refusal() == f"{DENIED}[none]"


def test_a_tree_with_a_logging_action_always_leaves_a_hint() -> None:
    source = f"{INPUTS}.network.v3.SourceIPInput"
    here = {"value_match": {"exact": "127.0.0.1"}}
    guarded = Guarded(compiled(matcher=tree((source, here, "logged LOG"), otherwise="other ALLOW")))
    for address, hint in (("127.0.0.1", True), ("10.0.0.1", False)):
        told = guarded.ask(remote_address=Address(address, 0)).info.dynamic_metadata
        assert told is not None
        assert told["envoy.common"] == {"access_log_hint": hint}


def test_a_tree_by_values_of_metadata() -> None:
    kind = "type.googleapis.com/envoy.extensions.matching.input_matchers.metadata.v3.Metadata"
    value = {"@type": kind, "value": {"list_match": {"one_of": {"string_match": {"exact": "admin"}}}}}
    match = {
        "fields": {"filter": "f", "path": [{"key": "roles"}]},
        "custom_match": {"name": "m", "typed_config": value},
    }
    source = f"{INPUTS}.network.v3.DynamicMetadataInput"
    guarded = Guarded(compiled(matcher=tree((source, match, "admins ALLOW"))))
    assert guarded.refusal(dynamic_metadata={"f": {"roles": ["user", "admin"]}}) == ""
    assert guarded.refusal(dynamic_metadata={"f": {"roles": ["user"]}})
    assert guarded.refusal()


def test_a_tree_by_ranges_of_addresses() -> None:
    kind = "type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip"
    ranges = {
        "@type": kind,
        "cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}],
        "stat_prefix": "s",
    }
    match = {"custom_match": {"name": "m", "typed_config": ranges}}
    guarded = Guarded(compiled(matcher=tree((f"{INPUTS}.network.v3.SourceIPInput", match, "inside ALLOW"))))
    assert guarded.refusal(remote_address=Address("10.9.8.7", 0)) == ""
    assert guarded.refusal(remote_address=Address("11.9.8.7", 0))


def test_without_tls_a_tree_that_asks_for_a_certificate_leads_nowhere() -> None:
    match = {"value_match": {"prefix": "spiffe://"}}
    guarded = Guarded(
        compiled(matcher=tree((f"{INPUTS}.ssl.v3.UriSanInput", match, "a DENY"), otherwise="b ALLOW"))
    )
    assert guarded.refusal() == f"{DENIED}[none]"
    assert guarded.refusal(tls=TlsInfo()) == ""


def test_the_matcher_comes_before_rules() -> None:
    message = json_format.ParseDict(
        {"rules": {"policies": {"p": policy()}}, "matcher": tree(otherwise="m DENY")}, rbac_pb2.RBAC()
    )
    config = rbac.FACTORY.compile(message, "rbac", context := CompileContext())
    assert Guarded(config).refusal() == f"{DENIED}[m]"
    assert [str(warning) for warning in context.warnings] == [
        "rbac.rules: is ignored, because matcher is set"
    ]


def test_what_is_refused() -> None:
    def refused(**fields: Any) -> list[str]:
        problems: list[Any] = []
        compiled(problems, rules={"policies": {"p": {**policy(), **fields}}})
        return [str(problem) for problem in problems]

    assert "CEL" in refused(condition={"id": "1"})[0]
    assert "matcher extensions" in refused(permissions=[{"matcher": {"name": "x"}}])[0]
    assert "typed_config" in refused(principals=[{"custom": {"name": "x"}}])[0]
    assert "san_matcher or any" in refused(principals=[validated()])[0]
