"""The rbac filter: who may ask for what, what it says of it, and the configs of routes."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.configs import Json, route
from tests.support.differential import Pair, same_verdict
from tests.support.managers import Case, get, managers_fixture, post, same_everywhere
from tests.support.origin import HELLO
from tests.support.rbac import (
    LOGGED,
    NAME,
    allowing,
    anyone,
    cases,
    count,
    either,
    header,
    manager,
    mtls,
    of_route,
    path,
    policy,
    rbac,
    rules,
    template,
    validated,
)


def cidr(prefix: str, length: int) -> Json:
    return {"address_prefix": prefix, "prefix_len": length}


ADMIN: Final = {"policies": {"admin only": anyone(path(prefix="/admin"))}, "action": "DENY"}
PLACES: Final = either(
    path(exact="/exact"),
    path(prefix="/prefix/"),
    path(suffix="/suffix"),
    path(contains="cont?ains"),
    path(safe_regex={"regex": "/re[0-9]+"}),
    path(exact="/FOLDED", ignore_case=True),
    template("/path/template/*"),
    template("/**/tail"),
    header(":path", string_match={"suffix": "?whole"}),
)


HEADERS: Final[dict[str, Json]] = {
    "exact": {"string_match": {"exact": "a"}},
    "not_exact": {"string_match": {"exact": "a"}, "invert_match": True},
    "folded": {"string_match": {"exact": "A", "ignore_case": True}},
    "joined": {"string_match": {"exact": "a,b"}},
    "prefix": {"string_match": {"prefix": "a"}},
    "contains": {"string_match": {"contains": ","}},
    "regex": {"string_match": {"safe_regex": {"regex": "[ab]"}}},
    "not_regex": {"string_match": {"safe_regex": {"regex": "[ab]"}}, "invert_match": True},
    "present": {"present_match": True},
    "absent": {"present_match": False},
    "not_present": {"present_match": True, "invert_match": True},
    "empty": {"string_match": {"exact": ""}, "treat_missing_header_as_empty": True},
    "not_empty": {
        "string_match": {"exact": "x"},
        "treat_missing_header_as_empty": True,
        "invert_match": True,
    },
    "range": {"range_match": {"start": 1, "end": 10}},
    "not_range": {"range_match": {"start": 1, "end": 10}, "invert_match": True},
}
HEADER_MANAGERS: Final = {
    **{f"header_{name}": allowing(header("x-a", **match)) for name, match in HEADERS.items()},
    **{
        f"deny_{name}": manager(rbac(rules=rules("DENY", p=anyone(header("x-a", **match)))))
        for name, match in HEADERS.items()
    },
}
ROUTES: Final = [
    {**route(prefix="/open"), **of_route()},
    {**route(prefix="/closed"), **of_route(rbac={"rules": {}})},
    {**route(prefix="/nothing"), **of_route(rbac={})},
    {
        **route(prefix="/told"),
        **of_route(
            rbac={
                "rules": rules(of_route=policy(path(exact="/told/yes"))),
                "shadow_rules": rules("DENY", shadow=policy(path(prefix="/told"))),
                "rules_stat_prefix": "route_",
                "shadow_rules_stat_prefix": "route_shadow_",
                "track_per_rule_stats": True,
            }
        ),
    },
    {
        **route(prefix="/meta"),
        "metadata": {"filter_metadata": {"mine": {"who": "me", "list": ["a", "b"], "deep": {"er": 1}}}},
    },
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 204}},
    {"match": {"prefix": "/redirect"}, "redirect": {"path_redirect": "/"}},
    route(prefix="/"),
]


def of_metadata(**fields: Any) -> Json:
    matcher = {"filter": "mine", "path": [{"key": "who"}], "value": {"string_match": {"exact": "me"}}}
    return {"sourced_metadata": {"metadata_matcher": {**matcher, **fields}, "metadata_source": "ROUTE"}}


MANAGERS: Final[dict[str, Json]] = {
    "deny": manager(rbac(rules=ADMIN)),
    "places": allowing(PLACES),
    "empty": manager(rbac(rules={})),
    "empty_deny": manager(rbac(rules={"action": "DENY"})),
    "empty_log": manager(rbac(rules={"action": "LOG"})),
    "idle": manager(rbac()),
    "shadow": manager(
        rbac(
            shadow_rules=rules(shadowed=policy(path(prefix="/a"))),
            shadow_rules_stat_prefix="istio_dry_run_allow_",
        )
    ),
    "both": manager(
        rbac(
            rules=rules(real=policy(path(prefix="/a")), second=policy(path(prefix="/b"))),
            rules_stat_prefix="mine",
            shadow_rules=rules("DENY", **{"the shadow": policy(path(prefix="/a/b"))}),
            shadow_rules_stat_prefix="theirs.",
            track_per_rule_stats=True,
        )
    ),
    "log": manager(rbac(rules=rules("LOG", logged=policy(path(prefix="/a"))))),
    "shadow_log": manager(rbac(shadow_rules=rules("LOG", logged=policy(path(prefix="/a"))))),
    "names": manager(
        rbac(
            rules={
                "action": "DENY",
                "policies": {
                    " two  blanks\tand a tab ": anyone(path(prefix="/blanks")),
                    "ns[foo]-policy[httpbin-1]-rule[0]": anyone(path(prefix="/istio")),
                    "a.b:c": anyone(path(prefix="/dots")),
                    "é": anyone(path(prefix="/accent")),
                },
            },
            track_per_rule_stats=True,
        )
    ),
    "order": manager(
        rbac(
            rules={
                "action": "DENY",
                "policies": {name: anyone({"any": True}) for name in ("b", "B", "a", "aa", "é", "Z")},
            }
        )
    ),
    "chain": manager(
        rbac(rules=ADMIN),
        rbac(rules=rules(allowed=policy(either(path(prefix="/a"), path(prefix="/admin"))))),
        rbac(rules=rules("LOG", logged=policy(header("x-a", present_match=True)))),
    ),
    "sees_shadow": manager(
        rbac(
            shadow_rules=rules(first=policy(path(prefix="/a"))),
            shadow_rules_stat_prefix="one_",
            rules=rules(
                told=policy(
                    None,
                    {"metadata": {
                        "filter": NAME,
                        "path": [{"key": "one_shadow_effective_policy_id"}],
                        "value": {"string_match": {"exact": "first"}},
                    }},
                )
            ),
        )
    ),
    "sees_earlier": manager(
        rbac(shadow_rules=rules(first=policy(path(prefix="/a"))), shadow_rules_stat_prefix="one_"),
        rbac(
            rules=rules(
                told=policy(
                    None,
                    {"metadata": {
                        "filter": NAME,
                        "path": [{"key": "one_shadow_effective_policy_id"}],
                        "value": {"string_match": {"exact": "first"}},
                    }},
                )
            ),
        ),
    ),
    "methods": allowing(
        {"and_rules": {"rules": [
            either(*(header(":method", string_match={"exact": method}) for method in ("GET", "PUT"))),
            {"not_rule": header(":authority", string_match={"exact": "evil.com", "ignore_case": True})},
            {"not_rule": either(path(exact="/private"), header("x-forbidden", present_match=True))},
        ]}}
    ),
    "host": allowing(header("host", string_match={"prefix": "example."})),
    "ports": allowing({"destination_port": 1}, {"destination_port_range": {"start": 1, "end": 65536}}),
    "no_port": allowing({"destination_port": 1}),
    "to": allowing({"destination_ip": cidr("127.0.0.0", 8)}),
    "to_other": allowing({"destination_ip": cidr("10.0.0.0", 8)}, {"destination_ip": cidr("::", 0)}),
    "remote": manager(
        rbac(rules=rules(p=policy(None, {"remote_ip": cidr("10.1.0.0", 16)}))),
        use_remote_address=True,
        xff_num_trusted_hops=1,
    ),
    "remote_v6": manager(
        rbac(rules=rules(p=policy(None, {"remote_ip": cidr("2001:db8::", 32)}))),
        use_remote_address=True,
        xff_num_trusted_hops=1,
    ),
    "direct_remote": manager(
        rbac(rules=rules(p=policy(None, {"direct_remote_ip": cidr("127.0.0.1", 32)}))),
        use_remote_address=True,
        xff_num_trusted_hops=1,
    ),
    "source": manager(
        rbac(rules=rules(p=policy(None, {"source_ip": cidr("127.0.0.1", 32)}))),
        use_remote_address=True,
        xff_num_trusted_hops=1,
    ),
    "sni": allowing({"requested_server_name": {"exact": ""}}),
    "tls": manager(rbac(rules=rules(p=policy(None, {"authenticated": {}})))),
    "remotes": manager(
        rbac(
            rules={
                "policies": {
                    "p": {
                        "permissions": [{"any": True}],
                        "principals": [
                            {"remote_ip": cidr("10.1.0.0", 16)},
                            {"remote_ip": cidr("2001:db8::", 32)},
                            {"direct_remote_ip": cidr("10.2.0.0", 16)},
                            header("x-a", string_match={"exact": "a"}),
                        ],
                    }
                }
            }
        ),
        use_remote_address=True,
        xff_num_trusted_hops=1,
    ),
    "principal_header": manager(
        rbac(rules=rules(p=policy(None, {"not_id": header("x-a", string_match={"exact": "a"})})))
    ),
    "principal_path": manager(rbac(rules=rules(p=policy(None, path(prefix="/a"))))),
    "state": manager(
        rbac(rules=rules(p=policy(None, {"filter_state": {"key": "none", "string_match": {"exact": ""}}})))
    ),
    "route_metadata": allowing(of_metadata()),
    "route_metadata_inverted": allowing(of_metadata(invert=True)),
    "route_metadata_list": allowing(
        of_metadata(path=[{"key": "list"}], value={"list_match": {"one_of": {"string_match": {"exact": "b"}}}})
    ),
    "route_metadata_deep": allowing(
        of_metadata(path=[{"key": "deep"}, {"key": "er"}], value={"double_match": {"exact": 1}})
    ),
    "dynamic": allowing(
        {"metadata": {"filter": "mine", "path": [{"key": "who"}], "value": {"present_match": True}}}
    ),
    "dynamic_inverted": allowing(
        {"metadata": {
            "filter": "mine", "path": [{"key": "who"}], "value": {"string_match": {"exact": "a"}}, "invert": True,
        }}
    ),
    "routes": manager(
        rbac(
            rules=rules(own=policy(path(suffix="/yes"))),
            rules_stat_prefix="own_",
            shadow_rules_stat_prefix="own_shadow_",
        )
    ),
}  # fmt: skip
pair = managers_fixture({**MANAGERS, **HEADER_MANAGERS}, routes=ROUTES, log=LOGGED)


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("deny", ("/", "/admin", "/admin/x?y", "/Admin", "/a?/admin", "//admin", "/./admin", "/%61dmin")),
        ("empty", ("/",)),
        ("empty_deny", ("/",)),
        ("empty_log", ("/",)),
        ("idle", ("/",)),
        ("shadow", ("/a", "/b")),
        ("both", ("/a", "/a/b", "/b", "/c")),
        ("log", ("/a", "/b")),
        ("shadow_log", ("/a", "/b")),
        ("names", ("/blanks", "/istio", "/dots", "/accent", "/")),
        ("order", ("/",)),
        ("chain", ("/a", "/admin", "/b")),
        ("sees_shadow", ("/a", "/b")),
        ("sees_earlier", ("/a", "/b")),
        ("routes", ("/yes", "/no", "/open", "/closed/yes", "/nothing", "/told/yes", "/told/no", "/direct/yes",
                    "/direct", "/redirect", "/redirect/yes")),
        ("ports", ("/",)),
        ("no_port", ("/",)),
        ("to", ("/",)),
        ("to_other", ("/",)),
        ("sni", ("/",)),
        ("tls", ("/",)),
        ("principal_path", ("/a", "/b")),
        ("state", ("/",)),
        ("route_metadata", ("/meta", "/", "/direct")),
        ("route_metadata_inverted", ("/meta", "/", "/direct")),
        ("route_metadata_list", ("/meta", "/")),
        ("route_metadata_deep", ("/meta", "/")),
        ("dynamic", ("/",)),
        ("dynamic_inverted", ("/",)),
    ],
)  # fmt: skip
def test_what_is_decided_counted_and_told(pair: Pair, name: str, targets: tuple[str, ...]) -> None:
    with pair.same_stats(count(name), f"http.{name}.downstream_rq_"):
        same_everywhere(pair, cases(name, *targets))


def test_paths_are_compared_without_query_and_fragment(pair: Pair) -> None:
    targets = (
        *("/exact", "/exact?a=b", "/exact?", "/exact/", "/exact;x=y", "/exac%74", "/EXACT"),
        *("/prefix/", "/prefix", "/prefix/a?b", "/x/suffix", "/x/suffix?y", "/x?/suffix"),
        *("/contains", "/cont?ains", "/re12", "/re", "/re12?3", "/folded", "/Folded?x"),
        *(
            "/path/template/a",
            "/path/template/a?b=c",
            "/path/template/a/b",
            "/path/template/",
            "/path/template/a;b",
        ),
        *(
            "/a/b/tail",
            "/tail",
            "/a/tail?x",
            "/a/tail/x",
            "/what?whole",
            "/what?not",
            "*",
            "http://example.com/exact",
        ),
    )
    with pair.same_stats(count("places")):
        outcomes = same_everywhere(pair, cases("places", *targets))
    assert {200, 403} <= {outcome.status for outcome in outcomes}


LINES: Final[tuple[tuple[str, ...], ...]] = (
    (),
    ("x-a: a",),
    ("x-a: b",),
    ("x-a:",),
    ("x-a: x",),
    ("x-a: A",),
    ("x-a: a", "x-a: b"),
    ("x-a: x", "x-a: a"),
    ("x-a: a,b",),
    ("x-a: 5",),
    ("x-a: 5", "x-a: 50"),
    ("x-a: 50", "x-a: 60"),
)


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("kind", ["header", "deny"])
def test_headers_may_be_missing_or_come_twice(pair: Pair, name: str, kind: str) -> None:
    listener_name = f"{kind}_{name}"
    with pair.same_stats(count(listener_name)):
        same_everywhere(pair, [(listener_name, get("/", *lines), HELLO) for lines in LINES])


def test_methods_and_hosts(pair: Pair) -> None:
    sent = [
        get("/"),
        get("/", method="PUT"),
        get("/", method="DELETE"),
        get("/private?x"),
        get("/", host="EVIL.com"),
        get("/", host="evil.com:80"),
        get("/", "x-forbidden: 1"),
        post("/", b"body", method="PUT"),
        post("/", b"body"),
    ]
    with pair.same_stats(count("methods"), count("host")):
        same_everywhere(pair, [(name, one, HELLO) for one in sent for name in ("methods", "host")])


def test_a_principal_by_header(pair: Pair) -> None:
    sent = [get("/", *lines) for lines in LINES]
    with pair.same_stats(count("principal_header")):
        same_everywhere(pair, [("principal_header", one, HELLO) for one in sent])


def test_clients_behind_other_proxies(pair: Pair) -> None:
    addresses = (
        "10.1.2.3",
        "10.2.2.3",
        "10.1.2.3, 1.1.1.1",
        "1.1.1.1, 10.1.2.3",
        "x",
        "2001:db8::1",
        "2001:db9::1",
    )
    names = ("remote", "remote_v6", "direct_remote", "source", "remotes")
    sent: list[Case] = [(name, get("/"), HELLO) for name in names]
    sent += [(name, get("/", f"x-forwarded-for: {one}"), HELLO) for one in addresses for name in names]
    with pair.same_stats(*map(count, names)):
        same_everywhere(pair, sent)


def test_a_grpc_client_is_told_in_its_own_way(pair: Pair) -> None:
    fields = ("content-type: application/grpc", "te: trailers")
    same_everywhere(
        pair, [("deny", post("/admin", b"", *fields), HELLO), ("empty", post("/", b"xx", *fields), HELLO)]
    )


@pytest.mark.parametrize(
    ("policies", "accepted"),
    [
        ({"p": anyone({"any": False})}, False),
        ({"p": anyone({})}, False),
        ({"p": anyone()}, False),
        ({"p": {"permissions": [{"any": True}]}}, False),
        ({"p": anyone({"and_rules": {}})}, False),
        ({"p": anyone({"destination_port": 70000})}, False),
        ({"p": anyone({"destination_port_range": {"start": 2, "end": 2}})}, False),
        ({"p": anyone({"destination_ip": {"address_prefix": "x"}})}, False),
        ({"p": anyone(header(""))}, False),
        ({"p": anyone(header("x", string_match={"safe_regex": {"regex": "("}}))}, False),
        ({"p": anyone(template("no"))}, False),
        ({"p": anyone(path(safe_regex={"regex": "("}))}, False),
        ({"p": anyone({"url_path": {}})}, False),
        ({"p": anyone(header("x"))}, True),
        ({"": anyone({"any": True})}, True),
        ({"p": policy(None, {"filter_state": {"key": "", "string_match": {"exact": "a"}}})}, False),
        ({"p": policy(None, {"filter_state": {"key": "a"}})}, False),
        ({"p": policy(None, mtls())}, False),
        ({"p": policy(None, {"custom": {"name": "x"}})}, False),
        ({"p": policy(None, {"or_ids": {"ids": [mtls(any_validated_client_certificate=True)]}})}, True),
    ],
)  # fmt: skip
def test_both_refuse_the_same(policies: Json, accepted: bool) -> None:
    config = validated(rbac(rules={"policies": policies}))
    assert same_verdict(config, {"origin_port": 1})[0] is accepted
