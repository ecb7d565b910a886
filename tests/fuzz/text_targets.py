"""Parsers of what operators, control planes and programs write, and of targets and fields that are taken apart.

Config, formats, templates, regexes, paths, authorities, JSON bodies, listings of iptables and nft, env files.
"""

from __future__ import annotations

import contextlib
from typing import Any

import re2

from iptables import observe, observe_nft
from iptables.errors import CaptureError
from proxy.base.cookies import cookie_value
from proxy.base.errors import ConfigError, Problem, UsageError
from proxy.base.headers import HeaderMap
from proxy.base.matchers import parse_query
from proxy.base.messages import RequestHead
from proxy.base.regex import Regex, compile_regex, compile_substitution
from proxy.config.loader import load_bootstrap
from proxy.formatter.compile import compile_format
from proxy.hcm import normalize
from proxy.hcm.forwarding import last_xff_address
from proxy.router import uri_template
from proxy.transcoding.http_template import TemplateError as HttpTemplateError
from proxy.transcoding.http_template import Unescape, unescape
from proxy.transcoding.json_reader import JsonObject, JsonReader
from proxy.transcoding.path_matcher import MatcherOptions, PathMatcher
from proxy.transcoding.plain_json import parse_plain
from proxy.transcoding.status import TranscodeError
from proxy.upstream.dns_cache.names import host_name
from proxy.vm.env_file import parse as parse_env
from proxy.vm.errors import VmError
from tests.fuzz.target import target
from tests.support.streams import context, stream

_CLUSTER = b"""
static_resources:
  clusters:
  - &c {name: a, connect_timeout: 0.25s, type: strict_dns, lb_policy: 1}
  - {<<: *c, name: b}
  listeners: [{name: l, address: {socket_address: {address: 0.0.0.0, port_value: "0x50"}}}]
admin: {address: {socketAddress: {address: "::", portValue: 1e3}}}
"""


@target(
    _CLUSTER,
    b'{"node": {"id": "a", "metadata": {"a": [1.5, null, true, {"b": ~}]}}, "unknown": 5}',
    b"static_resources: {listeners: [{filter_chains: [{filters: [{typed_config: {'@type': "
    b"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, cluster: a}}]}]}]}",
    b"layered_runtime: {layers: [{name: a, static_layer: {a.b: 1, c: {numerator: 5}}}]}\n--- \n- x",
    b"dynamic_resources: {cds_config: {path: /x, initial_fetch_timeout: {seconds: 3, nanos: 99999999999}}}",
    b"&a [*a, !!binary aGk=, 0o17, .inf, 2024-01-31, '\\ud800', \"\\x00\", [[[[[]]]]]]",
)
def config(data: bytes) -> None:
    """A bootstrap, or every problem with its place."""
    problems: tuple[Problem, ...] = ()
    try:
        load_bootstrap(data, "fuzz.yaml").message.SerializeToString()
    except ConfigError as error:
        problems = error.problems or (Problem("", ""),)
    for problem in problems:
        assert problem.reason
        assert problem.line >= 0


@target(
    b'[%START_TIME(%Y/%m/%dT%H:%M:%S.%6fZ)%] "%REQ(:METHOD)% %REQ(X-A?:PATH):10% %PROTOCOL%" %%',
    b"%DYNAMIC_METADATA(a:b):5%%FILTER_STATE(k:PLAIN)%%DURATION%%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ms)%",
    b'%COALESCE({"operators": ["HOSTNAME", {"command": "REQ", "param": ":path", "max_length": 3}]})%',
    b"%QUERY_PARAM(a)%%PATH(NQ:ORIG)%%QUERY_PARAMS%%DOWNSTREAM_PEER_CERT_V_START(%b %d)%%TRAILER(a)%",
    b"%UPSTREAM_METADATA(a:b)%%METADATA(ROUTE:a:b)%%RESPONSE_FLAGS(LONG)%%REQUEST_HEADERS_BYTES%%ENVIRONMENT(X):2%",
)
def log_format(data: bytes) -> None:
    """A format compiles or is a problem of the config; what compiles renders for any request."""
    ctx = context()
    text = data.decode("utf-8", "replace")
    made = compile_format(text, "format", ctx)
    if not ctx.problems:
        fields = [("x-a", "\xff%41"), ("host", "a"), ("x-envoy-original-path", "/b?a=%4&a")]
        line = made.render(stream(fields, [("c", "d")], path="/a?a=%ff&b"))
        line.encode("latin-1")


