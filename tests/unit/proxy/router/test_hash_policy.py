from __future__ import annotations

from typing import Any

import pytest
import xxhash

from proxy.base.messages import RequestHead
from proxy.router.hash_policy import HashPolicy
from tests.unit.proxy.router.tables import one, problems_of, request, stream
from tests.unit.proxy.router.test_cluster_choice import action_of


def policy(*rules: dict[str, Any]) -> HashPolicy:
    found = action_of({"cluster": "c", "hash_policy": list(rules)}).hash_policy
    assert found is not None
    return found


def xx(text: str, seed: int = 0) -> int:
    return xxhash.xxh64_intdigest(text.encode(), seed)


def hashed(rules: list[dict[str, Any]], head: RequestHead) -> int | None:
    return policy(*rules).hash(head, stream(), [])


_HEADER = {"header": {"header_name": "K"}}


def test_a_header_hashes_whatever_the_order_of_its_lines() -> None:
    assert hashed([_HEADER], request("/", ("k", "v"))) == xx("v")
    both = xx("w", xx("v"))
    assert hashed([_HEADER], request("/", ("k", "v"), ("k", "w"))) == both
    assert hashed([_HEADER], request("/", ("k", "w"), ("k", "v"))) == both
    assert hashed([_HEADER], request()) is None


def test_a_header_may_be_rewritten_before() -> None:
    rewrite = {"pattern": {"regex": "^.*@(.*)$"}, "substitution": r"\1"}
    rule = {"header": {"header_name": "k", "regex_rewrite": rewrite}}
    assert hashed([rule], request("/", ("k", "user@host"))) == xx("host")


def test_pseudo_headers_hash_too() -> None:
    assert hashed([{"header": {"header_name": ":path"}}], request("/a?b")) == xx("/a?b")


def test_query_parameter_and_source_address() -> None:
    assert hashed([{"query_parameter": {"name": "q"}}], request("/?q=v&q=w")) == xx("v")
    assert hashed([{"query_parameter": {"name": "q"}}], request("/")) is None
    assert hashed([{"connection_properties": {"source_ip": True}}], request()) == xx("10.0.0.1")
    assert hashed([{"connection_properties": {}}], request()) is None


def test_filter_state_of_stream_or_connection() -> None:
    rules = policy({"filter_state": {"key": "k"}})
    info = stream()
    assert rules.hash(request(), info, []) is None
    info.connection.filter_state = {"k": "c"}
    assert rules.hash(request(), info, []) == xx("c")
    info.filter_state = {"k": "s"}
    assert rules.hash(request(), info, []) == xx("s")


def test_rules_combine_by_rotation_and_terminal_ends() -> None:
    query = {"query_parameter": {"name": "q"}}
    head = request("/?q=b", ("k", "a"))
    rotated = ((xx("a") << 1) | (xx("a") >> 63)) & (2**64 - 1)
    assert hashed([_HEADER, query], head) == rotated ^ xx("b")
    assert hashed([{**_HEADER, "terminal": True}, query], head) == xx("a")
    assert hashed([{**_HEADER, "terminal": True}, query], request("/?q=b")) == xx("b")


def test_a_cookie_without_ttl_is_only_read() -> None:
    cookies: list[str] = []
    rules = policy({"cookie": {"name": "c"}})
    assert rules.hash(request("/", ("cookie", "c=1")), stream(), cookies) == xx("1")
    assert rules.hash(request(), stream(), cookies) is None
    assert cookies == []


@pytest.mark.parametrize(
    ("config", "suffix"),
    [
        ({"ttl": "0s"}, "; HttpOnly"),
        ({"ttl": "60s", "path": "/p"}, "; Max-Age=60; Path=/p; HttpOnly"),
        (
            {"ttl": "0s", "attributes": [{"name": "SameSite", "value": "Strict"}, {"name": "Secure"}]},
            "; SameSite=Strict; Secure; HttpOnly",
        ),
    ],
)
def test_a_cookie_with_ttl_is_made_for_a_client_that_has_none(config: dict[str, Any], suffix: str) -> None:
    cookies: list[str] = []
    found = policy({"cookie": {"name": "c", **config}}).hash(request(), stream(), cookies)
    value = f"{xx('10.0.0.1:123410.0.0.2:80'):016x}"
    assert cookies == [f'c="{value}"{suffix}']
    assert found == xx(value)


def test_a_rule_without_a_kind_is_refused() -> None:
    found = problems_of(one({"prefix": "/"}, route={"cluster": "c", "hash_policy": [{}]}))
    assert [path for path, _ in found] == ["virtual_hosts[0].routes[0].route.hash_policy[0]"]
