"""What stops a verb of `outrider vm`."""

from __future__ import annotations

from proxy.base.errors import UsageError


class VmError(UsageError):
    """One line that says what is wrong and what mends it; what had been done is undone."""
