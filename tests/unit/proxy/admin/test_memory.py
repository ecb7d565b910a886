from __future__ import annotations

import os

from proxy.admin.memory import MemorySizes, read_memory


def test_this_process_has_memory_and_one_that_is_gone_has_none() -> None:
    sizes = read_memory([os.getpid()])
    assert sizes.physical > 1_000_000
    assert sizes.heap > 1_000_000
    assert sizes.private > 1_000_000
    assert read_memory([2**31 - 1]) == MemorySizes()
