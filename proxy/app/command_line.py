"""Envoy's command line: the same flags, values, error style and exit status.

Source: `envoy --help` of 1.40 and `source/server/options_impl.cc`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct, field

from proxy.base.errors import UsageError

LEVELS: Final = ("trace", "debug", "info", "warning", "error", "critical", "off")
DEFAULT_LOG_FORMAT: Final = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"
#: Processes whose versions differ cannot take over from each other. Raise it when a message of
#: `proxy.app.hot_restart.messages` changes its meaning.
HOT_RESTART_VERSION: Final = "outrider.1"
# Who gives one of these wants hot restart; who does not can do without where another process has the base id.
_HOT_RESTART_FLAGS: Final = frozenset(
    {"restart-epoch", "base-id", "base-id-path", "use-dynamic-base-id", "socket-path"}
)
OWN_VERBS: Final = ("demo", "control-plane", "explain", "iptables", "bench", "run", "vm", "wait")


class Options(Struct):
    """The parsed command line, defaults included; field names are those of Envoy's `/server_info`.

    Times are whole seconds unless the name says otherwise. `concurrency` is at least 1.
    """

    config_path: str = ""
    config_yaml: str = ""
    mode: str = "serve"
    concurrency: int = 1
    base_id: int = 0
    use_dynamic_base_id: bool = False
    base_id_path: str = ""
    restart_epoch: int = 0
    disable_hot_restart: bool = False
    #: Whether any flag of hot restart was given.
    asks_for_hot_restart: bool = False
    hot_restart_version: bool = False
    skip_hot_restart_on_no_parent: bool = False
    skip_hot_restart_parent_stats: bool = False
    socket_path: str = "@envoy_domain_socket"
    socket_mode: int = 0
    allow_unknown_static_fields: bool = False
    allow_unknown_fields: bool = False
    reject_unknown_dynamic_fields: bool = False
    ignore_unknown_dynamic_fields: bool = False
    skip_deprecated_logs: bool = False
    bootstrap_version: int = 3
    admin_address_path: str = ""
    local_address_ip_version: str = "v4"
    log_level: str = "info"
    component_log_level: str = ""
    component_levels: dict[str, str] = field(default_factory=dict)
    log_format: str = DEFAULT_LOG_FORMAT
    log_format_escaped: bool = False
    log_stacktrace_single_entry: bool = False
    enable_fine_grain_logging: bool = False
    log_path: str = ""
    service_cluster: str = ""
    service_node: str = ""
    service_zone: str = ""
    file_flush_interval_msec: int = 10_000
    file_flush_min_size_kb: int = 64
    drain_time_s: int = 600
    drain_strategy: str = "gradual"
    parent_shutdown_time_s: int = 900
    cpuset_threads: bool = False
    enable_mutex_tracing: bool = False
    enable_core_dump: bool = False
    disable_extensions: str = ""
    stats_tag: list[str] = field(default_factory=list)
    state_dir: str = ""
    no_state: bool = False
    state_max_age: int = 24 * 3600
    state_key_file: str = ""
    watch_config: bool = False
    help: bool = False
    version: bool = False


class _Flag(Struct, frozen=True):
    """`kind` is "text", "number", "switch" or "texts" (may be repeated)."""

    name: str
    kind: str
    help: str
    short: str = ""

    @property
    def attribute(self) -> str:
        return self.name.replace("-", "_")

    @property
    def label(self) -> str:
        return f"-{self.short} (--{self.name})" if self.short else f"--{self.name}"


_FLAGS: Final = (
    _Flag("config-path", "text", "Path to configuration file", "c"),
    _Flag("config-yaml", "text", "Inline YAML configuration, merges with the contents of --config-path"),
    _Flag(
        "mode",
        "text",
        "One of 'serve' (default), 'validate' (check the configuration and exit) or 'init_only'",
    ),
    _Flag("concurrency", "number", "Number of workers (default: the CPUs of the cgroup)"),
    _Flag("cpuset-threads", "switch", "Get the default number of workers from the size of the cpuset"),
    _Flag(
        "log-level", "text", f"Log levels: {''.join(f'[{level}]' for level in LEVELS)}; default [info]", "l"
    ),
    _Flag("component-log-level", "text", "Levels by component, such as upstream:debug,config:trace"),
    _Flag("log-format", "text", f'Log line in spdlog syntax; default "{DEFAULT_LOG_FORMAT}"'),
    _Flag("log-format-escaped", "switch", "Escape c-style escape sequences in the application logs"),
    _Flag("log-path", "text", "Path to the log file; default is stderr"),
    _Flag("log-stacktrace-single-entry", "switch", "Emit a stack trace in one log entry (it always is here)"),
    _Flag("enable-fine-grain-logging", "switch", "No effect here: levels are set by component"),
    _Flag("skip-deprecated-logs", "switch", "Do not log warnings of deprecated fields"),
    _Flag("service-cluster", "text", "Cluster name of this node"),
    _Flag("service-node", "text", "Node name"),
    _Flag("service-zone", "text", "Zone name of this node"),
    _Flag("admin-address-path", "text", "File to which the address of the admin server is written"),
    _Flag("local-address-ip-version", "text", "The local IP address version (v4 or v6)"),
    _Flag("allow-unknown-static-fields", "switch", "Allow unknown fields in static configuration"),
    _Flag("allow-unknown-fields", "switch", "Same as --allow-unknown-static-fields (deprecated)"),
    _Flag("reject-unknown-dynamic-fields", "switch", "Reject unknown fields in dynamic configuration"),
    _Flag("ignore-unknown-dynamic-fields", "switch", "Ignore unknown fields in dynamic configuration"),
    _Flag("bootstrap-version", "number", "API version of the bootstrap: 3 (v2 files are upgraded on load)"),
    _Flag("drain-time-s", "number", "Seconds that a drain may take; default 600"),
    _Flag(
        "drain-strategy",
        "text",
        "'gradual' (default): accept for half of a drain on SIGTERM, and tell more and more connections to end in "
        "a hot restart or /drain_listeners?graceful; 'immediate': stop accepting, and tell all at once",
    ),
    _Flag(
        "parent-shutdown-time-s",
        "number",
        "Seconds after which the process that this one takes over from ends; default 900",
    ),
    _Flag("file-flush-interval-msec", "number", "Interval for log flushing in msec; default 10000"),
    _Flag("file-flush-min-size-kb", "number", "Size in KB at which access logs are written; default 64"),
    _Flag("stats-tag", "texts", "A tag:value added to all stats (accepted multiple times)"),
    _Flag(
        "state-dir",
        "text",
        "Where accepted xDS resources are kept, to start from when no control plane answers; default "
        "$XDG_STATE_HOME/outrider, else /var/lib/outrider",
    ),
    _Flag("no-state", "switch", "Keep no xDS resources over restarts"),
    _Flag("state-max-age", "number", "Seconds for which kept xDS resources may be used; default 86400"),
    _Flag(
        "state-key-file",
        "text",
        "File with a key of 32 bytes (raw or base64): secrets are kept too, encrypted with it",
    ),
    _Flag(
        "watch-config",
        "switch",
        "Read the configuration file again when it has changed, as SIGHUP does",
    ),
    _Flag(
        "restart-epoch", "number", "Hot restart epoch: above 0, take over from the process of the one before"
    ),
    _Flag(
        "base-id", "number", "Base ID, so that several can run on one host and be restarted hot independently"
    ),
    _Flag("use-dynamic-base-id", "switch", "Choose a base ID dynamically"),
    _Flag("base-id-path", "text", "Path to which the base ID is written"),
    _Flag("disable-hot-restart", "switch", "Disable hot restart"),
    _Flag("hot-restart-version", "switch", "Print the hot restart compatibility version and exit"),
    _Flag(
        "skip-hot-restart-on-no-parent", "switch", "Start even if --restart-epoch is above 0 without a parent"
    ),
    _Flag("skip-hot-restart-parent-stats", "switch", "Do not copy stats of a hot restart parent"),
    _Flag("socket-path", "text", "Path to hot restart socket file"),
    _Flag("socket-mode", "text", "Hot restart socket file permission (octal)"),
    _Flag("disable-extensions", "text", "Not supported: remove the extension from the configuration"),
    _Flag("enable-mutex-tracing", "switch", "No effect here: workers share no mutex"),
    _Flag("enable-core-dump", "switch", "Enable core dumps"),
    _Flag("version", "switch", "Display version information and exit"),
    _Flag("help", "switch", "Display usage information and exit", "h"),
)
_BY_WORD: Final = {f"--{flag.name}": flag for flag in _FLAGS} | {
    f"-{flag.short}": flag for flag in _FLAGS if flag.short
}


def parse(arguments: Sequence[str], program: str = "outrider") -> Options:
    """Read the arguments after the program's name. Raises `UsageError` with the text for stderr."""
    options = Options()
    given: set[str] = set()
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            break
        word, equals, attached = word.partition("=") if word.startswith("--") else (word, "", "")
        flag = _BY_WORD.get(word)
        if flag is None:
            raise _parse_error(program, word, "Couldn't find match for argument", _suggestion(word))
        if flag.name in given and flag.kind != "texts":
            raise _parse_error(program, flag.label, "Argument already set!")
        given.add(flag.name)
        if flag.kind == "switch":
            if equals:
                raise _parse_error(program, flag.label, "This is a switch: give it without a value")
            setattr(options, flag.attribute, True)
            continue
        if not equals and not words:
            raise _parse_error(program, flag.label, "Missing a value for this argument!")
        _store(program, options, flag, attached if equals else words.pop(0))
    if not options.help and not options.version and not options.hot_restart_version:
        _check(options, given)
    return options


