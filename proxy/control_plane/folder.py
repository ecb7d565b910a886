"""A folder of YAML and JSON files to the resources in it; a file that cannot be used keeps its former content.

A document is one resource with its "@type", or a `DiscoveryResponse` whose `resources` are; a file may hold several
documents. What is wrong is told with file, line and column.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2
from msgspec import Struct, field
from yaml.nodes import MappingNode

from proxy.base.errors import ConfigError, Problem
from proxy.config import extensions
from proxy.config.check import check_message
from proxy.config.loader import LoadOptions, load_resource
from proxy.config.positions import Positions
from proxy.config.yaml_source import compose
from proxy.control_plane.journal import noun
from proxy.control_plane.streams import resource_name
from xds_client.resource_types import ResourceType, resource_type

ENDINGS: Final = (".yaml", ".yml", ".json")
"""Files with other endings, and hidden ones, are passed over."""

_DOCUMENT: Final = re.compile(r"^(?:---(?=\s|$)|\.\.\.\s*$)", re.MULTILINE)
_UNCHECKED: Final = LoadOptions(check=False)

Key = tuple[ResourceType, str]
Signature = tuple[int, int, int]


class _File(Struct):
    """What a file held when it was last good, and how it looked when it was last read."""

    signature: Signature
    resources: dict[Key, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


class Reading(Struct, frozen=True):
    """One look at the folder: everything that is to be served, and what is worth telling of files that changed."""

    content: Mapping[ResourceType, Mapping[str, Any]]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


class Folder:
    """The files of one directory, without those in directories below it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._files: dict[str, _File] = {}

    @property
    def count(self) -> int:
        """How many files there are."""
        return len(self._files)

    def read(self) -> Reading:
        """Look again. Only files that differ are read; raises `OSError` if the directory cannot be."""
        found = dict(self._look())
        for path in self._files.keys() - found.keys():
            del self._files[path]
        changed = []
        for path, signature in sorted(found.items()):
            known = self._files.get(path)
            if known is None or known.signature != signature:
                self._files[path] = self._load(path, signature, known)
                changed.append(self._files[path])
        content: dict[ResourceType, dict[str, Any]] = {}
        for _, file in sorted(self._files.items()):
            for (kind, name), message in file.resources.items():
                content.setdefault(kind, {}).setdefault(name, message)
        return Reading(
            content,
            tuple(problem for file in changed for problem in file.problems),
            tuple(warning for file in changed for warning in file.warnings),
        )

    def _look(self) -> Iterator[tuple[str, Signature]]:
        for entry in os.scandir(self.path):
            if entry.name.endswith(ENDINGS) and not entry.name.startswith(".") and entry.is_file():
                found = entry.stat()
                yield os.path.join(self.path, entry.name), (found.st_ino, found.st_mtime_ns, found.st_size)

    def _load(self, path: str, signature: Signature, known: _File | None) -> _File:
        """The file as it is now, or its former content with what is wrong."""
        warnings: list[Problem] = []
        try:
            resources = _read(path, warnings)
            self._check_names(path, resources)
        except ConfigError as error:
            former = {} if known is None else known.resources
            return _File(signature, former, error.problems, tuple(warnings))
        return _File(signature, {key: found[0] for key, found in resources.items()}, (), tuple(warnings))

    def _check_names(self, path: str, resources: Mapping[Key, tuple[Any, Problem]]) -> None:
        problems = []
        for other, file in sorted(self._files.items()):
            if other != path:
                problems += [
                    Problem("", f"{noun(kind)} {name!r} is in {other}, too", place.line, place.column, path)
                    for (kind, name), (_, place) in resources.items()
                    if (kind, name) in file.resources
                ]
        if problems:
            raise ConfigError(problems)


def _read(path: str, warnings: list[Problem]) -> dict[Key, tuple[Any, Problem]]:
    """The resources of one file with their places; raises `ConfigError` with everything that is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem("", str(error), 0, 0, path)]) from error
    resources: dict[Key, tuple[Any, Problem]] = {}
    problems: list[Problem] = []
    for document in _documents(text, path):
        try:
            _read_document(document, path, resources, problems, warnings)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return resources


def _documents(text: str, path: str) -> Iterator[str]:
    """The documents, each behind as many empty lines as stand before it, so that lines keep their numbers."""
    if path.endswith(".json"):
        yield text
        return
    start = 0
    marks = [(found.start(), found.end()) for found in _DOCUMENT.finditer(text)]
    for end, following in [*marks, (len(text), 0)]:
        document = text[start:end]
        if document.strip():
            yield "\n" * text.count("\n", 0, start) + document
        start = following


def _read_document(
    text: str,
    path: str,
    resources: dict[Key, tuple[Any, Problem]],
    problems: list[Problem],
    warnings: list[Problem],
) -> None:
    tree = compose(text, path)
    if tree is None:
        return
    positions = Positions([(path, tree)])
    if _has(tree, "@type"):
        found = [("", load_resource(text, path, any_pb2.Any, options=_UNCHECKED).message)]
    elif _has(tree, "resources"):
        response = load_resource(text, path, discovery_pb2.DiscoveryResponse, options=_UNCHECKED).message
        found = [(f"resources[{index}]", one) for index, one in enumerate(response.resources)]
    else:
        place = positions.place(Problem("", ""))
        reason = 'expected a resource with its "@type", or "resources" that are'
        raise ConfigError([Problem("", reason, place.line, place.column, path)])
    for prefix, packed in found:
        _take(packed, prefix, positions, resources, problems, warnings)


def _take(
    packed: Any,
    prefix: str,
    positions: Positions,
    resources: dict[Key, tuple[Any, Problem]],
    problems: list[Problem],
    warnings: list[Problem],
) -> None:
    place = positions.place(Problem(prefix, ""))
    kind = resource_type(packed.type_url)
    if kind is None:
        reason = f"{packed.type_url.rpartition('/')[2] or 'this'} is no type of resource that proxies ask for"
        problems.append(Problem(prefix, reason, place.line, place.column, place.origin))
        return
    message = extensions.message_class(kind.value).FromString(packed.value)
    findings = check_message(message, prefix)
    problems += map(positions.place, findings.problems)
    warnings += map(positions.place, findings.warnings)
    key = kind, resource_name(message)
    if key in resources:
        reason = f"{noun(kind)} {key[1]!r} is in this file twice"
        problems.append(Problem(prefix, reason, place.line, place.column, place.origin))
    else:
        resources[key] = message, place


def _has(tree: Any, name: str) -> bool:
    return isinstance(tree, MappingNode) and any(getattr(key, "value", "") == name for key, _ in tree.value)