@target(
    b"/a/../b//c%2f%41%00?d=e&f#g",
    b"/%5c..\\%zz/./..;/{|}",
    b"//a/..//b/%2e%2E/",
)
def paths(data: bytes) -> None:
    """Normal forms stay what they are, and climb nowhere."""
    target_ = "/" + data.decode("latin-1").replace("\0", "")
    normal = normalize.normalize_path(target_)
    if normal is not None:
        path = normalize.split_path(normal)[0]
        assert path.startswith("/")
        assert not {".", ".."} & set(path.split("/"))
        # What a second look resolves are parameters behind dots that were written with backslashes or escapes.
        assert ";" in path or normalize.normalize_path(normal) == normal
    merged = normalize.merge_slashes(target_)
    assert "//" not in normalize.split_path(merged)[0][1:]
    assert not normalize.has_escaped_slash(normalize.unescape_slashes(target_)) or "%" in target_
    parse_query(target_)
    for kind in Unescape:
        unescape(target_, kind, plus=True)


@target(b"a.example.:80", b"[::1]:443", b"::1", b"a:+80", b"a:" + b"1" * 5000, b"user@a:99999")
def authorities(data: bytes) -> None:
    """A port comes off once, whatever its length."""
    text = data.decode("latin-1")
    for only in (None, 80):
        stripped = normalize.strip_port(text, only)
        assert text.startswith(stripped)
    normalize.strip_trailing_dot(text)
    name = host_name(text, 443)
    assert 0 <= name.port < 65536


@target(b'a=b; c="d"; =; a', b"10.0.0.1, ::ffff:1.2.3.4, fe80::1%lo", b'a="')
def request_fields(data: bytes) -> None:
    """Cookies and forwarded addresses of any text."""
    text = data.decode("latin-1")
    head = RequestHead("GET", "/", "a", HeaderMap([("cookie", text), ("x-forwarded-for", text)]))
    for name in ("a", "c", ""):
        assert cookie_value(head, name) in text
    for skip in range(3):
        last_xff_address(head.headers, skip)


@target(b"/a/{x}/**\n/b/c/d", b"/{a=b/*}/c{d}e\n/b/1/c2e", b"/**.m3u8\n/a/b.m3u8", b"/a*b/{x=**}\n")
def path_templates(data: bytes) -> None:
    """Of routes and of gRPC transcoding: a template or its error; a match binds parts of the path."""
    template, _, path = data.decode("latin-1").partition("\n")
    path = "/" + path.lstrip("/")
    with contextlib.suppress(uri_template.TemplateError):
        made = uri_template.compile_template(template)
        pieces = uri_template.compile_rewrite(
            "/z" + "".join(f"/{{{name}}}" for name in made.names), made.names
        )
        uri_template.expand(made, pieces, path)
    with contextlib.suppress(uri_template.TemplateError):
        uri_template.parse_rewrite(template)
    matcher: PathMatcher[str] = PathMatcher(MatcherOptions())
    with contextlib.suppress(HttpTemplateError):
        matcher.register("GET", template, "*", "method")
        found = matcher.match("GET", *normalize.split_path(path))
        assert found is None or found.method == "method"


