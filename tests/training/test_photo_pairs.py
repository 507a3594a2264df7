"""Folders of pairs and photos: everything that cannot be used is named, left out and counted."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.made import write_clip
from tests.training.pictures import made_picture, write_photos, write_picture
from training.config import ConfigError
from training.data.clips import MaterialError
from training.data.pair_makers import PAIR_MAKERS
from training.data.photo_pairs import PairSet, person_of, read_pairs, read_photos, read_picture

pytestmark = pytest.mark.unit


def _reasons(pairs: PairSet) -> dict[str, str]:
    return {each.name: each.reason for each in pairs.left_out}


def test_two_folders_are_paired_by_name_whatever_the_suffix(tmp_path: Path) -> None:
    a, b = made_picture(1), made_picture(2)
    write_picture(tmp_path / "A" / "one.png", a)
    write_picture(tmp_path / "B" / "one.bmp", b)
    there, back = read_pairs(tmp_path), read_pairs(tmp_path, "BtoA")
    assert np.array_equal(there.pairs[0].source, a)
    assert np.array_equal(there.pairs[0].target, b)
    assert np.array_equal(back.pairs[0].source, b)
    assert np.array_equal(back.pairs[0].target, a)


def test_pictures_side_by_side_are_halved(tmp_path: Path) -> None:
    a, b = made_picture(1), made_picture(2)
    write_picture(tmp_path / "one.png", np.hstack([a, b]))
    pair = read_pairs(tmp_path).pairs[0]
    assert np.array_equal(pair.source, a)
    assert np.array_equal(pair.target, b)


def test_what_has_no_partner_or_another_size_is_named_and_left_out(tmp_path: Path) -> None:
    for side in "AB":
        write_picture(tmp_path / side / "good.png", made_picture(1))
        write_picture(tmp_path / side / "other_size.png", made_picture(1, 48 if side == "A" else 52))
    write_picture(tmp_path / "A" / "alone.png", made_picture(3))
    write_picture(tmp_path / "B" / "lonely.png", made_picture(3))
    pairs = read_pairs(tmp_path)
    assert pairs.names == ("good",)
    assert _reasons(pairs) == {
        "alone": "has no picture in B/",
        "lonely": "has no picture in A/",
        "other_size": "is 64 x 48 px in A/ and 64 x 52 px in B/",
    }


def test_one_corrupt_picture_among_many_costs_itself_only(tmp_path: Path) -> None:
    write_photos(tmp_path, 30)
    whole = write_picture(tmp_path / "ends_early.jpg", made_picture(5)).read_bytes()
    (tmp_path / "ends_early.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "no_picture.png").write_bytes(b"\x89PNG but not really IEND")
    (tmp_path / "empty.png").write_bytes(b"")
    write_picture(tmp_path / "tiny.png", made_picture(1, 8, 8))
    photos = read_photos([tmp_path], PAIR_MAKERS["enhance"])
    assert len(photos.pairs) == 30
    reasons = _reasons(photos)
    assert set(reasons) == {"ends_early.jpg", "no_picture.png", "empty.png", "tiny.png"}
    assert reasons["ends_early.jpg"] == f"ends after {len(whole) // 2} bytes, before its picture does"
    assert reasons["tiny.png"] == "is 8 x 8 px, expected at least 32 px a side"


def test_side_by_side_with_an_odd_width_is_left_out(tmp_path: Path) -> None:
    write_picture(tmp_path / "odd.png", made_picture(1, 48, 129))
    with pytest.raises(MaterialError, match=r"odd\.png is 129 x 48 px: two pictures side by side have an even width"):
        read_pairs(tmp_path)


def test_a_folder_that_is_not_there_or_empty_is_an_error_with_a_name(tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match=r"no folder .*nowhere"):
        read_pairs(tmp_path / "nowhere")
    with pytest.raises(MaterialError, match="it holds no pictures"):
        read_photos([tmp_path], PAIR_MAKERS["enhance"])
    with pytest.raises(ConfigError, match="direction is 'AtoC', expected one of AtoB, BtoA"):
        read_pairs(tmp_path, "AtoC")


def test_a_clip_gives_some_of_its_pictures_and_a_broken_one_is_left_out(tmp_path: Path) -> None:
    write_clip(tmp_path / "talk.mkv", frames=31)
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    photos = read_photos([tmp_path], PAIR_MAKERS["colour"])
    assert photos.names == ("talk.mkv#0", "talk.mkv#15", "talk.mkv#30")
    assert list(_reasons(photos)) == ["broken.mp4"]


def test_grey_pictures_and_those_with_alpha_are_read_as_three_channels(tmp_path: Path) -> None:
    rgb = made_picture(1)
    grey = write_picture(tmp_path / "grey.png", np.ascontiguousarray(rgb[..., :1]))
    clear = write_picture(tmp_path / "alpha.png", np.dstack([np.full(rgb.shape[:2], 255, np.uint8), rgb]))
    for path in (grey, clear):
        read = read_picture(path)
        assert isinstance(read, np.ndarray)
        assert read.shape == rgb.shape


def test_persons_are_held_back_whole_and_never_learnt_from() -> None:
    names = tuple(f"p{i % 8}_{i}.png" for i in range(32))
    pair = PAIR_MAKERS["enhance"].once(made_picture(1))
    learnt, held = PairSet(names, (pair,) * 32).split(4)
    persons = [{person_of(name) for name in part.names} for part in (learnt, held)]
    assert len(held.names) == 8
    assert persons[1] == {"p2", "p6"}
    assert not persons[0] & persons[1]
    assert len(learnt.names) + len(held.names) == 32


def test_nobody_is_held_back_unless_asked() -> None:
    pair = PAIR_MAKERS["enhance"].once(made_picture(1))
    learnt, held = PairSet(("a", "b"), (pair, pair)).split(0)
    assert learnt.names == ("a", "b")
    assert held.names == ()
