"""docs/response_details.md has a line for each code, and none for a code that nobody gives."""

from __future__ import annotations

import re

from proxy.base.response_flags import NAMES, ResponseFlag
from proxy.upstream.pool.api import PoolFailure, ResetReason
from tests.support.reply_sites import ROOT, TAKERS, flags_given, sites

TEXT, _, FLAGS = (ROOT / "docs/response_details.md").read_text().partition("\n## Flags\n")
DOCUMENTED = frozenset(re.findall(r"^\| `([^`]+)` \|", TEXT, re.MULTILINE))
#: What hands on a text that was given elsewhere, where `sites` finds it; function → source of the argument.
PASSING = {
    ("_on_protocol_error", "error.details"),
    ("begin_rejected", "rejection.details"),
    ("_reject", "rejection.details"),
    ("reply", "rejection.details"),
    ("_refused", "reply.details"),
    ("_log", "details or connection.response_code_details"),
    ("log_entry", "connection.response_code_details"),
    # What the codec says of a stream; the client's own NO_ERROR goes without details.
    ("on_reset", "details"),
    ("on_reset", "None"),
    ("abort", "details"),
    ("on_overflow", "getattr(error, 'details', '')"),
}
#: A filter that has no config yet, and a connection that we close ourselves: no details, as in Envoy.
WITHOUT = ("proxy/hcm/discovered_filter.py", "proxy/hcm/http2_lifetime.py")


def base(code: str) -> str:
    """The code without what varies: `upstream_reset{overflow}` → `upstream_reset`."""
    name = re.split(r"[{[]", code, maxsplit=1)[0]
    return "codec_error:" if name.startswith("codec_error:") else name


def test_every_place_that_answers_gives_a_documented_code() -> None:
    missing = [
        f"{site.place}: {code!r}"
        for site in sites()
        for code in site.codes
        if base(code) not in DOCUMENTED and not (code == "" and site.place.startswith(WITHOUT))
    ]
    assert missing == [], "add a line to docs/response_details.md"


def test_a_code_that_varies_is_found_where_it_is_given() -> None:
    hidden = [
        f"{site.place}: {site.passes}"
        for site in sites()
        if site.passes
        and (site.within, site.passes) not in PASSING
        and not (site.passes == "details" and site.within in TAKERS)
    ]
    assert hidden == [], "give a constant here, or name the function in tests/support/reply_sites.py"


def test_no_code_is_documented_that_nobody_gives() -> None:
    given = {base(code) for site in sites() for code in site.codes}
    assert sorted(DOCUMENTED - given) == []


def test_every_word_in_braces_is_explained() -> None:
    explained = TEXT.partition("\nIn braces: ")[2].partition("\n\n")[0].replace("|...", "")
    words = {reason.value.replace(" ", "_") for reason in (*PoolFailure, *ResetReason)}
    assert sorted(word for word in words if f"`{word}`" not in explained) == []


def test_every_flag_that_is_given_has_a_line() -> None:
    rows = re.findall(r"^\| `([A-Z]+)` \| `([A-Za-z]+)` \|", FLAGS, re.MULTILINE)
    assert rows == [NAMES[flag] for flag in ResponseFlag if flag.name in flags_given()]


def test_flags_of_codes_are_flags() -> None:
    columns = re.findall(r"^\| `[^`]+` \| ([^|]*) \|", TEXT, re.MULTILINE)
    named = {name for column in columns for name in re.findall(r"\b[A-Z]{2,}\b", column)}
    assert sorted(named - {short for short, _ in NAMES.values()}) == []


def test_there_is_no_answer_that_the_search_overlooks() -> None:
    found = {base(code) for site in sites() for code in site.codes}
    assert {"route_not_found", "fault_filter_abort", "http1.codec_error", "drop_overload"} <= found
    assert {"upstream_reset_before_response_started", "response_timeout", "cors_response"} <= found
