"""A proxy as a child process, driven through its admin address: what Envoy and Outrider have in common."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.support.ports import free_port
from tests.support.template import render


class StartError(AssertionError):
    """The proxy did not become ready; the text holds what it wrote."""


class ProxyProcess:
    """One running proxy. Use as a context manager.

    `config` is a template (see `tests.support.template`): `{{admin_port}}`, one `{{<name>_port}}` for each of
    `listeners`, `{{dir}}` (a directory of its own), `{{access_log}}` (a file in it), and all of `values`.
    """

    name: ClassVar[str]

    def __init__(
        self,
        config: str | Mapping[str, Any],
        *,
        listeners: Sequence[str] = ("listener",),
        values: Mapping[str, str | int] | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        start_timeout: float = 30.0,
        wait: bool = True,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        given = values or {}
        self.admin_port = int(given.get("admin_port", 0)) or free_port()
        self.ports = {name: int(given.get(f"{name}_port", 0)) or free_port() for name in listeners}
        self.values: dict[str, str | int] = {
            "admin_port": self.admin_port,
            "dir": str(self.directory),
            "access_log": str(self.directory / "access.log"),
            **{f"{name}_port": port for name, port in self.ports.items()},
            **(values or {}),
        }
        self.config_path = self.directory / "config.yaml"
        self.config_path.write_text(render(config, self.values))
        self._log_path = self.directory / "stderr.txt"
        with self._log_path.open("wb") as log, (self.directory / "stdout.txt").open("wb") as output:
            self.process = subprocess.Popen(
                [*self.command(), "-c", str(self.config_path), *self.default_arguments(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, **self.environment(), **(environment or {})},
                start_new_session=True,
            )
        try:
            if wait:
                self.wait_ready(start_timeout)
        except BaseException:
            self.close()
            raise

    @classmethod
    def command(cls) -> list[str]:
        """The program, without arguments."""
        raise AssertionError("a subclass names its program")

    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", "1", "--file-flush-interval-msec", "20", "-l", "info"]

    @classmethod
    def environment(cls) -> dict[str, str]:
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return next(iter(self.ports.values()))

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        """Everything written to stderr so far."""
        return self._log_path.read_text(errors="replace")

    def stdout(self) -> str:
        """Everything written to stdout so far."""
        return (self.directory / "stdout.txt").read_text(errors="replace")

    def wait_ready(self, timeout: float) -> None:
        """Until the admin's `/ready` says LIVE; StartError if that takes longer or the process ends."""
        deadline = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None:
                raise StartError(f"{self.name} ended with {self.process.returncode}:\n{self.log()[-4000:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.admin("/ready", timeout=1.0)[0] == 200:
                    return
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} not ready after {timeout:g} s:\n{self.log()[-4000:]}")
            time.sleep(0.02)

    def admin(self, path: str, *, method: str = "GET", timeout: float = 10.0) -> tuple[int, str]:
        """Status and text of an admin request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=timeout)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def stats(self, prefix: str = "") -> dict[str, int]:
        """Counters and gauges whose names start with `prefix`."""
        found = {}
        for line in self.admin("/stats")[1].splitlines():
            name, _, value = line.partition(": ")
            if name.startswith(prefix) and value.lstrip("-").isdigit():
                found[name] = int(value)
        return found

    def config_dump(self) -> Any:
        return json.loads(self.admin("/config_dump")[1])

    def access_log(self, lines: int = 1, *, path: str | None = None, timeout: float = 5.0) -> list[str]:
        """The lines of the access log, once there are at least `lines`; fewer if they don't come in time."""
        file = Path(path) if path else Path(str(self.values["access_log"]))
        deadline = time.monotonic() + timeout
        while True:
            found = file.read_text(errors="replace").splitlines() if file.exists() else []
            if len(found) >= lines or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM, then wait; the exit code. Killed with everything it started if it does not end."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._kill_group()
            self.process.wait(5)
            raise AssertionError(
                f"{self.name} ignored SIGTERM for {timeout:g} s:\n{self.log()[-4000:]}"
            ) from None

    def kill(self) -> None:
        """SIGKILL to the process and everything that it started."""
        self._kill_group()
        self.process.wait(5)

    def close(self) -> None:
        """End at once, without draining, and remove its directory."""
        if self.process.poll() is None:
            self.kill()
        else:
            self._kill_group()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    @classmethod
    def validate(
        cls,
        config: str | Mapping[str, Any],
        values: Mapping[str, str | int] | None = None,
        arguments: Sequence[str] = (),
        timeout: float = 60.0,
    ) -> tuple[bool, str]:
        """Whether `--mode validate` accepts the config, and everything it wrote.

        Ports and paths that `values` does not give get placeholders.
        """
        with tempfile.TemporaryDirectory(prefix=f"{cls.name}-validate-") as directory:
            path = Path(directory) / "config.yaml"
            path.write_text(render(config, _Defaults(values or {}, directory)))
            return cls.validate_file(path, arguments, timeout)

    @classmethod
    def validate_file(
        cls, path: Path, arguments: Sequence[str] = (), timeout: float = 60.0
    ) -> tuple[bool, str]:
        """Like `validate`, for a file as it stands."""
        done = subprocess.run(
            [*cls.command(), "-c", str(path), "--mode", "validate", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **cls.environment()},
            check=False,
        )
        return done.returncode == 0, done.stdout + done.stderr


class _Defaults(dict[str, str | int]):
    """Values for a config that is only validated: any port is 10000, any other name a path."""

    def __init__(self, values: Mapping[str, str | int], directory: str) -> None:
        super().__init__(values)
        self._directory = directory

    def __missing__(self, key: str) -> str | int:
        if key.endswith("_port"):
            return 10000
        return self._directory if key == "dir" else f"{self._directory}/{key}"
