"""The fork server: a process that has imported the data plane, and does nothing but fork workers from itself.

It has no thread, no event loop and no traffic, so that forking is safe at any time, and what it has imported
is shared copy-on-write by all workers. It ends when the controller ends (end of file on its socket). If it
dies itself, running workers are not affected and the controller starts another one with `python -m`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
from typing import Final, NamedTuple, NoReturn

from proxy.app.ipc import FrameReader, send_blocking

logger = logging.getLogger("proxy.app.fork_server")

# What nearly every worker needs; it imports other filters when its config names them.
_DATA_PLANE: Final = (
    "proxy.app.worker",
    "proxy.filters.http.router",
    "proxy.hcm.connection_manager",
    "proxy.tcp_proxy.filter",
)
# Ctrl-C and `systemctl stop` reach every process of the service at once; only the controller may act on it.
_CONTROLLERS_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_MAX_DESCRIPTORS: Final = 8
# Parameters of mallopt(3): up to 16 MiB of freed memory stay with a worker, which takes 1 MiB more at a time and
# uses the heap for what is smaller than 4 MiB. Left to itself, glibc returns the buffers of each large body to the
# kernel and has them cleared again for the next: 1.9 s of CPU per GB instead of 1.1.
_ALLOCATOR: Final = ((-1, 16 << 20), (-2, 1 << 20), (-3, 4 << 20))


def preload() -> None:
    """Import all that workers need, and keep the garbage collector away from it for good.

    It is frozen without a collection: imports leave a few hundred objects of garbage, which would take a tenth of
    the time to start to find.
    """
    gc.disable()
    for name in _DATA_PLANE:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()


def _tune_allocator() -> None:
    """Set `_ALLOCATOR`, which forked processes inherit; other C libraries than glibc have nothing to set."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in _ALLOCATOR:
            mallopt(parameter, value)


class ForkServer(NamedTuple):
    """The controller's end of a fork server."""

    control: socket.socket
    process: int


def start() -> ForkServer:
    """Fork the fork server from this process, which must have no threads."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    process = os.fork()
    if process == 0:
        ours.close()
        _run(theirs)
    theirs.close()
    return ForkServer(ours, process)


def restart() -> ForkServer:
    """Start a new fork server from scratch, because this process may have threads by now."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    number = theirs.fileno()
    os.set_inheritable(number, True)
    arguments = [sys.executable, "-m", "proxy.app.fork_server", str(number)]
    # Until it ignores them, which takes an interpreter's start and a second of imports.
    process = os.posix_spawn(sys.executable, arguments, dict(os.environ), setsigmask=_CONTROLLERS_SIGNALS)
    theirs.close()
    return ForkServer(ours, process)


def _run(control: socket.socket) -> NoReturn:
    status = 1
    try:
        _tune_allocator()
        _serve(control)
        status = 0
    except KeyboardInterrupt:
        status = 0
    finally:
        os._exit(status)


def _serve(control: socket.socket) -> None:
    for ignored in _CONTROLLERS_SIGNALS:
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _CONTROLLERS_SIGNALS)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    reader = FrameReader()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    descriptors: list[int] = []
    while True:
        for number, _event in poll.poll():
            if number == wake_read:
                os.read(wake_read, 4096)
                _report_deaths(control)
                continue
            data, received, _flags, _peer = socket.recv_fds(control, 65536, _MAX_DESCRIPTORS)
            if not data:
                return
            descriptors += received
            for message in reader.feed(data):
                _kind, index, generation, wanted, settings = message
                mine, descriptors = descriptors[:wanted], descriptors[wanted:]
                process = os.fork()
                if process == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for leftover in (wake_read, wake_write, *descriptors):
                        os.close(leftover)
                    control.close()
                    _become_worker(index, settings, mine)
                for descriptor in mine:
                    os.close(descriptor)
                send_blocking(control, ("forked", index, generation, process))


def _report_deaths(control: socket.socket) -> None:
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if process == 0:
            return
        send_blocking(control, ("died", process, os.waitstatus_to_exitcode(status)))


def _become_worker(index: int, settings: dict[str, object], descriptors: list[int]) -> NoReturn:
    status = 1
    try:
        from proxy.app import worker

        status = worker.run(index, settings, descriptors)
    except Exception as error:
        logger.critical("worker %d cannot go on: %r", index, error, exc_info=error)
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                status = status or 1
        os._exit(status)


if __name__ == "__main__":
    preload()
    _run(socket.socket(fileno=int(sys.argv[1])))
