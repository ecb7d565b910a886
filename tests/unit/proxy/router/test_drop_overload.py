"""Which requests are refused, and how."""

from proxy.base.headers import HeaderMap
from proxy.base.response_flags import ResponseFlag
from proxy.router.drop_overload import drop_reply


def test_a_share_of_the_requests_is_refused():
    assert drop_reply(0.3, lambda: 300_000) is None
    reply = drop_reply(0.3, lambda: 1_299_999)
    assert (reply.body, reply.details, reply.flags) == (
        "drop overload",
        "drop_overload",
        ResponseFlag.DROP_OVERLOAD,
    )


def test_all_may_be_refused():
    reply = drop_reply(1.0, lambda: 999_999)
    assert reply.flags == ResponseFlag.UNCONDITIONAL_DROP_OVERLOAD
    headers = HeaderMap()
    reply.mark(headers)
    assert headers.get("x-envoy-unconditional-drop-overload") == "true"
