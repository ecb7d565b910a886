"""`outrider run [flags of the proxy] -- app arguments`: an app with a proxy beside it, in this order.

The proxy starts; when it is ready the app does. Signals go to the app, while the proxy serves on and only tells its
inbound clients to leave. The app's end ends the proxy, and its status is ours. This process is the parent of both
and does nothing else; as process 1 of a container it also reaps what others leave behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn, Self

from proxy.app.command_line import parse
from proxy.base.errors import UsageError
from proxy.launch.admin_client import AdminPlace, ask, parse_place, what_is_missing
from proxy.launch.own_flags import Parser, seconds

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
_FAILED: Final = 1
_SIGNAL_BASE: Final = 128
#: Where the proxy's configuration is if the flags name none.
DEFAULT_CONFIG: Final = "/etc/outrider/envoy.yaml"
_FORWARDED: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
    }
)
_ENDING: Final = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
_WAITED_FOR: Final = _FORWARDED | {signal.SIGCHLD}
# A terminal sends to the whole group of processes, so the app has such a signal already.
_FROM_TERMINAL: Final = 0x80
# Python ignores these, and what is ignored stays so in the app.
_IGNORED_HERE: Final = (signal.SIGPIPE, signal.SIGXFSZ)
_LOOK_SECONDS: Final = 0.02
# Nobody uses the proxy when the app has ended: it may say good-bye for so long, then has to end.
_DRAIN_SECONDS: Final = 0.4
_END_SECONDS: Final = 1.0
# An app that lost its proxy and does not end when told to.
_ORPHAN_SECONDS: Final = 30.0
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: Sequence[str]) -> int:
    """The exit status: the app's, 128+n if signal n ended it; 126 or 127 if it cannot be run, 1 without a proxy.

    Raises `UsageError`.
    """
    flags, command = _split(arguments)
    parser = Parser(
        "outrider run", "Start the proxy, then an app: outrider run [flags of the proxy] -- APP ..."
    )
    parser.add_argument(
        "--ready-timeout",
        type=seconds,
        default=60.0,
        help="seconds in which the proxy must be ready (default 60)",
    )
    own, proxy_flags = parser.parse_known_args(flags)
    if not command:
        raise UsageError(
            "outrider run: no app is given; write it after --: outrider run -c envoy.yaml -- app"
        )
    found = shutil.which(command[0])
    if found is None:
        there = os.path.exists(command[0]) and "/" in command[0]
        _say(
            f"{command[0]}: {'is not an executable file' if there else 'not found'}; the proxy was not started"
        )
        return NOT_EXECUTABLE if there else NOT_FOUND
    with tempfile.TemporaryDirectory(prefix="outrider-run-") as directory:
        proxy_flags, place_file = _complete(proxy_flags, directory)
        return _Pair(found, command, proxy_flags, place_file).run(own.ready_timeout)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    words = list(arguments)
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _complete(flags: list[str], directory: str) -> tuple[list[str], str]:
    """The flags with what they leave open, and the file that will tell the address of the admin server."""
    options = parse(flags, "outrider run")
    if options.mode != "serve" or options.version or options.help:
        raise UsageError("outrider run: the proxy must serve; drop --mode, --version and --help")
    flags = list(flags)
    if not options.config_path and not options.config_yaml:
        if os.path.exists(DEFAULT_CONFIG):
            flags += ["-c", DEFAULT_CONFIG]
        else:
            _say(f"neither -c nor {DEFAULT_CONFIG}: the proxy has no listener")
            flags += ["--config-yaml", "{}"]
    if not options.admin_address_path:
        options.admin_address_path = os.path.join(directory, "admin")
        flags += ["--admin-address-path", options.admin_address_path]
    if not any(flag.partition("=")[0] == "--drain-strategy" for flag in flags):
        # The app ends long before a gradual drain has told every client.
        flags += ["--drain-strategy", "immediate"]
    return flags, options.admin_address_path


def _say(text: str) -> None:
    sys.stderr.write(f"outrider run: {text}\n")
    sys.stderr.flush()


def _status(code: int) -> int:
    return _SIGNAL_BASE - code if code < 0 else code


class _Pair:
    """The two processes."""

    def __init__(self, path: str, command: list[str], proxy_flags: list[str], place_file: str) -> None:
        self._path = path
        self._command = command
        self._flags = proxy_flags
        self._place_file = place_file
        self._proxy = 0
        self._app = 0
        #: Exit codes as `os.waitstatus_to_exitcode` gives them.
        self._proxy_code: int | None = None
        self._app_code: int | None = None
        self._told_to_end = False

    def run(self, ready_timeout: float) -> int:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
        try:
            with _Notices() as notices:
                self._proxy = _fork_proxy(self._flags, notices.name)
                status = self._until_ready(notices, ready_timeout)
            if status is None:
                status = self._start_app(before)
            if status is None:
                status = self._until_app_ends()
            self._end_proxy()
            return status
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _until_ready(self, notices: _Notices, timeout: float) -> int | None:
        """None when it is ready, else the status to end with."""
        deadline = time.monotonic() + timeout
        while not notices.ready():
            number = self._next_signal(_LOOK_SECONDS)
            if self._proxy_code is not None:
                _say(
                    f"the proxy ended with status {_status(self._proxy_code)} before it was ready; see above"
                )
                return _status(self._proxy_code) or _FAILED
            if number in _ENDING:
                return _SIGNAL_BASE + number
            if time.monotonic() > deadline:
                place = self._place()
                reason = what_is_missing(place) if place is not None else "it has no admin server to ask"
                _say(f"the proxy is not ready after {timeout:g} s: {reason}; the app was not started")
                return _FAILED
        return None

    def _start_app(self, mask: Sequence[int | signal.Signals] | set[int | signal.Signals]) -> int | None:
        try:
            self._app = os.posix_spawn(
                self._path, self._command, os.environ, setsigmask=list(mask), setsigdef=_IGNORED_HERE
            )
        except FileNotFoundError as error:
            # The file is there, so the interpreter that its first line names is not.
            _say(f"{self._path}: cannot be run: {error.strerror} (its interpreter?)")
            return NOT_FOUND
        except OSError as error:
            _say(f"{self._path}: cannot be run: {error.strerror}")
            return NOT_EXECUTABLE
        return None

    def _until_app_ends(self) -> int:
        deadline: float | None = None
        while self._app_code is None:
            number = self._next_signal(_LOOK_SECONDS * 10 if deadline is not None else None)
            if number in _FORWARDED:
                self._tell_app(number)
            if self._proxy_code is not None and deadline is None:
                if self._proxy_code == 0:
                    # Somebody asked it to: `/quitquitquit`, or a signal of its own.
                    _say("the proxy has ended as it was asked to; the app goes on without it")
                    deadline = float("inf")
                else:
                    _say(
                        f"the proxy died with status {_status(self._proxy_code)}; ending the app with SIGTERM"
                    )
                    self._signal_app(signal.SIGTERM)
                    deadline = time.monotonic() + _ORPHAN_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                _say(f"the app has not ended within {_ORPHAN_SECONDS:g} s; killing it")
                self._signal_app(signal.SIGKILL)
                deadline = float("inf")
        status = _status(self._app_code)
        return status or (_FAILED if self._proxy_code else 0)

    def _next_signal(self, timeout: float | None) -> int:
        """Wait for one; 0 if none comes in time. Children that have ended are noted. A terminal's do not count."""
        if timeout is None:
            found = signal.sigwaitinfo(_WAITED_FOR)
        else:
            maybe = signal.sigtimedwait(_WAITED_FOR, timeout)
            if maybe is None:
                return 0
            found = maybe
        if found.si_signo == signal.SIGCHLD:
            self._reap()
            return 0
        if found.si_code == _FROM_TERMINAL and self._app:
            self._drain_inbound(found.si_signo)
            return 0
        return found.si_signo

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if not process:
                    return
                if process == self._proxy:
                    self._proxy_code = os.waitstatus_to_exitcode(status)
                elif process == self._app:
                    self._app_code = os.waitstatus_to_exitcode(status)

    def _tell_app(self, number: int) -> None:
        self._signal_app(number)
        self._drain_inbound(number)

    def _signal_app(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._app, number)

    def _drain_inbound(self, number: int) -> None:
        """Clients from outside are told to leave; what the app itself asks for is served until its end."""
        if number not in _ENDING or self._told_to_end:
            return
        self._told_to_end = True
        place = self._place()
        if place is not None and self._proxy_code is None:
            with contextlib.suppress(OSError):
                ask(place, "/drain_listeners?inboundonly&graceful&skip_exit", method="POST")

    def _place(self) -> AdminPlace | None:
        try:
            return parse_place(Path(self._place_file).read_text().strip())
        except (OSError, UsageError):
            return None

    def _end_proxy(self) -> None:
        """SIGTERM drains, a second one ends at once; whatever is left is killed."""
        for number, patience in ((signal.SIGTERM, _DRAIN_SECONDS), (signal.SIGTERM, _END_SECONDS)):
            if self._proxy_code is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._proxy, number)
            deadline = time.monotonic() + patience
            while self._proxy_code is None and time.monotonic() < deadline:
                self._next_signal(_LOOK_SECONDS)
        if self._proxy:
            # Its workers have its group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._proxy, signal.SIGKILL)


