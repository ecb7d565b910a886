"""`outrider iptables plan | apply | verify | remove | doctor`, and the flags of `istio-iptables` without a verb."""

from __future__ import annotations

import argparse
import contextlib
import grp
import os
import pwd
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from msgspec.structs import replace

from iptables.config import Config, build, resolvers, with_groups
from iptables.errors import CaptureError, MachineError, SettingError, VerificationError
from iptables.installer import apply, plan_apply, remove, versions_of
from iptables.options import OPTIONS
from iptables.render_nft import script
from iptables.render_restore import listing
from iptables.rules import build_rules
from iptables.runner import Runner, enter, wants_ipv6
from iptables.values import read_bool

VERBS: Final = ("plan", "apply", "verify", "remove", "doctor")
_VALIDATION_FAILED: Final = 126  # Istio's status, by which its init containers tell this failure
_FLAGS: Final = {read_bool}
_LEVELS: Final = {"none": 0, "fatal": 1, "error": 1, "warn": 2, "info": 3, "debug": 4}


def main(arguments: Sequence[str]) -> int:
    """Run the command line after `outrider iptables`; the exit status. 126: the rules do not work."""
    words = list(arguments)
    verb = words.pop(0) if words and words[0] in VERBS else ""
    config = Config()
    try:
        if not arguments:
            # Istio's init containers always bring flags: a command that was typed short must not capture a machine.
            raise SettingError(f"say what to do: outrider iptables {' | '.join(VERBS)}; nothing was changed")
        options = _parser(verb).parse_args(words)
        config = _config(options, os.environ, verb == "plan" and options.print)
        status = _VERBS[verb](config, options)
        sys.stdout.flush()
        return status
    except VerificationError as error:
        _say(config, "error", str(error))
        return _VALIDATION_FAILED
    except CaptureError as error:
        _say(config, "error", str(error))
        return 1
    except BrokenPipeError:
        # Whoever read the listing has seen enough.
        _drop_output()
        return 1
    except OSError as error:
        # Nothing is kept in files, so a full disk concerns only what is printed, after the rules are changed.
        _drop_output()
        _say(config, "error", f"cannot write the output: {error.strerror}; make room, or send it elsewhere")
        return 1


