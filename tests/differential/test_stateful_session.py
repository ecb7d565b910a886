"""Sessions that stay with a host: what clients are told, what they may ask for, beside Envoy."""

from __future__ import annotations

import base64
import itertools
from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.configs import ROUTER, TYPE, Json, cluster, http_proxy, route, typed
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.origin import Origin

FILTER: Final = "envoy.extensions.filters.http.stateful_session.v3.StatefulSession"
NAME: Final = "envoy.filters.http.stateful_session"
#: Nobody listens there.
DEAD: Final = 1


def state(kind: str, **fields: Any) -> Json:
    message = f"envoy.extensions.http.stateful_session.{kind}.v3.{kind.title()}BasedSessionState"
    return {"name": f"envoy.http.stateful_session.{kind}", "typed_config": typed(message, **fields)}


def on_route(one: Json, session_state: Json | None = None, *, strict: bool = False) -> Json:
    own = {"stateful_session": {"session_state": session_state, "strict": strict}}
    override = {"disabled": True} if session_state is None else own
    return {**one, "typed_per_filter_config": {NAME: {"@type": f"{TYPE}{FILTER}PerRoute", **override}}}


HEADER: Final = state("header", name="X-Host")
RETRY: Final = {"retry_on": "connect-failure", "num_retries": 3}
PLAIN: Final = state(
    "cookie", cookie={"name": "s", "ttl": "120s", "path": "/path", "attributes": [{"name": "Secure"}]}
)


