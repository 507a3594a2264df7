"""Sketches find their photos by the set's two ways of naming them."""

from pathlib import Path

import pytest

from training.__main__ import main
from training.data.clips import MaterialError
from training.data.cuhk import photo_of, write_cuhk_pairs

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("sketch", "photo"),
    [
        ("F2-005-01-sz1.jpg", "f-005-01.jpg"),
        ("M2-014-01-sz1.jpg", "m-014-01.jpg"),
        ("f1-002-01-sz1.jpg", "f1-002-01.jpg"),
        ("m-086-01-sz1.jpg", "m-086-01.jpg"),
    ],
)
def test_a_sketch_is_named_after_its_photo(sketch: str, photo: str) -> None:
    assert photo_of(Path("any") / sketch) == Path("any") / photo


def test_pairs_are_written_under_the_photos_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train/f-005-01.jpg", "train/F2-005-01-sz1.jpg", "test/m1-002-01.jpg", "test/m1-002-01-sz1.jpg"):
        path = tmp_path / "cuhk" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    assert main(["cuhk-pairs", "--cuhk", str(tmp_path / "cuhk"), "--out", str(tmp_path / "out")]) == 0
    assert "1 pairs in train, 1 pairs in test" in capsys.readouterr().out
    assert (tmp_path / "out/train/A/f-005-01.jpg").read_text() == "train/f-005-01.jpg"
    assert (tmp_path / "out/train/B/f-005-01.jpg").read_text() == "train/F2-005-01-sz1.jpg"
    assert (tmp_path / "out/test/B/m1-002-01.jpg").read_text() == "test/m1-002-01-sz1.jpg"


def test_a_sketch_without_a_photo_is_an_error_with_both_names(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "F2-005-01-sz1.jpg").touch()
    with pytest.raises(MaterialError, match=r"F2-005-01-sz1\.jpg has no photo f-005-01\.jpg"):
        write_cuhk_pairs(tmp_path, tmp_path / "out")
    with pytest.raises(MaterialError, match="not named like a sketch"):
        photo_of(Path("sketch.jpg"))
