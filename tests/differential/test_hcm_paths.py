"""Paths and hosts as they are brought into one form before routing."""

from __future__ import annotations

import pytest

from tests.support.compare import Difference
from tests.support.configs import Json, typed, virtual_host
from tests.support.differential import Pair, Side
from tests.support.managers import get, managers_fixture, same_everywhere
from tests.support.origin import HELLO

ACTIONS = ("KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD")
_TEMPLATE = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
_MATCHES: list[Json] = [
    {"path": "/a/b/c"},
    {"path": "/a/"},
    {"path": "/a"},
    {"prefix": "/p/q"},
    {"path_separated_prefix": "/s/t"},
    {"safe_regex": {"regex": "/r/[a-z]+/z"}},
    {"path_match_policy": {"name": "x", "typed_config": typed(_TEMPLATE, path_template="/u/{x}/v")}},
    {"prefix": "/"},
]
PARAMETER_ROUTES: list[Json] = [
    {"match": match, "direct_response": {"status": 201 + number}} for number, match in enumerate(_MATCHES)
]
PARAMETER_PATHS_TEXT = """
/a/b/c /a;x/b;y/c /a/b/c;z /a/b;y/c?d;e /a;x/ /a;/b/c /a/;x /a;x=/b/c /;a/b/c /p;1/q;2/r /s;1/t;2/r /r/ab;c/z
/r/ab/z;q /u/x;y/v /u/x/v;q /a/b;y /a;x?y /a/b/c;/d /a/b;;/c /a/b%3by/c /a/b;y/c; /p;x/q?;/ /a;b;c/b/c /a//b;x/c
"""
PARAMETER_PATHS = PARAMETER_PATHS_TEXT.split()
MANAGERS: dict[str, Json] = {
    "none": {},
    "normalize": {"normalize_path": True},
    "merge": {"merge_slashes": True},
    **{action.lower(): {"path_with_escaped_slashes_action": action} for action in ACTIONS},
    **{
        f"all_{action.lower()}": {
            "path_with_escaped_slashes_action": action,
            "normalize_path": True,
            "merge_slashes": True,
        }
        for action in ACTIONS
    },
    "parameters": {
        "route_config": {
            "name": "parameters",
            "ignore_path_parameters_in_path_matching": True,
            "virtual_hosts": [virtual_host(PARAMETER_ROUTES)],
        }
    },
}
PATHS_TEXT = r"""
/ /a/b //a///b // /// /a// /a%2fb /a%5Cb /a\b /a/./b /a/../b /../a /a/.. /a/. /a//../b /a/..//b /%61%7e
/%7a%2e%2e/x /a/%2e%2e/b /a/%2E/b /a%25%32%66 /%zz /% /%4 /a%2 /%00 /a%00b /a#b /a?b=//c/../d#e /x?y#
/a?x=%2f%61 /a;b/../c /a|b^c`d"e<f>{g} /a%7Cb /%c3%a9 /%80 /a%20b /a%2f%2fb /a%2F..%2fb /%5c..%5cb
/a/b/../.. /a/b/../../.. /. /.. /... /.a /a.. /..a/ /a/.../b /a%2e%2e /a%3fb /a%23b /a? /? /a/%2e
/a/%2e%2e/ //.. /a\..\b /a%5c..%5cb /%2e%2e%2f /%252e%252e /a%0ab /~!@$&'()*+,;=:-._ /a/%2f/b /%2f
/a/..;/b /a/.;x/b /..; /a//..;/b /a/..;%2fb/c /a/..;b\c/d /x\..;/b /a/%2e%2e;/b /a/..;?/..;/b /a/...;/b /a;b/..;/c
/%4%41 /%%32f /%%32%66 /%2%65%2%65/x /%4%4%41 /%4%4a%41 /%%%32%35 /%a%62 /%4%7e
/%2f%2fexample.com //example.com/x /\example.com /a/;/../b /a%3B /[a] /a%7f
"""
PATHS = PATHS_TEXT.split()
HOSTS = [
    "example.com",
    "example.com:80",
    "example.com:{port}",
    "example.com.",
    "example.com.:80",
    "example.com.:{port}",
    "example.com..",
    ".",
    "[::1]",
    "[::1]:80",
    "[::1]:{port}",
    "::1",
    "example.com:",
    "example.com:99999",
    "example.com:0080",
    "example.com:+80",
    "127.0.0.1.",
    "EXAMPLE.com",
    "a b",
    "a,b",
    "a/b",
    "a@b",
    "a%20b",
    "_x_",
]
HOST_MANAGERS: dict[str, Json] = {
    "host": {},
    "any_port": {"strip_any_host_port": True},
    "matching_port": {"strip_matching_host_port": True},
    "dot": {"strip_trailing_host_dot": True},
    "dot_and_port": {"strip_trailing_host_dot": True, "strip_any_host_port": True},
}

pair = managers_fixture({**MANAGERS, **HOST_MANAGERS})


@pytest.mark.parametrize("manager", MANAGERS)
def test_paths(pair: Pair, manager: str) -> None:
    prefix = f"http.{manager}.downstream_rq_"
    names = (f"{prefix}failed_path_normalization", f"{prefix}redirected_with_normalized_path")
    with pair.same_stats(*names):
        same_everywhere(pair, [(manager, get(path), HELLO) for path in PATHS])


@pytest.mark.parametrize("manager", HOST_MANAGERS)
def test_hosts(pair: Pair, manager: str) -> None:
    def upstream(host: str) -> list[Difference]:
        def exchange(side: Side) -> object:
            port = side.proxy.ports[manager]
            done = side.run(get("/", host=host.format(port=port)), HELLO, manager, {})
            return (
                done.status,
                done.reply.end,
                [(request.get("host") or "").replace(str(port), "{port}") for request in done.all_requests],
            )

        envoy, outrider = pair.both(exchange)
        return [] if envoy == outrider else [Difference(f"host {host!r}", envoy, outrider)]

    pair.check([difference for host in HOSTS for difference in upstream(host)])


def test_path_parameters_are_ignored_segment_by_segment(pair: Pair) -> None:
    same_everywhere(pair, [("parameters", get(path), HELLO) for path in PARAMETER_PATHS])
