"""Which virtual host, route and cluster a request gets, what a route does to it, and which tables are refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.configs import Json, cluster, http_proxy, typed, virtual_host
from tests.support.differential import Pair, same_verdict
from tests.support.envoy import Envoy
from tests.support.managers import get, managers_fixture, same_everywhere
from tests.support.origin import HELLO
from tests.support.outrider import subject

CLUSTERS = ("origin", "second", "third")


def answer(match: Json, body: str, **fields: Any) -> Json:
    """A route that tells its name in the body."""
    return {"match": match, "direct_response": {"status": 200, "body": {"inline_string": body}}, **fields}


def answers(*matches: Json) -> list[Json]:
    return [answer(match, f"route {number}") for number, match in enumerate(matches)]


def forward(match: Json, **action: Any) -> Json:
    return {"match": match, "route": {"cluster": "origin", **action}}


def template(text: str) -> Json:
    package = "envoy.extensions.path.match.uri_template.v3"
    config = typed(f"{package}.UriTemplateMatchConfig", path_template=text)
    return {"path_match_policy": {"name": "envoy.path.match.uri_template", "typed_config": config}}


def template_rewrite(text: str) -> Json:
    package = "envoy.extensions.path.rewrite.uri_template.v3"
    config = typed(f"{package}.UriTemplateRewriteConfig", path_template_rewrite=text)
    return {"path_rewrite_policy": {"name": "envoy.path.rewrite.uri_template", "typed_config": config}}


def regex(pattern: str, substitution: str) -> Json:
    return {"pattern": {"regex": pattern}, "substitution": substitution}


def query(**matcher: Any) -> list[Json]:
    return [{"name": "k", **matcher}]


PATH_ROUTES = answers(
    {"path": "/exact"},
    {"path": "/folded", "case_sensitive": False},
    {"prefix": "/folded/", "case_sensitive": False},
    {"path_separated_prefix": "/part"},
    {"path_separated_prefix": "/foldedpart", "case_sensitive": False},
    {"safe_regex": {"regex": "/re/[0-9]+"}},
    template("/t/{id}/x"),
    template("/v{a}/{b=foo/**}"),
    template("/g/**"),
    {"prefix": "/q", "query_parameters": query(string_match={"exact": "v"})},
    {"prefix": "/q", "query_parameters": query(present_match=True)},
    {"prefix": "/nk", "query_parameters": query(present_match=False)},
    {"prefix": "/rk", "query_parameters": query(string_match={"safe_regex": {"regex": "a.c"}})},
    {"prefix": "/a?x"},
    {"path": "/b?x"},
    {"path": "/a"},
    {"prefix": "/a/"},
    {"prefix": "/b"},
    {"prefix": "/p", "grpc": {}},
    {"prefix": "/p", "headers": [{"name": ":method", "string_match": {"exact": "DELETE"}}]},
    {"prefix": "/p", "runtime_fraction": {"default_value": {"numerator": 100}}},
    {"prefix": "/none", "runtime_fraction": {"default_value": {"numerator": 0}}},
    {"prefix": "/tls", "tls_context": {"presented": False}},
    {"prefix": "/tls", "tls_context": {"presented": True}},
)
PATHS_TEXT = """
/ /exact /exact?x /EXACT /exact/ /folded /FOLDED /Folded/x /foldedx /part /part/x /partx /PART/x /part?x
/part;a /foldedpart /FoldedPart/x /FoldedPartx /re/1 /re/12/ /re/a /re/1?x=/re/2 /t/1/x /t/1/x/ /t//x
/t/%41/x?y /v1/foo/ /v1/foo/a/b /v/foo/a /g/a/b /g/ /g /q?k=v /q?k /q?k= /q?k=w&k=v /q?x=1 /q?K=v /q?k=v%20
/q?a=1&k=v /nk /nk?k /rk?k=abc /rk?k=xabcx /a /a/ /a?x /b /b?x /bc /B /p /none /tls // /a;p=1 /exact;p=1?q
/q;x?k=v
"""
PATHS = PATHS_TEXT.split()

DOMAINS = [
    "foo.com",
    "*.foo.com",
    "*-bar.foo.com",
    "foo.*",
    "foo-*",
    "FOO.net",
    "foo.com:8080",
    "[::1]",
    "a*b",
    "*.com",
    "f*",
    "*m",
]
HOSTS_TEXT = """
foo.com FOO.com www.foo.com a.b.foo.com x-bar.foo.com -bar.foo.com .foo.com foo.org foo. foo-x foo.net
foo.com:8080 foo.com:80 [::1] [::1]:80 a*b axb x.com fm f m xm zzz zzz:1 www.foo.com:99 foo.net:x x.FOO.COM
foo.com.
"""
HOSTS = HOSTS_TEXT.split()
DOMAIN_HOSTS = [virtual_host([answer({"prefix": "/"}, domain)], [domain]) for domain in DOMAINS]
STAR = virtual_host([answer({"prefix": "/"}, "star")])

HEADER_MATCHERS: list[Json] = [
    {},
    {"present_match": True},
    {"present_match": False},
    {"exact_match": "v"},
    {"exact_match": ""},
    {"prefix_match": "v"},
    {"suffix_match": "v"},
    {"contains_match": "v"},
    {"safe_regex_match": {"regex": "v+"}},
    {"range_match": {"start": -5, "end": 10}},
    {"string_match": {"exact": ""}},
    {"string_match": {"exact": "V", "ignore_case": True}},
    {"string_match": {"prefix": "V", "ignore_case": True}},
    {"string_match": {"contains": "V", "ignore_case": True}},
    {"string_match": {"safe_regex": {"regex": "v*"}}},
    {"string_match": {"safe_regex": {"regex": r"(?i)[^\d]\w"}}},
    {"string_match": {"safe_regex": {"regex": "."}}},
    {"string_match": {"exact": "v,w"}},
    {"string_match": {"exact": "é"}},
]
HEADER_VARIANTS = [
    {
        "name": "X",
        **matcher,
        **({"invert_match": True} if inverted else {}),
        **({"treat_missing_header_as_empty": True} if empty else {}),
    }
    for matcher in HEADER_MATCHERS
    for inverted in (False, True)
    for empty in (False, True)
]
HEADER_LINES: list[tuple[str, ...]] = [
    (),
    ("X: v",),
    ("X:",),
    ("X: V",),
    ("X: av",),
    ("X: -5",),
    ("X: 10",),
    ("X: +3",),
    ("X: 7a",),
    ("X: v", "X: w"),
    ("X: v,w",),
    ("X: \xc3\xa9",),
    ("X: \xe9",),
    ("X: 99999999999999999999",),
]

REDIRECTS: list[Json] = [
    {},
    {"https_redirect": True},
    {"scheme_redirect": "ftp"},
    {"host_redirect": "new.com"},
    {"host_redirect": "new.com:99"},
    {"port_redirect": 8443},
    {"https_redirect": True, "port_redirect": 8443, "response_code": "PERMANENT_REDIRECT"},
    {"path_redirect": "/new"},
    {"path_redirect": "/new?n=1"},
    {"path_redirect": "new", "strip_query": True},
    {"path_redirect": "/new?n=1", "strip_query": True},
    {"prefix_rewrite": "/pre"},
    {"prefix_rewrite": "/p?x", "strip_query": True},
    {"regex_rewrite": regex("^/([a-z0-9]+)/(.*)$", r"/\2/\1")},
    {"regex_rewrite": regex(".*", "")},
    {"regex_rewrite": regex("r", r"\9")},
    {"regex_rewrite": regex("r", r"a\x")},
    {"regex_rewrite": regex("x*", "-")},
    {"strip_query": True, "response_code": "SEE_OTHER"},
]
REWRITES: list[Json] = [
    {},
    {"prefix_rewrite": "/new"},
    {"prefix_rewrite": "/"},
    {"prefix_rewrite": "/n?a=b"},
    {"regex_rewrite": regex("^/[a-z0-9]+(/.*)?$", r"/re\1")},
    {"regex_rewrite": regex("x", "yy")},
    {"regex_rewrite": regex(".*", "")},
    {"path_rewrite": "/fmt%REQ(x-p)%"},
    {"path_rewrite": "%REQ(x-p)%"},
    {"host_rewrite_literal": "lit"},
    {"host_rewrite_header": "x-host"},
    {"host_rewrite_path_regex": regex("^/[a-z0-9]+/([^/]*).*$", r"\1.com")},
    {"host_rewrite": "%REQ(x-host)%.fmt"},
    {"host_rewrite_literal": "lit", "append_x_forwarded_host": True},
    {"host_rewrite_header": "x-host", "append_x_forwarded_host": True, "prefix_rewrite": "/zz"},
]
PATH_KINDS: dict[str, Callable[[int], Json]] = {
    "prefix": lambda number: {"prefix": f"/r{number}"},
    "path": lambda number: {"path": f"/r{number}"},
    "regex": lambda number: {"safe_regex": {"regex": f"/r{number}(/.*)?"}},
    "separated": lambda number: {"path_separated_prefix": f"/r{number}"},
    "folded": lambda number: {"prefix": f"/R{number}", "case_sensitive": False},
}

WEIGHTED: Json = {
    "clusters": [
        {
            "name": "origin",
            "weight": 10,
            "host_rewrite_literal": "weighted",
            "request_headers_to_add": [{"header": {"key": "x-w", "value": "1"}}],
            "response_headers_to_add": [{"header": {"key": "x-w", "value": "2"}}],
        },
        {"name": "second", "weight": 20},
        {"cluster_header": "x-c", "weight": 5},
    ],
    "header_name": "x-r",
}
EVEN: Json = {
    "clusters": [
        {"name": name, "weight": weight} for name, weight in zip(CLUSTERS, (100, 100, 101), strict=True)
    ],
    "use_hash_policy": True,
}
CHOICES: list[Json] = [
    {
        "match": {"prefix": "/header"},
        "route": {"cluster_header": "x-c", "cluster_not_found_response_code": "NOT_FOUND"},
    },
    {"match": {"prefix": "/weighted"}, "route": {"weighted_clusters": WEIGHTED}},
    {
        "match": {"prefix": "/both"},
        "route": {
            "weighted_clusters": WEIGHTED,
            "host_rewrite_literal": "route",
            "append_x_forwarded_host": True,
        },
    },
    {
        "match": {"prefix": "/hash"},
        "route": {
            "weighted_clusters": EVEN,
            "hash_policy": [
                {"cookie": {"name": "ck"}, "terminal": True},
                {"header": {"header_name": "x-k", "regex_rewrite": regex("^a", "b")}},
                {"query_parameter": {"name": "q"}},
            ],
        },
    },
]


def level(name: str) -> Json:
    return {
        "request_headers_to_add": [
            {"header": {"key": "x-order", "value": name}},
            {"header": {"key": "x-last", "value": name}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        ],
        "response_headers_to_add": [{"header": {"key": "x-order", "value": name}}],
        "request_headers_to_remove": [f"x-{name}"],
    }


def levels(most_specific_wins: bool) -> Json:
    host = virtual_host([forward({"prefix": "/"}) | level("route")], **level("host"))
    return {
        "name": "levels",
        "virtual_hosts": [host],
        "most_specific_header_mutations_wins": most_specific_wins,
        **level("table"),
    }


def one_host(routes: list[Json], **fields: Any) -> Json:
    return {"name": "local", "virtual_hosts": [virtual_host(routes)], **fields}


TABLES: dict[str, Json] = {
    "paths": one_host(PATH_ROUTES),
    "parameters": one_host(PATH_ROUTES, ignore_path_parameters_in_path_matching=True),
    "domains": {"name": "local", "virtual_hosts": DOMAIN_HOSTS},
    "star": {"name": "local", "virtual_hosts": [*DOMAIN_HOSTS, STAR]},
    "port": {"name": "local", "virtual_hosts": [*DOMAIN_HOSTS, STAR], "ignore_port_in_host_matching": True},
    "header": {"name": "local", "virtual_hosts": [*DOMAIN_HOSTS, STAR], "vhost_header": "x-vh"},
    "headers": one_host(
        [
            answer({"path": f"/{number}", "headers": [matcher]}, "yes")
            for number, matcher in enumerate(HEADER_VARIANTS)
        ]
    ),
    "tls": {
        "name": "local",
        "virtual_hosts": [virtual_host([answer({"prefix": "/"}, "plain")], require_tls="ALL")],
    },
    "choices": one_host(CHOICES),
    "own": one_host(
        [
            {"match": {"prefix": f"/{status}"}, "direct_response": {"status": status}}
            for status in (200, 201, 301, 304, 404)
        ]
    ),
    "general": levels(False),
    "specific": levels(True),
    "templates": one_host(
        [
            forward(template("/t0/{a}/{b}"), **template_rewrite("/{b}/{a}")),
            forward(template("/t1/{a=**}"), **template_rewrite("/n/{a}")),
            forward(template("/t2/{a}.json"), **template_rewrite("/j/{a}!")),
        ]
    ),
    **{
        f"redirect_{kind}": one_host(
            [
                {"match": match(number), "redirect": action}
                for number, action in reversed(list(enumerate(REDIRECTS)))
            ]
        )
        for kind, match in PATH_KINDS.items()
    },
    **{
        f"rewrite_{kind}": one_host(
            [forward(match(number), **action) for number, action in reversed(list(enumerate(REWRITES)))]
        )
        for kind, match in PATH_KINDS.items()
    },
}  # fmt: skip

pair = managers_fixture(
    {name: {"route_config": table} for name, table in TABLES.items()},
    clusters=[cluster(name) for name in CLUSTERS],
    origins=CLUSTERS,
)


def check(pair: Pair, table: str, requests: list[bytes]) -> None:
    same_everywhere(pair, [(table, sent, HELLO) for sent in requests])


@pytest.mark.parametrize("table", ["paths", "parameters"])
def test_paths(pair: Pair, table: str) -> None:
    check(pair, table, [get(path) for path in PATHS])


def test_methods_and_grpc(pair: Pair) -> None:
    types = ("application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpcx")
    requests = [get("/p", method=method) for method in ("GET", "DELETE", "OPTIONS")]
    check(pair, "paths", requests + [get("/p", f"content-type: {kind}") for kind in types])


@pytest.mark.parametrize("table", ["domains", "star", "port"])
def test_domains(pair: Pair, table: str) -> None:
    check(pair, table, [get(host=host) for host in HOSTS])


def test_a_header_instead_of_the_host(pair: Pair) -> None:
    requests = [get("/", f"x-vh: {host}") for host in HOSTS]
    requests += [get(host="foo.com"), get("/", "x-vh:"), get("/", "x-vh: foo.com", "x-vh: foo.net")]
    check(pair, "header", requests)


@pytest.mark.parametrize("lines", HEADER_LINES)
def test_headers(pair: Pair, lines: tuple[str, ...]) -> None:
    check(pair, "headers", [get(f"/{number}", *lines) for number in range(len(HEADER_VARIANTS))])


def test_required_tls(pair: Pair) -> None:
    check(pair, "tls", [get("/a?b", host=host) for host in ("h", "h:80", "[::1]:8080")])


@pytest.mark.parametrize("kind", PATH_KINDS)
def test_redirects(pair: Pair, kind: str) -> None:
    tails = (
        ("", "h"),
        ("/x", "h:80"),
        ("?q=1", "h:443"),
        ("/x?q=1&r", "[::1]:80"),
        ("/rxrq", "[::1]"),
        ("/a/b?c=/d", "H:1"),
    )
    requests = [
        get(f"/r{number}{tail}", host=host) for number in range(len(REDIRECTS)) for tail, host in tails
    ]
    check(pair, f"redirect_{kind}", requests)


def test_statuses_of_direct_responses(pair: Pair) -> None:
    check(pair, "own", [get(f"/{status}?x", host="h:80") for status in (200, 201, 301, 304, 404)])


@pytest.mark.parametrize("kind", PATH_KINDS)
def test_rewrites(pair: Pair, kind: str) -> None:
    variants: list[tuple[str, str, tuple[str, ...]]] = [
        ("", "h", ()),
        ("/x?q=/r", "h:80", ("x-host: XH",)),
        ("?q", "h", ("x-host: a", "x-host: b", "x-forwarded-host: h")),
        ("/abc/xd", "h", ("x-p: /pp", "x-forwarded-host: z")),
        ("/a", "h", ("x-forwarded-host: h,z", "x-host:", "x-p: pp?e")),
    ]
    requests = [
        get(f"/r{number}{tail}", *lines, host=host)
        for number in range(len(REWRITES))
        for tail, host, lines in variants
    ]
    check(pair, f"rewrite_{kind}", requests)


def test_template_rewrites(pair: Pair) -> None:
    paths = (
        "/t0/1/2",
        "/t0/1/2?x",
        "/t0/1",
        "/t1/",
        "/t1/a/b/c?d",
        "/t2/x.json",
        "/t2/x.y.json?z",
        "/t0/%41/b%20",
    )
    check(pair, "templates", [get(path) for path in paths])


def test_chosen_clusters(pair: Pair) -> None:
    numbers = ("0", "9", "10", "29", "30", "34", "35", "45", "18446744073709551615")
    requests = [
        get(path, f"x-r: {number}", "x-c: third") for path in ("/weighted", "/both") for number in numbers
    ]
    requests += [
        get("/header", *lines)
        for lines in (("x-c: second",), ("x-c: second", "x-c: third"), ("x-c: zz",), ())
    ]
    check(pair, "choices", requests)


def test_hashes_choose_the_same_cluster(pair: Pair) -> None:
    requests = []
    for number in range(12):
        requests += [
            get("/hash", f"cookie: ck={number}"),
            get("/hash", f'cookie: a=b; ck="{number}"; d', "x-k: z"),
            get(f"/hash?q={number}", f"x-k: a{number}"),
            get("/hash", f"x-k: k{number}", "x-k: a"),
            get("/hash", "x-k: a", f"x-k: k{number}"),
        ]
    check(pair, "choices", requests)


@pytest.mark.parametrize("table", ["general", "specific"])
def test_the_order_of_header_operations(pair: Pair, table: str) -> None:
    check(pair, table, [get("/", "x-route: 1", "x-host: 1", "x-table: 1", "x-order: client")])


def to_origin(**fields: Any) -> Json:
    return {"match": {"prefix": "/"}, "route": {"cluster": "origin", **fields}}


def weighted(*clusters: Json) -> Json:
    return {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": list(clusters)}}}


def direct(**fields: Any) -> Json:
    return {"match": {"prefix": "/"}, "direct_response": {"status": 200, **fields}}


CASELESS_REGEX: Json = {"safe_regex": {"regex": "a"}, "ignore_case": True}
VERDICTS: dict[str, Json] = {
    "good": to_origin(),
    "bad regex": forward({"safe_regex": {"regex": "*"}}),
    "large regex": forward({"safe_regex": {"regex": "(a|b|c|d){1,200}"}}),
    "case with regex": forward({"prefix": "/", "headers": [{"name": "a", "string_match": CASELESS_REGEX}]}),
    "separated by a slash": forward({"path_separated_prefix": "/a/"}),
    "separated with query": forward({"path_separated_prefix": "/a?b"}),
    "empty prefix": forward({"prefix": ""}),
    "no path": forward({}),
    "no action": {"match": {"prefix": "/"}},
    "no cluster": {"match": {"prefix": "/"}, "route": {}},
    "unknown cluster": to_origin(cluster="x"),
    "unknown weighted cluster": weighted({"name": "x", "weight": 1}),
    "unknown mirror": to_origin(request_mirror_policies=[{"cluster": "x"}]),
    "mirror to nothing": to_origin(request_mirror_policies=[{}]),
    "mirror to two": to_origin(request_mirror_policies=[{"cluster": "origin", "cluster_header": "x"}]),
    "no weight": weighted({"name": "origin", "weight": 0}),
    "unset weight": weighted({"name": "origin"}),
    "weight without a name": weighted({"weight": 1}),
    "weight with two names": weighted({"name": "origin", "cluster_header": "x", "weight": 1}),
    "weights over 32 bits": weighted(*[{"name": "origin", "weight": 4294967295}] * 2),
    "two rewrites": to_origin(prefix_rewrite="/a", regex_rewrite=regex("a", "b")),
    "rewrite and format": to_origin(prefix_rewrite="/a", path_rewrite="/b"),
    "substitution without a group": to_origin(regex_rewrite=regex("a", r"\1")),
    "substitution with a bad escape": to_origin(host_rewrite_path_regex=regex("a", r"\x")),
    "template twice": forward(template("/{a}/{a}")),
    "template with prefix": forward(template("/{a}"), prefix_rewrite="/x"),
    "template rewrite alone": to_origin(**template_rewrite("/{a}")),
    "template rewrite of another": forward(template("/{a}"), **template_rewrite("/{b}")),
    "mixed template": forward(template("/v{a}.x/{b}")),
    "upgrade twice": to_origin(upgrade_configs=[{"upgrade_type": "websocket"}, {"upgrade_type": "WebSocket"}]),
    "connect for websocket": to_origin(upgrade_configs=[{"upgrade_type": "websocket", "connect_config": {}}]),
    "body": direct(body={"inline_string": "x" * 4096}),
    "large body": direct(body={"inline_string": "x" * 4097}),
    "body without a file": direct(body={"filename": "/nonexistent"}),
    "body without a variable": direct(body={"environment_variable": "NOT_SET_ANYWHERE"}),
    "status": direct(status=99),
    "redirect copies path": to_origin(internal_redirect_policy={"response_headers_to_copy": [":path"]}),
    "redirect copies host": to_origin(internal_redirect_policy={"response_headers_to_copy": ["host"]}),
    "redirect for 200": to_origin(internal_redirect_policy={"redirect_response_codes": [200, 301]}),
    "hash of nothing": to_origin(hash_policy=[{}]),
    "negative timeout": to_origin(timeout="-1s"),
}  # fmt: skip
FOUND_WHILE_READING = {
    "separated by a slash",
    "separated with query",
    "no path",
    "no action",
    "no cluster",
    "status",
    "hash of nothing",
    "connect for websocket",
}
PORTS = {"origin_port": 1, "listener_port": 0, "admin_port": 0}


def test_accepted_and_refused_routes() -> None:
    """Envoy judges each route alone; Outrider all that Envoy accepts at once, and all that it refuses."""
    with ThreadPoolExecutor(2) as pool:
        configs = [http_proxy(routes=[route]) for route in VERDICTS.values()]
        verdicts = pool.map(lambda config: Envoy.validate(config, PORTS)[0], configs)
        accepted = dict(zip(VERDICTS, verdicts, strict=True))
    good = [VERDICTS[name] for name in VERDICTS if accepted[name]]
    verdict, text = subject().validate(http_proxy(routes=good), PORTS)
    assert verdict, text
    bad = [name for name in VERDICTS if not accepted[name]]
    assert len(bad) > 20
    refused = set()
    # What breaks a rule of its message or is not supported is found before routes are compiled, and hides the rest.
    for names in (bad, [name for name in bad if name not in FOUND_WHILE_READING]):
        verdict, text = subject().validate(http_proxy(routes=[VERDICTS[name] for name in names]), PORTS)
        assert not verdict
        refused |= {name for number, name in enumerate(names) if f"virtual_hosts[0].routes[{number}]" in text}
    assert refused == set(bad)


@pytest.mark.parametrize(
    "domains",
    [[["a", "A"]], [["*"], ["*"]], [["*.a"], ["*.A"]], [["a*b"], [""], ["a"], ["*.a"], ["a.*"]]],
)
def test_accepted_and_refused_domains(domains: list[list[str]]) -> None:
    hosts = [{"name": "v", "domains": names, "routes": []} for names in domains]
    accepted, text = same_verdict(http_proxy(virtual_hosts=hosts), PORTS)
    assert accepted or "domains[" in text