@target(
    b"a+b*[c-f]?\naabc",
    b"(?i)^/x/(.*)$\n/X/y",
    b"(a|b|cd){1,3}\nabcd",
    b"\\d+\\.\\w\n12.x",
    b"[^/]+/.*z\na/bz",
)
def regexes(data: bytes) -> None:
    """What is matched by the standard library is what RE2 says, and takes linear time."""
    pattern, _, text = data.decode("latin-1").partition("\n")
    ctx = context()
    made = compile_regex(pattern, "regex", ctx)
    if made is None:
        assert ctx.problems
        return
    assert isinstance(made, Regex)
    plain = re2.compile(pattern.encode(), _latin1())
    encoded = text.encode("latin-1")
    assert made.full_match(text) == (plain.fullmatch(encoded) is not None)
    assert made.search(text) == (plain.search(encoded) is not None)
    substitution = compile_substitution("<\\0>", made, "regex", ctx)
    made.sub(text, substitution)
    for unit in {text[-1:], text[:2]} - {""}:
        long = unit * (20_000 // len(unit))
        made.full_match(long + "\x01")
        made.search(long + "\x01")


def _latin1() -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return options


@target(
    b'{"a": [1, 2.5e3, "\\u00e9\\ud83d\\ude00", null, true, {}]}', b"[{'a': 1,}, ]", b'["\\ud800"]', b"-1e999"
)
def json_bodies(data: bytes) -> None:
    """The same values or an error, however it is cut; where the quick way reads them, they are those of `json`."""
    results: list[tuple[list[Any] | None, str]] = []
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        found: list[Any] = []
        reader = JsonReader(found.append)
        try:
            for piece in pieces:
                reader.feed(piece)
            reader.finish()
        except TranscodeError as error:
            results.append((None, error.code))
        else:
            results.append(([_plain(one) for one in found], ""))
    assert repr(results[0]) == repr(results[1])
    with contextlib.suppress(ValueError):
        quick = _plain(parse_plain(data))
        assert results[0][0] is not None
        assert repr(quick) == repr(results[0][0][0])


def _plain(value: Any) -> Any:
    if isinstance(value, JsonObject):
        return [(name, _plain(one)) for name, one in value.entries]
    return [_plain(one) for one in value] if isinstance(value, list) else value


@target(
    b"*nat\n:PREROUTING ACCEPT [1:60]\n:ISTIO_OUTPUT - [0:0]\n"
    b"-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 15001\nCOMMIT\n",
    b'*mangle\n[3:4] -A X -m connmark --mark 0x539/0xffffffff -m comment --comment "a b" -j CONNMARK --save-mark\n'
    b"-I X 2 ! -d 10.0.0.0/8 -m owner --uid-owner 1337 -j MARK --set-xmark 0x1/0xffffffff\nCOMMIT\n",
    b"*raw\n-A Y -p udp -j CT --zone 1\n-A Y -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 1\nCOMMIT",
)
def iptables_save(data: bytes) -> None:
    """Listings with rules of anybody's: what cannot be judged becomes `Unknown`."""
    with contextlib.suppress(CaptureError):
        observe.parse_save(data.decode("utf-8", "replace"))


@target(
    b"table ip outrider_nat {\n\tchain prerouting {\n\t\ttype nat hook prerouting priority -100; policy accept;\n"
    b"\t\tip daddr != 10.0.0.0/8 tcp dport { 80, 90-99 } counter packets 0 bytes 0 redirect to :15001\n\t}\n}\n",
    b"table inet x {\n set s {\n elements = { 1 }\n }\n chain c {\n"
    b" meta mark set ct mark\n ct state 0x2 return\n }\n}\n",
    b"table ip6 y {\nchain z {\nmeta l4proto 6 meta skuid 1337 tproxy ip6 to :1 meta mark set 0x1 accept\n}\n}",
)
def nft_ruleset(data: bytes) -> None:
    """The same for nft."""
    with contextlib.suppress(CaptureError):
        observe_nft.parse_ruleset(data.decode("utf-8", "replace"))


@target(b"NAME='a b'\n# c\nENVOY_PORT=15001\n", b"ENVOY_USER=envoy\nX\n", b"LOG_LEVEL='info")
def env_file(data: bytes) -> None:
    """Settings, or an error that names the line."""
    with contextlib.suppress(VmError, UsageError):
        parse_env(data.decode("utf-8", "replace"), "sidecar.env")
