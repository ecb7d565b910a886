from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.access_log import descriptors
from proxy.access_log.descriptors import PIPE_CHUNK, Descriptor, check_path


def test_a_file_is_appended_to_and_takes_any_size(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"old\n")
    opened = Descriptor(str(path))
    assert opened.chunk == 0
    assert opened.write(b"new\n") == 4
    opened.close()
    assert path.read_bytes() == b"old\nnew\n"


def test_a_full_pipe_never_blocks_and_leaves_the_inherited_mode_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setitem(descriptors.STANDARD_STREAMS, "/dev/stdout", writer)
    opened = Descriptor("/dev/stdout")
    try:
        assert opened.chunk == PIPE_CHUNK
        with pytest.raises(BlockingIOError):
            _write_for_ever(opened)
        assert os.get_blocking(writer)
    finally:
        opened.close()
        os.close(reader)
        os.close(writer)


def _write_for_ever(opened: Descriptor) -> None:
    while True:
        opened.write(b"x" * PIPE_CHUNK)


def test_a_pipe_without_a_reader_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert check_path(str(tmp_path / "fifo")) == "No such device or address"


def test_standard_streams_need_no_file() -> None:
    assert check_path("/dev/stdout") is None
