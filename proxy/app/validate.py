"""`--mode validate`: load and compile everything, name every problem, serve nothing."""

from __future__ import annotations

import sys

from proxy.app import logs
from proxy.app.command_line import Options
from proxy.app.config_loading import load
from proxy.base.errors import ConfigError, UsageError


def validate(options: Options) -> int:
    """Print `configuration 'x' OK` and return 0, or print one line per problem to stderr and return 1."""
    try:
        logs.configure(options.log_path, options.log_format, options.log_format_escaped)
    except OSError as error:
        raise UsageError(f"error: cannot open --log-path {options.log_path}: {error.strerror}") from error
    logs.LogLevels(options.log_level, options.component_levels)
    name = options.config_path
    try:
        config = load(options)
    except ConfigError as error:
        count = len(error.problems)
        lines = [str(problem) for problem in error.problems]
        lines.append(
            f"error initializing configuration '{name}': {count} problem{'s' if count > 1 else ''}\n"
        )
        sys.stderr.write("\n".join(lines))
        return 1
    for warning in config.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    sys.stdout.write(f"configuration '{name}' OK\n")
    return 0
