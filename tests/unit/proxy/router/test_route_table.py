from __future__ import annotations

from typing import Any

import pytest

from tests.unit.proxy.router.tables import compile_table, one, problems_of, request, table


def hosts(*domains: list[str], **fields: Any) -> dict[str, Any]:
    return {
        "virtual_hosts": [{"name": ",".join(names), "domains": names, "routes": []} for names in domains],
        **fields,
    }


_DOMAINS = (
    ["foo.com"],
    ["*.foo.com"],
    ["*-bar.foo.com"],
    ["foo.*"],
    ["foo-*"],
    ["FOO.net"],
    ["foo.com:8080"],
    ["a*b"],
    ["*m"],
)


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("foo.com", "foo.com"),
        ("FOO.com", "foo.com"),
        ("www.foo.com", "*.foo.com"),
        ("a.b.foo.com", "*.foo.com"),
        ("x-bar.foo.com", "*-bar.foo.com"),
        ("-bar.foo.com", "*.foo.com"),
        (".foo.com", "*m"),
        ("foo.org", "foo.*"),
        ("foo.", "*"),
        ("foo-x", "foo-*"),
        ("foo.net", "FOO.net"),
        ("foo.com:8080", "foo.com:8080"),
        ("foo.com:80", "foo.*"),
        ("a*b", "a*b"),
        ("axb", "*"),
        ("", "*"),
    ],
)
def test_the_most_specific_domain_wins(authority: str, name: str) -> None:
    virtual_host = table(hosts(*_DOMAINS, ["*"])).virtual_host(authority)
    assert virtual_host is not None
    assert virtual_host.name == name


def test_without_a_star_an_unknown_authority_has_no_virtual_host() -> None:
    assert table(hosts(*_DOMAINS)).virtual_host("zzz") is None


def test_the_answer_is_the_same_object_each_time() -> None:
    compiled = table(hosts(["a"], ["*.b"], ["*"]))
    for authority in ("a", "x.b", "c"):
        assert compiled.virtual_host(authority) is compiled.virtual_host(authority)


@pytest.mark.parametrize(
    ("authority", "name"), [("foo.com:99", "foo.com"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")]
)
def test_ports_can_be_ignored(authority: str, name: str) -> None:
    compiled = table(hosts(["foo.com"], ["[::1]"], ignore_port_in_host_matching=True))
    virtual_host = compiled.virtual_host(authority)
    assert virtual_host is not None
    assert virtual_host.name == name


def test_a_header_may_name_the_virtual_host() -> None:
    compiled = table(hosts(["a"], ["*"], vhost_header="X-VH"))

    def name(*fields: tuple[str, str]) -> str | None:
        found = compiled.virtual_host("a", request("/", *fields, host="a"))
        return found.name if found is not None else None

    assert name(("x-vh", "A")) == "a"
    assert name(("x-vh", "a"), ("x-vh", "b")) == "a"
    assert name(("x-vh", "b")) == "*"
    assert name() is None


@pytest.mark.parametrize(
    ("domains", "path", "reason"),
    [
        ((["a", "A"],), "virtual_hosts[0].domains[1]", "Duplicate entry of domain a"),
        ((["a"], ["b", "a"]), "virtual_hosts[1].domains[1]", "Duplicate entry of domain a"),
        ((["*.a"], ["*.A"]), "virtual_hosts[1].domains[0]", "Duplicate entry of domain *.a"),
        ((["a.*"], ["a.*"]), "virtual_hosts[1].domains[0]", "Duplicate entry of domain a.*"),
        ((["*"], ["*"]), "virtual_hosts[1].domains[0]", "Only a single wildcard domain"),
    ],
)
def test_a_domain_that_comes_twice_is_refused(domains: tuple[list[str], ...], path: str, reason: str) -> None:
    ((found, text),) = problems_of(hosts(*domains), eager=False)
    assert found == path
    assert reason in text


def test_virtual_hosts_are_compiled_when_they_are_used() -> None:
    broken = one({"safe_regex": {"regex": "("}})
    compiled, problems = compile_table(broken, eager=False)
    assert not problems
    assert compiled.virtual_host("h") is not None
    assert [path for path, _ in problems_of(broken)] == ["virtual_hosts[0].routes[0].match.safe_regex.regex"]


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ({"route": {"cluster": "x"}}, "route.cluster"),
        (
            {"route": {"weighted_clusters": {"clusters": [{"name": "x", "weight": 1}]}}},
            "route.weighted_clusters.clusters[0].name",
        ),
        (
            {"route": {"cluster": "c", "request_mirror_policies": [{"cluster": "x"}]}},
            "route.request_mirror_policies[0].cluster",
        ),
        ({"route": {"cluster_header": "x"}}, None),
    ],
)
def test_unknown_clusters_are_refused_unless_told_otherwise(
    config: dict[str, Any], refused: str | None
) -> None:
    message = one({"prefix": "/"}, **config)
    expected = [f"virtual_hosts[0].routes[0].{refused}"] if refused else []
    assert [path for path, _ in problems_of(message, clusters={"c"})] == expected
    assert not problems_of(message)
    assert not problems_of({**message, "validate_clusters": False}, clusters={"c"})


def test_what_cannot_be_done_is_refused_by_name() -> None:
    config = {
        "vhds": {"config_source": {"path": "/dev/null"}},
        "cluster_specifier_plugins": [{"extension": {"name": "x"}}],
        "virtual_hosts": [{"name": "v", "domains": ["*"], "matcher": {}}],
    }
    assert [path for path, _ in problems_of(config)] == [
        "cluster_specifier_plugins[0]",
        "vhds",
        "virtual_hosts[0].matcher",
    ]


def test_ten_thousand_virtual_hosts_are_indexed_without_compiling_them() -> None:
    domains = [[f"s{index}.ns", f"s{index}.ns:80"] for index in range(10_000)]
    compiled = table(hosts(*domains), eager=False)
    assert len(compiled._compiled) == 0
    found = compiled.virtual_host("s7777.ns:80")
    assert found is not None
    assert found.path == "virtual_hosts[7777]"
    assert len(compiled._compiled) == 1


def test_names_of_the_table_are_lower_case() -> None:
    compiled = table({"name": "t", "internal_only_headers": ["X-Internal"], "virtual_hosts": []})
    assert (compiled.name, compiled.internal_only_headers) == ("t", ("x-internal",))
