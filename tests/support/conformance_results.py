"""Numbers of conformance suites, for docs/compatibility.md: written on demand, held to in every run.

`make conformance` runs the suites with OUTRIDER_CONFORMANCE=write, one process at a time.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "conformance" / "results.json"
#: Whether results are written instead of compared.
WRITES = os.environ.get("OUTRIDER_CONFORMANCE") == "write"


def note(group: str, suite: str, **numbers: int) -> None:
    """Note `cases` and how many of them pass on `envoy` and `outrider`, or are `alike`.

    Fails if that is not what the page says.
    """
    results = json.loads(FILE.read_text()) if FILE.exists() else {}
    if not WRITES:
        assert results.get(group, {}).get(suite) == numbers, f"{group}, {suite}: run make conformance"
        return
    results.setdefault(group, {})[suite] = numbers
    FILE.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
