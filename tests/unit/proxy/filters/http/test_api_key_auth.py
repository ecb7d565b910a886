from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.api_key_auth.v3 import api_key_auth_pb2
from google.protobuf import json_format

from proxy.base.messages import RequestHead
from proxy.config.context import CompileContext
from proxy.filters.http import api_key_auth
from tests.support.filters import FilteredStream
from tests.support.listeners import numbers, services

KEYS = [{"key": "k1", "client": "one"}, {"key": "k2", "client": "two"}]
SOURCES = [{"header": "X-Key"}, {"query": "key"}, {"cookie": "key"}]


def of_route(**fields: Any) -> Any:
    message = json_format.ParseDict(fields, api_key_auth_pb2.ApiKeyAuthPerRoute())
    assert api_key_auth.FACTORY.compile_route is not None
    config = api_key_auth.FACTORY.compile_route(message, "", context := CompileContext())
    assert not context.problems
    return {"filter0": config}


def problems(**fields: Any) -> list[str]:
    message = json_format.ParseDict(fields, api_key_auth_pb2.ApiKeyAuth())
    api_key_auth.FACTORY.compile(message, "", context := CompileContext())
    return [str(problem) for problem in context.problems]


class Guarded:
    """Requests through one filter."""

    def __init__(self, **fields: Any) -> None:
        self.services = services()
        given = {"credentials": KEYS, "key_sources": SOURCES, **fields}
        message = json_format.ParseDict(given, api_key_auth_pb2.ApiKeyAuth())
        config = api_key_auth.FACTORY.compile(message, "", context := CompileContext())
        assert not context.problems
        assert api_key_auth.FACTORY.create is not None
        self.make: Any = api_key_auth.FACTORY.create(config, self.services, "http.x.")

    def began(self, overrides: Any = None, path: str = "/", **fields: str) -> FilteredStream:
        stream = FilteredStream(self.make, overrides=overrides)
        stream.begin(end_stream=True, path=path, **fields)
        return stream

    @property
    def numbers(self) -> tuple[int, ...]:
        found = numbers(self.services)
        return tuple(
            found.get(f"http.x.api_key_auth.{name}", 0) for name in ("allowed", "unauthorized", "forbidden")
        )


def passed(stream: FilteredStream) -> RequestHead:
    assert stream.replies == []
    head: RequestHead = stream.request[0][1]
    return head


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/", {"x_key": "k1"}),
        ("/", {"x_key": "Bearer k1"}),
        ("/?a=b&key=k1", {}),
        ("/?%6bey=%6b1", {}),
        ("/", {"cookie": "a=b; key=k1"}),
        ("/", {"x_key": "", "cookie": "key=k1"}),
    ],
)
def test_a_key_is_found_in_any_of_the_places(path: str, fields: dict[str, str]) -> None:
    guarded = Guarded()
    passed(guarded.began(path=path, **fields))
    assert guarded.numbers == (1, 0, 0)


@pytest.mark.parametrize(
    ("path", "fields", "details"),
    [
        ("/", {}, "missing_api_key"),
        ("/?key=", {}, "missing_api_key"),
        ("/", {"x_key": "k3"}, "unknown_api_key"),
        ("/", {"x_key": "K1"}, "unknown_api_key"),
        ("/?key=k1", {"x_key": "k3"}, "unknown_api_key"),
        ("/?key=k3&key=k1", {}, "unknown_api_key"),
    ],
)
def test_without_a_good_key_it_is_401(path: str, fields: dict[str, str], details: str) -> None:
    guarded = Guarded()
    stream = guarded.began(path=path, **fields)
    assert stream.replies == [details]
    assert stream.request == []
    assert stream.response_head.status == 401
    assert guarded.numbers == (0, 1, 0)


def test_what_neither_filter_nor_route_sets_is_missing() -> None:
    assert Guarded(key_sources=[]).began(x_key="k1").replies == ["missing_key_sources"]
    assert Guarded(credentials=[]).began(x_key="k1").replies == ["missing_credentials"]


def test_a_route_lets_only_some_clients_pass() -> None:
    guarded = Guarded()
    overrides = of_route(allowed_clients=["two"])
    passed(guarded.began(overrides, x_key="k2"))
    stream = guarded.began(overrides, x_key="k1")
    assert stream.replies == ["client_not_allowed"]
    assert stream.response_head.status == 403
    assert guarded.numbers == (1, 0, 1)


def test_a_route_may_have_other_keys_or_other_places() -> None:
    guarded = Guarded()
    elsewhere = of_route(key_sources=[{"header": "x-other"}])
    passed(guarded.began(elsewhere, x_other="k1"))
    assert guarded.began(elsewhere, x_key="k1").replies == ["missing_api_key"]
    other_keys = of_route(credentials=[{"key": "k9", "client": "nine"}])
    passed(guarded.began(other_keys, x_key="k9"))
    assert guarded.began(other_keys, x_key="k1").replies == ["unknown_api_key"]


def test_what_a_route_forwards_is_its_own() -> None:
    guarded = Guarded(forwarding={"header": "x-client"})
    assert passed(guarded.began(x_key="k1", x_client="me")).headers["x-client"] == "one"
    assert "x-client" not in passed(guarded.began(of_route(), x_key="k1")).headers
    told = of_route(forwarding={"header": "x-told"})
    assert dict(passed(guarded.began(told, x_key="k1")).headers) == {"x-key": "k1", "x-told": "one"}


def test_keys_are_hidden_wherever_they_are() -> None:
    guarded = Guarded(forwarding={"hide_credentials": True})
    head = passed(
        guarded.began(path="/p?a=%26&key=k1&b&%6bey=x", x_key="k1", cookie='a="1"; key=k1;b=2; odd; key=k2')
    )
    assert head.path == "/p?a=%26&b"
    assert dict(head.headers) == {"cookie": "a=1; b=2"}
    head = passed(guarded.began(path="/p?key=k1", cookie="key=k1"))
    assert head.path == "/p"
    assert not head.headers


def test_what_stays_of_a_query_is_not_decoded() -> None:
    guarded = Guarded(forwarding={"hide_credentials": True})
    head = passed(guarded.began(path="/?key=k1&b=%0d%0aX-Evil:%201&a=+"))
    assert head.path == "/?b=%0d%0aX-Evil:%201&a=+"


def test_keys_stay_unless_they_are_to_be_hidden() -> None:
    head = passed(Guarded(forwarding={"header": "x-client"}).began(path="/?key=k1", cookie="key=k1"))
    assert (head.path, dict(head.headers)) == ("/?key=k1", {"cookie": "key=k1", "x-client": "one"})


def test_what_envoy_refuses() -> None:
    said = problems(credentials=[{"key": "secret", "client": "a"}, {"key": "secret", "client": "b"}])
    assert len(said) == 1
    assert "Duplicated credential key" in said[0]
    assert "'secret'" not in said[0]
    assert "One of 'header'/'query'/'cookie' must be set." in problems(key_sources=[{}])[0]
