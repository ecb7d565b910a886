from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.filters.http.basic_auth.v3 import basic_auth_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.config.context import CompileContext
from proxy.filters.http import basic_auth
from tests.support.filters import FilteredStream
from tests.support.listeners import numbers, services

#: SHA-1 of "test1" and of "p:w", as htpasswd -s writes it.
USER = "user1:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw="
OTHER = "b:{SHA}DRIHHM4AV3Qz8RTwikQAPCo1Kw0="


def compiled(message: Any, users: str) -> tuple[Any, list[str]]:
    context = CompileContext()
    compile_it = (
        basic_auth.FACTORY.compile
        if isinstance(message, basic_auth_pb2.BasicAuth)
        else basic_auth.FACTORY.compile_route
    )
    assert compile_it is not None
    config = compile_it(json_format.ParseDict({"users": {"inline_string": users}}, message), "", context)
    return config, [str(problem) for problem in context.problems]


class Guarded:
    """Requests through one filter."""

    def __init__(self, users: str = f"# people\n{USER}\n\n{OTHER}\n", **fields: Any) -> None:
        self.services = services()
        config, problems = compiled(basic_auth_pb2.BasicAuth(**fields), users)
        assert problems == []
        assert basic_auth.FACTORY.create is not None
        self.make: Any = basic_auth.FACTORY.create(config, self.services, "http.x.")

    def began(self, overrides: Any = None, **fields: str) -> FilteredStream:
        stream = FilteredStream(self.make, overrides=overrides)
        stream.begin(end_stream=True, **fields)
        return stream

    @property
    def numbers(self) -> tuple[int, int]:
        found = numbers(self.services)
        return found.get("http.x.basic_auth.allowed", 0), found.get("http.x.basic_auth.denied", 0)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_a_known_user_passes() -> None:
    guarded = Guarded()
    assert guarded.began(authorization=basic("user1:test1")).replies == []
    assert guarded.began(authorization=basic("b:p:w")).replies == []
    assert guarded.numbers == (2, 0)


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({}, "no_credential_for_basic_auth"),
        ({"authorization": "Bearer x"}, "invalid_scheme_for_basic_auth"),
        ({"authorization": basic("user1:test1").replace("Basic", "basic")}, "invalid_scheme_for_basic_auth"),
        ({"authorization": "Basic !!!!"}, "invalid_format_for_basic_auth"),
        ({"authorization": basic("user1")}, "invalid_format_for_basic_auth"),
        ({"authorization": basic("user1:wrong")}, "invalid_credential_for_basic_auth"),
        ({"authorization": basic("nobody:test1")}, "invalid_credential_for_basic_auth"),
        ({"authorization": basic(":")}, "invalid_credential_for_basic_auth"),
    ],
)
def test_everybody_else_is_asked_for_a_password(fields: dict[str, str], details: str) -> None:
    guarded = Guarded()
    stream = guarded.began(path='/a?"b', **fields)
    assert stream.replies == [details]
    assert stream.request == []
    assert stream.response_head.status == 401
    assert stream.response_head.headers["www-authenticate"] == 'Basic realm="http://host/a?\\"b"'
    assert guarded.numbers == (0, 1)


def test_the_name_is_forwarded_instead_of_what_the_client_says() -> None:
    guarded = Guarded(forward_username_header="X-User")
    stream = guarded.began(authorization=basic("b:p:w"), x_user="admin")
    assert stream.request[0][1].headers["x-user"] == "b"


def test_another_field_may_have_the_password() -> None:
    guarded = Guarded(authentication_header="X-Auth")
    assert guarded.began(x_auth=basic("b:p:w")).replies == []
    assert guarded.began(authorization=basic("b:p:w")).replies == ["no_credential_for_basic_auth"]


def test_a_route_has_users_of_its_own() -> None:
    guarded = Guarded(USER)
    of_route, problems = compiled(basic_auth_pb2.BasicAuthPerRoute(), OTHER)
    assert problems == []
    overrides = {"filter0": of_route}
    assert guarded.began(overrides, authorization=basic("b:p:w")).replies == []
    assert guarded.began(overrides, authorization=basic("user1:test1")).replies != []


@pytest.mark.parametrize(
    ("users", "problem"),
    [
        ("user", "invalid htpasswd format, username:password is expected"),
        (":{SHA}x", "empty user name or password"),
        ("user:", "empty user name or password"),
        (f"{USER}\n{USER}", "duplicate users"),
        ("user:$apr1$x", "unsupported htpasswd format: please use {SHA}"),
        ("user:{SHA}short", "invalid htpasswd format, invalid SHA hash length"),
        (f"{USER}\r\n", "invalid htpasswd format, invalid SHA hash length"),
    ],
)
def test_users_that_envoy_refuses_are_refused_in_its_words(users: str, problem: str) -> None:
    for message in (basic_auth_pb2.BasicAuth(), basic_auth_pb2.BasicAuthPerRoute()):
        _, problems = compiled(message, users)
        assert len(problems) == 1
        assert f"basic auth: {problem}" in problems[0]
        assert "user1" not in problems[0]


def test_users_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    file.write_text(USER)
    message = basic_auth_pb2.BasicAuth()
    message.users.filename = str(file)
    config = basic_auth.FACTORY.compile(message, "", CompileContext())
    assert basic_auth.knows(config.users, b"user1", b"test1")
    assert not basic_auth.knows(config.users, b"user1", b"test2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("YTpi", (b"a", b"b")),
        ("YTo=", (b"a", b"")),
        ("YTo", (b"a", b"")),
        ("YTp=", None),
        ("YTo==", (b"a", b"")),
        ("YTo===", None),
        ("YTpi\n", None),
        ("Y", None),
        ("", None),
        ("=", None),
        ("\xff\xff", None),
        ("YTr_", None),
    ],
)
def test_credentials_are_read_strictly(text: str, expected: tuple[bytes, bytes] | None) -> None:
    assert basic_auth.decode_credentials(text) == expected


def test_a_long_path_is_cut_in_the_realm() -> None:
    head = RequestHead("GET", "/" + "x" * 1000, "host", HeaderMap())
    assert basic_auth.challenge(head) == f'Basic realm="http://host/{"x" * 255}"'
