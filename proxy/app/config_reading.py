"""Reads the configuration of a running proxy again, in a process of its own: checked whole before anything changes.

The process is a new interpreter, because the controller may have threads by now and cannot fork. Its input is a
pickled `Request`, its output a pickled `LoadedConfig` or a list of `Problem`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
from typing import Final

from msgspec import Struct

from proxy.app.command_line import Options
from proxy.app.config_loading import LoadedConfig, load
from proxy.app.unchangeable import Current
from proxy.base.errors import ConfigError, Problem

MOST_SECONDS: Final = 120.0


class Request(Struct, frozen=True):
    """What to read, and what runs."""

    options: Options
    current: Current


async def read_again(request: Request) -> LoadedConfig:
    """The new configuration; raises `ConfigError` with every problem in it, or why it could not be read."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "proxy.app.config_reading"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(MOST_SECONDS):
            outcome, _ = await process.communicate(pickle.dumps(request))
    except TimeoutError:
        raise ConfigError(f"reading the configuration took longer than {MOST_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ConfigError(f"the process that reads the configuration ended with status {process.returncode}")
    found = pickle.loads(outcome)  # noqa: S301  (written by our own child)
    if isinstance(found, LoadedConfig):
        return found
    raise ConfigError(found)


def answer(request: Request) -> LoadedConfig | list[Problem]:
    """What the process does."""
    try:
        return load(request.options, request.current)
    except ConfigError as error:
        return list(error.problems)


def _main() -> None:
    # What is loaded may print; only the outcome may go where the controller reads.
    output = os.dup(1)
    os.dup2(2, 1)
    outcome = answer(pickle.load(sys.stdin.buffer))  # noqa: S301  (written by the controller)
    with os.fdopen(output, "wb") as pipe:
        pickle.dump(outcome, pipe, protocol=pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    _main()
