"""The local_ratelimit network filter."""

from __future__ import annotations

from typing import Any

from proxy.base.address import Address
from proxy.base.response_flags import ResponseFlag
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.filters.api import ListenerFacts
from proxy.filters.network.local_ratelimit import FACTORY, LocalRateLimitFilter
from tests.support.listeners import (
    chain,
    compile_checked,
    compiled,
    echo,
    listener,
    network_filter,
    numbers,
    services,
)


def limit(**fields: Any) -> dict[str, Any]:
    bucket = {"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "1s"}
    return network_filter(
        "local_ratelimit.v3.LocalRateLimit", **{"stat_prefix": "lr", "token_bucket": bucket, **fields}
    )


def made(of: WorkerServices, **fields: Any) -> LocalRateLimitFilter:
    config = compiled(listener(chain(limit(**fields), echo()))).chains[0].filters[0].config
    gate: LocalRateLimitFilter = FACTORY.create(config, of, ListenerFacts("l", "a", "listener.l."))
    return gate


def connection() -> ConnectionInfo:
    return ConnectionInfo(1, Address("1.2.3.4", 5), Address("1.2.3.4", 6), 0.0, DrainState())


def passes(gate: LocalRateLimitFilter) -> bool:
    return gate.on_new_connection(connection())


def test_connections_over_the_rate_are_refused_until_tokens_have_come() -> None:
    of = services()
    gate = made(of)
    assert [passes(gate) for _ in range(3)] == [True, True, False]
    of.timers.advance(1.5)  # type: ignore[attr-defined]
    assert [passes(gate) for _ in range(2)] == [True, False]
    of.timers.advance(100)  # type: ignore[attr-defined]
    assert [passes(gate) for _ in range(3)] == [True, True, False]
    assert numbers(of) == {"local_rate_limit.lr.rate_limited": 3}


def test_a_refused_connection_says_why() -> None:
    gate = made(services(), token_bucket={"max_tokens": 1, "fill_interval": "1s"})
    assert passes(gate)
    refused = connection()
    assert not gate.on_new_connection(refused)
    assert refused.response_flags == ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
    assert refused.local_close_reason == "local_ratelimit_close_over_limit"


def test_a_share_key_makes_filters_share_the_bucket() -> None:
    of = services()
    one, other = made(of, share_key="k"), made(of, share_key="k")
    assert [passes(one), passes(other), passes(one)] == [True, True, False]
    assert passes(made(of))


def test_it_can_be_turned_off_at_run_time() -> None:
    of = services({"on": "false"})
    gate = made(of, runtime_enabled={"default_value": True, "runtime_key": "on"})
    assert [passes(gate) for _ in range(3)] == [True, True, True]


def test_bad_buckets_are_refused() -> None:
    bucket = {"max_tokens": 1, "tokens_per_fill": 0, "fill_interval": "0.01s"}
    _, problems = compile_checked(listener(chain(limit(stat_prefix="", token_bucket=bucket), echo())))
    assert [problem.rpartition("typed_config.")[2].partition(":")[0] for problem in problems] == [
        "stat_prefix",
        "token_bucket.tokens_per_fill",
        "token_bucket.fill_interval",
    ]
