"""The admin server says what Envoy's says, in Envoy's formats."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any

import pytest

from tests.support.configs import cluster, http_proxy, route
from tests.support.differential import Pair, Side, pair_fixture

_LAYERS = {
    "layers": [
        {"name": "static", "static_layer": {"a": {"b": 5}, "text": "hello", "yes": True}},
        {"name": "admin", "admin_layer": {}},
    ]
}


def _config() -> dict[str, Any]:
    config = http_proxy(
        routes=[route("dead", "/dead"), route()],
        clusters=[
            cluster(),
            cluster(
                "dead",
                "{{dead_port}}",
                circuit_breakers={"thresholds": [{"max_connections": 7, "track_remaining": True}]},
            ),
        ],
        layered_runtime=_LAYERS,
    )
    endpoints = config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]
    endpoints["locality"] = {"region": "r", "zone": "z"}
    endpoints["lb_endpoints"][0]["endpoint"]["hostname"] = "origin.example"
    endpoints["lb_endpoints"][0]["load_balancing_weight"] = 3
    return config


pair = pair_fixture(_config(), values={"dead_port": 9})


def _ask(side: Side, path: str, method: str = "GET", body: str | None = None) -> tuple[int, str, str]:
    """Status, content type and body, ports replaced by their names."""
    connection = http.client.HTTPConnection("127.0.0.1", side.proxy.admin_port, timeout=10)
    try:
        headers = {"content-type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        content_type = response.headers["content-type"]
    finally:
        connection.close()
    names = {
        side.proxy.admin_port: "ADMIN",
        side.proxy.port: "LISTENER",
        **{origin.port: "ORIGIN" for origin in side.origins.values()},
    }
    for port, name in names.items():
        text = re.sub(rf"(?<=[:_ ]){port}\b", name, text)
    return response.status, content_type, text


def _stable(value: Any) -> Any:
    """JSON without what differs from run to run: times, the node, who built it."""
    if isinstance(value, dict):
        hidden = {"last_updated", "node", "path"}
        return {name: _stable(item) for name, item in value.items() if name not in hidden}
    if isinstance(value, list):
        return [_stable(item) for item in value]
    return value


def _json(side: Side, path: str) -> Any:
    text = _ask(side, path)[2]
    for number, name in enumerate(("LISTENER", "ORIGIN", "ADMIN"), 1):
        text = text.replace(f": {name}", f": {number}")
    return _stable(json.loads(text))


@pytest.mark.parametrize(
    "path",
    [
        "/config_dump",
        "/config_dump?include_eds",
        "/config_dump?resource=static_clusters",
        "/config_dump?resource=static_clusters&mask=cluster.name",
        "/config_dump?resource=static_clusters&name_regex=d.*",
        "/config_dump?resource=static_listeners",
        "/config_dump?resource=static_route_configs&mask=route_config.name",
        "/config_dump?resource=static_endpoint_configs&include_eds",
        "/config_dump?mask=bootstrap.admin",
        "/config_dump?mask=static_clusters",
        "/listeners?format=json",
        "/certs",
        "/init_dump",
        "/stats?format=json&filter=membership",
    ],
)
def test_json_says_the_same(pair: Pair, path: str) -> None:
    def read(side: Side) -> Any:
        value = _json(side, path)
        # Envoy lists clusters in the order of a hash table.
        for section in value.get("configs", []):
            for name in ("static_clusters", "static_endpoint_configs"):
                if name in section:
                    section[name].sort(key=str)
        value.get("configs", []).sort(key=str)
        return value

    pair.same_value(path, read)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/ready", "GET"),
        ("/ready", "HEAD"),
        ("/ready", "POST"),
        ("/ready", "DELETE"),
        ("/listeners", "GET"),
        ("/hot_restart_version", "GET"),
        ("/quitquitquit", "GET"),
        ("/healthcheck/fail", "PUT"),
        ("/logging", "HEAD"),
        ("/runtime_modify", "POST"),
        ("/reopen_logs", "POST"),
        ("/healthcheck/ok", "POST"),
        ("/stats?filter=%5B", "GET"),
        ("/stats?hidden=x", "GET"),
        ("/stats?type=Gauges&filter=membership", "GET"),
        ("/stats?type=Counters&filter=no_such_stat", "GET"),
        ("/stats?filter=^runtime&type=Gauges", "GET"),
        ("/stats?filter=^listener_manager&type=Gauges", "GET"),
        ("/stats?filter=circuit_breakers", "GET"),
        ("/stats/prometheus?filter=no_such_stat", "GET"),
        ("/config_dump?name_regex=%5B", "GET"),
        ("/config_dump?mask=x", "GET"),
        ("/config_dump?resource=bootstrap", "GET"),
    ],
)
def test_text_says_the_same(pair: Pair, path: str, method: str) -> None:
    pair.same_value(f"{method} {path}", lambda side: _ask(side, path, method))


@pytest.mark.parametrize(
    "path",
    ["/", "/help", "/bogus", "/stats?format=html", "/stats?type=x", "/stats?histogram_buckets=x", "/memory",
     "/stats/prometheus?histogram_buckets=disjoint", "/config_dump?resource=x", "/clusters?filter=%5B",
     "/clusters?format=x", "/contention", "/runtime", "/stats/recentlookups"],
)  # fmt: skip
def test_status_and_type_are_the_same(pair: Pair, path: str) -> None:
    pair.same_value(path, lambda side: _ask(side, path)[:2])


def test_clusters_are_listed_alike(pair: Pair) -> None:
    def read(side: Side) -> list[str]:
        return sorted(line for line in _ask(side, "/clusters")[2].splitlines() if "::cx_" not in line)

    assert "origin::127.0.0.1:ORIGIN::hostname::origin.example" in pair.same_value("/clusters", read)

    def statuses(side: Side) -> Any:
        return sorted(_json(side, "/clusters?format=json")["cluster_statuses"], key=str)

    def without_numbers(side: Side) -> Any:
        result = statuses(side)
        for status in result:
            for host in status["host_statuses"]:
                for stat in host["stats"]:
                    stat.pop("value", None)
        return result

    assert len(pair.same_value("/clusters?format=json", without_numbers)) == 2


def test_runtime_is_shown_and_changed_alike(pair: Pair) -> None:
    def change(side: Side) -> tuple[int, str, str]:
        return _ask(side, "/runtime_modify?a.b=7&new=x", "POST")

    def read(side: Side) -> Any:
        return _json(side, "/runtime")

    before = pair.same_value("/runtime", read)
    assert before["entries"]["a.b"] == {"layer_values": ["5", ""], "final_value": "5"}
    pair.same_value("change", change, settle=0)
    assert pair.same_value("/runtime", read)["entries"]["a.b"]["final_value"] == "7"
    pair.same_value("form", lambda side: _ask(side, "/runtime_modify", "POST", "a.b=&new="), settle=0)
    assert pair.same_value("/runtime", read) == before


def test_server_info_has_the_same_fields(pair: Pair) -> None:
    def read(side: Side) -> Any:
        info = json.loads(_ask(side, "/server_info")[2])
        options = info.pop("command_line_options")
        kept = (
            "concurrency",
            "drain_time",
            "parent_shutdown_time",
            "file_flush_interval",
            "mode",
            "drain_strategy",
            "log_level",
            "base_id",
            "restart_epoch",
        )
        # Newer than the published messages.
        info.pop("hot_restart_initializing", None)
        shown = {name: options[name] for name in kept}
        # What control planes are told of the build.
        node = info["node"]
        agent = node["user_agent_name"], node["user_agent_build_version"]["version"]
        return sorted(info), info["state"], info["hot_restart_version"], shown, agent

    pair.same_value("/server_info", read)


# Names that only one side has, by prefix or in whole.
_ONLY_ENVOY = (
    "http.async-client.",  # the client inside Envoy's own processes
    "envoy.overload_actions.",  # no overload manager
    "overload.",
    "thread_local_cluster_manager.",  # workers are processes
    "main_thread.watchdog",  # no watchdog threads
    "workers.watchdog",
    "server.worker_0.watchdog",
)
_ONLY_OURS = ("server.worker_restarted", "filesystem.entries_dropped")


def _request_once(pair: Pair) -> None:
    outcomes = pair.run(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert [outcome.status for outcome in outcomes] == [200, 200]


def test_stats_have_the_names_of_envoy(pair: Pair) -> None:
    _request_once(pair)

    def read(side: Side) -> list[str]:
        names = {line.split(": ")[0] for line in _ask(side, "/stats")[2].splitlines()}
        return sorted(name for name in names if not name.startswith(_ONLY_ENVOY + _ONLY_OURS))

    assert "cluster.origin.upstream_rq_200" in pair.same_value("names", read)


def test_listeners_clusters_and_runtime_are_counted_alike(pair: Pair) -> None:
    def counted(side: Side) -> dict[str, int]:
        return {
            name: value
            for name, value in side.proxy.stats().items()
            if name.startswith(("listener_manager.", "cluster_manager.", "runtime."))
        }

    pair.same_value("stats", counted)


def test_metric_names_labels_and_types_are_those_of_envoy(pair: Pair) -> None:
    _request_once(pair)

    def read(side: Side) -> tuple[list[str], list[str]]:
        types, samples = set(), set()
        pattern = "^(cluster|http.ingress|listener|listener_manager|cluster_manager|runtime)[.]"
        for line in _ask(side, f"/stats/prometheus?filter={pattern}")[2].splitlines():
            if line.startswith("# TYPE "):
                types.add(line)
            else:
                match = re.match(r"([^{ ]+)(?:\{(.*)\})? ", line)
                assert match, line
                samples.add(f"{match[1]} {sorted((match[2] or '').split(','))}")
        return sorted(types), sorted(samples)

    types, _ = pair.same_value("metrics", read)
    assert "# TYPE envoy_cluster_upstream_rq_time histogram" in types


def test_histograms_print_alike(pair: Pair) -> None:
    # Times differ, so the digits are masked; what is compared is the layout.
    query = ""

    def read(side: Side) -> list[str]:
        text = _ask(side, f"/stats?filter=^http.ingress.downstream_rq_time&{query}")[2]
        return re.sub(r"(nan|[\d.e+-]+)(?=[,)])", "#", text).splitlines()

    _request_once(pair)
    for query in ("", "histogram_buckets=cumulative", "histogram_buckets=disjoint"):
        lines = pair.same_value(query, read, settle=8)
        assert "No recorded values" not in lines[0]
