"""Heads with holes."""

from proxy.codec.head_template import DATE_HOLE, REQUEST_ID_HOLE, SERVICE_TIME_HOLE, HeadTemplate


def test_holes_are_filled_in_their_places():
    text = f"a: {SERVICE_TIME_HOLE}\r\nb: {DATE_HOLE}\r\nc: {REQUEST_ID_HOLE}\r\n"
    template = HeadTemplate(text.encode())
    values = {ord(SERVICE_TIME_HOLE): b"7", ord(DATE_HOLE): b"now", ord(REQUEST_ID_HOLE): b"id"}
    assert template.fill(values) == b"a: 7\r\nb: now\r\nc: id\r\n"


def test_one_hole_or_none():
    assert HeadTemplate(f"x {REQUEST_ID_HOLE} y".encode()).fill_one(b"id") == b"x id y"
    assert HeadTemplate(b"x y").fill_one(b"id") == b"x y"
    assert HeadTemplate(b"x y").fill({}) == b"x y"
