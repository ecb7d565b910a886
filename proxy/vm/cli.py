"""`outrider vm start | stop | status --env sidecar.env`."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from proxy.launch.own_flags import Parser, seconds
from proxy.vm import machine
from proxy.vm.bootstrap import TEMPLATE, render
from proxy.vm.env_file import Settings, read
from proxy.vm.errors import VmError
from proxy.vm.identity import MetadataServer, find, own_ip

#: Exit statuses of `status`, as of init scripts (LSB).
DEAD: Final = 1
NOT_RUNNING: Final = 3
INCOMPLETE: Final = 4
_RUN_DIR: Final = "/run/outrider-vm"


def main(arguments: Sequence[str]) -> int:
    """The exit status; raises `UsageError`."""
    parser = Parser(
        "outrider vm",
        "The sidecar of a VM, from the settings of Traffic Director's scripts; "
        "further flags of the proxy stand after --.",
    )
    parser.add_argument("verb", choices=tuple(_VERBS))
    parser.add_argument(
        "--env", metavar="FILE", default="sidecar.env", help="the settings (default sidecar.env)"
    )
    parser.add_argument("--template", metavar="FILE", default=str(TEMPLATE), help="of the bootstrap")
    parser.add_argument(
        "--timeout", type=seconds, default=60.0, help="seconds in which the proxy must be ready (default 60)"
    )
    parser.add_argument("--run-dir", metavar="DIR", default=_RUN_DIR, help=f"of a run (default {_RUN_DIR})")
    words = list(arguments)
    own, proxy_flags = words, []
    if "--" in words:
        own, proxy_flags = words[: words.index("--")], words[words.index("--") + 1 :]
    options = parser.parse_args(own, Namespace(proxy_flags=proxy_flags))
    machine.need_root()
    return _VERBS[options.verb](options)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class _StoppedError(Exception):
    """A signal asks to give up."""


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Whoever ends a start half-way has it undone."""

    def give_up(number: int, _frame: object) -> None:
        raise _StoppedError(signal.Signals(number).name)

    kept = {
        number: signal.signal(number, give_up) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _start(options: Any) -> int:
    places = machine.Places(Path(options.run_dir))
    running = places.read_process()
    if running is not None and running.runs:
        _say(f"the proxy runs already (pid {running.number}); stop it first to change its settings")
        return 0
    settings = read(Path(options.env))
    identity = find(settings, MetadataServer(), own_ip(), options.env)
    certificates = machine.server_cert(settings, options.env)
    template = _text(options.template)
    bootstrap = render(template, settings, identity, certificates, options.template)
    try:
        with _signals(), contextlib.ExitStack() as undo:
            user = machine.own_user(settings.user, undo)
            machine.make_folder(Path(settings.log_dir), user, 0o750, undo)
            machine.make_folder(places.folder, None, 0o755, undo)
            machine.make_folder(places.state, user, 0o700, undo)
            machine.write(places.env, _text(options.env), user, undo)
            machine.write(places.bootstrap, bootstrap, user, undo)
            process = machine.start_proxy(settings, places, user, options.proxy_flags, undo)
            # Traffic is brought to a proxy that serves, never to one that may still fail.
            machine.wait_ready(settings, process, options.timeout)
            machine.install_rules(settings, user, undo)
            undo.pop_all()
    except _StoppedError as error:
        raise VmError(f"{error}: start was given up; everything is as it was") from None
    except VmError as error:
        raise VmError(f"{error}; everything is as it was") from None
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        raise VmError(f"{what}{error.strerror}; everything is as it was") from None
    ranges = ", ".join(settings.service_cidr)
    _say(f"the proxy serves as {identity.node_id} (pid {process.pid}); connections to {ranges} come to it")
    return 0


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise VmError(
            f"{path}: {getattr(error, 'strerror', None) or 'no UTF-8 text'}; give another file"
        ) from None


def _settings(options: Any, places: machine.Places) -> Settings:
    """Those of the run; if there is none, those of the file."""
    return read(places.env if places.env.exists() else Path(options.env))


def _stop(options: Any) -> int:
    places = machine.Places(Path(options.run_dir))
    process = places.read_process()
    # First the rules: from here on nothing depends on the proxy.
    machine.remove_rules(_settings(options, places))
    if process is not None and process.runs:
        machine.end_proxy(process)
        _say(f"the rules are removed, and the proxy (pid {process.number}) has ended")
    else:
        _say("the rules are removed; the proxy was not running")
    if process is not None:
        shutil.rmtree(places.folder, ignore_errors=True)
    return 0


def _status(options: Any) -> int:
    places = machine.Places(Path(options.run_dir))
    settings = _settings(options, places)
    process = places.read_process()
    reason = ""
    if process is None:
        _say("proxy: not running")
    elif process.runs:
        reason = machine.readiness(settings)
        _say(f"proxy: running (pid {process.number})")
        _say(f"ready: {f'no: {reason}' if reason else 'yes'}")
    else:
        _say(f"proxy: dead (pid {process.number} has ended)")
    rules = machine.rules_state(settings)
    _say(f"rules: {rules}")
    if process is not None and process.runs:
        return 0 if not reason and rules == "present" else INCOMPLETE
    if rules == "present":
        _say("captured connections are refused: start the proxy, or `outrider vm stop` to remove the rules")
    return NOT_RUNNING if process is None else DEAD


_VERBS: Final[Mapping[str, Callable[[Any], int]]] = {"start": _start, "stop": _stop, "status": _status}
