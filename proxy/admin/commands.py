"""The admin commands: one table that dispatch, `/help` and the index page are made from."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from proxy.admin import control_handlers as control
from proxy.admin import discovery_handlers as discovery
from proxy.admin import status_handlers as status
from proxy.admin.config import AdminConfig
from proxy.admin.config_dump import config_dump
from proxy.admin.events_handler import events
from proxy.admin.http import HTML, AdminRequest, AdminResponse, BadParameterError, page
from proxy.admin.state import AdminState
from proxy.admin.stats_handler import StatsHandlers

Handler = Callable[[AdminRequest, AdminState], Awaitable[AdminResponse]]


class Parameter(Struct, frozen=True):
    """A query parameter: `choices` for an enumeration, `flag` for one that counts by being there."""

    name: str
    help: str
    choices: tuple[str, ...] = ()
    flag: bool = False


class Command(Struct, frozen=True):
    """One path. A command that `mutates` must come by POST."""

    path: str
    help: str
    handler: Handler
    mutates: bool = False
    parameters: tuple[Parameter, ...] = ()

    def help_text(self) -> str:
        """Its lines in `/help`."""
        lines = [f"  {self.path}{' (POST)' if self.mutates else ''}: {self.help}\n"]
        for parameter in self.parameters:
            choices = f"; One of ({', '.join(parameter.choices)})" if parameter.choices else ""
            lines.append(f"      {parameter.name}: {parameter.help}{choices}\n")
        return "".join(lines)


_FILTER: Final = Parameter("filter", "Regular expression (Google re2) for filtering stats")
_INVERT: Final = Parameter("invert_filter", "Invert the filter regex", flag=True)
_USED: Final = Parameter("usedonly", "Only include stats that have been written since the start", flag=True)
_ENABLE: Final = (Parameter("enable", "enable or disable the profiler", ("y", "n")),)

_NO_PROFILER: Final = control.unsupported(
    "there is no built-in profiler; attach py-spy or perf to the process"
)
_NO_LOOKUPS: Final = control.unsupported(
    "stat names are not looked up in a table, so there is nothing to record"
)


class Commands:
    """The table for one server."""

    def __init__(self, config: AdminConfig) -> None:
        self._allowed = config.allowed
        stats = StatsHandlers(config.tags, config.buckets_of, config.exists)
        self._by_path = {
            command.path: command for command in sorted(self._table(stats), key=lambda c: c.path)
        }

    def _table(self, stats: StatsHandlers) -> tuple[Command, ...]:
        return (
            Command("/", "Admin home page", self._index),
            Command("/help", "print out list of admin commands", self._help),
            Command("/certs", "print certs on machine", status.certs),
            Command(
                "/clusters",
                "upstream cluster status",
                status.clusters,
                parameters=(
                    Parameter("filter", "Regular expression (Google re2) for filtering clusters by name"),
                    Parameter("format", "Format to use", ("text", "json")),
                ),
            ),
            Command(
                "/config_dump",
                "dump the current configuration",
                config_dump,
                parameters=(
                    Parameter("resource", "The resource to dump, such as static_clusters"),
                    Parameter("mask", "Field mask; with resource it applies to every element of that field"),
                    Parameter("name_regex", "Dump only what has a name that matches the whole of this regex"),
                    Parameter("include_eds", "Also dump the present endpoints", flag=True),
                ),
            ),
            Command(
                "/csds",
                "print the client status of all xDS resources (envoy.service.status.v3) as JSON",
                discovery.csds,
            ),
            Command("/contention", "dump mutex contention stats (there are none)", control.contention),
            Command("/cpuprofiler", "enable/disable the CPU profiler", _NO_PROFILER, True, _ENABLE),
            Command("/heapprofiler", "enable/disable the heap profiler", _NO_PROFILER, True, _ENABLE),
            Command("/allocprofiler", "enable/disable the allocation profiler", _NO_PROFILER, True, _ENABLE),
            Command("/heap_dump", "dump the heap (not supported)", _NO_PROFILER),
            Command("/peak_heap_dump", "dump the peak heap (not supported)", _NO_PROFILER),
            Command(
                "/drain_listeners",
                "drain listeners",
                control.drain_listeners,
                True,
                (
                    Parameter("graceful", "Go through the drain period before listeners close", flag=True),
                    Parameter("skip_exit", "Drain the connections but never stop the listeners", flag=True),
                    Parameter(
                        "inboundonly", "Drain only listeners with traffic_direction INBOUND", flag=True
                    ),
                ),
            ),
            Command(
                "/events",
                "print what was decided lately and why: ejections of hosts and their ends",
                events,
                parameters=(
                    Parameter("n", "Only so many, the newest; 1000 are kept"),
                    Parameter("format", "Format to use", ("text", "json")),
                ),
            ),
            Command(
                "/healthcheck/fail",
                "cause the server to fail health checks",
                control.fail_health_checks,
                mutates=True,
            ),
            Command(
                "/healthcheck/ok",
                "cause the server to pass health checks",
                control.pass_health_checks,
                mutates=True,
            ),
            Command(
                "/hot_restart_version",
                "print the hot restart compatibility version",
                status.hot_restart_version,
            ),
            Command(
                "/init_dump",
                "dump what initialisation still waits for",
                status.init_dump,
                parameters=(Parameter("mask", "listener, for the targets of listeners only"),),
            ),
            Command(
                "/listeners",
                "print listener info",
                status.listeners,
                parameters=(Parameter("format", "Format to use", ("text", "json")),),
            ),
            Command(
                "/logging",
                "query/change logging levels",
                control.logging,
                True,
                (
                    Parameter("paths", "Change several: <logger_name1>:<level1>,<logger_name2>:<level2>"),
                    Parameter("group", "Change one: <logger_name>:<level>"),
                    Parameter("level", "Change all loggers", ("", *control.LEVELS)),
                ),
            ),
            Command("/memory", "print current memory usage", status.memory),
            Command("/quitquitquit", "exit the server", control.quit_server, mutates=True),
            Command(
                "/ready",
                "print server state, return 200 if LIVE, otherwise return 503",
                discovery.ready,
                parameters=(
                    Parameter("format", "Format to use; json tells what is missing", ("text", "json")),
                ),
            ),
            Command(
                "/xds",
                "print what control planes have sent: versions, errors, and what is waited for",
                discovery.xds,
                parameters=(
                    Parameter("type", "Only this type of resource, such as cluster or route"),
                    Parameter("filter", "Regular expression (Google re2) for filtering resources by name"),
                    Parameter("format", "Format to use", ("text", "json")),
                ),
            ),
            Command("/reopen_logs", "reopen access logs", control.reopen_logs, mutates=True),
            Command("/reset_counters", "reset all counters to zero", control.reset_counters, mutates=True),
            Command("/runtime", "print runtime values", control.runtime),
            Command(
                "/runtime_modify",
                "Adds or modifies runtime values as passed in query parameters: ?key1=value1&key2=value2. "
                "An empty value removes a key that was added here; other layers are not changed.",
                control.runtime_modify,
                mutates=True,
            ),
            Command("/server_info", "print server version/status information", status.server_info),
            Command(
                "/stats",
                "print server stats",
                stats.stats,
                parameters=(
                    _USED,
                    _FILTER,
                    _INVERT,
                    Parameter("format", "Format to use", ("text", "html", "json", "prometheus")),
                    Parameter(
                        "type",
                        "Stat types to include",
                        ("All", "Counters", "Histograms", "Gauges", "TextReadouts"),
                    ),
                    Parameter(
                        "histogram_buckets",
                        "Histogram bucket display mode",
                        ("summary", "cumulative", "disjoint", "detailed"),
                    ),
                ),
            ),
            Command(
                "/stats/prometheus",
                "print server stats in prometheus format",
                stats.prometheus,
                parameters=(
                    _USED,
                    Parameter("text_readouts", "Render text readouts as gauges of value 1", flag=True),
                    _FILTER,
                    _INVERT,
                    Parameter(
                        "histogram_buckets", "Histogram bucket display mode", ("cumulative", "summary")
                    ),
                ),
            ),
            Command("/stats/recentlookups", "Show recent stat-name lookups", control.recent_lookups),
            Command("/stats/recentlookups/clear", "clear stat-name lookups", _NO_LOOKUPS, mutates=True),
            Command("/stats/recentlookups/disable", "stop recording of lookups", _NO_LOOKUPS, mutates=True),
            Command("/stats/recentlookups/enable", "start recording of lookups", _NO_LOOKUPS, mutates=True),
        )

    async def answer(self, request: AdminRequest, state: AdminState) -> AdminResponse:
        """Find the command and run it; wrong paths, methods and parameters are answered with the reason."""
        if self._allowed is not None and not self._allowed(request.path):
            return AdminResponse(f"request to path {request.path} not allowed", 403)
        command = self._by_path.get(request.path)
        if command is None:
            return AdminResponse("invalid path. " + self.help_text(), 404)
        if command.mutates and request.method != "POST":
            return AdminResponse(f"Method {request.method} not allowed, POST required.", 405)
        try:
            return await command.handler(request, state)
        except BadParameterError as error:
            return AdminResponse(str(error), 400, error.content_type)

    def help_text(self) -> str:
        """The contents of `/help`."""
        return "admin commands are:\n" + "".join(command.help_text() for command in self._by_path.values())

    async def _help(self, _request: AdminRequest, _state: AdminState) -> AdminResponse:
        return AdminResponse(self.help_text())

    async def _index(self, _request: AdminRequest, state: AdminState) -> AdminResponse:
        facts = state.server_facts()
        rows = "".join(_row(command) for command in self._by_path.values())
        node = html.escape(getattr(facts.node, "id", "") or "no node id")
        body = (
            f"<p>{html.escape(facts.version)} &middot; {facts.state} &middot; {node} &middot; "
            f"up {int(facts.uptime)} s</p>\n<table>\n{rows}</table>"
        )
        return AdminResponse(page("Outrider admin", body), content_type=HTML)


def _row(command: Command) -> str:
    """A command with its parameters as a form."""
    path, text = html.escape(command.path), html.escape(command.help)
    fields = "".join(_field(parameter) for parameter in command.parameters)
    if not fields and not command.mutates:
        return f'<tr><td><a href="{path}">{path.lstrip("/") or "/"}</a></td><td>{text}</td></tr>\n'
    method = "post" if command.mutates else "get"
    button = f'<button class="link">{path.lstrip("/")}</button>'
    return (
        f'<tr><td><form id="f{path}" action="{path}" method="{method}">{button}</form></td>'
        f"<td>{text}{fields.replace('FORM', 'f' + path)}</td></tr>\n"
    )


def _field(parameter: Parameter) -> str:
    name, text = html.escape(parameter.name), html.escape(parameter.help)
    if parameter.flag:
        control_element = f'<input type="checkbox" name="{name}" form="FORM">'
    elif parameter.choices:
        options = "".join(f"<option>{html.escape(choice)}</option>" for choice in parameter.choices)
        control_element = f'<select name="{name}" form="FORM">{options}</select>'
    else:
        control_element = f'<input type="text" name="{name}" form="FORM">'
    return f"<label>{control_element} {name}: {text}</label>"
