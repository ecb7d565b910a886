"""A worker says when its descriptors run out."""

from __future__ import annotations

import errno
import logging
import os

import pytest

from proxy.app.descriptor_watch import DescriptorWatch


def test_it_speaks_once_when_they_run_out_and_once_when_they_are_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_descriptor: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    watch = DescriptorWatch()
    with caplog.at_level(logging.WARNING):
        watch.check()
        assert caplog.messages == []
        with monkeypatch.context() as patched:
            patched.setattr(os, "dup", fail)
            watch.check()
            watch.check()
        watch.check()
        watch.check()
    first, second = caplog.messages
    assert first.startswith("no file descriptor is left (limit ")
    assert second == "file descriptors are available again"
