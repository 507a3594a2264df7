"""Persons who do not exist: what is written, who is in them, and what varies."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import training
from benchmarks.pictures import face
from kernels.portrait_layout import PORTRAIT_BACKDROP, PORTRAIT_CLASSES
from training.__main__ import main
from training.data.blends import GROUPS
from training.data.clips import MaterialError
from training.data.layout_pairs import read_layouts
from training.data.photo_pairs import held_persons
from training.data.portrait_layouts import CHOSEN, make_portrait_layouts, turn_of, varied
from training.evaluate_portraits import CROP_PX, likenesses
from training.own_identity import OwnIdentity

CONFIGS = Path(training.__file__).parent / "configs"

pytestmark = pytest.mark.unit

PORTRAITS = 12


@pytest.fixture(scope="module")
def made(material: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("portraits")
    for path in sorted((material / "faces" / "congress118_256").glob("*.jpg"))[:PORTRAITS]:
        shutil.copy(path, folder)
    (folder / "Z.jpg").write_bytes(cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes())
    lines: list[str] = []
    make_portrait_layouts(folder, (), folder / "out", count=4, chosen=(0, 1), say=lines.append)
    return folder / "out", lines


def test_layouts_and_photos_are_read_back_with_their_appearances_in_turn(made: tuple[Path, list[str]]) -> None:
    pairs = read_layouts(made[0], len(PORTRAIT_CLASSES))
    assert pairs.left_out == ()
    assert sorted(name.rpartition("_")[2] for name in pairs.names) == ["0"] * 2 + ["1"] * 2
    for ids, photo in pairs.pairs:
        # A head stands before a backdrop in both.
        far = cv2.erode((ids == 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert np.abs(photo[far].astype(int) - PORTRAIT_BACKDROP).max() <= 2
        assert np.abs(photo[ids == PORTRAIT_CLASSES.index("skin")].astype(int) - PORTRAIT_BACKDROP).mean() > 20


def test_what_shows_no_face_is_named_and_persons_held_back_are_counted(made: tuple[Path, list[str]]) -> None:
    assert "left out: Z.jpg shows no face" in made[1]
    held = len(held_persons([f"p{i:02}" for i in range(PORTRAITS)], 8))
    assert f"{PORTRAITS} portraits, 0 pictures of clips, {held} persons held back" in made[1]


def test_the_same_seed_makes_the_same_poses_and_another_makes_others() -> None:
    points = np.column_stack([face(320.0, 240.0, 60.0), np.zeros(478, np.float32)])
    first, again, other = (varied(points, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_nose_at_an_ear_is_a_head_that_has_turned_away() -> None:
    points = np.zeros((478, 2), np.float32)
    points[454] = (100.0, 0.0)
    for x, turn in ((50.0, 0.0), (100.0, 1.0), (0.0, -1.0)):
        points[1] = (x, 7.0)
        assert turn_of(points) == pytest.approx(turn)


def test_a_folder_without_faces_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MaterialError, match="no folder"):
        make_portrait_layouts(tmp_path / "none", (), tmp_path, count=1)
    assert main(["portrait-layouts", "--portraits", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "shows no face" in capsys.readouterr().err
    assert max(CHOSEN) < GROUPS


# -- what is measured --------------------------------------------------------------------------------


def test_a_drawn_person_who_is_somebody_is_found_out() -> None:
    torch.manual_seed(1)
    identity = OwnIdentity().eval()
    real = [np.random.default_rng(i).integers(0, 256, (CROP_PX, CROP_PX, 3), np.uint8) for i in range(12)]
    blend = np.mean(real, 0).astype(np.uint8)
    found = likenesses(identity, {0: [real[3]], 1: [blend]}, real)
    copied, mixed = found["appearances"]
    assert copied == pytest.approx(1.0, abs=1e-3)
    assert mixed < copied
    assert found["share_nearer"][0] == 0.0
    levels = list(found["persons"].values())
    assert levels == sorted(levels)


def test_the_photos_are_measured_before_anything_is_trained(
    made: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "two.toml"
    words = (CONFIGS / "layout_to_face.toml").read_text(encoding="utf-8")
    config.write_text(words.replace("appearances = 4", "appearances = 2").replace("held_every = 8", "held_every = 2"))
    pairs, out = made[0], tmp_path / "out"
    arguments = ["--pairs", str(pairs), "--portraits", str(pairs.parent), "--config", str(config), "--out", str(out)]
    assert main(["evaluate-portraits", *arguments]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures == json.loads((out / "portraits.json").read_text(encoding="utf-8"))
    assert (figures["psnr_db"], figures["mouth"], figures["no_face_drawn"]) == (None, None, 0)
    assert figures["layouts"] > 0
    assert (out / "portraits.jpg").stat().st_size > 1000
