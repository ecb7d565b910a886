"""What the configuration loader accepts and refuses, held against Envoy's `--mode validate`.

Accepted snippets share a few configs, since one run of Envoy answers for all of them; each refused one has its own.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.load.envoy_binary import envoy_binary
from proxy.base.errors import ConfigError
from proxy.config.loader import load_bootstrap

TYPE = '"@type": type.googleapis.com/'
ECHO = "envoy.extensions.filters.network.echo.v3.Echo"
SLOW_START = (
    "round_robin_lb_config: {{slow_start_config: {{aggression: {{default_value: {}, runtime_key: x}}}}}}"
)

# Fields of a cluster.
ACCEPTED_CLUSTERS = (
    "connect_timeout: 1s",
    "connect_timeout: {seconds: 1, nanos: 5}",
    "connect_timeout: {seconds: '1'}",
    "connect_timeout: {seconds: 1.0}",
    "connect_timeout: 1.5s",
    "connect_timeout: 0.000000001s",
    "connect_timeout: 0001s",
    "connect_timeout: null",
    "connectTimeout: 1s",
    "connect_timeout: 1s\n    connectTimeout: 2s",
    "lb_policy: round_robin",
    "lb_policy: Round_Robin",
    "lb_policy: 1",
    "lb_policy: '1'",
    "lb_policy: bogus\n    lb_policy: 1",
    "per_connection_buffer_limit_bytes: 5",
    "per_connection_buffer_limit_bytes: '5'",
    "per_connection_buffer_limit_bytes: {value: 5}",
    "per_connection_buffer_limit_bytes: {value: null}",
    "per_connection_buffer_limit_bytes: {}",
    "per_connection_buffer_limit_bytes: 0x10",
    "per_connection_buffer_limit_bytes: '0x10'",
    "per_connection_buffer_limit_bytes: 010",
    "per_connection_buffer_limit_bytes: '010'",
    "per_connection_buffer_limit_bytes: 08",
    "per_connection_buffer_limit_bytes: 1e3",
    "per_connection_buffer_limit_bytes: '1E2'",
    "per_connection_buffer_limit_bytes: 10000.0",
    "per_connection_buffer_limit_bytes: 5.",
    "per_connection_buffer_limit_bytes: +5",
    "per_connection_buffer_limit_bytes: 4294967295",
    "respect_dns_ttl: true",
    "respect_dns_ttl: 'true'",
    "respect_dns_ttl: yes",
    "respect_dns_ttl: On",
    "respect_dns_ttl: n",
    "respect_dns_ttl: 'yes'",
    "respect_dns_ttl: TRUE",
    "respect_dns_ttl: tRUE",
    "respect_dns_ttl: '1'",
    "respect_dns_ttl: T",
    "alt_stat_name: 5.5",
    "alt_stat_name: 1e3",
    "alt_stat_name: 5000000000",
    "alt_stat_name: '5'",
    "alt_stat_name: !foo a",
    "alt_stat_name: ~",
    "alt_stat_name:",
    'alt_stat_name: "a\tb"',
    "alt_stat_name: |\n      abc",
    "altStatName: x",
    "alt_stat_name: a1\n    altStatName: b2",
    "!ignore alt_stat_name: {x: 1}",
    "!ignore whatever: x",
    '"alt_stat_name": b',
    "type: null\n    cluster_type: {name: envoy.cluster.static}",
    "load_assignment: {cluster_name: a, endpoints: {lb_endpoints: []}}",
    "load_assignment: {cluster_name: a, endpoints: [null]}",
    "load_assignment: {cluster_name: a, endpoints: null}",
    "load_assignment: null",
    "metadata: {filter_metadata: {a: {b: 1.5, c: [1, null, true, {d: e}], <<: {x: 1}}}}",
    "metadata: {filter_metadata: {a: null}}",
    "metadata: {filter_metadata: {1: {}, true: {}}}",
    "metadata: {filter_metadata: {a: {a: 1, a: 2}}}",
    "metadata: {typed_filter_metadata: {a: {'@type': type.googleapis.com/google.protobuf.Struct, value: {a: 1}}}}",
    "metadata: {typed_filter_metadata: {a: {'@type': foo.com/google.protobuf.StringValue, value: x}}}",
    "metadata: {typed_filter_metadata: {a: {'@type': type.googleapis.com/google.protobuf.Duration, value: 5s}}}",
    "metadata: {typed_filter_metadata: {a: {}}}",
    "least_request_lb_config: {active_request_bias: {default_value: '1.0', runtime_key: x}}",
    "least_request_lb_config: {active_request_bias: {default_value: 0x10, runtime_key: x}}",
    "least_request_lb_config: {active_request_bias: {default_value: 99999999999, runtime_key: x}}",
    "load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {"
    + TYPE
    + "udpa.type.v1.TypedStruct, type_url: a.b/bogus}}}, {typed_extension_config: {name: x, typed_config: {"
    + TYPE
    + "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin}}}]}",
)

REFUSED_CLUSTERS = (
    "connect_timeout: 500ms",
    "connect_timeout: 1",
    "connect_timeout: '1'",
    "connect_timeout: 1.0000000001s",
    "connect_timeout: .5s",
    "connect_timeout: 315576000001s",
    "connect_timeout: 0s",
    "connect_timeout: {}",
    "connect_timeout: {seconds: 1, Nanos: 1}",
    "lb_policy: round-robin",
    "lb_policy: 1.0",
    "lb_policy: 99",
    "lb_policy: true",
    "per_connection_buffer_limit_bytes: 1.5",
    "per_connection_buffer_limit_bytes: -1",
    "per_connection_buffer_limit_bytes: 4294967296",
    "per_connection_buffer_limit_bytes: ' 5'",
    "per_connection_buffer_limit_bytes: ''",
    "per_connection_buffer_limit_bytes: 1_000",
    "per_connection_buffer_limit_bytes: [5]",
    "respect_dns_ttl: 1",
    "respect_dns_ttl: 1.0",
    "respect_dns_ttl: {value: true}",
    "alt_stat_name: 5",
    "alt_stat_name: yes",
    "alt_stat_name: 0x10",
    "alt_stat_name: !!str 5",
    "alt_stat_name: [a]",
    "AltStatName: x",
    "bogus: null",
    "<<: {alt_stat_name: x}",
    "? [a]\n    : b",
    "alt_stat_name: *b",
    "type: STATIC\n    cluster_type: {name: envoy.cluster.static}",
    "load_assignment: []",
    "metadata: {filter_metadata: {a: 5}}",
    "metadata: {typed_filter_metadata: {a: {'@type': google.protobuf.StringValue, value: x}}}",
    "metadata: {typed_filter_metadata: {a: {value: x}}}",
    "least_request_lb_config: {active_request_bias: {default_value: .inf, runtime_key: x}}",
    "transport_socket: {name: envoy.transport_sockets.raw_buffer}",
)

# Filters of a listener's only chain.
ACCEPTED_FILTERS = (
    f"{{name: bogus, typed_config: {{{TYPE}{ECHO}}}}}",
    f"{{name: e, typed_config: {{{TYPE}xds.type.v3.TypedStruct, type_url: a.b/{ECHO}, value: {{}}}}}}",
    f"{{name: e, typed_config: {{{TYPE}udpa.type.v1.TypedStruct, typeUrl: {ECHO}}}}}",
)
REFUSED_FILTERS = (
    "{name: envoy.filters.network.echo}",
    "{name: envoy.filters.network.echo, typed_config: {}}",
    f"{{name: '', typed_config: {{{TYPE}{ECHO}}}}}",
    f"{{name: e, typed_config: {{{TYPE}envoy.extensions.filters.http.router.v3.Router}}}}",
    f"{{name: e, typed_config: {{{TYPE}udpa.type.v1.TypedStruct, type_url: a.b/{ECHO}, value: {{bogus: 1}}}}}}",
)

# Whole documents.
ACCEPTED_DOCUMENTS = (
    "{} {}",
    "{}\n---\nx: [",
    "node: {id: a}\nnode: {id: b}",
    "%YAML 1.2\n---\nnode: {id: x}",
    "\ufeffnode: {id: x}",
    "node:\r\n  id: x\r\n",
)
REFUSED_DOCUMENTS = (
    "",
    "null",
    "[]",
    "x",
    "---\n---\n{}",
    "node: {id: @x}",
    "node: {id: 'x}",
    "node:\n  id: x\n cluster: y",
    "layered_runtime: {layers: [{name: a}]}",
)


def _clusters(*snippets: str) -> str:
    names = "".join(f"  - name: c{number}\n    {snippet}\n" for number, snippet in enumerate(snippets))
    return f"static_resources:\n  clusters:\n{names}"


def _listeners(*filters: str) -> str:
    address = "{socket_address: {address: 127.0.0.1, port_value: 0}}"
    listeners = "".join(
        f"  - {{name: l{number}, address: {address}, filter_chains: {{filters: {one}}}}}\n"
        for number, one in enumerate(filters)
    )
    return f"static_resources:\n  listeners:\n{listeners}"


SHARED = {
    "clusters": (_clusters(*ACCEPTED_CLUSTERS), [_clusters(one) for one in ACCEPTED_CLUSTERS]),
    "filters": (_listeners(*ACCEPTED_FILTERS), [_listeners(one) for one in ACCEPTED_FILTERS]),
} | {document: (document, [document]) for document in ACCEPTED_DOCUMENTS}

REFUSED = {
    **{snippet: _clusters(snippet) for snippet in REFUSED_CLUSTERS},
    **{snippet: _listeners(snippet) for snippet in REFUSED_FILTERS},
    **{document: document for document in REFUSED_DOCUMENTS},
}


def _envoy_accepts(text: str, folder: Path) -> tuple[bool, str]:
    path = folder / f"{abs(hash(text))}.yaml"
    path.write_bytes(text.encode())
    command = [
        envoy_binary(),
        "-c",
        str(path),
        "--mode",
        "validate",
        "--disable-hot-restart",
        "-l",
        "critical",
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    return done.returncode == 0, (done.stdout + done.stderr)[-1000:]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bool, str]]:
    folder = tmp_path_factory.mktemp("configs")
    texts = [text for text, _ in SHARED.values()] + list(REFUSED.values())
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(texts, pool.map(lambda text: _envoy_accepts(text, folder), texts), strict=True))


@pytest.mark.parametrize("name", SHARED)
def test_what_envoy_accepts_is_accepted(name: str, verdicts: dict[str, tuple[bool, str]]) -> None:
    shared, singles = SHARED[name]
    assert verdicts[shared][0], verdicts[shared][1]
    for text in [shared, *singles]:
        load_bootstrap(text, "test.yaml")


@pytest.mark.parametrize("name", REFUSED)
def test_what_envoy_refuses_is_refused(name: str, verdicts: dict[str, tuple[bool, str]]) -> None:
    assert not verdicts[REFUSED[name]][0]
    with pytest.raises(ConfigError) as caught:
        load_bootstrap(REFUSED[name], "test.yaml")
    for problem in caught.value.problems:
        assert problem.line > 0
        assert problem.column > 0
