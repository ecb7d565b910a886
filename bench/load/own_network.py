"""A network namespace for as long as a measure runs, so that its redirect rules touch nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from typing import Final

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h; the os module has it from Python 3.12 on
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """What this thread starts meanwhile, threads and processes, lives in the namespace and its loopback.

    Raises RuntimeError where that takes a privilege that this process lacks.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.unshare(_CLONE_NEWNET))
        try:
            run("ip", "link", "set", "lo", "up")
            yield
        finally:
            _check(_libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)


def redirect(port: int, to: int) -> None:
    """Have connections to `port` of the loopback accepted on another, as rules of a sidecar have it."""
    rule = ("-p", "tcp", "--dport", str(port), "-j", "REDIRECT", "--to-ports", str(to))
    run("iptables", "-w", "-t", "nat", "-A", "OUTPUT", *rule)


def tracked() -> tuple[int, int]:
    """How many connections the kernel tracks for the namespace, and how many it could not take in or find."""
    count = int(_read("/proc/sys/net/netfilter/nf_conntrack_count"))
    header, *rows = (line.split() for line in _read("/proc/net/stat/nf_conntrack").splitlines())
    losses = ("drop", "early_drop", "insert_failed")
    return count, sum(int(row[header.index(name)], 16) for row in rows for name in losses)


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def run(*command: str) -> None:
    """Run a command to its end; RuntimeError with its output if it fails or is not there."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PATH": _PATH},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except FileNotFoundError:
        raise RuntimeError(f"{command[0]} is not installed") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"a network namespace: {os.strerror(ctypes.get_errno())}; run this as root")
