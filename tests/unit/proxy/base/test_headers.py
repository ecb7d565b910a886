"""The header map: lines as they came, values as readers want them."""

from proxy.base.headers import HeaderMap

LINES = [("accept", "a"), ("x", "1"), ("cookie", "c=1"), ("x", "2"), ("cookie", "d=2")]


def test_repeated_lines_read_as_one_value_and_leave_as_they_came() -> None:
    headers = HeaderMap(LINES)
    assert headers["x"] == "1,2"
    assert headers["cookie"] == "c=1; d=2"
    assert headers.values_of("x") == ["1", "2"]
    assert list(headers.fields()) == [
        ("accept", "a"),
        ("x", "1"),
        ("x", "2"),
        ("cookie", "c=1"),
        ("cookie", "d=2"),
    ]


def test_set_replaces_every_line_and_keeps_the_place() -> None:
    headers = HeaderMap(LINES)
    headers.set("x", "3")
    assert [line for line in headers.fields() if line[0] == "x"] == [("x", "3")]
    assert list(headers)[1] == "x"


def test_add_appends_a_line() -> None:
    headers = HeaderMap([("via", "a")])
    headers.add("via", "b")
    headers.add("new", "c")
    assert list(headers.fields()) == [("via", "a"), ("via", "b"), ("new", "c")]
    assert headers["via"] == "a,b"


def test_remove_tells_whether_there_was_a_line() -> None:
    headers = HeaderMap(LINES)
    assert headers.remove("cookie")
    assert not headers.remove("cookie")
    assert headers.values_of("cookie") == []


def test_a_copy_is_independent() -> None:
    headers = HeaderMap(LINES)
    twin = headers.copy()
    twin.add("x", "3")
    twin.set("accept", "b")
    assert headers.values_of("x") == ["1", "2"]
    assert headers["accept"] == "a"
    assert isinstance(twin, HeaderMap)


def test_a_copy_does_not_claim_the_block_of_its_original():
    shared = HeaderMap([("grpc-status", "0")])
    shared.block = b"block"
    assert shared.copy().block is None
