"""What the package refuses. It has its own root, since an init container runs it without the proxy."""

from __future__ import annotations


class CaptureError(Exception):
    """One line that says what is wrong and what mends it; the network is as it was."""


class SettingError(CaptureError):
    """A flag or an environment variable has a value that cannot work."""


class MachineError(CaptureError):
    """The machine lacks a binary, a privilege or kernel support, or a command failed."""


class ConflictError(CaptureError):
    """Rules of somebody else, or of another configuration, are in the way."""


class VerificationError(CaptureError):
    """Rules are missing, or present and without effect."""
