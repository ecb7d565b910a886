"""Finds in the source where `%RESPONSE_CODE_DETAILS%` come from: every call that answers or resets a stream.

Response flags too: every place that names one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: What is called or raised → the place of the details among its arguments.
CALLS = {
    "local_reply": 2,
    "_time_out": 2,
    "on_upstream_failure": 2,
    "on_upstream_reset_after_response": 0,
    "_note_broken_tunnel": 0,
    "on_downstream_reset": 1,
    "DropReply": 1,
    "ProtocolError": 0,
    "_end_streams": 1,
}
#: The same for names that mean other things elsewhere.
_CALLS_OF = {
    "hcm": {"abort": 1, "Rejection": 1},
    "router": {"_fail": 2, "_pass_failure_on": 2, "_try_timed_out": 1},
    "filters": {"_refuse": -1, "_reply": 2, "_close": 0},
}
#: Every function that is given details, so that they are found where it is called.
TAKERS = frozenset({*CALLS, *(name for calls in _CALLS_OF.values() for name in calls)})
#: What answers wherever it stands. Handed on as a function it would be called where nobody looks.
_ANSWERS = frozenset(
    {"local_reply", "on_upstream_failure", "on_upstream_reset_after_response", "on_downstream_reset"}
)
#: What has texts of its own: the admin server, what reads the details of a request, words of a DNS resolver, tags.
_APART = ("access_log/", "admin/", "demo/", "tracing/", "upstream/discovery/")
#: The texts of the codecs go by several ways, so each counts wherever it stands.
_OF_CODECS = re.compile(r"http[12]?\.[a-z0-9_.]+")


@dataclass(frozen=True)
class Site:
    """One place. `codes` are the texts that it may give, each up to its first variable part; none if it passes on
    what `passes` (source text) says, in the function `within`."""

    place: str
    codes: tuple[str, ...]
    passes: str = ""
    within: str = ""


@cache
def sites() -> tuple[Site, ...]:
    """Every place in the source."""
    return tuple(
        site
        for path, text in _modules()
        if not path.startswith(_APART)
        for site in _in_module(path, text, CALLS | _CALLS_OF.get(path.partition("/")[0], {}))
    )


def flags_given() -> frozenset[str]:
    """Names of the flags that any place sets or looks at."""
    return frozenset(
        name for _, text in _modules() for name in re.findall(r"\bResponseFlag\.([A-Z_]+)", text)
    )


@cache
def _modules() -> tuple[tuple[str, str], ...]:
    """Path within `proxy` and text of each module but the one that lists all flags."""
    root = ROOT / "proxy"
    everything = sorted(root.rglob("*.py"))
    return tuple(
        (str(path.relative_to(root)), path.read_text())
        for path in everything
        if path.name != "response_flags.py"
    )


def _in_module(path: str, text: str, calls: dict[str, int]) -> Iterator[Site]:
    if not re.search(rf"\b({'|'.join(calls)})\b|response_code_details|\bdetails=|\bhttp[12]?\.", text):
        return
    tree = ast.parse(text)
    constants = _constants(tree)
    called: set[int] = set()
    for node, within in _nodes(tree):
        place = f"proxy/{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call):
            called.add(id(node.func))
        elif id(node) not in called and _hands_on(node):
            yield Site(place, (), ast.unparse(node), within)
        elif isinstance(node, ast.Constant) and _OF_CODECS.fullmatch(str(node.value)):
            yield Site(place, (str(node.value),))
        details = _details(node, calls)
        if details is None:
            continue
        codes = tuple(_codes(details, constants))
        yield Site(place, codes, "" if codes else ast.unparse(details), within)


def _nodes(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Everything below, with the name of the innermost function around it."""
    left = [(tree, "")]
    while left:
        node, within = left.pop()
        yield node, within
        inner = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else within
        left += [(child, inner) for child in ast.iter_child_nodes(node)]


def _hands_on(node: ast.AST) -> bool:
    """Whether it is a function that answers; `config.local_reply` is the config of answers."""
    match node:
        case ast.Attribute(value=ast.Name(id="config") | ast.Attribute(attr="config")):
            return False
        case ast.Attribute(attr=name, ctx=ast.Load()):
            return name in _ANSWERS
    return False


def _details(node: ast.AST, calls: dict[str, int]) -> ast.expr | None:
    if isinstance(node, ast.Assign):
        target = node.targets[0]
        told = isinstance(target, ast.Attribute) and target.attr == "response_code_details"
        return node.value if told else None
    if not isinstance(node, ast.Call):
        return None
    for keyword in node.keywords:
        if keyword.arg == "details":
            return keyword.value
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    index = calls.get(name)
    if index is None or index >= len(node.args) or not node.args:
        return None
    return node.args[index]


def _codes(node: ast.expr, constants: dict[str, str]) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) if name in constants:
            yield constants[name]
        case ast.IfExp():
            yield from _codes(node.body, constants)
            yield from _codes(node.orelse, constants)
        case ast.BinOp(left=left, op=ast.Add()):
            yield from _codes(left, constants)
        case ast.JoinedStr(values=values):
            yield from _joined(values, constants)


def _joined(values: list[ast.expr], constants: dict[str, str]) -> list[str]:
    """The beginnings of an f-string: constant parts, and parts that are one of two constants."""
    begun = [""]
    for value in values:
        inner = value.value if isinstance(value, ast.FormattedValue) else value
        parts = list(_codes(inner, constants))
        if not parts:
            break
        begun = [text + part for text in begun for part in parts]
    return [text.partition("{")[0] for text in begun]


def _constants(tree: ast.Module) -> dict[str, str]:
    """Module-level texts by name, those of other modules of ours included."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("proxy."):
            path = ROOT / f"{node.module.replace('.', '/')}.py"
            if path.exists():
                theirs = _constants_of(path)
                found |= {
                    alias.asname or alias.name: theirs[alias.name]
                    for alias in node.names
                    if alias.name in theirs
                }
    return found | _own_constants(tree)


@cache
def _constants_of(path: Path) -> dict[str, str]:
    return _own_constants(ast.parse(path.read_text()))


def _own_constants(tree: ast.Module) -> dict[str, str]:
    found = {}
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text)))
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text)))
            ):
                found[name] = text
    return found
