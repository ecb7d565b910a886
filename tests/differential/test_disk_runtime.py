"""Runtime layers in directories, beside real Envoy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.support.configs import Json, bootstrap
from tests.support.differential import Pair, Side, same_verdict

STATS = ("load_error", "num_keys", "num_layers")


def config(link: str) -> Json:
    def disk(subdirectory: str, **fields: Any) -> Json:
        layer = {"symlink_root": link, "subdirectory": subdirectory, **fields}
        return {"name": subdirectory, "disk_layer": layer}

    layers = [
        {"name": "static", "static_layer": {"routes": {"share": 1, "kept": 4}}},
        disk("usual"),
        disk("special", append_service_cluster=True),
        disk("missing"),
        {"name": "admin", "admin_layer": {}},
    ]
    return bootstrap([], node={"id": "node", "cluster": "frontend"}, layered_runtime={"layers": layers})


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_files_are_values_until_the_link_is_replaced(tmp_path: Path) -> None:
    first, second, link = tmp_path / "first", tmp_path / "second", tmp_path / "current"
    write(
        first,
        usual__routes__share="5\n",
        usual__routes__deep__x="# why\n7  \n",
        usual__lines="one\ntwo \n\n",
        usual__empty="",
        special__frontend__more="9",
        special__backend__more="10",
    )
    write(second, usual__routes__share="6")
    link.symlink_to("first")

    def runtime(side: Side) -> Any:
        return json.loads(side.proxy.admin("/runtime")[1])

    def stats(side: Side) -> list[int]:
        found = side.proxy.stats("runtime.")
        return [found[f"runtime.{name}"] for name in STATS]

    with Pair(config(str(link)), listeners=(), origins=()) as pair:
        before = pair.same_value("/runtime", runtime)
        assert before["layers"] == ["static", "usual", "special", "admin"]
        assert before["entries"]["routes.share"]["final_value"] == "5"
        assert before["entries"]["more"]["final_value"] == "9"
        pair.same_value("stats", stats)
        fresh = tmp_path / "fresh"
        fresh.symlink_to("second")
        with pair.same_stats("runtime.load_success", "runtime.override_dir_exists"):
            os.replace(fresh, link)
            after = pair.same_value("/runtime", runtime)
            assert after["entries"]["routes.share"]["final_value"] == "6"
            assert after["layers"] == ["static", "usual", "admin"]
        pair.same_value("stats", stats)


def test_a_link_whose_folder_is_not_there_is_refused() -> None:
    accepted, text = same_verdict(config("/not/there/current"))
    assert not accepted
    assert "unable to add filesystem watch for file /not/there/current" in text
