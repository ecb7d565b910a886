"""What Envoy's v2 configuration wrote differently: one small rewrite for each construct.

A rule takes the mapping of a message, named by its v3 type, and a function to call with the construct's name
and node for each rewrite that it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode

from proxy.config.extensions import TYPE_URL_PREFIX
from proxy.config.node_edit import get, items_of, mapping, plain, pop, put, rename, sequence, text, text_of
from proxy.config.scalars import bool_value

Note = Callable[[str, Node], None]
Rule = Callable[[MappingNode, Note], None]

_TYPE_PATTERNS = tuple(
    (re.compile(f"^{pattern}"), replacement)
    for pattern, replacement in (
        (
            r"envoy\.config\.filter\.(network|http|listener)\.(\w+)\.v2\w*\.",
            r"envoy.extensions.filters.\1.\2.v3.",
        ),
        (r"envoy\.config\.transport_socket\.(\w+)\.v2\w*\.", r"envoy.extensions.transport_sockets.\1.v3."),
        (r"envoy\.api\.v2\.auth\.", "envoy.extensions.transport_sockets.tls.v3."),
        (
            r"envoy\.config\.accesslog\.v2\.FileAccessLog$",
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        ),
        (r"envoy\.api\.v2\.(Listener|Cluster)$", lambda m: f"envoy.config.{m[1].lower()}.v3.{m[1]}"),
        (r"envoy\.api\.v2\.RouteConfiguration$", "envoy.config.route.v3.RouteConfiguration"),
        (r"envoy\.api\.v2\.ClusterLoadAssignment$", "envoy.config.endpoint.v3.ClusterLoadAssignment"),
    )
)

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS = "envoy.extensions.transport_sockets.tls.v3."

# The names that v2 knew an extension by, and the type that a `config` of plain fields had then.
_NAMED_TYPES: dict[str, str] = {
    "envoy.http_connection_manager": _HCM,
    "envoy.filters.network.http_connection_manager": _HCM,
    "envoy.tcp_proxy": "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "envoy.filters.network.tcp_proxy": "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "envoy.echo": "envoy.extensions.filters.network.echo.v3.Echo",
    "envoy.filters.network.echo": "envoy.extensions.filters.network.echo.v3.Echo",
    "envoy.router": "envoy.extensions.filters.http.router.v3.Router",
    "envoy.filters.http.router": "envoy.extensions.filters.http.router.v3.Router",
    "envoy.cors": "envoy.extensions.filters.http.cors.v3.Cors",
    "envoy.filters.http.cors": "envoy.extensions.filters.http.cors.v3.Cors",
    "envoy.buffer": "envoy.extensions.filters.http.buffer.v3.Buffer",
    "envoy.filters.http.buffer": "envoy.extensions.filters.http.buffer.v3.Buffer",
    **{
        f"{prefix}.{name}": f"envoy.extensions.filters.listener.{name}.v3.{message}"
        for prefix in ("envoy.listener", "envoy.filters.listener")
        for name, message in (
            ("http_inspector", "HttpInspector"),
            ("original_dst", "OriginalDst"),
            ("original_src", "OriginalSrc"),
            ("proxy_protocol", "ProxyProtocol"),
            ("tls_inspector", "TlsInspector"),
        )
    },
    "envoy.file_access_log": "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "envoy.access_loggers.file": "envoy.extensions.access_loggers.file.v3.FileAccessLog",
}
_OLD_NAMES = frozenset(
    name for name in _NAMED_TYPES if not name.startswith(("envoy.filters.", "envoy.access_"))
)
_PER_ROUTE_TYPES = {
    "envoy.buffer": "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    "envoy.filters.http.buffer": "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    "envoy.cors": "envoy.extensions.filters.http.cors.v3.CorsPolicy",
    "envoy.filters.http.cors": "envoy.extensions.filters.http.cors.v3.CorsPolicy",
}


def v3_type(type_name: str) -> str | None:
    """The v3 name of a v2 message, or None for a name that is not v2."""
    for pattern, replacement in _TYPE_PATTERNS:
        changed, count = pattern.subn(replacement, type_name)
        if count:
            return changed
    return None


def _typed(type_name: str, fields: Node) -> Node:
    """`config` as `typed_config`."""
    if isinstance(fields, MappingNode):
        put(fields, "@type", text(TYPE_URL_PREFIX + type_name, fields))
        return fields
    return mapping(fields, **{"@type": text(TYPE_URL_PREFIX + type_name, fields)})


def _named_extension(node: MappingNode, note: Note) -> None:
    name = text_of(get(node, "name"))
    type_name = _NAMED_TYPES.get(name)
    given = get(node, "typed_config")
    if type_name is None or (given is not None and not (isinstance(given, MappingNode) and not given.value)):
        return
    fields = pop(node, "config")
    if fields is not None:
        note("an extension's 'config'; read as 'typed_config'", fields)
        put(node, "typed_config", _typed(type_name, fields))
    elif name in _OLD_NAMES:
        note("an extension chosen by its v2 name alone; read with an empty 'typed_config'", node)
        put(node, "typed_config", _typed(type_name, mapping(get(node, "name"))))


def _tls_socket(context_type: str) -> Rule:
    def rule(node: MappingNode, note: Note) -> None:
        fields = pop(node, "tls_context")
        if fields is not None:
            note("'tls_context'; read as 'transport_socket'", fields)
            socket = mapping(
                fields,
                name=text("envoy.transport_sockets.tls", fields),
                typed_config=_typed(context_type, fields),
            )
            put(node, "transport_socket", socket)
        socket = get(node, "transport_socket")
        fields = pop(socket, "config") if isinstance(socket, MappingNode) else None
        if fields is not None:
            note("an extension's 'config'; read as 'typed_config'", fields)
            put(socket, "typed_config", _typed(context_type, fields))

    return rule


def _cluster_hosts(node: MappingNode, note: Note) -> None:
    hosts = pop(node, "hosts")
    if hosts is None:
        return
    note("'hosts' of a cluster; read as 'load_assignment'", hosts)
    endpoints = [mapping(host, endpoint=mapping(host, address=host)) for host in items_of(hosts)]
    localities = sequence([mapping(hosts, lb_endpoints=sequence(endpoints, hosts))], hosts)
    name = get(node, "name") or text("", hosts)
    put(node, "load_assignment", mapping(hosts, cluster_name=name, endpoints=localities))


def _original_dst_policy(node: MappingNode, note: Note) -> None:
    policy = get(node, "lb_policy")
    if isinstance(policy, ScalarNode) and policy.value.upper() == "ORIGINAL_DST_LB":
        note("'ORIGINAL_DST_LB'; read as 'CLUSTER_PROVIDED'", policy)
        put(node, "lb_policy", text("CLUSTER_PROVIDED", policy))


def _runtime(node: MappingNode, note: Note) -> None:
    runtime = pop(node, "runtime")
    if not isinstance(runtime, MappingNode):
        return
    note("'runtime'; read as 'layered_runtime'", runtime)
    layers = []
    base = get(runtime, "base")
    if base is not None:
        layers.append(mapping(base, name=text("base", base), static_layer=base))
    root = get(runtime, "symlink_root")
    if root is not None:
        for layer, field in (("root", "subdirectory"), ("override", "override_subdirectory")):
            folder = get(runtime, field)
            if folder is not None:
                disk = mapping(root, symlink_root=root, subdirectory=folder)
                layers.append(mapping(root, name=text(layer, root), disk_layer=disk))
    layers.append(mapping(runtime, name=text("admin", runtime), admin_layer=mapping(runtime)))
    put(node, "layered_runtime", mapping(runtime, layers=sequence(layers, runtime)))


def _hcm_idle_timeout(node: MappingNode, note: Note) -> None:
    timeout = pop(node, "idle_timeout")
    if timeout is None:
        return
    note(
        "'idle_timeout' of the connection manager; read as 'common_http_protocol_options.idle_timeout'",
        timeout,
    )
    options = get(node, "common_http_protocol_options")
    if not isinstance(options, MappingNode):
        options = mapping(timeout)
        put(node, "common_http_protocol_options", options)
    put(options, "idle_timeout", timeout)


def _route_regex(node: MappingNode, note: Note) -> None:
    pattern = pop(node, "regex")
    if pattern is not None:
        note("'regex' of a route match; read as 'safe_regex'", pattern)
        put(node, "safe_regex", mapping(pattern, regex=pattern))


def _header_regex(node: MappingNode, note: Note) -> None:
    pattern = pop(node, "regex_match")
    if pattern is not None:
        note("'regex_match' of a header; read as 'string_match.safe_regex'", pattern)
        put(node, "string_match", mapping(pattern, safe_regex=mapping(pattern, regex=pattern)))


def _query_parameter(node: MappingNode, note: Note) -> None:
    value, regex = pop(node, "value"), pop(node, "regex")
    if value is None and regex is None:
        return
    note("'value' of a query parameter; read as 'string_match'", value or regex)
    if value is None:
        put(node, "present_match", plain("true", regex))
    elif regex is not None and _is_true(regex):
        put(node, "string_match", mapping(value, safe_regex=mapping(value, regex=value)))
    else:
        put(node, "string_match", mapping(value, exact=value))


def _is_true(node: Node) -> bool:
    try:
        return bool_value(node)
    except ValueError:
        return False


def _string_regex(node: MappingNode, note: Note) -> None:
    pattern = pop(node, "regex")
    if pattern is not None:
        note("'regex' of a text match; read as 'safe_regex'", pattern)
        put(node, "safe_regex", mapping(pattern, regex=pattern))


def _renamed(old: str, new: str) -> Rule:
    def rule(node: MappingNode, note: Note) -> None:
        value = rename(node, old, new)
        if value is not None:
            note(f"'{old}'; read as '{new}'", value)

    return rule


def _mirror_policy(node: MappingNode, note: Note) -> None:
    policy = pop(node, "request_mirror_policy")
    if policy is not None:
        note("'request_mirror_policy'; read as 'request_mirror_policies'", policy)
        put(node, "request_mirror_policies", sequence([policy], policy))


def _mirror_runtime_key(node: MappingNode, note: Note) -> None:
    key = pop(node, "runtime_key")
    if key is not None:
        note("'runtime_key' of a mirror policy; read as 'runtime_fraction'", key)
        none = mapping(key, numerator=plain("0", key))
        put(node, "runtime_fraction", mapping(key, runtime_key=key, default_value=none))


def _websocket(node: MappingNode, note: Note) -> None:
    flag = pop(node, "use_websocket")
    if flag is not None:
        note("'use_websocket'; read as 'upgrade_configs'", flag)
        if _is_true(flag):
            upgrade = mapping(flag, upgrade_type=text("websocket", flag))
            put(node, "upgrade_configs", sequence([upgrade], flag))


def _cors(node: MappingNode, note: Note) -> None:
    matchers: list[Node] = []
    origins = pop(node, "allow_origin")
    if origins is not None:
        note("'allow_origin'; read as 'allow_origin_string_match'", origins)
        matchers += [_origin(origin) for origin in items_of(origins)]
    patterns = pop(node, "allow_origin_regex")
    if patterns is not None:
        note("'allow_origin_regex'; read as 'allow_origin_string_match'", patterns)
        matchers += [mapping(one, safe_regex=mapping(one, regex=one)) for one in items_of(patterns)]
    if matchers:
        put(node, "allow_origin_string_match", sequence(matchers, matchers[0]))
    enabled = pop(node, "enabled")
    if enabled is not None:
        note("'enabled' of a CORS policy; read as 'filter_enabled'", enabled)
        share = plain("100" if _is_true(enabled) else "0", enabled)
        put(node, "filter_enabled", mapping(enabled, default_value=mapping(enabled, numerator=share)))


def _origin(node: Any) -> Node:
    if text_of(node) == "*":
        return mapping(node, safe_regex=mapping(node, regex=text(".*", node)))
    return mapping(node, exact=node)


def _per_filter_config(node: MappingNode, note: Note) -> None:
    configs = pop(node, "per_filter_config")
    if not isinstance(configs, MappingNode):
        return
    note("'per_filter_config'; read as 'typed_per_filter_config'", configs)
    for key, fields in configs.value:
        type_name = _PER_ROUTE_TYPES.get(text_of(key))
        if type_name is not None:
            _typed(type_name, fields)
    put(node, "typed_per_filter_config", configs)


def _subject_alt_names(node: MappingNode, note: Note) -> None:
    names = pop(node, "verify_subject_alt_name")
    if names is None:
        return
    note("'verify_subject_alt_name'; read as 'match_typed_subject_alt_names' for DNS and URI", names)
    matchers: list[Node] = [
        mapping(name, san_type=text(kind, name), matcher=mapping(name, exact=name))
        for name in items_of(names)
        for kind in ("DNS", "URI")
    ]
    put(node, "match_typed_subject_alt_names", sequence(matchers, names))


def _admin_log(node: MappingNode, note: Note) -> None:
    path = pop(node, "access_log_path")
    if path is None:
        return
    note("'access_log_path'; read as 'access_log'", path)
    log = mapping(
        path,
        name=text("envoy.access_loggers.file", path),
        typed_config=_typed(_NAMED_TYPES["envoy.access_loggers.file"], mapping(path, path=path)),
    )
    others = get(node, "access_log")
    put(node, "access_log", sequence([*(items_of(others) if others is not None else ()), log], path))


def _build_version(node: MappingNode, note: Note) -> None:
    version = rename(node, "build_version", "user_agent_version")
    if version is not None:
        note("'build_version' of the node; read as 'user_agent_version'", version)


_ROUTE = "envoy.config.route.v3."

RULES: dict[str, tuple[Rule, ...]] = {
    "envoy.config.bootstrap.v3.Bootstrap": (_runtime,),
    "envoy.config.bootstrap.v3.Admin": (_admin_log,),
    "envoy.config.core.v3.Node": (_build_version,),
    "envoy.config.listener.v3.FilterChain": (_tls_socket(_TLS + "DownstreamTlsContext"),),
    "envoy.config.listener.v3.FilterChainMatch": (_renamed("sni_domains", "server_names"),),
    "envoy.config.listener.v3.Filter": (_named_extension,),
    "envoy.config.listener.v3.ListenerFilter": (_named_extension,),
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter": (_named_extension,),
    "envoy.config.accesslog.v3.AccessLog": (_named_extension,),
    _HCM: (_hcm_idle_timeout,),
    "envoy.config.cluster.v3.Cluster": (
        _cluster_hosts,
        _original_dst_policy,
        _tls_socket(_TLS + "UpstreamTlsContext"),
    ),
    _ROUTE + "VirtualHost": (_per_filter_config,),
    _ROUTE + "Route": (_per_filter_config,),
    _ROUTE + "WeightedCluster.ClusterWeight": (_per_filter_config,),
    _ROUTE + "RouteMatch": (_route_regex,),
    _ROUTE + "HeaderMatcher": (_header_regex,),
    _ROUTE + "QueryParameterMatcher": (_query_parameter,),
    _ROUTE + "RouteAction": (
        _renamed("auto_host_rewrite_header", "host_rewrite_header"),
        _mirror_policy,
        _websocket,
    ),
    _ROUTE + "RouteAction.RequestMirrorPolicy": (_mirror_runtime_key,),
    _ROUTE + "CorsPolicy": (_cors,),
    "envoy.extensions.filters.http.cors.v3.CorsPolicy": (_cors,),
    "envoy.type.matcher.v3.StringMatcher": (_string_regex,),
    _TLS + "CertificateValidationContext": (_subject_alt_names,),
}
"""The rules of each message, by v3 name."""
