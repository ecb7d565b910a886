"""Where the token buckets of rate limits come from: those that all workers share, and those of one owner."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Protocol

from proxy.base.services import WorkerServices
from proxy.base.shared_buckets import SharedBuckets, SharedTokenBucket
from proxy.base.token_bucket import TokenBucket, TokenBucketConfig


class BucketMaker(Protocol):
    """Makes a bucket; `name` tells it apart from the others of its limiter."""

    def __call__(self, config: TokenBucketConfig, name: bytes, *, dynamic: bool) -> TokenBucket:
        """A new bucket, or one that is known by that name elsewhere."""


def bucket_maker(services: WorkerServices, identity: bytes) -> BucketMaker:
    """Buckets that the workers share, of a limiter with this identity."""
    table: SharedBuckets | None = services.buckets
    now = services.loop.time
    if table is None:
        return own_buckets(services)

    def make(config: TokenBucketConfig, name: bytes, *, dynamic: bool) -> TokenBucket:
        digest = blake2b(name, digest_size=8, key=identity).digest()
        key = int.from_bytes(digest, "little") or 1
        return SharedTokenBucket(config, now(), table, key, dynamic=dynamic)

    return make


def own_buckets(services: WorkerServices) -> BucketMaker:
    """Buckets that nobody else has."""
    now = services.loop.time

    def make(config: TokenBucketConfig, name: bytes, *, dynamic: bool) -> TokenBucket:  # noqa: ARG001
        return TokenBucket(config, now())

    return make


def identity_of(owner: str, path: str, message: Any) -> bytes:
    """That of a configuration: what it says and where it stands, which is the same in every worker."""
    where = f"{owner}\0{path}\0".encode()
    return blake2b(where + message.SerializeToString(deterministic=True), digest_size=16).digest()


def shared_identity(kind: str, share_key: str, bucket: TokenBucketConfig) -> bytes:
    """That of a bucket which filters of a kind have together that name the same key and the same bucket."""
    said = (kind, share_key, bucket.max_tokens, bucket.tokens_per_fill, bucket.fill_interval)
    return blake2b(repr(said).encode(), digest_size=16).digest()
