"""What `outrider vm` does to the machine, and how it is undone: the only module of the package that touches it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from iptables.errors import CaptureError
from iptables.installer import apply, plan_apply, remove
from iptables.runner import Runner
from proxy.launch.admin_client import AdminPlace, ask, what_is_missing
from proxy.vm.env_file import Settings
from proxy.vm.errors import VmError

_DRAIN_SECONDS: Final = 30
_LOOK_SECONDS: Final = 0.05
_CERTIFICATES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


class Process(Struct, frozen=True):
    """A process that is not mistaken for a later one of its number: `started` is in ticks since boot."""

    number: int
    started: str

    @property
    def runs(self) -> bool:
        """Whether it is there and no zombie."""
        return _started(self.number) == self.started


def _started(number: int) -> str:
    try:
        words = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]


class Places:
    """The files of a run: where `stop` and `status` find what `start` has done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = folder / "sidecar.env"
        self.bootstrap = folder / "bootstrap.yaml"
        self.process = folder / "pid"
        self.state = folder / "state"

    def read_process(self) -> Process | None:
        """What `start` has started, None if it has not."""
        try:
            number, started = self.process.read_text().split()
            return Process(int(number), started)
        except (OSError, ValueError):
            return None


def server_cert(settings: Settings, origin: str) -> str:
    """The file of trusted roots; raises `VmError`."""
    candidates = (settings.server_cert,) if settings.server_cert else _CERTIFICATES
    found = next((one for one in candidates if os.access(one, os.R_OK)), "")
    if not found:
        what = "cannot be read" if settings.server_cert else "is not set and the system has no roots"
        raise VmError(f"{origin}: XDS_SERVER_CERT {settings.server_cert} {what}; give a file of PEM roots")
    return found


def need_root() -> None:
    """Users, folders of the system and rules are root's."""
    if os.geteuid() != 0:
        raise VmError("outrider vm changes users, rules and services of the machine: run it as root")


def own_user(name: str, undo: contextlib.ExitStack) -> pwd.struct_passwd:
    """The user, made if it is not there."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name)
    nologin = shutil.which("nologin", path="/usr/sbin:/sbin") or "/bin/false"
    _command("useradd", "--system", "--user-group", "--no-create-home", "--shell", nologin, name)
    undo.callback(_quietly, lambda: _command("userdel", name))
    return pwd.getpwnam(name)


def _command(tool: str, *arguments: str) -> None:
    path = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise VmError(f"{tool} is not installed; install the package passwd, or create the user by hand")
    done = subprocess.run(  # noqa: S603  (no shell, and what is in it was checked)
        [path, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        raise VmError(f"{tool} {arguments[-1]}: {done.stderr.strip() or f'status {done.returncode}'}")


def _quietly(work: Callable[[], object]) -> None:
    with contextlib.suppress(OSError, VmError, CaptureError, subprocess.SubprocessError):
        work()


def make_folder(path: Path, user: pwd.struct_passwd | None, mode: int, undo: contextlib.ExitStack) -> None:
    """With its parents; one that is there stays as it is, apart from its owner if it is to be the proxy's."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    try:
        for one in reversed(missing):
            one.mkdir(mode=mode if one == path else 0o755)
            undo.callback(_quietly, partial(shutil.rmtree, one) if one == path else one.rmdir)
        if user is not None and (missing or path.stat().st_uid == 0):
            os.chown(path, user.pw_uid, user.pw_gid)
    except OSError as error:
        raise VmError(f"{path}: {error.strerror}; make room for it, or choose another folder") from None


def write(path: Path, text: str, user: pwd.struct_passwd, undo: contextlib.ExitStack) -> None:
    """A file that the proxy can read and nobody but root can change."""
    try:
        undo.callback(_quietly, path.unlink)
        path.write_text(text)
        os.chown(path, 0, user.pw_gid)
        path.chmod(0o640)
    except OSError as error:
        raise VmError(f"{path}: {error.strerror}; make room for it, or choose another --run-dir") from None


