"""The h2spec tool: built from its Go module, whose versions and checksums `conformance/h2spec/` pins."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

_MODULE = Path(__file__).resolve().parents[1] / "conformance" / "h2spec"
_PACKAGE = "github.com/summerwind/h2spec/cmd/h2spec"

# Run side by side: most of the time of a case is waiting for what must not come.
_GROUPS = (
    ("generic", "hpack"),
    ("http2/3", "http2/4", "http2/7"),
    ("http2/5",),
    ("http2/6",),
    ("http2/8",),
)

# h2spec writes the bytes of PING frames into its report as they are, which is no XML.
_NOT_XML = re.compile(rb"&#x0*([0-8bcef]|1[0-9a-f]);|[\x00-\x08\x0b\x0c\x0e-\x1f]", re.IGNORECASE)


@functools.cache
def build() -> Path:
    """The program, built into the virtual environment; AssertionError with Go's words if that fails.

    Go itself notices that nothing changed since the last time.
    """
    program = Path(sys.prefix) / "bin" / "h2spec"
    try:
        done = subprocess.run(
            ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", str(program), _PACKAGE],
            cwd=_MODULE,
            env={**os.environ, "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except FileNotFoundError:
        raise AssertionError(
            "h2spec needs Go to be built: install golang-go (Debian) or any Go from 1.19"
        ) from None
    assert done.returncode == 0, done.stdout + done.stderr
    return program


def run(port: int, timeout: int = 2) -> dict[str, str]:
    """Every case of the strict suite against a port → "" if it passed, otherwise what was expected and seen.

    A case is named `<section>/<number>: <title>`. `timeout` is how long h2spec waits for a frame, seconds.
    """
    program = build()
    with tempfile.TemporaryDirectory(prefix="h2spec-") as directory, ThreadPoolExecutor(len(_GROUPS)) as pool:

        def one(number: int) -> dict[str, str]:
            report = Path(directory) / f"{number}.xml"
            options = ["-h", "127.0.0.1", "-p", str(port), "--strict", "-o", str(timeout), "-j", str(report)]
            subprocess.run(
                [program, *options, *_GROUPS[number]],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=120,
                check=False,
            )
            return _read(report.read_bytes())

        found: dict[str, str] = {}
        for cases in pool.map(one, range(len(_GROUPS))):
            found.update(cases)
        return found


def _read(report: bytes) -> dict[str, str]:
    text = _NOT_XML.sub(b"?", report).decode("utf-8", "replace")
    cases = {}
    for suite in ElementTree.fromstring(text).iter("testsuite"):
        for number, case in enumerate(suite.iter("testcase"), start=1):
            failed = [child for child in case if child.tag in ("error", "failure", "skipped")]
            name = f"{case.get('package')}/{number}: {case.get('classname')}"
            cases[name] = " ".join((failed[0].text or failed[0].tag).split()) if failed else ""
    return cases
