"""Drawn covers: the share they hide is exact, and they look like many things."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.mouth_covers import COVERS, come_and_go
from kernels.crop import crop_face, crop_transform
from models.landmarks import LandmarkNetworks
from models.mouth_cover import CROP_SIZE, MouthCoverNetwork
from tests.faces import clip, planes_of
from training.data.covers import Face, covered, hidden_share

pytestmark = pytest.mark.unit

SIZE = 96


@pytest.fixture(scope="module")
def face() -> Face:
    picture = next(iter(clip(count=1)))
    points = LandmarkNetworks().find(picture)[0].points[:, :2]
    to_crop = crop_transform(points, SIZE)
    landmarks = (points @ to_crop[:, :2].T + to_crop[:, 2]).astype(np.float32)
    return Face(crop_face(planes_of(picture), to_crop, SIZE), landmarks)


def _square(size: int, *corners: int) -> NDArray[np.float32]:
    top, left, bottom, right = corners
    opacity = np.zeros((size, size), np.float32)
    opacity[top:bottom, left:right] = 1
    return opacity


def test_nothing_hides_nothing_and_everything_hides_all(face: Face) -> None:
    assert hidden_share(face, np.zeros((SIZE, SIZE), np.float32)) == 0
    assert hidden_share(face, np.ones((SIZE, SIZE), np.float32)) == 1


def test_a_thing_before_the_eyes_hides_no_mouth(face: Face) -> None:
    assert hidden_share(face, _square(SIZE, 0, 0, SIZE // 3, SIZE)) == 0


def test_half_a_mouth_is_about_half_hidden(face: Face) -> None:
    middle = round(float(face.landmarks[[61, 291], 0].mean()))
    assert hidden_share(face, _square(SIZE, 0, 0, SIZE, middle)) == pytest.approx(0.65, abs=0.2)


def test_covers_differ_and_reach_from_none_to_all(face: Face) -> None:
    random = np.random.default_rng(0)
    drawn = [covered(face, face.picture[None], random) for _ in range(200)]
    shares = np.array([share for _, share in drawn])
    assert shares.min() < 0.05
    assert shares.max() == 1
    assert 0.3 < (shares > 0.5).mean() < 0.9
    untouched = sum(np.array_equal(picture, face.picture) for picture, _ in drawn)
    assert untouched < 20
    assert len({picture.tobytes() for picture, _ in drawn}) > 180


def test_the_same_seed_draws_the_same_covers(face: Face) -> None:
    first, second = (covered(face, face.picture[None], np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]


def test_the_shipped_network_tells_a_clear_mouth_from_a_covered_one() -> None:
    network, landmarks = MouthCoverNetwork(), LandmarkNetworks()
    picture = next(iter(clip(count=1)))
    points = landmarks.find(picture)[0].points[:, :2]
    to_crop = crop_transform(points, CROP_SIZE)
    assert network.hidden_share(crop_face(planes_of(picture), to_crop, CROP_SIZE)) < 0.35
    for kind in COVERS:
        shown = come_and_go([picture] * 20, [points] * 20, kind, np.random.default_rng(1), still=5)[-1]
        assert shown.hidden > 0.5
        assert network.hidden_share(crop_face(planes_of(shown.picture), to_crop, CROP_SIZE)) > 0.65


def test_a_missing_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.xml is missing"):
        MouthCoverNetwork(tmp_path / "gone.xml")
