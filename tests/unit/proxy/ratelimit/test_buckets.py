from __future__ import annotations

from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from google.protobuf import json_format

from proxy.base.shared_buckets import SharedBuckets, SharedTokenBucket
from proxy.base.token_bucket import TokenBucketConfig
from proxy.ratelimit.buckets import bucket_maker, identity_of, shared_identity
from tests.support.listeners import services

CONFIG = TokenBucketConfig(1, 1, 60.0)


def message(prefix: str = "a") -> local_rate_limit_pb2.LocalRateLimit:
    return json_format.ParseDict({"stat_prefix": prefix}, local_rate_limit_pb2.LocalRateLimit())


def test_a_configuration_is_told_apart_by_what_it_says_and_where_it_stands() -> None:
    identities = {
        identity_of("", "p", message()),
        identity_of("", "q", message()),
        identity_of("p", "", message()),
        identity_of("", "p", message("b")),
    }
    assert len(identities) == 4
    assert identity_of("", "p", message()) in identities


def test_a_share_key_is_enough() -> None:
    assert shared_identity("f", "k", CONFIG) == shared_identity("f", "k", TokenBucketConfig(1, 1, 60.0))
    assert shared_identity("f", "k", CONFIG) != shared_identity("f", "l", CONFIG)
    assert shared_identity("f", "k", CONFIG) != shared_identity("f", "k", TokenBucketConfig(2, 1, 60.0))


def test_one_worker_does_not_touch_shared_memory() -> None:
    of = services()
    made = bucket_maker(of, b"i" * 16)(CONFIG, b"", dynamic=False)
    assert not isinstance(made, SharedTokenBucket)
    of.buckets = SharedBuckets.create()
    assert isinstance(bucket_maker(of, b"i" * 16)(CONFIG, b"", dynamic=False), SharedTokenBucket)
    of.buckets.close()
