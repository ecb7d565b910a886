import pytest
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from proxy.config.faults import Fault, describe, indexed, key_text


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (ScalarNode("", "x"), "'x'"),
        (ScalarNode("", ""), "nothing"),
        (SequenceNode("", []), "a list"),
        (MappingNode("", []), "a mapping"),
    ],
)
def test_a_node_in_words(node: ScalarNode, words: str) -> None:
    assert describe(node) == words


def test_an_index_goes_before_the_path() -> None:
    fault = Fault(ScalarNode("", "x"), "bad")
    fault.path.append("name")
    indexed([fault], 3)
    assert fault.path == ["name", 3]
    assert indexed(None, 3) is None


def test_a_null_key_is_the_text_null() -> None:
    assert key_text(ScalarNode("", "~")) == "null"
    assert key_text(ScalarNode("", "~", style='"')) == "~"
