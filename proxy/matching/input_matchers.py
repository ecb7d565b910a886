"""What may stand in `custom_match` of a single predicate: `envoy.extensions.matching.input_matchers`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from proxy.base.matchers import compile_cidr_ranges, never
from proxy.base.value_matchers import ValueMatch, compile_value_matcher
from proxy.config.context import CompileContext

IP: Final = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
CONSISTENT_HASHING: Final = "envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing"
METADATA: Final = "envoy.extensions.matching.input_matchers.metadata.v3.Metadata"
ALL: Final = (IP, CONSISTENT_HASHING, METADATA)

#: Addresses remembered for each matcher; clients choose them.
_REMEMBERED: Final = 1024


def compile_ip_ranges(message: Any, path: str, ctx: CompileContext) -> Callable[[str], bool]:
    """An `Ip`, as a test on the text of an address."""
    problems = len(ctx.problems)
    ranges = compile_cidr_ranges(message.cidr_ranges, f"{path}.cidr_ranges", ctx)
    if len(ctx.problems) > problems:
        return never
    return lru_cache(_REMEMBERED)(ranges.__contains__)


def compile_share(message: Any, path: str, ctx: CompileContext) -> Callable[[str], bool]:
    """A `ConsistentHashing`, as a test on a text: whether the rest of its hash reaches the threshold."""
    import xxhash  # few trees need it

    threshold, modulo, seed = message.threshold, message.modulo, message.seed
    if threshold > modulo:
        ctx.problem(f"{path}.threshold", f"threshold ({threshold}) cannot be greater than modulo ({modulo})")
    if not modulo:
        return never
    return lambda text: xxhash.xxh64_intdigest(text.encode("latin-1"), seed) % modulo >= threshold


def compile_metadata_value(message: Any, path: str, ctx: CompileContext) -> ValueMatch:
    """A `Metadata`, as a test on a value of metadata."""
    test = compile_value_matcher(message.value, f"{path}.value", ctx)
    if message.invert:
        return lambda value: not test(value)
    return test
