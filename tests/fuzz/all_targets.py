"""Every target, by name."""

from __future__ import annotations

from tests.fuzz import compile_target, manager_target, text_targets, wire_targets
from tests.fuzz.target import TARGETS

__all__ = ["TARGETS", "compile_target", "manager_target", "text_targets", "wire_targets"]