def start_proxy(
    settings: Settings, places: Places, user: pwd.struct_passwd, flags: list[str], undo: contextlib.ExitStack
) -> subprocess.Popen[bytes]:
    """As its user, in a session of its own; what it writes goes to the log folder."""
    log = Path(settings.log_dir) / "outrider.log"
    command = [
        *(sys.executable, "-m", "proxy", "-c", str(places.bootstrap)),
        *("--log-path", str(log), "-l", settings.log_level),
        *("--drain-time-s", str(_DRAIN_SECONDS), "--drain-strategy", "immediate"),
        *("--state-dir", str(places.state)),
        *flags,
    ]
    # Modules are found where this process has found them, whatever the working directory has in it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": "/"}
    privileged = user.pw_uid != os.geteuid()
    try:
        with open(Path(settings.log_dir) / "outrider.err.log", "ab") as errors:
            process = subprocess.Popen(  # noqa: S603  (no shell)
                command,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                cwd="/",
                env=environment,
                user=user.pw_uid if privileged else None,
                group=user.pw_gid if privileged else None,
                extra_groups=[] if privileged else None,
                start_new_session=True,
            )
    except OSError as error:
        raise VmError(f"{settings.log_dir}: the proxy cannot be started: {error.strerror}") from None
    undo.callback(_quietly, lambda: _kill(process))
    places.process.write_text(f"{process.pid} {_started(process.pid)}\n")
    undo.callback(_quietly, places.process.unlink)
    return process


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)


def wait_ready(settings: Settings, process: subprocess.Popen[bytes], timeout: float) -> None:
    """Until the proxy serves; raises `VmError` with what it said, or what is missing."""
    place = AdminPlace(port=settings.admin_port)
    deadline = time.monotonic() + timeout
    while True:
        if process.poll() is not None:
            raise VmError(f"the proxy ended with status {process.returncode}: {_last_words(settings)}")
        reason = readiness(settings) if time.monotonic() > deadline else ""
        if reason:
            raise VmError(f"the proxy is not ready after {timeout:g} s: {reason}")
        with contextlib.suppress(OSError):
            if ask(place, "/ready")[0] == 200 and _listens(place, settings.port):
                return
        time.sleep(_LOOK_SECONDS)


def readiness(settings: Settings) -> str:
    """Why connections that are captured would not be served, "" if they are.

    A proxy whose control plane does not answer is live after a while, without a listener.
    """
    place = AdminPlace(port=settings.admin_port)
    reason = what_is_missing(place)
    with contextlib.suppress(OSError):
        if not reason and not _listens(place, settings.port):
            return f"the control plane has sent no listener for ENVOY_PORT {settings.port}"
    return reason


def _listens(place: AdminPlace, port: int) -> bool:
    return any(line.endswith(f":{port}") for line in ask(place, "/listeners")[1].splitlines())


def _last_words(settings: Settings) -> str:
    for name in ("outrider.err.log", "outrider.log"):
        with contextlib.suppress(OSError):
            lines = (Path(settings.log_dir) / name).read_text(errors="replace").splitlines()
            grave = [line for line in lines if "[critical]" in line or line.startswith(("error", "PARSE"))]
            if grave:
                return grave[0].rpartition("] ")[2][:500]
    return f"see {settings.log_dir}"


def install_rules(settings: Settings, user: pwd.struct_passwd, undo: contextlib.ExitStack) -> None:
    """Raises `VmError`, and the rules are as they were."""
    config = settings.rules(user.pw_uid)
    runner = Runner(config)
    try:
        present = plan_apply(config, runner)
        apply(config, runner)
    except CaptureError as error:
        raise VmError(str(error)) from None
    if present.steps:
        undo.callback(_quietly, lambda: remove(config, runner))


def remove_rules(settings: Settings) -> None:
    """Whether they are there or not; raises `VmError`."""
    config = settings.rules(_uid(settings))
    try:
        remove(config, Runner(config))
    except CaptureError as error:
        raise VmError(str(error)) from None


def rules_state(settings: Settings) -> str:
    """ "present", or what is wrong with them."""
    config = settings.rules(_uid(settings))
    try:
        plan = plan_apply(config, Runner(config))
    except CaptureError as error:
        return f"unknown ({error})"
    if not plan.steps:
        return "present"
    return "differ from the settings" if plan.conflicts else "missing"


def _uid(settings: Settings) -> int:
    try:
        return pwd.getpwnam(settings.user).pw_uid
    except KeyError:
        return 0


def end_proxy(process: Process, patience: float = _DRAIN_SECONDS + 5) -> None:
    """SIGTERM drains; whoever has not ended in time is killed with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.number, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while process.runs and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.number, signal.SIGKILL)
