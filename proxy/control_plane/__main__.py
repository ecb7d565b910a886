"""The verb `outrider control-plane DIR`: serves a folder to proxies and says what they make of it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

from proxy.base.errors import UsageError

DEFAULT_PORT: Final = 18000


def main(arguments: Sequence[str], *, output: TextIO | None = None) -> int:
    """Serve until a signal comes; the exit status."""
    parser = argparse.ArgumentParser(
        prog="outrider control-plane",
        description="A control plane for development: serves the resources in a folder of YAML and JSON files "
        "over ADS and one stream for each type, state-of-the-world and delta. Files are watched: a good change "
        "goes to the proxies at once, a bad one is told with file, line and column and not served.",
    )
    parser.add_argument(
        "directory", metavar="DIR", help="folder with the resources; those below it are not read"
    )
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"0 for a free one (default {DEFAULT_PORT})"
    )
    parser.add_argument(
        "--address", default="127.0.0.1", help="IP address, or the path of a unix socket (default 127.0.0.1)"
    )
    parser.add_argument(
        "--check", action="store_true", help="only check the folder; the exit status says if it is good"
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.port < 2**16:
        raise UsageError("--port must be between 0 and 65535")
    if not Path(options.directory).is_dir():
        raise UsageError(f"{options.directory} is no directory")
    _log_to(output or sys.stdout)
    if options.check:
        return _check(options.directory)
    return asyncio.run(_serve(options.directory, options.address, options.port))


def _log_to(output: TextIO) -> None:
    handler = logging.StreamHandler(output)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("proxy.control_plane")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _check(directory: str) -> int:
    from proxy.control_plane.folder import Folder

    logger = logging.getLogger("proxy.control_plane")
    reading = Folder(directory).read()
    for problem in (*reading.warnings, *reading.problems):
        logger.info("%s", problem)
    return 1 if reading.problems else 0


async def _serve(directory: str, address: str, port: int) -> int:
    # gRPC takes its time to load, and its signals: both after the arguments are known to be good.
    from proxy.control_plane.folder import Folder
    from proxy.control_plane.server import FolderServer

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = FolderServer(Folder(directory), address, port)
    await server.start()
    await stop.wait()
    await server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
