"""Gives memory that is free back to the system."""

from __future__ import annotations

import ctypes
import gc


def shrink_heap() -> None:
    """Collect what nobody refers to, and have the allocator return what it keeps; a no-op where it cannot."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