def _with_health(name: str, **fields: Any) -> Json:
    made = cluster(name, "{{first_port}}", "{{second_port}}", **fields)
    made["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["health_status"] = "DRAINING"
    return made


CONFIG: Final = http_proxy(
    routes=[
        on_route(route("both", "/off")),
        on_route(route("both", "/header"), HEADER),
        on_route(route("both", "/strict"), HEADER, strict=True),
        on_route(route("draining", "/draining"), HEADER),
        on_route(route("drained", "/drained"), HEADER),
        on_route(route("dead", "/retried", retry_policy=RETRY), HEADER),
        route("both", "/"),
    ],
    clusters=[
        cluster("both", "{{first_port}}", "{{second_port}}"),
        cluster("dead", DEAD, "{{second_port}}"),
        _with_health("draining"),
        _with_health(
            "drained",
            common_lb_config={"override_host_status": {"statuses": ["DRAINING", "HEALTHY", "UNKNOWN"]}},
        ),
    ],
    hcm={
        "http_filters": [
            {"name": NAME, "typed_config": typed(FILTER, session_state=PLAIN, stat_prefix="mine")},
            {"name": "router", "typed_config": typed(ROUTER)},
        ]
    },
)
ENVELOPE: Final = {
    "name": "envoy.http.stateful_session.envelope",
    "typed_config": typed(
        "envoy.extensions.http.stateful_session.envelope.v3.EnvelopeSessionState",
        header={"name": "X-Session"},
    ),
}


def _enveloped(*, strict: bool) -> Json:
    session = typed(FILTER, session_state=ENVELOPE, strict=strict, stat_prefix="kept")
    return http_proxy(
        routes=[on_route(route("both", "/off")), route("none", "/none"), route("both", "/")],
        clusters=[cluster("both", "{{first_port}}", "{{second_port}}"), _empty("none")],
        hcm={
            "http_filters": [
                {"name": NAME, "typed_config": session},
                {"name": "router", "typed_config": typed(ROUTER)},
            ]
        },
    )


def _empty(name: str) -> Json:
    return {**cluster(name, DEAD), "load_assignment": {"cluster_name": name}}


envelopes = pair_fixture(_enveloped(strict=False), origins={"first": Origin, "second": Origin})
strict_envelopes = pair_fixture(_enveloped(strict=True), origins={"first": Origin, "second": Origin})
pair = pair_fixture(CONFIG, origins={"first": Origin, "second": Origin})


def _named(side: Side, text: str) -> str:
    """The address in a value, as the name of its origin."""
    raw = base64.b64decode(text)
    for name, origin in side.origins.items():
        if f"127.0.0.1:{origin.port}".encode() in raw:
            return name
    return repr(raw)


def ask(side: Side, path: str, *fields: str) -> tuple[int, str, bytes]:
    """Status, the host that the client is told of, and the body."""
    lines = "".join(f"{field}\r\n" for field in fields)
    reply = exchange(side.proxy.port, f"GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode()).response
    cookie = reply.get("set-cookie")
    if cookie is not None:
        value, _, rest = cookie.partition("; ")
        return reply.status, f"{_named(side, value[3:-1])}; {rest}", reply.body
    host = reply.get("x-host")
    return reply.status, "" if host is None else _named(side, host), reply.body


def value(side: Side, origin: str) -> str:
    return base64.b64encode(f"127.0.0.1:{side.origins[origin].port}".encode()).decode()


def test_a_new_client_is_told_of_its_host_once(pair: Pair) -> None:
    def play(side: Side) -> list[Any]:
        seen = {ask(side, "/path")[:2] for _ in range(4)}
        reply = exchange(side.proxy.port, b"GET /path/x?y HTTP/1.1\r\nHost: a\r\n\r\n").response
        cookie = (reply.get("set-cookie") or "").split("; ")[0]
        counts = {name: len(origin.requests) for name, origin in side.origins.items()}
        again = [ask(side, "/path", f"cookie: a=b; {cookie}")[:2] for _ in range(4)]
        asked = sorted(len(origin.requests) - counts[name] for name, origin in side.origins.items())
        return [sorted(seen), again, asked]

    told = pair.same_value("a session", play)
    assert told[0] == [
        (200, f"{name}; Max-Age=120; Path=/path; Secure; HttpOnly") for name in ("first", "second")
    ]
    assert told[1:] == [[(200, "")] * 4, [0, 4]]


@pytest.mark.parametrize("path", ["/", "/pathology", "/off", "/pat"])
def test_other_paths_are_no_part_of_it(pair: Pair, path: str) -> None:
    assert pair.same_value("told", lambda side: ask(side, path)[:2]) == (200, "")


@pytest.mark.parametrize("origin", ["first", "second"])
def test_an_address_alone_will_do(pair: Pair, origin: str) -> None:
    assert (
        pair.same_value(
            "cookie",
            lambda side: [ask(side, "/path", f"cookie: s={value(side, origin)}")[:2] for _ in range(3)],
        )
        == [(200, "")] * 3
    )
    assert (
        pair.same_value(
            "header",
            lambda side: [ask(side, "/header", f"x-host: {value(side, origin)}")[:2] for _ in range(3)],
        )
        == [(200, "")] * 3
    )


def test_an_old_cookie_counts_for_nothing(pair: Pair) -> None:
    def play(side: Side) -> set[Any]:
        address = f"127.0.0.1:{side.origins['first'].port}".encode()
        old = base64.b64encode(b"\n" + bytes([len(address)]) + address + b"\x10\x05").decode()
        return {ask(side, "/path", f"cookie: s={old}")[1].split(";")[0] for _ in range(6)}

    assert pair.same_value("told", play) == {"first", "second"}


@pytest.mark.parametrize("path", ["/header", "/strict"])
@pytest.mark.parametrize("wanted", ["MTAuMC4wLjk6ODA=", "junk!", "", "YWJj"])
def test_a_host_that_is_not_there(pair: Pair, path: str, wanted: str) -> None:
    def play(side: Side) -> set[tuple[int, bytes]]:
        found = [ask(side, path, f"x-host: {wanted}") for _ in range(4)]
        return {(status, body if status != 200 else b"") for status, _, body in found}

    seen = pair.same_value("answers", play)
    assert len(seen) == 1
    assert seen == {(200, b"")} or (path == "/strict" and next(iter(seen))[0] == 503)


@pytest.mark.parametrize(("path", "told"), [("/draining", "second"), ("/drained", "")])
def test_the_health_of_the_host_decides(pair: Pair, path: str, told: str) -> None:
    assert pair.same_value("told", lambda side: ask(side, path, f"x-host: {value(side, 'first')}")[:2]) == (
        200,
        told,
    )


def test_another_try_goes_elsewhere(pair: Pair) -> None:
    dead = base64.b64encode(f"127.0.0.1:{DEAD}".encode()).decode()
    seen = pair.same_value(
        "told", lambda side: {ask(side, "/retried", f"x-host: {dead}")[:2] for _ in range(4)}
    )
    assert (200, "second") in seen


def told_of(side: Side, text: str | None) -> str:
    """The host and the origin's own value that a value of the envelope tells of."""
    if text is None:
        return ""
    address, found, inner = text.partition(";")
    if not found:
        return text
    flag, _, value = inner.partition(":")
    return f"{_named(side, address)} {flag} {base64.b64decode(value).decode()}"


def enclosed(
    side: Side, path: str, *fields: str, session: str = ""
) -> tuple[int, list[str], list[list[str]]]:
    """Status, what the client hears of its session, and what the origin heard, which has one if `session`."""
    more = f"X-Session: {session}\r\n" if session else ""
    for origin in side.origins.values():
        origin.script(f"HTTP/1.1 200 OK\r\n{more}content-length: 0\r\n\r\n".encode())
    lines = "".join(f"{field}\r\n" for field in fields)
    reply = exchange(side.proxy.port, f"GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode()).response
    told = [told_of(side, one) for one in reply.all("x-session")]
    heard = [
        [text.replace(value(side, "second"), "<second>") for text in one.all("x-session")]
        for origin in side.origins.values()
        for one in origin.requests
    ]
    return reply.status, told, heard


def kept(side: Side, prefix: str = "kept") -> dict[str, int]:
    at = f"http.ingress.stateful_session.{prefix}."
    return {name.removeprefix(at): count for name, count in side.proxy.stats(at).items()}


def sealed(side: Side, origin: str, inner: str = "abc") -> str:
    return f"{value(side, origin)};UV:{base64.b64encode(inner.encode()).decode()}"


@pytest.mark.parametrize(
    "name",
    [
        "new",
        "silent",
        "again",
        "other",
        "gone",
        "plain",
        "no_inner",
        "bad_inner",
        "empty",
        "order",
        "twice",
        "off",
        "none",
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_sessions_of_the_origin(envelopes: Pair, strict_envelopes: Pair, name: str, strict: bool) -> None:
    def play(side: Side) -> Any:
        inner = base64.b64encode(b"abc").decode()
        gone = base64.b64encode(b"10.0.0.9:80").decode()
        fields = {
            "again": [sealed(side, "second")],
            "other": [sealed(side, "second") + ";more"],
            "gone": [f"{gone};UV:{inner}"],
            "plain": ["abc"],
            "no_inner": [value(side, "second")],
            "bad_inner": [f"{value(side, 'second')};UV:!!!"],
            "empty": [f";;UV:{inner}"],
            "order": [f"{value(side, 'second')};x;UV:{inner};UV:eA=="],
            "twice": [sealed(side, "second"), sealed(side, "first")],
            "off": [sealed(side, "second")],
            "none": [sealed(side, "second")],
        }.get(name, [])
        lines = [f"x-session: {one}" for one in fields]
        path = {"off": "/off", "none": "/none"}.get(name, "/")
        session = "" if name == "silent" else "xyz"
        before = kept(side)
        found = [enclosed(side, path, *lines, session=session) for _ in range(2)]
        after = kept(side)
        counted = {key: count - before.get(key, 0) for key, count in after.items()}
        if name not in {"again", "other", "order", "twice"}:
            found = sorted((status, ["first" in one for one in told], heard) for status, told, heard in found)
        return found, counted

    pair = strict_envelopes if strict else envelopes
    counted = pair.same_value("session", play)[1]
    assert counted.keys() == {"failed_closed", "failed_open", "no_session", "routed"}


def test_what_comes_of_sessions_is_counted(pair: Pair) -> None:
    dead = base64.b64encode(f"127.0.0.1:{DEAD}".encode()).decode()

    def play(side: Side) -> list[dict[str, int]]:
        seen = [kept(side, "mine")]
        for path, fields in (
            ("/path", ()),
            ("/path", (f"cookie: s={value(side, 'first')}",)),
            ("/path", (f"cookie: s={dead}",)),
            ("/other", ()),
            ("/off", ()),
            ("/header", (f"x-host: {value(side, 'first')}",)),
            ("/strict", (f"x-host: {dead}",)),
            ("/nowhere", ()),
        ):
            ask(side, path, *fields)
            now = kept(side, "mine")
            seen.append(now)
        return [{name: now[name] - before[name] for name in now} for before, now in itertools.pairwise(seen)]

    counted = pair.same_value("counted", play)
    assert [[name for name, count in one.items() if count] for one in counted] == [
        ["failed_open"],
        ["routed"],
        ["failed_open"],
        ["no_session"],
        [],
        [],
        [],
        ["no_session"],
    ]
