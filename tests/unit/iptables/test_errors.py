from __future__ import annotations

import pytest

from iptables.errors import CaptureError, ConflictError, MachineError, SettingError, VerificationError


@pytest.mark.parametrize("kind", [ConflictError, MachineError, SettingError, VerificationError])
def test_one_handler_takes_all_refusals(kind: type[CaptureError]) -> None:
    assert issubclass(kind, CaptureError)
