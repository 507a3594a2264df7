"""Photos are cut to the squares that a filter of the face is shown."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.landmarks import LandmarkNetworks
from tests.faces import clip
from training.__main__ import main
from training.data.face_squares import face_square
from training.data.photo_pairs import person_of, read_picture

pytestmark = pytest.mark.unit

SIZE = 128


def test_every_face_becomes_a_square_under_the_photos_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = next(iter(clip(count=1)))
    photos = tmp_path / "photos" / "first"
    photos.mkdir(parents=True)
    cv2.imwrite(str(photos / "P1_a.png"), picture[..., ::-1])
    cv2.imwrite(str(photos / "P2.png"), np.full((200, 200, 3), 128, np.uint8))
    command = ["face-squares", "--photos", str(tmp_path / "photos"), "--out", str(tmp_path / "out")]
    assert main([*command, "--size-px", str(SIZE)]) == 0
    assert "1 faces, 1 pictures without one" in capsys.readouterr().out
    (written,) = (tmp_path / "out").rglob("*.png")
    assert person_of(written.relative_to(tmp_path / "out").as_posix()) == person_of("first/P1_a.png")
    assert np.array_equal(read_picture(written), face_square(LandmarkNetworks(), picture, SIZE))


def test_photos_without_any_face_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 200, 3), 128, np.uint8))
    assert main(["face-squares", "--photos", str(tmp_path), "--out", str(tmp_path / "out")]) != 0
    assert "has a face" in capsys.readouterr().err