class _Notices:
    """The socket on which the proxy says that it is ready, whether it has an admin server or not."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        # An abstract name that the kernel chooses.
        self._socket.bind("")
        name: bytes = self._socket.getsockname()
        self.name = "@" + name[1:].decode("ascii")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ready(self) -> bool:
        """Whether it has said so."""
        with contextlib.suppress(BlockingIOError):
            while True:
                if b"READY=1" in self._socket.recv(4096).split(b"\n"):
                    return True
        return False


def _fork_proxy(flags: Sequence[str], notify_socket: str) -> int:
    """Run the proxy in a process and a group of its own: what a terminal sends is for the app."""
    parent = os.getpid()
    process = os.fork()
    if not process:
        _become_proxy(flags, {"NOTIFY_SOCKET": notify_socket}, parent)
    return process


def _become_proxy(flags: Sequence[str], environment: Mapping[str, str], parent: int) -> NoReturn:
    status = _FAILED
    try:
        os.setpgid(0, 0)
        # Without us nobody would end it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            os.environ.pop(name, None)
        os.environ.update(environment)
        if os.getppid() == parent:
            from proxy.__main__ import main as proxy_main

            status = proxy_main(flags)
    except KeyboardInterrupt:
        status = _SIGNAL_BASE + signal.SIGINT
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
