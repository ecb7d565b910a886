"""The application log in Envoy's format, with levels by component that can change at run time.

Code logs through `logging.getLogger("proxy.<package>...")`; the package decides the component, under Envoy's
name for it. Never used on the hot path. Each process writes whole lines to the same stderr or append-mode
file.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TextIO

TRACE: Final = 5
OFF: Final = 60
_NUMBERS: Final = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": OFF,
}
_NAMES: Final = {number: name for name, number in _NUMBERS.items()}

# Envoy's component → the loggers that speak for it, beside "outrider.<component>". A longer name wins.
COMPONENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "admin": ("proxy.admin",),
    "config": ("proxy.config",),
    "conn_handler": ("proxy.downstream",),
    "connection": ("proxy.connection",),
    "dns": ("proxy.upstream.discovery",),
    "events": (),
    "file": ("proxy.access_log",),
    "filter": ("proxy.filters",),
    "http": ("proxy.hcm", "proxy.codec"),
    "main": ("proxy.app",),
    "misc": ("asyncio", "proxy.base", "proxy.formatter"),
    "pool": ("proxy.upstream.pool",),
    "router": ("proxy.router",),
    "runtime": ("proxy.app.runtime_layers",),
    "secret": (),
    "upstream": ("proxy.upstream",),
}
_COMPONENT_OF: Final = {logger: component for component, loggers in COMPONENTS.items() for logger in loggers}


def component_of(logger_name: str) -> str:
    """Envoy's component for a logger: that of the longest known prefix, else `misc`."""
    name = logger_name
    if name.startswith("outrider."):
        return name.removeprefix("outrider.")
    while name:
        component = _COMPONENT_OF.get(name)
        if component is not None:
            return component
        name = name.rpartition(".")[0]
    return "misc"


class LogLevels:
    """The level of every component; `describe` is what `/logging` shows and what travels to the workers."""

    def __init__(self, default: str, components: Mapping[str, str]) -> None:
        self._levels = dict.fromkeys(COMPONENTS, default)
        self._levels.update({name: level for name, level in components.items() if name in COMPONENTS})
        self.apply()

    def describe(self) -> dict[str, str]:
        """Component → level, in alphabetical order."""
        return dict(sorted(self._levels.items()))

    def set_all(self, level: str) -> None:
        """One level for every component."""
        self._levels = dict.fromkeys(COMPONENTS, level)
        self.apply()

    def set(self, levels: Mapping[str, str]) -> None:
        """Levels of some components; unknown components are left to the caller to refuse."""
        self._levels.update({name: level for name, level in levels.items() if name in COMPONENTS})
        self.apply()

    def apply(self) -> None:
        """Put the levels on the loggers of this process."""
        root = logging.getLogger()
        root.setLevel(_NUMBERS[self._levels["misc"]])
        for component, level in self._levels.items():
            for name in (*COMPONENTS[component], f"outrider.{component}"):
                logging.getLogger(name).setLevel(_NUMBERS[level])


class LogFile:
    """Where log lines go: stderr, or a file that can be reopened after it was rotated away."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: TextIO = sys.stderr
        self.reopen()

    def reopen(self) -> None:
        """Open the path again; OSError if that is not possible. Nothing to do for stderr."""
        if self._path:
            old = self._file
            self._file = open(self._path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
            if old is not sys.stderr:
                old.close()

    def close(self) -> None:
        """Close the file; further entries are lost."""
        if self._file is not sys.stderr:
            self._file.close()

    def write(self, line: str) -> None:
        """One entry, in one write, so that lines of several processes do not mix."""
        try:
            self._file.write(line)
            self._file.flush()
        except (OSError, ValueError):
            # A log that cannot be written must not stop the proxy, and there is nobody left to tell.
            return


class _Handler(logging.Handler):
    def __init__(self, target: LogFile, render: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self._target = target
        self.render = render

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.render(record) + "\n"
        except (TypeError, ValueError) as error:
            line = f"cannot format the log entry {record.msg!r}: {error}\n"
        self._target.write(line)

    def close(self) -> None:
        self._target.close()
        super().close()


def configure(path: str, text_format: str, escape: bool) -> LogFile:
    """Send the root logger's entries to `path` (or stderr) in spdlog's `text_format`."""
    logging.addLevelName(TRACE, "TRACE")
    target = LogFile(path)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_Handler(target, compile_format(text_format, escape)))
    return target


def reformat(text_format: str, escape: bool) -> None:
    """Write what follows in another pattern than that of `configure`."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.render = compile_format(text_format, escape)


def level_text(number: int) -> str:
    """Envoy's name of a level number of the `logging` module."""
    return _NAMES.get(number, "info")


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text


_HERE: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep


def _file(record: logging.LogRecord) -> str:
    return record.pathname.removeprefix(_HERE)


def _strftime(code: str) -> Callable[[logging.LogRecord], str]:
    return lambda record: time.strftime(code, time.localtime(record.created))


def _with_colon(zone: str) -> str:
    return f"{zone[:3]}:{zone[3:]}"


# spdlog's pattern flags, https://github.com/gabime/spdlog/wiki/3.-Custom-formatting, plus Envoy's %_ and %j.
_FIELDS: Final[Mapping[str, Callable[[logging.LogRecord], str]]] = {
    **{letter: _strftime("%" + letter) for letter in "aAbBcCdDHIjmMprRSTxXyYzuw"},
    "D": _strftime("%m/%d/%y"),
    "z": lambda record: _with_colon(time.strftime("%z", time.localtime(record.created))),
    "e": lambda record: f"{int(record.created * 1000) % 1000:03d}",
    "f": lambda record: f"{int(record.created * 1e6) % 1_000_000:06d}",
    "F": lambda record: f"{int(record.created * 1e6) % 1_000_000:06d}000",
    "E": lambda record: str(int(record.created)),
    "P": lambda _record: str(os.getpid()),
    "t": lambda _record: str(threading.get_native_id()),
    "l": lambda record: level_text(record.levelno),
    "L": lambda record: level_text(record.levelno)[0].upper(),
    "n": lambda record: component_of(record.name),
    "v": _message,
    "_": lambda record: _message(record).replace("\n", "\\n"),
    "j": lambda record: json.dumps(_message(record))[1:-1],
    "g": _file,
    "s": lambda record: os.path.basename(record.pathname),
    "#": lambda record: str(record.lineno),
    "!": lambda record: record.funcName or "",
    "@": lambda record: f"{_file(record)}:{record.lineno}",
    "%": lambda _record: "%",
    "^": lambda _record: "",
    "$": lambda _record: "",
}


def compile_format(text: str, escape: bool = False) -> Callable[[logging.LogRecord], str]:
    """A function that renders one record in a spdlog pattern; unknown flags are kept as they stand.

    `escape` replaces control characters of the message by C escapes (`--log-format-escaped`).
    """
    parts: list[str | Callable[[logging.LogRecord], str]] = []
    position = 0
    while position < len(text):
        percent = text.find("%", position)
        if percent < 0 or percent == len(text) - 1:
            parts.append(text[position:])
            break
        if percent > position:
            parts.append(text[position:percent])
        letter = text[percent + 1]
        field = _FIELDS.get(letter)
        if field is _message and escape:
            field = _escaped_message
        parts.append(field or "%" + letter)
        position = percent + 2
    return lambda record: "".join(part if isinstance(part, str) else part(record) for part in parts)


def _escaped_message(record: logging.LogRecord) -> str:
    return _escaped(_message(record))
