"""What compiling a config accepts and refuses, held against Envoy's `--mode validate`.

`test_config_loading` is about the form of a config, this about its sense. Accepted snippets share one config,
each refused one has its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from proxy.app.command_line import Options
from proxy.app.config_loading import load
from proxy.base.errors import ConfigError
from tests.support.configs import Json, connection_manager
from tests.support.envoy import Envoy

TABLES: Final[dict[str, dict[str, list[Json]]]] = yaml.safe_load(
    (Path(__file__).parent / "config_verdicts.yaml").read_text()
)
"""Verdict to place to the fields that are set there."""

Case = tuple[str, Json]

_LOCAL: Final[Json] = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def config(snippets: Iterable[Case]) -> Json:
    """A bootstrap in which each snippet has a cluster, listener, route and so on of its own."""
    listeners, clusters = [], []
    whole: Json = {}
    for number, (place, fields) in enumerate(snippets):
        endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}}}
        parts: dict[str, Json] = {"bootstrap": whole}
        name = f"c{number}" if place == "cluster" else "c"
        cluster = parts["cluster"] = {
            "name": name,
            "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        }
        action = parts["action"] = {"cluster": "c"}
        match = parts["match"] = {"prefix": "/"}
        route = parts["route"] = {"match": match, "route": action}
        host = parts["host"] = {"name": "v", "domains": ["*"], "routes": [route]}
        filters = [connection_manager({"virtual_hosts": [host]})]
        manager = parts["manager"] = filters[0]["typed_config"]
        parts["table"] = manager["route_config"]
        chain = parts["chain"] = {"filters": filters}
        listener = parts["listener"] = {"name": f"l{number}", "address": _LOCAL, "filter_chains": [chain]}
        parts[place].update(fields)
        if place == "cluster":
            clusters.append(cluster)
        listeners.append(listener)
    constant = {"name": "c", "type": "STATIC", "load_assignment": {"cluster_name": "c"}}
    whole["static_resources"] = {"listeners": listeners, "clusters": [constant, *clusters]}
    return whole


def cases_of(verdict: str) -> list[Case]:
    return [(place, fields) for place, many in TABLES[verdict].items() for fields in many]


def name_of(case: Case) -> str:
    return f"{case[0]} {json.dumps(case[1])}"


def merged(cases: list[Case]) -> list[list[Case]]:
    """All that can stand together, and one list for each snippet of the bootstrap."""
    return [
        [case for case in cases if case[0] != "bootstrap"],
        *([case] for case in cases if case[0] == "bootstrap"),
    ]


@pytest.fixture(scope="module")
def envoys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bool, str]]:
    """Envoy's verdicts by the text of the config."""
    groups = [
        *merged(cases_of("accepted")),
        *merged(cases_of("stricter")),
        *([case] for case in cases_of("refused")),
    ]
    folder = tmp_path_factory.mktemp("verdicts")

    def verdict(group: list[Case]) -> tuple[str, tuple[bool, str]]:
        path = folder / f"{abs(hash(str(group)))}.yaml"
        path.write_text(json.dumps(config(group)))
        return str(group), Envoy.validate_file(path)

    with ThreadPoolExecutor(2) as pool:
        return dict(pool.map(verdict, groups))


def problems(group: list[Case], path: Path) -> list[Any]:
    path.write_text(json.dumps(config(group)))
    try:
        load(Options(config_path=str(path)))
    except ConfigError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize("group", merged(cases_of("accepted")), ids=lambda group: group[0][0])
def test_both_accept(group: list[Case], envoys: dict[str, tuple[bool, str]], tmp_path: Path) -> None:
    accepted, text = envoys[str(group)]
    assert accepted, text
    assert not problems(group, tmp_path / "config.yaml")


@pytest.mark.parametrize("case", cases_of("refused"), ids=name_of)
def test_both_refuse(case: Case, envoys: dict[str, tuple[bool, str]], tmp_path: Path) -> None:
    assert not envoys[str([case])][0]
    found = problems([case], tmp_path / "config.yaml")
    assert found
    assert all(problem.line and problem.column for problem in found), found


@pytest.mark.parametrize("group", merged(cases_of("stricter")), ids=lambda group: group[0][0])
def test_only_we_refuse(group: list[Case], envoys: dict[str, tuple[bool, str]], tmp_path: Path) -> None:
    accepted, text = envoys[str(group)]
    assert accepted, text
    for case in group:
        assert problems([case], tmp_path / "config.yaml"), case
