"""Local rate limits: which buckets a request draws from, and whether it may pass.

Source: Envoy's `LocalRateLimiterImpl`. A request draws from the bucket of each of its descriptors that the
configuration knows, the slowest bucket first, and then from the default one. What it has taken before a bucket
refuses it is not given back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from msgspec import Struct

from proxy.base.token_bucket import TokenBucket, TokenBucketConfig
from proxy.ratelimit.buckets import BucketMaker
from proxy.ratelimit.descriptors import Descriptor, Entries

_DEFAULT_BUCKET = b"default"


class LocalLimits(Struct, frozen=True):
    """Buckets by configuration. `default` None never refuses.

    A wildcard has "" where any value will do; each set of values gets a bucket of its own, for the
    `max_dynamic` that were used last. `identity` is 16 bytes that differ for any two configurations that are to
    have buckets of their own.
    """

    default: TokenBucketConfig | None
    exact: Mapping[Entries, TokenBucketConfig]
    wildcards: tuple[tuple[Entries, TokenBucketConfig], ...]
    max_dynamic: int
    always_consume_default: bool
    identity: bytes


class LocalRateLimiter:
    """The buckets of one configuration."""

    def __init__(self, limits: LocalLimits, make: BucketMaker) -> None:
        self._limits = limits
        self._make = make
        default = limits.default
        self._default = None if default is None else make(default, _DEFAULT_BUCKET, dynamic=False)
        self._exact = {
            entries: make(config, digest_of(entries), dynamic=False)
            for entries, config in limits.exact.items()
        }
        #: For each wildcard the buckets of its values, the one that was used last at the end. Values are kept as
        #: digests: clients choose them, and how long they are.
        self._dynamic: tuple[dict[bytes, TokenBucket], ...] = tuple({} for _ in limits.wildcards)

    def decide(self, descriptors: Sequence[Descriptor], now: float) -> tuple[bool, TokenBucket | None]:
        """Whether a request may pass, and the bucket that a client is told of."""
        matched: list[tuple[TokenBucket, int]] = []
        for descriptor in descriptors:
            bucket = self._bucket_of(descriptor.entries)
            if bucket is not None:
                matched.append((bucket, descriptor.hits))
        if len(matched) > 1:
            matched.sort(key=_rate)
        for bucket, hits in matched:
            if not (hits and bucket.take(now, hits)):
                return False, bucket
        first = matched[0][0] if matched else None
        default = self._default
        if default is None or (matched and not self._limits.always_consume_default):
            return True, first
        if not default.take(now):
            # Of one that never has a token Envoy tells nothing.
            return False, default if default.max_tokens else None
        return True, first or default

    def _bucket_of(self, entries: Entries) -> TokenBucket | None:
        bucket = self._exact.get(entries)
        if bucket is not None:
            return bucket
        for index, (pattern, config) in enumerate(self._limits.wildcards):
            if _matches(pattern, entries):
                return self._dynamic_bucket(index, config, entries)
        return None

    def _dynamic_bucket(self, index: int, config: TokenBucketConfig, entries: Entries) -> TokenBucket:
        known = self._dynamic[index]
        name = digest_of(entries)
        bucket = known.pop(name, None)
        if bucket is None:
            bucket = self._make(config, name, dynamic=True)
        known[name] = bucket
        if len(known) > self._limits.max_dynamic:
            del known[next(iter(known))]
        return bucket


def _rate(match: tuple[TokenBucket, int]) -> float:
    return match[0].rate


def _matches(pattern: Entries, entries: Entries) -> bool:
    return len(pattern) == len(entries) and all(
        wanted_key == key and (not wanted or wanted == value)
        for (wanted_key, wanted), (key, value) in zip(pattern, entries, strict=True)
    )


def digest_of(entries: Entries) -> bytes:
    """16 bytes in place of any number of them."""
    digest = blake2b(digest_size=16)
    for text in (text for entry in entries for text in entry):
        encoded = text.encode("utf-8", "surrogateescape")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.digest()
