from __future__ import annotations

import asyncio
import json

import pytest

from proxy.admin.commands import Commands
from proxy.admin.config import AdminConfig
from proxy.admin.connection import is_local
from proxy.admin.http import parse_target
from proxy.base.address import Address
from tests.support.admin_state import FakeAdminState, ask, collected


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/healthcheck/fail", ("fail_health_checks", True)),
        ("/healthcheck/ok", ("fail_health_checks", False)),
        ("/drain_listeners", ("drain_listeners", False, False, False)),
        ("/drain_listeners?graceful&skip_exit", ("drain_listeners", True, True, False)),
        ("/drain_listeners?inboundonly", ("drain_listeners", False, False, True)),
        ("/reopen_logs", "reopen_logs"),
        ("/quitquitquit", "quit"),
        ("/runtime_modify?a=1&b=", ("modify_runtime", {"a": "1", "b": ""})),
    ],
)
def test_commands_reach_the_proxy_by_post_only(path: str, call: object) -> None:
    state = FakeAdminState()
    assert ask(state, path)[::2] == (405, "Method GET not allowed, POST required.")
    assert ask(state, path, "HEAD")[0] == 405
    assert state.calls == []
    assert ask(state, path, "POST")[::2] == (200, "OK\n")
    assert state.calls == [call]


def test_reset_counters_read_zero() -> None:
    state = FakeAdminState()
    state.total.update(0, collected({"c": 5}))
    assert ask(state, "/reset_counters", "POST")[0] == 200
    assert state.total.counters() == {"c": 0}


def test_runtime_shows_layers_and_the_value_that_counts() -> None:
    assert json.loads(ask(FakeAdminState(), "/runtime")[2]) == {
        "layers": ["static", "admin"],
        "entries": {
            "a.b": {"layer_values": ["5", "6"], "final_value": "6"},
            "c": {"layer_values": ["x", ""], "final_value": "x"},
        },
    }


def test_runtime_is_also_changed_by_a_form() -> None:
    state = FakeAdminState()
    assert ask(state, "/runtime_modify", "POST", "a.b=7")[0] == 200
    assert state.calls == [("modify_runtime", {"a.b": "7"})]


def test_runtime_needs_values_and_an_admin_layer() -> None:
    state = FakeAdminState()
    assert ask(state, "/runtime_modify", "POST")[2].startswith("usage: /runtime_modify?key1=value1")
    state.layers = state.layers[:1]
    assert ask(state, "/runtime_modify?a=1", "POST")[::2] == (503, "no admin layer specified\n")


@pytest.mark.parametrize(
    ("query", "levels"),
    [
        ("level=debug", {"admin": "debug", "http": "debug"}),
        ("http=trace", {"admin": "info", "http": "trace"}),
        ("paths=http:off,admin:error", {"admin": "error", "http": "off"}),
        ("group=admin:warning", {"admin": "warning", "http": "info"}),
        ("level=&paths=http:off&group=", {"admin": "info", "http": "off"}),
    ],
)
def test_log_levels_change(query: str, levels: dict[str, str]) -> None:
    state = FakeAdminState()
    status, _, text = ask(state, "/logging?" + query, "POST")
    assert status == 200
    assert state.levels == levels
    assert text == "active loggers:\n" + "".join(f"  {name}: {levels[name]}\n" for name in levels) + "\n"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("level=loud", "unknown logger level"),
        ("paths=nobody:info", "unknown logger name"),
        ("paths=http", "empty logger name or empty logger level"),
        ("nobody=info", "unknown logger name"),
        ("a=info&b=info", "invalid number of parameters"),
    ],
)
def test_wrong_log_levels_change_nothing_and_explain_themselves(query: str, error: str) -> None:
    state = FakeAdminState()
    status, _, text = ask(state, "/logging?" + query, "POST")
    assert status == 400
    assert text.startswith(f"error: {error}\n\nusage: /logging?<name>=<level>")
    assert "levels: trace debug info warning error critical off \n" in text
    assert state.levels == {"admin": "info", "http": "info"}


@pytest.mark.parametrize("path", ["/cpuprofiler", "/heapprofiler", "/stats/recentlookups/enable"])
def test_what_does_nothing_says_so(path: str) -> None:
    status, _, text = ask(FakeAdminState(), path, "POST")
    assert status == 501
    assert text.startswith("not supported: ")


def test_what_is_off_says_so() -> None:
    assert ask(FakeAdminState(), "/contention")[2].startswith("Mutex contention tracing is not enabled.")
    assert ask(FakeAdminState(), "/stats/recentlookups")[2].startswith("Lookup tracking is not enabled")


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (Address("127.0.0.1", 1), True),
        (Address("127.8.9.1", 1), True),
        (Address("::1", 1), True),
        (Address("::ffff:127.0.0.1", 1), True),
        (Address(path="/run/admin.sock"), True),
        (Address("10.0.0.1", 1), False),
        (Address("::ffff:10.0.0.1", 1), False),
        (Address("fe80::1%eth0", 1), False),
    ],
)
def test_only_clients_on_this_machine_may_end_the_proxy(address: Address, local: bool) -> None:
    state = FakeAdminState()
    request = parse_target("POST", "/quitquitquit", local=is_local(address))
    answer = asyncio.run(Commands(AdminConfig()).answer(request, state))
    if local:
        assert (answer.status, state.calls) == (200, ["quit"])
    else:
        assert (answer.status, answer.body) == (403, "Only requests from localhost are allowed\n")
        assert state.calls == []
