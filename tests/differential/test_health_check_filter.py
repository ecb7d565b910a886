"""The health_check filter beside Envoy: its own answers, cached ones, and what the admin server makes of them."""

from __future__ import annotations

from typing import Any

from tests.support.configs import (
    ROUTER,
    Json,
    bootstrap,
    cluster,
    connection_manager,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side, pair_fixture

FILTER = "envoy.extensions.filters.http.health_check.v3.HealthCheck"


def _filter(path: str, **fields: Any) -> Json:
    match = [{"name": ":path", "string_match": {"exact": path}}]
    return {"name": path, "typed_config": typed(FILTER, headers=match, **fields)}


def _least(path: str, cluster_name: str, value: int) -> Json:
    return _filter(
        path, pass_through_mode=False, cluster_min_healthy_percentages={cluster_name: {"value": value}}
    )


def _config() -> Json:
    filters = [
        _filter("/own", pass_through_mode=False),
        _filter("/pass", pass_through_mode=True),
        _filter("/cached", pass_through_mode=True, cache_time="600s"),
        _least("/enough", "origin", 100),
        _least("/empty", "empty", 1),
        _least("/any", "empty", 0),
        {"name": "router", "typed_config": typed(ROUTER)},
    ]
    table = {"name": "local", "virtual_hosts": [virtual_host([route()])]}
    empty = cluster("empty", 1, load_assignment={"cluster_name": "empty"})
    manager = connection_manager(table, http_filters=filters)
    return bootstrap([listener([manager])], [cluster(), empty], node={"id": "n", "cluster": "me"})


pair = pair_fixture(_config())


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def test_checks_are_answered_alike_and_not_counted(pair: Pair) -> None:
    statuses = {"/own": 200, "/pass": 200, "/enough": 200, "/empty": 503, "/any": 200, "/x": 200}
    counted = [f"http.ingress.downstream_rq_{name}" for name in ("2xx", "5xx", "completed", "total")]
    counted += [f"cluster.origin.upstream_rq_{name}" for name in ("200", "2xx", "completed", "total")]
    with pair.same_stats(*counted):
        for path, status in statuses.items():
            assert pair.same(_get(path)).status == status


def test_the_last_answer_is_kept(pair: Pair) -> None:
    refusal = b"HTTP/1.1 503 x\r\ncontent-length: 0\r\nx-envoy-degraded: 1\r\n\r\n"
    assert pair.same(_get("/cached"), refusal).status == 503
    again = pair.same(_get("/cached"))
    assert again.status == 503
    assert not again.all_requests


def test_a_proxy_that_is_told_to_fail_says_so_everywhere(pair: Pair) -> None:
    def tell(side: Side, what: str) -> None:
        side.proxy.admin(f"/healthcheck/{what}", method="POST")

    def settled(side: Side, path: str) -> int:
        return side.run(_get(path), b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None, {}).status

    pair.both(lambda side: tell(side, "fail"))
    try:
        pair.same_value("told", lambda side: settled(side, "/own"))
        for path, status in (("/own", 503), ("/pass", 503), ("/x", 200)):
            assert pair.same(_get(path)).status == status
    finally:
        pair.both(lambda side: tell(side, "ok"))
    assert pair.same_value("told again", lambda side: settled(side, "/own")) == 200
