"""Many connection managers in one proxy: one listener for each, so that a module starts one pair only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.support.compare import Difference, diff_lists, diff_replies
from tests.support.configs import (
    Json,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    listener,
    route,
    virtual_host,
)
from tests.support.differential import Outcome, Pair
from tests.support.origin import Script

#: The facts that any test of the connection manager should see agree.
LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% "
    "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% %BYTES_RECEIVED% %BYTES_SENT% "
    "%ROUTE_NAME% %UPSTREAM_CLUSTER% %CONNECTION_TERMINATION_DETAILS%"
)


def managers(
    each: Mapping[str, Mapping[str, Any]],
    *,
    routes: Sequence[Json] | None = None,
    route_config: Mapping[str, Any] | None = None,
    clusters: Sequence[Json] | None = None,
    listener_fields: Mapping[str, Mapping[str, Any]] | None = None,
    log: str = LOG,
    **fields: Any,
) -> Json:
    """A bootstrap with one listener per name, each with the given HttpConnectionManager fields.

    All share the stat prefix of their name and the routes, unless a manager brings its own `route_config`.
    """
    table = {"name": "local", "virtual_hosts": [virtual_host(routes or [route()])], **(route_config or {})}
    listeners = [
        listener(
            [
                connection_manager(
                    own.get("route_config", table),
                    **{
                        "stat_prefix": name,
                        "access_log": [file_log(log)],
                        "delayed_close_timeout": "0.1s",
                        **{key: value for key, value in own.items() if key != "route_config"},
                    },
                )
            ],
            name,
            **(listener_fields or {}).get(name, {}),
        )
        for name, own in each.items()
    ]
    return bootstrap(listeners, clusters if clusters is not None else [cluster()], **fields)


def managers_fixture(each: Mapping[str, Mapping[str, Any]], **options: Any) -> Any:
    """A module-scoped fixture: `pair = managers_fixture({"plain": {}, "edge": {"use_remote_address": True}})`."""
    keep = {name: options.pop(name) for name in ("origins", "values", "arguments") if name in options}

    @pytest.fixture(scope="module")
    def pair() -> Iterator[Pair]:
        with Pair(managers(each, **options), listeners=list(each), **keep) as started:
            yield started

    return pair


def get(target: str = "/", *fields: str, host: str = "example.com", method: str = "GET") -> bytes:
    """A request without a body; `fields` are whole lines."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def post(target: str, body: bytes, *fields: str, host: str = "example.com", method: str = "POST") -> bytes:
    """A request with a body of known length."""
    return get(target, f"Content-Length: {len(body)}", *fields, host=host, method=method) + body


@contextlib.contextmanager
def logging_apart(pair: Pair, requests: int) -> Iterator[None]:
    """Wait until the `requests` inside are logged, so that their lines do not come amid those of the next test."""
    before = pair.lines_logged()
    yield
    pair.logged_since(before, requests)


#: (listener, bytes to send, what the origin answers).
Case = tuple[str, bytes, Script]


def _compare(envoy: Outcome, outrider: Outcome) -> list[Difference]:
    differences = diff_replies(envoy.reply, outrider.reply)
    return differences + diff_lists("upstream", envoy.all_requests, outrider.all_requests)


def same_everywhere(
    pair: Pair,
    cases: Sequence[Case],
    *,
    compare: Callable[[Outcome, Outcome], list[Difference]] = _compare,
    **options: Any,
) -> list[Outcome]:
    """`Pair.run` for each case, all compared, and as many equal lines in the access log; Outrider's outcomes.

    Differences of all cases are told at once.
    """
    before = pair.lines_logged()
    differences: list[Difference] = []
    told = []
    outcomes = []
    for listener_name, sent, script in cases:
        envoy, outrider = pair.run(sent, script, listener=listener_name, **options)
        found = compare(envoy, outrider)
        if found:
            told.append(f"\n  {listener_name} {sent[:200]!r}: {', '.join(one.where for one in found)}")
        differences += found
        outcomes.append(outrider)
    logs = pair.logged_since(before, len(cases))
    for (listener_name, sent, _), theirs, ours in zip(cases, *logs, strict=True):
        if theirs != ours:
            differences.append(Difference("access_log", theirs, ours))
            told.append(f"\n  {listener_name} {sent[:200]!r}: access log")
    pair.check(differences, context="".join(told))
    return outcomes
