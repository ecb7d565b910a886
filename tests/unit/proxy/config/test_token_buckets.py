"""The bucket of a local rate limit."""

from envoy.type.v3 import token_bucket_pb2
from google.protobuf import json_format

from proxy.base.token_bucket import TokenBucketConfig
from proxy.config.context import CompileContext
from proxy.config.token_buckets import compile_token_bucket


def compiled(**fields: object) -> tuple[TokenBucketConfig, list[str]]:
    ctx = CompileContext()
    message = json_format.ParseDict(fields, token_bucket_pb2.TokenBucket())
    return compile_token_bucket(message, "p", ctx), [problem.path for problem in ctx.problems]


def test_one_token_comes_at_a_time_unless_told_otherwise() -> None:
    assert compiled(max_tokens=5, fill_interval="2s") == (TokenBucketConfig(5, 1, 2.0), [])
    bucket, _ = compiled(max_tokens=5, tokens_per_fill=3, fill_interval="0.05s")
    assert bucket == TokenBucketConfig(5, 3, 0.05)


def test_a_bucket_that_fills_too_fast_is_refused() -> None:
    assert compiled(max_tokens=5, fill_interval="0.049s")[1] == ["p.fill_interval"]
    assert compiled(max_tokens=5)[1] == ["p.fill_interval"]


def test_a_bucket_of_no_tokens_may_fill_as_fast_as_it_likes() -> None:
    assert compiled(fill_interval="0.001s") == (TokenBucketConfig(0, 1, 0.05), [])
