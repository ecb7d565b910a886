"""Commands that change the running proxy: health, draining, runtime, log levels, exit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from proxy.admin.http import JSON, AdminRequest, AdminResponse, BadParameterError
from proxy.admin.json_pieces import indented
from proxy.admin.state import AdminState
from proxy.base.errors import UsageError

LEVELS: Final = ("trace", "debug", "info", "warning", "error", "critical", "off")

_DONE: Final = AdminResponse("OK\n")


async def fail_health_checks(_request: AdminRequest, state: AdminState) -> AdminResponse:
    """`/healthcheck/fail`."""
    state.fail_health_checks(failed=True)
    return _DONE


async def pass_health_checks(_request: AdminRequest, state: AdminState) -> AdminResponse:
    """`/healthcheck/ok`."""
    state.fail_health_checks(failed=False)
    return _DONE


async def drain_listeners(request: AdminRequest, state: AdminState) -> AdminResponse:
    """`/drain_listeners`: every parameter is on when it is there."""
    state.drain_listeners(
        graceful=request.flag("graceful"),
        skip_exit=request.flag("skip_exit"),
        inbound_only=request.flag("inboundonly"),
    )
    return _DONE


async def reset_counters(_request: AdminRequest, state: AdminState) -> AdminResponse:
    """`/reset_counters`."""
    await state.refresh_stats()
    state.reset_counters()
    return _DONE


async def reopen_logs(_request: AdminRequest, state: AdminState) -> AdminResponse:
    """`/reopen_logs`."""
    state.reopen_logs()
    return _DONE


async def quit_server(request: AdminRequest, state: AdminState) -> AdminResponse:
    """`/quitquitquit`: as Envoy's for whoever is on this machine, as pilot-agent's for anybody else."""
    if not request.local:
        return AdminResponse("Only requests from localhost are allowed\n", 403)
    state.quit()
    return _DONE


async def runtime(_request: AdminRequest, state: AdminState) -> AdminResponse:
    """Layers, and for each key its text in every layer and the one that counts."""
    layers = state.runtime_layers()
    entries: dict[str, dict[str, object]] = {}
    for key in sorted({key for layer in layers for key in layer.values}):
        texts = [layer.values.get(key, "") for layer in layers]
        final = next((text for text in reversed(texts) if text), "")
        entries[key] = {"layer_values": texts, "final_value": final}
    body = indented({"layers": [layer.name for layer in layers], "entries": entries})
    return AdminResponse(body + "\n", content_type=JSON)


async def runtime_modify(request: AdminRequest, state: AdminState) -> AdminResponse:
    """Every parameter is a key of the admin layer."""
    if not request.parameters:
        raise BadParameterError(
            "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"
            "       or send the parameters as form values\n"
            "use an empty value to remove a previously added override"
        )
    try:
        state.modify_runtime(request.parameters)
    except UsageError as error:
        return AdminResponse(f"{error}\n", 503)
    return _DONE


async def logging(request: AdminRequest, state: AdminState) -> AdminResponse:
    """Shows the loggers, after changing those that the parameters name."""
    current = state.log_levels()
    # A form sends every field; what was left empty was not meant.
    given = {name: value for name, value in request.parameters.items() if value}
    if given:
        try:
            state.set_log_levels(_new_levels(given, current))
        except BadParameterError as error:
            usage = (
                f"error: {error}\n\n"
                "usage: /logging?<name>=<level> (change single level)\n"
                "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n"
                "usage: /logging?level=<level> (change all levels)\n"
                "usage: /logging?group=<group_name>:<level> (change group of loggers)\n"
                f"levels: {' '.join(LEVELS)} \n"
            )
            return AdminResponse(usage + _active_loggers(current), 400)
        current = state.log_levels()
    return AdminResponse(_active_loggers(current))


def _active_loggers(levels: Mapping[str, str]) -> str:
    lines = [f"  {name}: {level}\n" for name, level in sorted(levels.items())]
    return f"active loggers:\n{''.join(lines)}\n"


def _new_levels(parameters: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str]:
    if len(parameters) != 1:
        raise BadParameterError("invalid number of parameters")
    ((key, value),) = parameters.items()
    if key == "level":
        return dict.fromkeys(current, _level(value))
    if key in {"paths", "group"}:
        pairs = [pair for pair in value.split(",") if pair.strip()]
        result = {}
        for pair in pairs:
            name, _, level = pair.strip().rpartition(":")
            if not name or not level:
                raise BadParameterError("empty logger name or empty logger level")
            result[_logger(name, current)] = _level(level)
        return result
    level = _level(value)
    return {_logger(key, current): level}


def _level(text: str) -> str:
    if text not in LEVELS:
        raise BadParameterError("unknown logger level")
    return text


def _logger(name: str, current: Mapping[str, str]) -> str:
    if name not in current:
        raise BadParameterError("unknown logger name")
    return name


async def contention(_request: AdminRequest, _state: AdminState) -> AdminResponse:
    """There are no mutexes to trace."""
    return AdminResponse(
        "Mutex contention tracing is not enabled. Workers are processes and share no mutex, "
        "so there is nothing to enable.\n"
    )


async def recent_lookups(_request: AdminRequest, _state: AdminState) -> AdminResponse:
    """As Envoy with tracking off."""
    return AdminResponse("Lookup tracking is not enabled: stat names are not looked up here.\n\ntotal: 0\n")


def unsupported(reason: str) -> Callable[[AdminRequest, AdminState], Awaitable[AdminResponse]]:
    """A handler that says loudly that a command does nothing here: 501 and the reason."""

    async def refuse(_request: AdminRequest, _state: AdminState) -> AdminResponse:
        return AdminResponse(f"not supported: {reason}\n", 501)

    return refuse