def _store(program: str, options: Options, flag: _Flag, value: str) -> None:
    if flag.kind == "texts":
        getattr(options, flag.attribute).append(value)
    elif flag.kind == "text" and flag.name != "socket-mode":
        setattr(options, flag.attribute, value)
    else:
        base = 8 if flag.name == "socket-mode" else 10
        try:
            number = int(value, base)
        except ValueError:
            number = -1
        if not 0 <= number < 2**32:
            raise _parse_error(program, flag.label, f"Couldn't read argument value from string '{value}'")
        setattr(options, flag.attribute, number)


def _check(options: Options, given: set[str]) -> None:
    """The rules that Envoy applies after parsing, in its words."""
    if options.mode not in {"serve", "validate", "init_only"}:
        raise UsageError(f"error: unknown mode '{options.mode}'; use serve, validate or init_only")
    if options.drain_strategy not in {"gradual", "immediate"}:
        raise UsageError(
            f"error: unknown drain-strategy '{options.drain_strategy}'; use gradual or immediate"
        )
    if options.local_address_ip_version not in {"v4", "v6"}:
        raise UsageError(
            f"error: unknown IP address version '{options.local_address_ip_version}'; use v4 or v6"
        )
    options.log_level = level_name(options.log_level)
    options.component_levels = component_levels(options.component_log_level)
    _check_hot_restart(options, given)
    if options.watch_config and not options.config_path:
        raise UsageError("error: --watch-config needs a file to watch; give --config-path")
    if options.bootstrap_version not in {2, 3}:
        raise UsageError(f"error: unknown bootstrap-version {options.bootstrap_version}; use 3")
    if options.disable_extensions:
        raise UsageError(
            "error: --disable-extensions is not supported; leave the extension out of the configuration"
        )
    tags: set[str] = set()
    for tag in options.stats_tag:
        name, colon, value = tag.partition(":")
        if not colon or not re.fullmatch("[A-Za-z0-9]+", name) or not value or "." in value:
            raise UsageError(f"error: misformatted stats-tag '{tag}'; write tag:value without dots")
        if name in tags:
            raise UsageError(f"error: stats-tag '{name}' is given twice")
        tags.add(name)
    if options.allow_unknown_fields:
        options.allow_unknown_static_fields = True
    if "concurrency" not in given:
        options.concurrency = len(os.sched_getaffinity(0)) if options.cpuset_threads else available_cpus()
    options.concurrency = max(1, options.concurrency)


