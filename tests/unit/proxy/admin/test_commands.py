from __future__ import annotations

import re

from proxy.admin.commands import Commands
from proxy.admin.config import AdminConfig
from tests.support.admin_state import FakeAdminState, ask

# The paths of Envoy 1.40, but for its allocator's.
_PATHS = [
    "/",
    "/allocprofiler",
    "/certs",
    "/clusters",
    "/config_dump",
    "/contention",
    "/cpuprofiler",
    "/drain_listeners",
    "/healthcheck/fail",
    "/healthcheck/ok",
    "/heap_dump",
    "/heapprofiler",
    "/help",
    "/hot_restart_version",
    "/init_dump",
    "/listeners",
    "/logging",
    "/memory",
    "/peak_heap_dump",
    "/quitquitquit",
    "/ready",
    "/reopen_logs",
    "/reset_counters",
    "/runtime",
    "/runtime_modify",
    "/server_info",
    "/stats",
    "/stats/prometheus",
    "/stats/recentlookups",
    "/stats/recentlookups/clear",
    "/stats/recentlookups/disable",
    "/stats/recentlookups/enable",
]


#: What Envoy has not.
_OWN_PATHS = ["/csds", "/events", "/xds"]


def test_help_lists_every_command_of_envoy_in_its_order() -> None:
    text = ask(FakeAdminState(), "/help")[2]
    assert text.startswith("admin commands are:\n  /: Admin home page\n")
    assert re.findall(r"^  (/\S*?)(?: \(POST\))?: ", text, re.MULTILINE) == sorted([*_PATHS, *_OWN_PATHS])
    assert "  /drain_listeners (POST): drain listeners\n      graceful: " in text
    assert "; One of (All, Counters, Histograms, Gauges, TextReadouts)\n" in text


def test_an_unknown_path_lists_what_there_is() -> None:
    status, _, text = ask(FakeAdminState(), "/ready/x")
    assert status == 404
    assert text == "invalid path. " + Commands(AdminConfig()).help_text()


def test_the_home_page_links_every_command_and_offers_its_parameters() -> None:
    status, content_type, text = ask(FakeAdminState(), "/")
    assert (status, content_type) == (200, "text/html; charset=UTF-8")
    for path in _PATHS:
        assert f'href="{path}"' in text or f'action="{path}"' in text
    assert '<form id="f/quitquitquit" action="/quitquitquit" method="post">' in text
    assert '<input type="checkbox" name="usedonly" form="f/stats">' in text
    assert "LIVE" in text


def test_what_the_home_page_sends_is_understood() -> None:
    # Browsers send every text field and list, empty or not.
    query = "filter=&format=text&type=All&histogram_buckets=summary"
    assert ask(FakeAdminState(), f"/stats?{query}")[0] == 200
    assert ask(FakeAdminState(), "/config_dump?resource=&mask=&name_regex=")[0] == 200
    assert ask(FakeAdminState(), "/logging", "POST", "paths=&group=&level=debug")[0] == 200
