import pytest

from bench.client.options import parse_options
from bench.client.requests import Request, in_turn
from proxy.base.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("127.0.0.1:80", "write the scheme too"),
        ("h3://a", "scheme 'h3' is not supported"),
        ("http://a:99999/", "Port out of range"),
        ("http:///x", "names no host"),
        ("tcp://127.0.0.1", "needs a port"),
        ("tcp://127.0.0.1:9", "needs what to send"),
        ("http://a/ -H bad", "is no header"),
        ("http://a/ -H content-length:1", "set from the body"),
        ("http://a/ --ramp 5", "write FROM:TO"),
        ("http://a/ --rate 0", "a rate is above 0"),
        ("http://a/ --rate x", "'x': a rate is"),
        ("http://a/ --ramp 1:y", "'y': a rate is"),
        ("http://a/ -c 0", "'0' is not a whole number from 1 on"),
        ("http://a/ --body-size -4", "is not a size"),
        ("http://a/ --body-hex zz", "'zz' is not hexadecimal"),
        ("http://a/ --insecure", "no meaning with http"),
        ("http://a/ --body-file /nowhere/x", "No such file"),
        ("http://a/ --no-such", "--no-such"),
        ("http://a/ -m 4", "--streams has no meaning with http"),
        ("h2c://a/ -m 4 --new-connection", "one stream"),
        ("h2c://a/ -H connection:close", "does not exist in HTTP/2"),
        ("grpc://a:1/x", "/package.Service/Method"),
        ("grpc://a:1 --method GET", "no meaning"),
        ("http://a/ --mix /nowhere/x", "No such file"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(arguments: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(arguments.split())
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_body_makes_it_a_post() -> None:
    (request,) = parse_options(["http://a:81/x?y", "--body", "hello", "-H", "x-a: 1"]).requests
    assert request.data == (
        b"POST /x?y HTTP/1.1\r\nhost: a:81\r\nuser-agent: outrider-bench\r\nx-a: 1\r\n"
        b"content-length: 5\r\n\r\nhello"
    )


def test_weights_are_shares() -> None:
    turns = in_turn([Request(b"a", weight=3), Request(b"b", weight=1)])
    assert sorted(next(turns).data for _ in range(8)) == [b"a"] * 6 + [b"b"] * 2
