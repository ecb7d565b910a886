"""Every target, by name."""

from __future__ import annotations

from tests.fuzz import manager_target, text_targets, wire_targets
from tests.fuzz.target import TARGETS

__all__ = ["TARGETS", "manager_target", "text_targets", "wire_targets"]
