"""Bootstraps and other resources in YAML, JSON or protobuf text: read, merged, upgraded from v2, checked.

Every function raises `ConfigError` with all the problems that it found, each with its line and column.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError, EncodeError
from msgspec import Struct
from yaml.nodes import Node

from proxy.base.errors import ConfigError, Problem
from proxy.config.check import check_message
from proxy.config.faults import ERROR, UNKNOWN_FIELD, Fault, Faults
from proxy.config.message_reader import reader_for
from proxy.config.positions import Positions, path_of, position
from proxy.config.scalars import is_null
from proxy.config.v2_upgrade import may_be_v2, upgrade
from proxy.config.yaml_source import MAX_DEPTH, compose


class LoadOptions(Struct, frozen=True):
    """`allow_unknown_fields` makes unknown fields warnings; without `check`, rules and ledger are skipped."""

    allow_unknown_fields: bool = False
    check: bool = True


class Loaded(Struct, frozen=True):
    """A message and what is worth a warning about it.

    `positions` gives problems that are found later, while the message is compiled, their line and column. It
    holds the whole source tree: drop it when the message has been compiled.
    """

    message: Any
    warnings: list[Problem]
    positions: Positions

    @property
    def bootstrap(self) -> Any:
        """The message, under the name that fits `load_bootstrap`."""
        return self.message


class IncompleteError(ConfigError):
    """Problems of a source that could be read as far as `loaded` goes: compiling that may find more."""

    def __init__(self, problems: Sequence[Problem], loaded: Loaded) -> None:
        super().__init__(problems)
        self.loaded = loaded


MAX_PROBLEMS = 200
"""Problems that one load reports: one mistake in a generated file can repeat ten thousand times."""

_DEFAULTS = LoadOptions()


def load_bootstrap(source: str | bytes, origin: str, *, options: LoadOptions = _DEFAULTS) -> Loaded:
    """The `envoy.config.bootstrap.v3.Bootstrap` of one source; `origin` names it in problems."""
    return load_merged_bootstrap([(source, origin)], options=options)


def load_merged_bootstrap(
    sources: Sequence[tuple[str | bytes, str]], *, options: LoadOptions = _DEFAULTS
) -> Loaded:
    """The bootstrap of several (source, origin), each merged over the one before as protobuf merges messages.

    This is how `--config-yaml` is laid over `--config-path`: scalars are replaced, lists are continued.
    """
    from envoy.config.bootstrap.v3 import bootstrap_pb2  # heavy; only the process that loads needs it

    return _load(sources, bootstrap_pb2.Bootstrap, options)


def load_resource(
    source: str | bytes, origin: str, message_type: Any, *, options: LoadOptions = _DEFAULTS
) -> Loaded:
    """One message of any type, such as `Listener` or `RouteConfiguration`."""
    return _load([(source, origin)], message_type, options)


def _load(sources: Sequence[tuple[str | bytes, str]], message_type: Any, options: LoadOptions) -> Loaded:
    problems: list[Problem] = []
    warnings: list[Problem] = []
    trees = []
    with _gc_paused():
        message = message_type()
        for source, origin in sources:
            part = message if len(sources) == 1 else message_type()
            tree = _read_source(source, origin, part, options, problems, warnings)
            if tree is not None:
                trees.append((origin, tree))
            if part is not message:
                message.MergeFrom(part)
        positions = Positions(trees)
        if options.check:
            findings = check_message(message)
            # A field that could not be read is unset now: what its absence breaks is no second problem.
            unread = {problem.path for problem in problems}
            places = {_place(problem) for problem in problems}
            problems += [
                placed
                for placed in map(positions.place, findings.problems)
                if _place(placed) not in places
                and not any(path.startswith(placed.path + ".") for path in unread)
            ]
            warnings += map(positions.place, findings.warnings)
    loaded = Loaded(message, warnings, positions)
    if problems:
        raise IncompleteError(in_order(problems, sources[-1][1]), loaded)
    return loaded


def in_order(problems: Sequence[Problem], origin: str) -> list[Problem]:
    """The first `MAX_PROBLEMS` by their places, and how many more there are."""
    ordered = sorted(problems, key=_place)
    more = len(ordered) - MAX_PROBLEMS
    if more > 0:
        ordered[MAX_PROBLEMS:] = [Problem("", f"and {more} more problems", 0, 0, origin)]
    return ordered


def _read_source(
    source: str | bytes,
    origin: str,
    message: Any,
    options: LoadOptions,
    problems: list[Problem],
    warnings: list[Problem],
) -> Any:
    """Fill `message` from one source; the tree of nodes, or None if the source has none."""
    if origin.endswith((".pb", ".pb_text")):
        _read_protobuf(source, origin, message)
        return None
    tree = compose(source, origin)
    if tree is None or is_null(tree):
        raise ConfigError(
            [
                Problem(
                    "", f"expected a mapping with the fields of {message.DESCRIPTOR.full_name}", 1, 1, origin
                )
            ]
        )
    try:
        faults = _read_tree(tree, message, source)
    except RecursionError:
        faults = [Fault(tree, f"nested more than {MAX_DEPTH} levels deep")]
    for fault in faults or ():
        severe = fault.severity == ERROR or (
            fault.severity == UNKNOWN_FIELD and not options.allow_unknown_fields
        )
        problem = Problem(path_of(reversed(fault.path)), fault.reason, *position(fault.node), origin)
        (problems if severe else warnings).append(problem)
    return tree


def _read_tree(tree: Node, message: Any, source: str | bytes) -> Faults:
    descriptor = message.DESCRIPTOR
    text = source if isinstance(source, str) else source.decode("utf-8", "replace")
    read = reader_for(descriptor)
    upgraded = may_be_v2(text)
    notes = upgrade(tree, descriptor) if upgraded else []
    faults = read(message, tree, 0)
    if faults and not upgraded:
        # Fields that v3 does not know may be v2's.
        notes = upgrade(tree, descriptor)
        if notes:
            message.Clear()
            faults = read(message, tree, 0)
    message.ByteSize()
    return [*notes, *(faults or ())] or None


def _read_protobuf(source: str | bytes, origin: str, message: Any) -> None:
    try:
        if origin.endswith(".pb"):
            message.ParseFromString(source if isinstance(source, bytes) else source.encode())
        else:
            text_format.Parse(source, message)
    except (DecodeError, EncodeError, UnicodeDecodeError) as error:
        raise ConfigError([Problem("", str(error), 0, 0, origin)]) from error
    except text_format.ParseError as error:
        place = (error.GetLine() or 0, error.GetColumn() or 0)
        raise ConfigError([Problem("", str(error), *place, origin)]) from error


def _place(problem: Problem) -> tuple[str, int, int]:
    return problem.origin, problem.line, problem.column


@contextmanager
def _gc_paused() -> Iterator[None]:
    """A load makes millions of objects and no garbage cycles: the collector would take most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
