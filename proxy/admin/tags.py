"""Turns a dotted stat name into a metric name and labels, by the rules of Envoy's default tags.

Source: Envoy's `common/config/well_known_names`, `envoy.config.metrics.v3.TagSpecifier`. Each rule finds a
value in the name and cuts it out: `cluster.a.upstream_rq_503` becomes `cluster.upstream_rq` with two labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import re2
from msgspec import Struct

from proxy.base.reporting import Reporter

Label = tuple[str, str]

#: (value, spans of the name to cut out)
_Found = tuple[str, list[tuple[int, int]]]


class _Rule(Struct, frozen=True):
    """`first` is the first part of the names that it can apply to, "" for any."""

    tag: str
    first: str
    find: Callable[[str], _Found | None]


def _by_pattern(tag: str, pattern: str, never: str = "") -> _Rule:
    """Group 1 is cut out, group 2 is the value; a rule with the value `never` does not apply."""
    part = r"[^.]+"
    address = r"(?:(?:\d{1,3}\.){3}\d{1,3}|\[[a-fA-F_\d]+\])_\d+"
    expanded = pattern.replace("PART", part).replace("ADDRESS", address)
    compiled = re.compile(expanded, re.ASCII)
    first = re.match(r"\^(\w+)\\\.", pattern)

    def find(name: str) -> _Found | None:
        match = compiled.search(name)
        if match is None or (never and match[2] == never):
            return None
        return match[2], [match.span(1)]

    return _Rule(tag, first[1] if first else "", find)


def _by_parts(tag: str, shape: str) -> _Rule:
    """`$` is the part that is the value, `*` any part, `**` any number of parts, else the part itself."""
    parts = shape.split(".")
    pieces = []
    for part in parts:
        match part:
            case "$":
                pieces.append(r"(?P<cut>(?P<value>[^.]+)\.)")
            case "*":
                pieces.append(r"[^.]+\.")
            case "**":
                pieces.append(r"(?:[^.]+\.)*?")
            case _:
                pieces.append(re.escape(part) + r"\.")
    compiled = re.compile("".join(pieces) + r"\Z")

    def find(name: str) -> _Found | None:
        # A dot at the end makes every part look alike; where the value is the last, the dot before it goes.
        match = compiled.match(name + ".")
        if match is None:
            return None
        start, end = match.span("cut")
        if end > len(name):
            start, end = max(0, start - 1), len(name)
        return match["value"], [(start, end)]

    return _Rule(tag, "" if parts[0] in {"$", "*"} else parts[0], find)


_PATTERNS: Final = (
    ("envoy.response_code", r"_rq(_(\d{3}))$"),
    ("envoy.response_code_class", r"_rq_((\d))xx$"),
    ("envoy.ssl_cipher", r"^listener\..*?\.ssl\.ciphers(\.([\w-]+))$"),
    ("envoy.ssl_curve", r"^listener\..*?\.ssl\.curves(\.([\w-]+))$"),
    ("envoy.ssl_curve", r"^cluster\..*?\.ssl\.curves(\.([\w-]+))$"),
    ("envoy.ssl_sigalg", r"^listener\..*?\.ssl\.sigalgs(\.([\w-]+))$"),
    ("envoy.ssl_sigalg", r"^cluster\..*?\.ssl\.sigalgs(\.([\w-]+))$"),
    ("envoy.ssl_version", r"^listener\..*?\.ssl\.versions(\.(TLSv\d\.\d))$"),
    ("envoy.ssl_version", r"^cluster\..*?\.ssl\.versions(\.(TLSv\d\.\d))$"),
    ("cipher_suite", r"^cluster\.PART\.ssl\.ciphers(\.([\w-]+))$"),
    ("envoy.tls_certificate", r"^listener\..*?\.ssl\.certificate\.(([^.]+)\.)"),
    ("envoy.tls_certificate", r"^cluster\..*?\.ssl\.certificate\.(([^.]+)\.)"),
    ("envoy.http_conn_manager_prefix", r"^listener\..*?\.http\.((PART)\.)"),
    ("envoy.worker_id", r"^listener\.(?:ADDRESS|PART)\.worker_((\d+)\.)"),
    ("envoy.worker_id", r"^server\.worker_((\d+)\.)"),
    ("envoy.worker_id", r"^listener_manager\.worker_((\d+)\.)"),
    ("envoy.worker_id", r"^thread_local_cluster_manager\.worker_((\d+)\.)"),
    ("envoy.rds_route_config", r"^http\.PART\.rds\.(([\w.-]+)\.)\w+?$"),
    (
        "envoy.rbac_policy_name",
        r"^http\.PART\.rbac\.(?:PART\.)?policy\.((PART)\.)(allowed|shadow_allowed|denied|shadow_denied)$",
    ),
)

_SHAPES: Final = (
    ("envoy.mongo_callsite", "mongo.*.collection.*.callsite.$.query.**"),
    ("envoy.mongo_collection", "mongo.*.collection.$.**.query.*"),
    ("envoy.mongo_cmd", "mongo.*.cmd.$.**"),
    ("envoy.grpc_bridge_method", "cluster.*.grpc.*.$.**"),
    ("envoy.http_user_agent", "http.*.user_agent.$.**"),
    ("envoy.virtual_cluster", "vhost.*.vcluster.$.**"),
    ("envoy.fault_downstream_cluster", "http.*.fault.$.**"),
    ("envoy.grpc_bridge_service", "cluster.*.grpc.$.**"),
    ("envoy.tcp_prefix", "tcp.$.**"),
    ("envoy.udp_prefix", "udp.$.**"),
    ("envoy.clientssl_prefix", "auth.clientssl.$.**"),
    ("envoy.ratelimit_prefix", "ratelimit.$.**"),
    ("envoy.cluster_name", "cluster.$.**"),
    ("envoy.ext_authz_prefix", "cluster.*.ext_authz.$.**"),
    ("envoy.ext_authz_prefix", "http.*.ext_authz.$.**"),
    ("envoy.http_conn_manager_prefix", "http.$.**"),
    ("envoy.virtual_host", "vhost.$.**"),
    ("envoy.mongo_prefix", "mongo.$.**"),
    ("envoy.route", "vhost.*.route.$.**"),
    ("envoy.thrift_prefix", "thrift.$.**"),
    ("envoy.redis_prefix", "redis.$.**"),
    ("envoy.local_http_ratelimit_prefix", "$.http_local_rate_limit.**"),
    ("envoy.local_network_ratelimit_prefix", "local_rate_limit.$.**"),
    ("envoy.local_listener_ratelimit_prefix", "listener_local_ratelimit.$.**"),
    ("envoy.dns_filter_prefix", "dns_filter.$.**"),
    ("envoy.connection_limit_prefix", "connection_limit.$.**"),
    ("envoy.rbac_prefix", "$.rbac.**"),
)


#: Of a host, see `proxy.upstream.tracked`: no rule finds these labels, Envoy knows them.
_ENDPOINT: Final = re.compile(
    r"cluster\.(?P<cluster>.+?)\.endpoint\.(?P<address>.+)"
    r"\.(?P<number>(?:cx_(?:active|connect_fail|total)|rq_(?:active|error|pending_active|success|timeout|total)|healthy))\Z"
)


def _address(text: str) -> str:
    """`127.0.0.1_80` is 127.0.0.1:80; the path of a pipe has no colons that are written so."""
    if text.startswith("/"):
        return text
    host, _, port = text.rpartition("_")
    return f"{host.replace('_', ':')}:{port}"


def _default_rules() -> list[_Rule]:
    rules = [_by_pattern(tag, pattern) for tag, pattern in _PATTERNS]
    rules.append(_by_pattern("envoy.rbac_http_prefix", r"^http\.PART\.rbac\.((PART)\.)", never="policy"))
    rules.append(_by_pattern("envoy.listener_address", r"^listener\.((ADDRESS|PART)\.)", never="admin"))
    rules.extend(_by_parts(tag, shape) for tag, shape in _SHAPES)
    return rules


_CLASSES: Final = {"alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "digit": "0-9", "lower": "a-z", "upper": "A-Z",
                   "punct": r"!-/:-@\[-`{-~", "space": r"\s", "word": r"\w", "xdigit": "0-9a-fA-F"}  # fmt: skip


def _compiled(pattern: str) -> Any:
    """The pattern for RE2 or, with what only ECMAScript knows such as look-ahead, for `re`. Raises on a bad one.

    Envoy reads these patterns as ECMAScript (`std::regex`), all others as RE2. Names of stats are short.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return re.compile(re.sub(r"\[:([a-z]+):\]", lambda found: _CLASSES[found[1]], pattern), re.ASCII)


