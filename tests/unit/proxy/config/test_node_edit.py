from __future__ import annotations

from yaml.nodes import MappingNode

from proxy.config import node_edit
from proxy.config.yaml_source import compose


def tree(text: str) -> MappingNode:
    node = compose(text, "")
    assert isinstance(node, MappingNode)
    return node


def test_keys_are_found_in_both_spellings() -> None:
    assert node_edit.get(tree("lbPolicy: a"), "lb_policy").value == "a"
    assert node_edit.get(tree("lb_policy: a"), "lb_policy").value == "a"
    assert node_edit.get(tree("b: a"), "lb_policy") is None


def test_a_renamed_key_keeps_its_value_and_place() -> None:
    node = tree("a: 1\nold: 2")
    node_edit.rename(node, "old", "new")
    assert [key.value for key, _ in node.value] == ["a", "new"]
    assert node.value[1][0].start_mark.line == 1


def test_pop_takes_a_key_out() -> None:
    node = tree("a: 1\nb: 2")
    assert node_edit.pop(node, "a").value == "1"
    assert node_edit.pop(node, "a") is None
    assert len(node.value) == 1


def test_built_nodes_stand_where_they_are_told() -> None:
    node = tree("a: 1\nb: 2")
    place = node.value[1][1]
    built = node_edit.mapping(place, x=node_edit.sequence([node_edit.plain("1", place)], place))
    assert built.start_mark.line == 1
    assert [item.value for item in node_edit.items_of(node_edit.get(built, "x"))] == ["1"]
    assert node_edit.text_of(built) == ""
