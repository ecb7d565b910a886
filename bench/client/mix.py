"""`--mix FILE`: several requests in shares of their weights.

requests:
- {path: /a, weight: 3}
- {name: order, method: POST, path: /orders, headers: {x-a: b}, body: text}   # or body_file, body_size
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import yaml

from bench.client.requests import MOST_BODY, Request, body_of, check_method, http_request, parse_header
from bench.client.target import Target
from proxy.base.errors import ConfigError, Problem, UsageError
from proxy.config.yaml_source import compose

_FIELDS: Final = ("name", "method", "path", "headers", "body", "body_file", "body_size", "weight")
_MOST_REQUESTS: Final = 10_000
_MOST_WEIGHT: Final = 1_000_000


def read_mix(file: str, target: Target, headers: list[tuple[str, str]]) -> tuple[Request, ...]:
    """The requests of the file; `headers` go with each. Raises `UsageError` that names every problem."""
    try:
        with open(file, "rb") as source:
            text = source.read()
    except OSError as error:
        raise UsageError(f"outrider bench: --mix {file}: {error.strerror}") from error
    try:
        return _Reader(file, target, headers).read(compose(text, file))
    except ConfigError as error:
        raise UsageError(f"{error}") from error


class _Reader:
    def __init__(self, file: str, target: Target, headers: list[tuple[str, str]]) -> None:
        self._file = file
        self._target = target
        self._headers = headers
        self._problems: list[Problem] = []

    def _complain(self, node: Any, path: str, reason: str) -> None:
        mark = node.start_mark
        self._problems.append(Problem(path, reason, mark.line + 1, mark.column + 1, self._file))

    def read(self, root: Any) -> tuple[Request, ...]:
        """Raises `ConfigError`."""
        if root is None:
            raise ConfigError([Problem("requests", "the file is empty", 0, 0, self._file)])
        requests: list[Request] = []
        for name, node in self._entries(root, "", ("requests",)):
            if not isinstance(node, yaml.SequenceNode) or not 1 <= len(node.value) <= _MOST_REQUESTS:
                self._complain(node, name, f"must be a list of 1 to {_MOST_REQUESTS} requests")
                continue
            for number, entry in enumerate(node.value):
                request = self._request(entry, f"requests[{number}]")
                if request is not None:
                    requests.append(request)
        if not requests and not self._problems:
            self._complain(root, "requests", "is missing")
        if self._problems:
            raise ConfigError(self._problems)
        return tuple(requests)

    def _entries(self, node: Any, path: str, known: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        """Fields of a mapping; complains of those that are unknown or given twice."""
        if not isinstance(node, yaml.MappingNode):
            self._complain(node, path, f"must be a mapping with {', '.join(known) or 'names'}")
            return
        seen = set()
        for key, value in node.value:
            name = str(key.value)
            at = f"{path}.{name}" if path else name
            if known and name not in known:
                self._complain(key, at, f"unknown field; known: {', '.join(known)}")
            elif name in seen:
                self._complain(key, at, "is given twice")
            else:
                seen.add(name)
                yield name, value

    def _request(self, node: Any, path: str) -> Request | None:
        found: dict[str, Any] = {}
        before = len(self._problems)
        for name, value in self._entries(node, path, _FIELDS):
            at = f"{path}.{name}"
            if name == "headers":
                found[name] = self._read_headers(value, at)
            elif not isinstance(value, yaml.ScalarNode):
                self._complain(value, at, "must be a single value")
            else:
                try:
                    found[name] = _READERS[name](value.value)
                except ValueError as error:
                    self._complain(value, at, str(error))
        if len([name for name in found if name.startswith("body")]) > 1:
            self._complain(node, path, "body, body_file and body_size exclude each other")
        if len(self._problems) > before:
            return None
        try:
            body = body_of(found.get("body"), found.get("body_file"), found.get("body_size"))
            request = http_request(
                self._target,
                found.get("method") or ("POST" if body else "GET"),
                found.get("path", self._target.path),
                [*self._headers, *found.get("headers", [])],
                body,
                name=found.get("name") or found.get("path", self._target.path),
                weight=found.get("weight", 1),
            )
        except UsageError as error:
            self._complain(node, path, str(error).removeprefix("outrider bench: "))
            return None
        return request

    def _read_headers(self, node: Any, path: str) -> list[tuple[str, str]]:
        headers = []
        for name, value in self._entries(node, path, ()):
            if not isinstance(value, yaml.ScalarNode):
                self._complain(value, f"{path}.{name}", "must be a single value")
                continue
            try:
                headers.append(parse_header(f"{name}:{value.value}"))
            except ValueError as error:
                self._complain(value, f"{path}.{name}", str(error))
        return headers


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} is no path; it begins with / and has what it needs percent-encoded")
    return text


def _number(least: int, greatest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= greatest:
            raise ValueError(f"{text!r} is no number from {least} to {greatest}")
        return int(text)

    return read


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "name": str,
    "method": check_method,
    "path": _path,
    "body": str,
    "body_file": str,
    "body_size": _number(0, MOST_BODY),
    "weight": _number(1, _MOST_WEIGHT),
}
