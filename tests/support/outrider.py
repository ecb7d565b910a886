"""Outrider as a child process, run from this tree."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.envoy import Envoy
from tests.support.proxy_process import ProxyProcess

ROOT = Path(__file__).resolve().parents[2]


class Outrider(ProxyProcess):
    """`python -m proxy` with the same command line as Envoy."""

    name = "outrider"

    @classmethod
    def command(cls) -> list[str]:
        return [sys.executable, "-m", "proxy"]

    @classmethod
    def default_arguments(cls) -> list[str]:
        return [*super().default_arguments(), "--disable-hot-restart"]

    @classmethod
    def environment(cls) -> dict[str, str]:
        """The tree's own modules, and every warning shown: a test of ours may assert that stderr has none.

        Nothing is kept over restarts unless a test says where. Bytecode is: without it, each of several hundred
        starts compiles every module anew, which takes longer than most tests.
        """
        return {
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "",
            "XDG_STATE_HOME": "/dev/null",
        }


def subject() -> type[ProxyProcess]:
    """What is compared with Envoy: Outrider.

    `OUTRIDER_TEST_SUBJECT=envoy` compares Envoy with itself, which shows whether a test is sound.
    """
    return Envoy if os.environ.get("OUTRIDER_TEST_SUBJECT") == "envoy" else Outrider
