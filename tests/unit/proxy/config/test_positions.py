from __future__ import annotations

import pytest

from proxy.base.errors import Problem
from proxy.config.positions import Positions, camel_case, path_of, segments_of
from proxy.config.yaml_source import compose

TEXT = """
static_resources:
  clusters:
  - name: a
  - name: b
    connectTimeout: 1s
    metadata:
      filter_metadata:
        key.with.dots: {x: 1}
"""


def positions(*texts: str) -> Positions:
    return Positions(
        [(f"{n}.yaml", node) for n, text in enumerate(texts) if (node := compose(text, "")) is not None]
    )


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("static_resources.clusters[1].connect_timeout", (6, 21)),
        ("static_resources.clusters[1].metadata.filter_metadata['key.with.dots'].x", (9, 28)),
        ("static_resources.clusters[0].lb_policy.deeper", (4, 5)),
        ("nowhere", (2, 1)),
    ],
)
def test_a_problem_is_placed_at_its_field_or_the_nearest_above(path: str, place: tuple[int, int]) -> None:
    placed = positions(TEXT).place(Problem(path, "bad"))
    assert (placed.line, placed.column, placed.origin) == (*place, "0.yaml")


def test_a_single_value_stands_for_a_list_of_one() -> None:
    assert positions("a: {b: {c: 1}}").place(Problem("a.b[0].c", "bad")).column == 12


def test_lists_of_a_second_source_continue_those_of_the_first() -> None:
    both = positions("a: [1, 2]\nb: 1", "\n\na: [3]\nb: 2")
    assert str(both.place(Problem("a[1]", "bad"))) == "0.yaml:1:8: a[1]: bad"
    assert str(both.place(Problem("a[2]", "bad"))) == "1.yaml:3:5: a[2]: bad"
    assert str(both.place(Problem("b", "bad"))) == "1.yaml:4:4: b: bad"


def test_fields_of_a_typed_struct_are_found_in_its_value() -> None:
    text = '"@type": x/udpa.type.v1.TypedStruct\ntype_url: y\nvalue:\n  stat_prefix: a'
    assert positions(text).place(Problem("stat_prefix", "bad")).line == 4


def test_paths_and_segments_are_each_others_inverse() -> None:
    segments = ["a", "b", 3, "c"]
    assert segments_of(path_of(segments)) == segments
    assert segments_of("a['x.y'].b") == ["a", "x.y", "b"]


def test_camel_case() -> None:
    assert camel_case("lb_policy") == "lbPolicy"
