"""How transcoding fails: a status of the gRPC kind with a text."""

from __future__ import annotations


class TranscodeError(Exception):
    """`code` is the name of a gRPC status, such as INVALID_ARGUMENT."""

    def __init__(self, message: str, code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
