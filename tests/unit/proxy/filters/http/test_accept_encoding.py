"""What the client wants most, of what the chain offers."""

from __future__ import annotations

import pytest

from proxy.filters.http.accept_encoding import Decision, Reason, choose_encoding

GZIP = ("gzip", False)
BROTLI = ("br", False)


@pytest.mark.parametrize(
    ("wish", "offers", "encoding", "reason"),
    [
        ("gzip", [GZIP], "gzip", Reason.VALID),
        ("br, gzip", [GZIP], "gzip", Reason.VALID),
        ("br;q=0.5, gzip;q=0.6", [GZIP, BROTLI], "gzip", Reason.VALID),
        ("gzip, br", [GZIP, BROTLI], "gzip", Reason.VALID),
        ("gzip, br", [GZIP, ("br", True)], "br", Reason.VALID),
        ("*", [BROTLI, GZIP], "br", Reason.WILDCARD),
        ("gzip;q=0, *", [GZIP, BROTLI], "br", Reason.WILDCARD),
        ("gzip;q=0, *", [GZIP], "identity", Reason.NOT_VALID),
        ("identity, gzip", [GZIP], "identity", Reason.IDENTITY),
        ("identity;q=0.5, gzip", [GZIP], "gzip", Reason.VALID),
        ("deflate", [GZIP], "identity", Reason.NOT_VALID),
        ("GZIP", [GZIP], "identity", Reason.NOT_VALID),
        ("gzip;q=much", [GZIP], "identity", Reason.NOT_VALID),
        ("gzip ; Q = 0.1", [GZIP], "gzip", Reason.VALID),
        ("gzip;level=0", [GZIP], "gzip", Reason.VALID),
        ("", [GZIP], "identity", Reason.NOT_VALID),
        ("gzip", [], "identity", Reason.NOT_VALID),
    ],
)
def test_the_choice(wish: str, offers: list[tuple[str, bool]], encoding: str, reason: Reason) -> None:
    assert choose_encoding(wish, offers) == Decision(encoding, reason)
