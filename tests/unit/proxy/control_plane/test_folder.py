from __future__ import annotations

import os
from pathlib import Path

from proxy.control_plane.folder import Folder
from xds_client.resource_types import ResourceType

CDS, EDS, RDS = ResourceType.CLUSTER, ResourceType.ENDPOINT, ResourceType.ROUTE
PREFIX = "type.googleapis.com/envoy.config"


def cluster(name: str, more: str = "") -> str:
    return f'"@type": {PREFIX}.cluster.v3.Cluster\nname: {name}\nconnect_timeout: 1s\n{more}'


def names(folder: Folder) -> dict[str, list[str]]:
    return {kind.name: sorted(named) for kind, named in folder.read().content.items()}


def test_documents_lists_and_json_are_read_and_other_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"# two\n{cluster('a')}---\n{cluster('b')}...\n")
    (tmp_path / "b.yml").write_text(
        f'resources:\n- "@type": {PREFIX}.endpoint.v3.ClusterLoadAssignment\n  cluster_name: e\n'
    )
    (tmp_path / "c.json").write_text(f'{{"@type": "{PREFIX}.route.v3.RouteConfiguration", "name": "r"}}')
    inner = cluster("d").replace("\n", "\n  ")
    (tmp_path / "d.yaml").write_text(f'version_info: "7"\nresources:\n- {inner}')
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    (tmp_path / "notes.txt").write_text("nonsense")
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    (tmp_path / "below").mkdir()
    folder = Folder(str(tmp_path))
    reading = folder.read()
    assert reading.problems == ()
    assert names(folder) == {"CLUSTER": ["a", "b", "d"], "ENDPOINT": ["e"], "ROUTE": ["r"]}
    assert folder.read().content[CDS]["a"].connect_timeout.seconds == 1


def test_a_bad_file_is_told_with_its_place_and_keeps_its_former_content(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{cluster('a')}---\n{cluster('b')}")
    folder = Folder(str(tmp_path))
    assert names(folder) == {"CLUSTER": ["a", "b"]}
    file.write_text(f"{cluster('a')}---\n{cluster('c', 'lb_polic: RANDOM')}")
    reading = folder.read()
    assert [str(problem).partition(": unknown")[0] for problem in reading.problems] == [
        f"{file}:8:1: lb_polic"
    ]
    assert sorted(reading.content[CDS]) == ["a", "b"]
    assert folder.read().problems == (), "an unchanged file is told of once"
    file.write_text(cluster("c"))
    assert names(folder) == {"CLUSTER": ["c"]}
    file.unlink()
    assert names(folder) == {}


def test_rules_of_fields_hold_and_every_problem_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{cluster('a', 'connect_timeout: -1s')}\n---\n{cluster('')}")
    problems = Folder(str(tmp_path)).read().problems
    assert {problem.line for problem in problems} == {4, 7}
    assert all(problem.origin == str(file) and problem.line for problem in problems)


def test_names_are_given_once_in_a_file_and_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(cluster("a"))
    (tmp_path / "b.yaml").write_text(f"{cluster('b')}---\n{cluster('a')}")
    (tmp_path / "c.yaml").write_text(f"{cluster('c')}---\n{cluster('c')}")
    reading = Folder(str(tmp_path)).read()
    assert [str(problem) for problem in reading.problems] == [
        f"{tmp_path}/b.yaml:5:1: Cluster 'a' is in {tmp_path}/a.yaml, too",
        f"{tmp_path}/c.yaml:5:1: Cluster 'c' is in this file twice",
    ]
    assert sorted(reading.content[CDS]) == ["a"]


def test_what_no_proxy_asks_for_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("static_resources: {}\n")
    (tmp_path / "b.yaml").write_text('"@type": type.googleapis.com/google.protobuf.Duration\nvalue: 1s\n')
    (tmp_path / "c.yaml").write_text("a: [\n")
    (tmp_path / "d.yaml").write_bytes(b"\xff")
    reasons = [str(problem).removeprefix(f"{tmp_path}/") for problem in Folder(str(tmp_path)).read().problems]
    assert reasons[0] == 'a.yaml:1:1: expected a resource with its "@type", or "resources" that are'
    assert reasons[1] == "b.yaml:1:1: google.protobuf.Duration is no type of resource that proxies ask for"
    assert reasons[2].startswith("c.yaml:")
    assert "utf-8" in reasons[3]


def test_a_file_that_was_swapped_behind_a_link_is_read_again(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "c.yaml").write_text(cluster(name))
    served = tmp_path / "served"
    served.mkdir()
    (served / "..data").symlink_to(tmp_path / "v0")
    (served / "c.yaml").symlink_to("..data/c.yaml")
    folder = Folder(str(served))
    assert names(folder) == {"CLUSTER": ["a"]}
    (served / "..new").symlink_to(tmp_path / "v1")
    os.replace(served / "..new", served / "..data")
    assert names(folder) == {"CLUSTER": ["b"]}
