"""The folder of compiled networks hands out whole blobs only, and says when it cannot keep one."""

import logging
from pathlib import Path

import pytest

from models.blob_cache import usable_folder, vouch

pytestmark = pytest.mark.unit


def test_a_blob_that_was_vouched_for_stays(tmp_path: Path) -> None:
    (tmp_path / "1.blob").write_bytes(b"compiled")
    vouch(tmp_path)
    assert usable_folder(tmp_path) == tmp_path
    assert (tmp_path / "1.blob").read_bytes() == b"compiled"


@pytest.mark.parametrize("content", [b"compileD", b"compil", b""])
def test_a_changed_blob_goes_with_its_digest(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1.blob").write_bytes(b"compiled")
    vouch(tmp_path)
    (tmp_path / "1.blob").write_bytes(content)
    usable_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_blob_whose_writer_never_vouched_for_it_goes(tmp_path: Path) -> None:
    (tmp_path / "1.blob").write_bytes(b"half of it")
    usable_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_blob_that_found_no_room_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        vouch(tmp_path)
    assert caplog.messages == [f"a compiled network was not kept: {tmp_path} has no room for it"]


def test_a_folder_that_cannot_be_made_is_said_and_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert usable_folder(tmp_path / "file" / "below") is None
    assert len(caplog.messages) == 1
    assert "every start compiles them" in caplog.messages[0]
