"""The extensions that Envoy lists: docs/compatibility.md holds ours against them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.configs import http_proxy
from tests.support.conformance_results import WRITES
from tests.support.envoy import Envoy
from tests.support.ports import free_port

FILE = Path(__file__).with_name("envoy_extensions.json")


def test_the_list_is_that_of_envoy() -> None:
    with Envoy(http_proxy(), values={"origin_port": free_port()}) as envoy:
        info = json.loads(envoy.admin("/server_info")[1])
    listed: dict[str, set[str]] = {}
    for extension in info["node"]["extensions"]:
        # Those without a type cannot be named in a config, or have none of their own.
        for name in extension.get("type_urls", []):
            listed.setdefault(extension["category"], set()).add(name)
    version = info["version"].split("/")[1].rpartition(".")[0]
    text = json.dumps(
        {"version": version, "extensions": {name: sorted(listed[name]) for name in sorted(listed)}}, indent=1
    )
    if WRITES:
        FILE.write_text(text + "\n")
    assert FILE.read_text() == text + "\n", "run make conformance"