def _check_hot_restart(options: Options, given: set[str]) -> None:
    options.asks_for_hot_restart = not given.isdisjoint(_HOT_RESTART_FLAGS)
    if options.use_dynamic_base_id and options.restart_epoch:
        raise UsageError(
            f"error: cannot use --restart-epoch={options.restart_epoch} with --use-dynamic-base-id"
        )


def level_name(text: str) -> str:
    """The canonical name of a log level (`warn` is `warning`); `UsageError` if there is none."""
    name = "warning" if text == "warn" else text
    if name not in LEVELS:
        raise UsageError(f"error: invalid log level specified '{text}'; use one of {', '.join(LEVELS)}")
    return name


def component_levels(text: str) -> dict[str, str]:
    """Parse `upstream:debug,config:trace`; `UsageError` for a broken entry."""
    levels: dict[str, str] = {}
    for entry in filter(None, text.split(",")):
        component, colon, level = entry.partition(":")
        if not colon or not component:
            raise UsageError(
                f"error: component log level not correctly specified '{entry}'; write component:level"
            )
        levels[component.strip()] = level_name(level.strip())
    return levels


def available_cpus(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> int:
    """CPUs of the affinity mask, bounded by the quota of the cgroup (v2 or v1); at least 1."""
    count = len(os.sched_getaffinity(0))
    for quota, period in _quotas(root, membership):
        if quota > 0 and period > 0:
            count = min(count, max(1, quota // period))
    return max(1, count)


def _quotas(root: str, membership: str) -> list[tuple[int, int]]:
    own = ""
    for line in _read(membership).splitlines():
        if line.startswith("0::"):
            own = line[3:].strip("/")
    quotas: list[tuple[int, int]] = []
    while True:
        words = _read(os.path.join(root, own, "cpu.max")).split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            quotas.append((int(words[0]), int(words[1])))
        if not own:
            break
        own = os.path.dirname(own)
    quota, period = (
        _read(os.path.join(root, "cpu", f"cpu.cfs_{name}_us")).strip() for name in ("quota", "period")
    )
    if quota.isdigit() and period.isdigit():
        quotas.append((int(quota), int(period)))
    return quotas


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


_VERBS: Final = (
    ("run [flags] -- APP ARGS", "starts the proxy, then the app; ends with the app and its status"),
    ("wait [--timeout S] [--admin ADDRESS | --port N]", "blocks until a proxy is ready"),
    ("vm start|stop|status --env FILE", "the sidecar of a VM: user, rules and proxy from a sidecar.env"),
    ("iptables plan|apply|verify|remove|doctor", "the rules that bring traffic here"),
    ("bench URL [--rate N] [--report DIR]", "load on a server, and what it answered"),
    ("demo", "the front proxy of Envoy's documentation, all processes real"),
    ("control-plane DIR", "serves a folder of resources to proxies, for development"),
)


def usage(program: str = "outrider") -> str:
    """The text of `--help`."""
    lines = ["", "USAGE: ", "", f"   {program}  -c <config file> [flags]", ""]
    for verb, text in _VERBS:
        lines += [f"   {program}  {verb}   {text}", ""]
    lines += ["Where: ", ""]
    for flag in _FLAGS:
        value = {"text": " <string>", "texts": " <string>", "number": " <uint32_t>", "switch": ""}[flag.kind]
        short = f"-{flag.short}{value},  " if flag.short else ""
        lines += [f"   {short}--{flag.name}{value}", f"     {flag.help}", ""]
    return "\n".join(lines)


def _suggestion(word: str) -> str:
    near = difflib.get_close_matches(word, _BY_WORD, n=1)
    return f"Did you mean {near[0]}?" if near else ""


def _parse_error(program: str, argument: str, reason: str, remedy: str = "") -> UsageError:
    lines = [f"PARSE ERROR: Argument: {argument}", f"             {reason}"]
    if remedy:
        lines.append(f"             {remedy}")
    lines += ["", "For complete USAGE and HELP type: ", f"   {program} --help"]
    return UsageError("\n".join(lines))
