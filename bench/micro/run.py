"""`python -m bench.micro.run [NAME...] [--json]`: costs of single parts, in one process."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from typing import Final

NAMES: Final = (
    "access_log",
    "balancer",
    "endpoint_updates",
    "header_map",
    "hpack",
    "http1_codec",
    "http2_codec",
    "route_match",
)


def figures(name: str) -> dict[str, float]:
    """What a module of this package measures; the unit is the first part of each figure's name."""
    found: dict[str, float] = importlib.import_module(f"bench.micro.{name}").figures()
    return found


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m bench.micro.run")
    parser.add_argument("name", nargs="*", choices=[*NAMES, []], help="default: all")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    # One CPU, so that no slice pays for a move.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = {name: figures(name) for name in given.name or NAMES}
    if given.json:
        print(json.dumps(found))
        return
    for name, values in found.items():
        print(name)
        for figure, value in values.items():
            print(f"  {figure.replace('_', ' '):44} {value:8.2f}")


if __name__ == "__main__":
    main()
