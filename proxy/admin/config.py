"""The parts of a bootstrap that govern the admin server: `admin` and `stats_config`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct, field

from proxy.admin.histograms import DEFAULT_BUCKETS, BucketsOf, default_buckets
from proxy.admin.tags import TagExtractor
from proxy.base.matchers import compile_list_string_matcher, compile_string_matcher
from proxy.base.reporting import Reporter

#: Upper bounds that `histogram_bucket_settings` may list are above this.
_SMALLEST: Final = 0.0


class AdminConfig(Struct, frozen=True):
    """Compiled once. `allowed` judges paths without query; None allows every path.

    `exists` judges full stat names by `stats_matcher`; None lets every stat exist.
    """

    tags: TagExtractor = field(default_factory=TagExtractor)
    buckets_of: BucketsOf = default_buckets
    allowed: Callable[[str], bool] | None = None
    exists: Callable[[str], bool] | None = None


def compile_admin(bootstrap: Any, ctx: Reporter) -> AdminConfig:
    """From an `envoy.config.bootstrap.v3.Bootstrap`; the access log of `admin` is compiled elsewhere."""
    stats_config = bootstrap.stats_config
    allowed = [
        compile_string_matcher(matcher, f"admin.allow_paths[{index}]", ctx)
        for index, matcher in enumerate(bootstrap.admin.allow_paths)
    ]
    return AdminConfig(
        TagExtractor(stats_config, "stats_config", ctx),
        _compile_buckets(stats_config, ctx),
        (lambda path: any(test(path) for test in allowed)) if allowed else None,
        _compile_stats_matcher(stats_config.stats_matcher, ctx),
    )


def _compile_stats_matcher(matcher: Any, ctx: Reporter) -> Callable[[str], bool] | None:
    path = "stats_config.stats_matcher"
    match matcher.WhichOneof("stats_matcher"):
        case "inclusion_list":
            return compile_list_string_matcher(matcher.inclusion_list, f"{path}.inclusion_list", ctx)
        case "exclusion_list":
            excluded = compile_list_string_matcher(matcher.exclusion_list, f"{path}.exclusion_list", ctx)
            return lambda name: not excluded(name)
        case "reject_all" if matcher.reject_all:
            return lambda _name: False
        case _:
            return None


def _compile_buckets(stats_config: Any, ctx: Reporter) -> BucketsOf:
    settings: list[tuple[Callable[[str], bool], Sequence[float]]] = []
    for index, setting in enumerate(stats_config.histogram_bucket_settings):
        path = f"stats_config.histogram_bucket_settings[{index}]"
        bounds = tuple(sorted(setting.buckets)) or DEFAULT_BUCKETS
        if bounds[0] <= _SMALLEST or len(set(bounds)) != len(bounds):
            ctx.problem(f"{path}.buckets", "needs distinct numbers greater than 0")
        settings.append((compile_string_matcher(setting.match, f"{path}.match", ctx), bounds))
    if not settings:
        return default_buckets

    def buckets_of(name: str) -> Sequence[float]:
        for matches, bounds in settings:
            if matches(name):
                return bounds
        return DEFAULT_BUCKETS

    return buckets_of
