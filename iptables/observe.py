"""Reading what is installed: the text of iptables-save into the model. What it cannot judge becomes `Unknown`."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Mapping
from typing import Final

from iptables.errors import MachineError
from iptables.model import (
    Chain,
    CopyMark,
    Interface,
    Jump,
    Mark,
    Match,
    Network,
    Owner,
    Ports,
    Protocol,
    Redirect,
    Rule,
    SetMark,
    State,
    Table,
    Target,
    Tproxy,
    Unknown,
    Verdict,
    Zone,
    network,
)

_VERDICTS: Final = ("RETURN", "ACCEPT", "DROP")
_FOREIGN_TARGETS: Final = frozenset(
    {"REJECT", "LOG", "NFLOG", "DNAT", "SNAT", "MASQUERADE", "NETMAP", "NOTRACK", "NFQUEUE", "TCPMSS"}
    | {"CHECKSUM", "TRACE", "SET", "CLASSIFY", "DSCP"}
)
_FULL = "0xffffffff"
#: Of a rule in its chain; more rules than this have no place in the kernel.
_POSITION: Final = re.compile("[0-9]{1,9}")


def parse_save(text: str) -> dict[str, Table]:
    """The tables of iptables-save, or of a listing made for iptables-restore; counters are dropped.

    Raises `MachineError` for a line that neither of them writes.
    """
    chains: dict[str, Chain] = {}
    found: dict[str, Table] = {}
    written: dict[str, list[Rule]] = {}
    for line in text.split("\n"):
        line = line.strip()
        if line.startswith("*"):
            chains, written = {}, {}
            table = Table(line[1:].strip(), chains)
            found[table.name] = table
        elif line.startswith(":"):
            name, policy, *_ = [*line[1:].split(), "", ""]
            if not policy:
                raise _unreadable(line)
            chains[name] = Chain(name, (), "" if policy == "-" else policy)
            written.setdefault(name, [])
        elif line.startswith("-N "):
            written.setdefault(line[3:].strip(), [])
        elif line.startswith(("-A ", "-I ", "[")):
            _read_rule(line, written)
        elif line == "COMMIT":
            for name, rules in written.items():
                old = chains.get(name, Chain(name))
                chains[name] = Chain(name, tuple(rules), old.policy)
    return found


def _read_rule(line: str, written: dict[str, list[Rule]]) -> None:
    verb, chain, text, *_ = [
        *(line.partition("] ")[2] if line.startswith("[") else line).split(" ", 2),
        "",
        "",
        "",
    ]
    if not chain:
        raise _unreadable(line)
    rules = written.setdefault(chain, [])
    position = len(rules)
    if verb == "-I":
        first, _, remaining = text.partition(" ")
        position, text = (int(first) - 1, remaining) if _POSITION.fullmatch(first) else (0, text)
    rules.insert(position, parse_rule(chain, text))


def _unreadable(line: str) -> MachineError:
    return MachineError(f"a listing of iptables has a line that cannot be read: {line!r}")


def parse_rule(chain: str, text: str) -> Rule:
    """One rule, without the `-A CHAIN` that begins its line."""
    try:
        return _parse_rule(chain, text)
    except (ValueError, IndexError, KeyError):
        # Somebody else's words: a masked mark, an option that takes no value here.
        return Rule(chain, (Unknown(text),), Unknown(""), text=text)


def _parse_rule(chain: str, text: str) -> Rule:
    words = shlex.split(text)
    matches: list[Match] = []
    target: Target = Unknown("")
    at, module = 0, ""
    while at < len(words):
        negated = words[at] == "!"
        at += negated
        word = words[at]
        value = words[at + 1] if at + 1 < len(words) else ""
        if word in ("-j", "-g"):
            target = _target(words[at + 1 :], word)
            break
        if word == "-m":
            module = value
            at += 2
            continue
        match = _match(word, value, negated)
        if isinstance(match, Mark) and module == "connmark":
            match = Mark(match.value, match.negated, connection=True)
        if match is None:
            end = _next_flag(words, at + 1)
            matches.append(Unknown(" ".join(words[at - negated : end])))
            at = end
        else:
            matches.append(match)
            at += 2
    return Rule(chain, tuple(matches), target, text=text)


def _next_flag(words: list[str], at: int) -> int:
    while at < len(words) and not words[at].startswith("-") and words[at] != "!":
        at += 1
    return at


def _match(word: str, value: str, negated: bool) -> Match | None:
    if word in ("-i", "-o") and not negated:
        return Interface(word == "-i", value)
    if word in ("-s", "-d"):
        return Network(word == "-s", network(value), negated)
    if word == "-p" and not negated:
        return Protocol(value)
    if word in ("--dport", "--sport", "--dports", "--sports"):
        return Ports(word.startswith("--s"), tuple(value.split(",")), negated)
    if word in ("--uid-owner", "--gid-owner"):
        return Owner("uid" if word == "--uid-owner" else "gid", value, negated)
    if word == "--mark":
        return _mark(value, negated)
    if word == "--ctstate" and not negated:
        return State(tuple(sorted(value.split(","))))
    return None


def _mark(value: str, negated: bool) -> Mark | None:
    number, _, mask = value.partition("/")
    return Mark(int(number, 0), negated) if mask in ("", _FULL) else None


def _target(words: list[str], flag: str) -> Target:
    name, arguments = words[0], words[1:]
    options = dict(zip(arguments, [*arguments[1:], ""], strict=False))
    if flag == "-g":
        return Unknown(f"go to {name}")
    if name in _VERDICTS:
        return Verdict(name)
    match name:
        case "REDIRECT":
            ports = options.get("--to-ports") or options.get("--to-port", "")
            return Redirect(int(ports)) if ports.isdigit() else Unknown(" ".join(words))
        case "TPROXY" if options.get("--on-ip", "0.0.0.0") in ("0.0.0.0", "::"):
            return Tproxy(int(options["--on-port"]), int(options["--tproxy-mark"].partition("/")[0], 0))
        case "MARK" if "--set-mark" in options or options.get("--set-xmark", "").endswith(f"/{_FULL}"):
            text = options.get("--set-mark") or options["--set-xmark"]
            return SetMark(int(text.partition("/")[0], 0))
        case "CONNMARK" if "--save-mark" in options or "--restore-mark" in options:
            return CopyMark("--save-mark" in options)
        case "CT" if options.get("--zone", "").isdigit() and len(arguments) == 2:
            return Zone(int(options["--zone"]))
        case _ if name in _FOREIGN_TARGETS or arguments:
            return Unknown(" ".join(words))
    return Jump(name)


def covers(cidr: str, address: str) -> bool:
    """The address lies in the network; False between versions."""
    found = ipaddress.ip_network(cidr)
    host = ipaddress.ip_address(address)
    return host.version == found.version and host in found


def same_rules(left: Mapping[str, Table], right: Mapping[str, Table]) -> bool:
    """Both hold the same chains with the same rules in the same order."""
    return _keys(left) == _keys(right)


def _keys(tables: Mapping[str, Table]) -> object:
    return {
        name: {
            chain.name: [rule.key for rule in chain.rules] for chain in table.chains.values() if chain.rules
        }
        for name, table in tables.items()
    }
