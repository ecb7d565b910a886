"""`outrider iptables doctor`: gathers what the machine says, and prints the judgement of `doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from iptables.config import Config
from iptables.doctor import Packet, Surroundings, traps, walk
from iptables.errors import SettingError
from iptables.installer import mesh_warnings
from iptables.model import Table, Version
from iptables.observe_nft import parse_ruleset
from iptables.runner import Runner, addresses, kernel_ipv6, modules_missing


def run(config: Config, options: argparse.Namespace, runner: Runner) -> int:
    """Print what happens to the packet of `--to`, if there is one, and the traps; the exit status."""
    tables = _observed(runner)
    if options.to:
        found = walk(tables.get(_packet(options).version, {}), _packet(options))
        print("\n".join(found.lines))
        for text in found.unsure:
            print(f"not judged, taken as not met: {text}")
        print(f"=> {found.end}")
    around = Surroundings(
        tables=tables,
        legacy_rules=runner.legacy_in_use(),
        nft_rules=runner.find("nft") is not None and "hook" in runner.nft_listing(),
        has_ipv6=kernel_ipv6() and addresses()[1],
        uids=_programs(),
        missing_modules=modules_missing(["owner", "REDIRECT", *(["TPROXY"] if config.tproxy else [])]),
        meshes=mesh_warnings(runner.installed(routing=False)),
    )
    for warning in traps(config, around):
        print(f"warning: {warning}")
    return 0


def _observed(runner: Runner) -> dict[Version, dict[str, Table]]:
    """What is installed, our native tables in the place of those of iptables."""
    installed = runner.installed(routing=False)
    found = {version: dict(tables) for version, tables in installed.tables.items()}
    if runner.find("nft") is not None:
        for table in parse_ruleset(runner.nft_listing()):
            if table.own:
                for version in found if table.family == "inet" else [4]:
                    found[4 if version == 4 else 6][table.plain] = table.table
    return found


def _packet(options: argparse.Namespace) -> Packet:
    host, _, port = options.to.rpartition(":")
    host = host.strip("[]")
    try:
        if not 1 <= int(port) <= 65535:
            raise ValueError
        local = host.startswith("127.") or host == "::1"
        packet = Packet(
            direction=_direction(options.direction),
            destination=host,
            port=int(port),
            protocol=options.protocol,
            source=options.source,
            uid=options.uid,
            gid=options.gid or options.uid,
            interface=options.interface or ("lo" if local else "eth0"),
        )
        _ = packet.version
    except ValueError:
        raise SettingError(f"--to: {options.to!r} is not an address and a port such as 10.0.0.1:80") from None
    return packet


def _direction(text: str) -> Literal["in", "out"]:
    return "in" if text == "in" else "out"


def _programs() -> dict[str, list[str]]:
    """The names of running programs by user id."""
    found: dict[str, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "comm").read_text().strip()
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                uid = str(entry.stat().st_uid)
            except OSError:
                continue
            ours = "outrider" if "outrider" in words else name
            found.setdefault(uid, []).append(ours)
    return found
