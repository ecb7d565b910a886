"""Flags of our own verbs, refused in one line as the proxy's are."""

from __future__ import annotations

import argparse
from typing import NoReturn

from proxy.base.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Takes no abbreviation; an error is a `UsageError`."""

    def __init__(self, program: str, description: str) -> None:
        super().__init__(prog=program, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`."""
        raise UsageError(f"{self.prog}: {message}; see `{self.prog} --help`")


def seconds(text: str) -> float:
    """A time such as `5`, `0.5` or `30s`, in seconds."""
    value = float(text.removesuffix("s"))
    if not 0 <= value < 1e6:
        raise ValueError
    return value
