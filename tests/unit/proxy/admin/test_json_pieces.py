from __future__ import annotations

import json
from typing import Any

from envoy.admin.v3 import config_dump_pb2

from proxy.admin.http import message_dict
from proxy.admin.json_pieces import indented, list_pieces, message_pieces, object_pieces
from tests.support.admin_state import BOOTSTRAP


def test_lists_and_objects_in_pieces_read_as_if_dumped_whole() -> None:
    text = "".join(object_pieces([("a", list_pieces([["1"], ["2"]], 1)), ("b", list_pieces([], 1))], 0))
    assert text == indented({"a": [1, 2], "b": []})
    assert "".join(object_pieces([], 0)) == "{}"


def test_a_bootstrap_in_pieces_equals_the_whole() -> None:
    dump = config_dump_pb2.BootstrapConfigDump(bootstrap=BOOTSTRAP)
    prepared: list[Any] = []
    pieces = list(message_pieces(dump, 0, prepared.append, "type.googleapis.com/x"))
    assert json.loads("".join(pieces)) == {"@type": "type.googleapis.com/x", **message_dict(dump)}
    names = [message.DESCRIPTOR.name for message in prepared]
    assert names.count("Cluster") == 2
    assert "Secret" in names


def test_texts_stay_readable() -> None:
    assert indented({"a": "ü"}, 1) == '{\n  "a": "ü"\n }'
