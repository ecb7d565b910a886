"""`--mode serve` and `init_only`: from the command line to a running controller, in the order that saves
memory.

The data plane is imported and the fork server forked first, so that workers share those pages and nothing
else. The configuration is then read in a child process while this one imports what only the controller needs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

from proxy.app import fork_server, logs
from proxy.app.command_line import HOT_RESTART_VERSION, Options
from proxy.base.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from proxy.app.hot_restart.restart import HotRestart

logger = logging.getLogger("proxy.app.serve")


def serve(options: Options) -> int:
    """Run until told to stop; returns the exit status."""
    try:
        log_file = logs.configure(options.log_path, options.log_format, options.log_format_escaped)
    except OSError as error:
        sys.stderr.write(f"error: cannot open --log-path {options.log_path}: {error.strerror}\n")
        return 1
    levels = logs.LogLevels(options.log_level, options.component_levels)
    # A restarter tells every process of its group to reopen the logs, however early.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        _prepare(options)
        fork_server.preload()
        server = fork_server.start()
        return _run(options, server, log_file, levels)
    except ConfigError as error:
        for problem in error.problems:
            logger.critical("%s", problem)
        logger.critical(
            "error initializing configuration '%s': %d problem(s), listed above",
            options.config_path or "--config-yaml",
            len(error.problems),
        )
    except UsageError as error:
        logger.critical("%s", error)
    except KeyboardInterrupt:
        logger.info("interrupted before start-up was complete")
        return 130
    logger.info("exiting")
    return 1


def _run(
    options: Options, server: fork_server.ForkServer, log_file: logs.LogFile, levels: logs.LogLevels
) -> int:
    from proxy.app.config_loading import LoadingChild

    loading = LoadingChild(options)
    try:
        hot_restart = _hot_restart(options)
    except UsageError:
        loading.abandon()
        raise
    import uvloop

    from proxy.app.admin_runner import AdminRunner
    from proxy.app.controller import Controller

    config = loading.result()
    if config.log_format:
        options.log_format = config.log_format
        logs.reformat(options.log_format, options.log_format_escaped)
    for warning in config.warnings:
        logging.getLogger("proxy.config").warning("%s", warning)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(_log_unexpected)
    try:
        controller = Controller(loop, options, config, server, log_file, levels, hot_restart)
        status: int = loop.run_until_complete(controller.run(AdminRunner))
        return status
    finally:
        # The loop forgets its signal handlers when it closes; a late signal must not kill the exit.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        loop.close()


def _hot_restart(options: Options) -> HotRestart | None:
    """Our part in a hot restart, None if there is to be none. Raises `UsageError`."""
    base_id, restart = options.base_id, None
    if not options.disable_hot_restart and options.mode == "serve":
        from proxy.app.hot_restart import restart as hot_restart

        base_id, restart = hot_restart.begin(options)
    elif options.use_dynamic_base_id:
        base_id = random.randrange(1, 2**16)
    version = "disabled" if restart is None else HOT_RESTART_VERSION
    logger.info(
        "initializing epoch %d (base id=%d, hot restart version=%s)", options.restart_epoch, base_id, version
    )
    if options.base_id_path:
        _write(options.base_id_path, f"{base_id}\n", "--base-id-path")
    return restart


def _prepare(options: Options) -> None:
    """What the remaining flags ask of the process. Raises `UsageError`."""
    if options.enable_core_dump:
        _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    # One descriptor for each connection: take what the system grants.
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.enable_mutex_tracing:
        logger.warning("--enable-mutex-tracing has no effect: workers share no mutex")
    if options.enable_fine_grain_logging:
        logger.warning("--enable-fine-grain-logging has no effect: levels are set by component")


def _write(path: str, text: str, flag: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"error: cannot write {flag} {path}: {error.strerror}") from error


def _log_unexpected(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    logger.error("unexpected: %s: %r", context.get("message"), error, exc_info=error)
