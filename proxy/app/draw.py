"""The source of chance that a process hands to its balancers, samplers and timers."""

from __future__ import annotations

import os
import random
from collections.abc import Callable


def random_draw() -> Callable[[], int]:
    """A fast source of integers from 0 to 2**64-1, seeded by the kernel for this process alone."""
    generator = random.Random(int.from_bytes(os.urandom(16), "big"))
    bits = generator.getrandbits
    return lambda: bits(64)