def _drop_output() -> None:
    """What is still buffered goes nowhere, or the interpreter's end would fail on it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingError(f"{message}; see `{self.prog} --help`")


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"outrider iptables {verb}".strip(), description="Traffic capture.", allow_abbrev=False
    )
    for option in OPTIONS:
        names = [f"--{option.flag}", *([f"-{option.short}"] if option.short else [])]
        if option.read in _FLAGS:
            parser.add_argument(*names, dest=option.field, nargs="?", const="true", help=option.help)
        else:
            parser.add_argument(*names, dest=option.field, help=option.help)
    if verb == "plan":
        parser.add_argument("--print", action="store_true", help="the whole rule set; touches nothing")
    if verb == "doctor":
        parser.add_argument("--to", metavar="ADDRESS:PORT", help="destination of a packet to follow")
        parser.add_argument("--from", dest="source", default="", metavar="ADDRESS")
        parser.add_argument("--uid", default="0", help="of the program that sends it")
        parser.add_argument("--gid", default="", help="of the program that sends it (default: as --uid)")
        parser.add_argument("--protocol", choices=("tcp", "udp"), default="tcp")
        parser.add_argument("--direction", choices=("in", "out"), default="out")
        parser.add_argument("--interface", default="", help="by which it comes or leaves")
    return parser


def _config(options: argparse.Namespace, environment: Mapping[str, str], offline: bool) -> Config:
    given = vars(options)
    flags = {option.field: given[option.field] for option in OPTIONS if given[option.field] is not None}
    config = build(flags, environment, _proxy_user(environment))
    if config.redirect_dns and not config.capture_all_dns and not config.dns_servers and not offline:
        try:
            found = resolvers(Path("/etc/resolv.conf").read_text())
        except OSError as error:
            raise MachineError(
                f"/etc/resolv.conf: {error.strerror}; give --dns-servers or --capture-all-dns"
            ) from None
        config = replace(config, dns_servers=found)
        if not found:
            _say(
                config, "warn", "/etc/resolv.conf names no server: DNS is not captured; use --capture-all-dns"
            )
    return config if offline else with_groups(config, _group)


def _proxy_user(environment: Mapping[str, str]) -> str:
    try:
        return str(pwd.getpwnam(environment.get("ENVOY_USER", "istio-proxy")).pw_uid)
    except KeyError:
        return "1337"


def _group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _runner(config: Config) -> Runner:
    if config.network_namespace:
        enter(config.network_namespace)
    return Runner(config)


def _say(config: Config, level: str, text: str) -> None:
    """To stderr, if the log level lets it through."""
    wanted = _LEVELS.get(config.log_output_level.rpartition(":")[2], 3)
    if _LEVELS[level] <= wanted:
        line = f"{level}: {text}"
        if config.log_as_json:
            import json  # for those who ask for it

            line = json.dumps({"level": level, "msg": text})
        # Messages that nobody can take must not turn a change that was made into a failure.
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def _plan(config: Config, options: argparse.Namespace) -> int:
    if getattr(options, "print", False):
        print(_whole(config), end="")
        return 0
    plan = plan_apply(config, _runner(config))
    for line in plan.diff:
        print(line)
    if not plan.steps:
        print("nothing to change")
    for text in (*plan.conflicts, *plan.foreign):
        _say(config, "warn", text)
    return 0


def _whole(config: Config) -> str:
    rules = build_rules(config)
    ipv6 = config.ipv6 is not False
    if config.native_nftables:
        return script(rules, ipv6)
    parts = [
        f"# IPv{version}, for ip{tables}-restore --noflush\n{listing(rules.of(version))}"
        for version, tables in zip(versions_of(ipv6), ("tables", "6tables"), strict=False)
    ]
    return "".join(parts)


def _apply(config: Config, options: argparse.Namespace) -> int:
    if config.cleanup_only:
        return _remove(config, options)
    if config.dry_run:
        return _plan(config, options)
    runner = _runner(config)
    if not config.skip_rule_apply:
        plan = apply(config, runner)
        for line in plan.diff:
            _say(config, "debug", line)
        _say(config, "info", "rules installed" if plan.steps else "rules were installed already")
    if config.run_validation:
        _check(config, runner)
    return 0


def _verify(config: Config, _options: argparse.Namespace) -> int:
    _check(config, _runner(config))
    return 0


def _check(config: Config, runner: Runner) -> None:
    plan = plan_apply(config, runner)
    if plan.steps:
        first = plan.diff[0] if plan.diff else "a route"
        raise VerificationError(
            f"rules are missing or differ in {len(plan.diff)} lines, first: {first}; use `outrider iptables apply`"
        )
    from iptables import verify  # sockets, which no other verb needs

    results = [
        verify.run(probe, config.probe_timeout)
        for probe in verify.probes(config, versions_of(wants_ipv6(config)))
    ]
    for result in results:
        print(result)
    failed = [result for result in results if result.outcome == "failed"]
    if failed:
        raise VerificationError(
            f"the rules are installed and not effective: {failed[0].probe.name}: {failed[0].detail}; "
            "`outrider iptables doctor` shows what is in the way"
        )
    if results and all(result.outcome == "skipped" for result in results):
        _say(config, "warn", "no probe could be sent; the rules are as they should be")


def _remove(config: Config, _options: argparse.Namespace) -> int:
    if config.dry_run:
        raise SettingError("remove has no --dry-run; `outrider iptables plan` shows what is installed")
    for line in remove(config, _runner(config)):
        _say(config, "debug", line)
    _say(config, "info", "rules removed")
    return 0


def _doctor(config: Config, options: argparse.Namespace) -> int:
    from iptables.doctor_command import run  # the judge of packets, which no other verb needs

    return run(config, options, _runner(config))


_VERBS: Final[Mapping[str, Callable[[Config, argparse.Namespace], int]]] = {
    "": _apply,
    "plan": _plan,
    "apply": _apply,
    "verify": _verify,
    "remove": _remove,
    "doctor": _doctor,
}
