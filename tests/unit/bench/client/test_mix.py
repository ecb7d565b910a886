from pathlib import Path

import pytest

from bench.client.mix import read_mix
from bench.client.target import parse_target
from proxy.base.errors import UsageError

_GOOD = """
requests:
- {path: /a, weight: 3}
- name: order
  method: PUT
  path: /orders
  headers: {x-a: b}
  body: text
"""
_BAD = """
requests:
- path: nowhere
- {path: /a, wieght: 3}
- {path: /b, weight: 0}
- {path: /c, headers: {content-length: 5}}
- {path: /d, body: a, body_size: 3}
"""


def test_requests_have_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "mix.yaml"
    file.write_text(_GOOD)
    first, second = read_mix(str(file), parse_target("http://a/"), [("x-all", "1")])
    assert (first.name, first.weight) == ("/a", 3)
    assert first.data.startswith(b"GET /a HTTP/1.1\r\nhost: a\r\n")
    assert (second.name, second.weight) == ("order", 1)
    assert b"x-all: 1\r\nx-a: b\r\ncontent-length: 4\r\n\r\ntext" in second.data


def test_every_problem_is_named_by_line_and_field(tmp_path: Path) -> None:
    file = tmp_path / "mix.yaml"
    file.write_text(_BAD)
    with pytest.raises(UsageError) as caught:
        read_mix(str(file), parse_target("http://a/"), [])
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{file}:").split(": ")[:2] for line in lines] == [
        ["3:9", "requests[0].path"],
        ["4:14", "requests[1].wieght"],
        ["5:22", "requests[2].weight"],
        ["6:40", "requests[3].headers.content-length"],
        ["7:3", "requests[4]"],
    ]


def test_a_file_without_requests_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mix.yaml"
    for text in ("", "requests: []", "other: 1", "- a", "requests: [a]"):
        file.write_text(text)
        with pytest.raises(UsageError):
            read_mix(str(file), parse_target("http://a/"), [])
