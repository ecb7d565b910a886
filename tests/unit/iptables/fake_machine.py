"""A machine in memory for `iptables.runner.Runner`: it takes the commands that real ones take, and can fail."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from iptables.config import Config
from iptables.errors import MachineError
from iptables.model import Version
from iptables.observe import parse_save
from iptables.plan import Step
from iptables.runner import Runner

CHAINS = {"nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"), "raw": ("PREROUTING", "OUTPUT")}


class FakeMachine(Runner):
    """`chains[version][table][chain]` are the rules as text. Binaries are those of iptables-nft and `ip`."""

    def __init__(self, config: Config, fail_at: int = -1) -> None:
        super().__init__(config)
        self.chains: dict[Version, dict[str, dict[str, list[str]]]] = {4: {}, 6: {}}
        self.ip_commands: list[str] = []
        self.steps = 0
        self.fail_at = fail_at

    def find(self, name: str) -> str | None:
        known = name == "ip" or (name.startswith(("iptables-nft", "ip6tables-nft")))
        return f"/sbin/{name}" if known else None

    def legacy_in_use(self) -> bool:
        return False

    def execute(self, step: Step) -> None:
        self.steps += 1
        if step.tool == "ip":
            self.ip_commands.append(" ".join(step.arguments))
        elif self.steps - 1 == self.fail_at:
            raise MachineError("iptables-nft-restore failed: line 3")
        else:
            self._restore(step.version, step.text)

    def gather(
        self, commands: Sequence[Sequence[str]], text: str = ""
    ) -> list[subprocess.CompletedProcess[str]]:
        return [self._one(list(command), text) for command in commands]

    def _one(self, command: list[str], text: str) -> subprocess.CompletedProcess[str]:
        version: Version = 6 if command[0].startswith("ip6") else 4
        if command[0].endswith("-save"):
            return subprocess.CompletedProcess(command, 0, self.save(version), "")
        return subprocess.CompletedProcess(command, 0, "", "")

    def save(self, version: Version) -> str:
        lines = []
        for table, chains in self.chains[version].items():
            lines += [f"*{table}"]
            lines += [
                f":{name} {'ACCEPT' if name.isupper() and '_' not in name else '-'} [0:0]" for name in chains
            ]
            lines += [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
            lines.append("COMMIT")
        return "\n".join([*lines, ""])

    def _restore(self, version: Version, text: str) -> None:
        chains: dict[str, list[str]] = {}
        for line in text.splitlines():
            verb, _, rest = line.partition(" ")
            name, _, rule = rest.partition(" ")
            if line.startswith("*"):
                base = {chain: list[str]() for chain in CHAINS.get(line[1:], ("PREROUTING", "OUTPUT"))}
                chains = self.chains[version].setdefault(line[1:], base)
            elif line.startswith(":"):
                chains[verb[1:]] = []
            elif verb == "-A":
                chains[name].append(rule)
            elif verb == "-I":
                number, _, rule = rule.partition(" ")
                chains[name].insert(int(number) - 1, rule)
            elif verb == "-D":
                at = next(at for at in reversed(range(len(chains[name]))) if _same(chains[name][at], rule))
                del chains[name][at]
            elif verb == "-X":
                del chains[name]


def _same(left: str, right: str) -> bool:
    keys = [parse_save(f"*nat\n-A X {text}\nCOMMIT\n")["nat"].rules("X")[0].key for text in (left, right)]
    return keys[0] == keys[1]