def _custom_rule(tag: str, pattern: str) -> _Rule:
    """A rule of the operator: group 1 is cut out, group 2 (or else 1) is the value. Raises on a bad regex."""
    compiled = _compiled(pattern)
    if not compiled.groups:
        raise ValueError("needs at least one group: what the group matches is the value")

    def find(name: str) -> _Found | None:
        match = compiled.search(name)
        if match is None or match.group(1) is None:
            return None
        value = match.group(2) if compiled.groups >= 2 and match.group(2) is not None else match.group(1)
        return value, [match.span(1)]

    return _Rule(tag, "", find)


class TagExtractor:
    """The rules in force: the default ones, changed by `StatsConfig.stats_tags` if given with a reporter."""

    def __init__(
        self, stats_config: Any = None, path: str = "stats_config", ctx: Reporter | None = None
    ) -> None:
        self.fixed: list[Label] = []
        rules = _default_rules()
        self.customised = False
        if stats_config is not None and ctx is not None:
            rules = self._customise(rules, stats_config, path, ctx)
        self._anywhere = [rule for rule in rules if not rule.first]
        self._by_first: dict[str, list[_Rule]] = {}
        for rule in rules:
            if rule.first:
                self._by_first.setdefault(rule.first, []).append(rule)

    def _customise(self, defaults: list[_Rule], stats_config: Any, path: str, ctx: Reporter) -> list[_Rule]:
        use_all = not stats_config.HasField("use_all_default_tags") or stats_config.use_all_default_tags.value
        rules = list(defaults) if use_all else []
        seen: set[str] = set()
        for index, specifier in enumerate(stats_config.stats_tags):
            tag, at = specifier.tag_name, f"{path}.stats_tags[{index}]"
            if tag in seen:
                ctx.problem(f"{at}.tag_name", f"the tag {tag!r} is specified twice")
            seen.add(tag)
            if specifier.WhichOneof("tag_value") == "fixed_value":
                self.fixed.append((tag, specifier.fixed_value))
            elif specifier.regex:
                self.customised = True
                try:
                    rules.append(_custom_rule(tag, specifier.regex))
                except (ValueError, LookupError, re.error) as error:
                    ctx.problem(f"{at}.regex", str(error))
            else:
                known = [rule for rule in defaults if rule.tag == tag]
                if not use_all:
                    rules.extend(known)
                if not known:
                    ctx.problem(f"{at}.tag_name", f"no regex given, and no default tag is called {tag!r}")
        return rules

    def extract(self, name: str) -> tuple[str, tuple[Label, ...]]:
        """The name without its values, and (tag, value) pairs; tag names are Envoy's, with dots."""
        if ".endpoint." in name:
            endpoint = _ENDPOINT.match(name)
            if endpoint is not None:
                address = ("envoy.endpoint_address", _address(endpoint["address"]))
                labels = [*self.fixed, ("envoy.cluster_name", endpoint["cluster"]), address]
                return f"cluster.endpoint.{endpoint['number']}", tuple(labels)
        labels = list(self.fixed)
        taken = {tag for tag, _ in labels}
        cuts: list[tuple[int, int]] = []
        first = name.partition(".")[0]
        for rules in (self._anywhere, self._by_first.get(first, ())):
            for rule in rules:
                if rule.tag in taken:
                    continue
                found = rule.find(name)
                if found is not None:
                    labels.append((rule.tag, found[0]))
                    taken.add(rule.tag)
                    cuts.extend(found[1])
        return _without(name, cuts) if cuts else name, tuple(labels)


def _without(name: str, cuts: Sequence[tuple[int, int]]) -> str:
    kept = []
    position = 0
    for start, end in sorted(cuts):
        if start > position:
            kept.append(name[position:start])
        position = max(position, end)
    kept.append(name[position:])
    return "".join(kept)
