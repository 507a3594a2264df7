"""Face finders: lasting numbers, loss and return, trust, awkward pictures, and that both back ends agree."""

import builtins
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.faces import MediapipeSmoothing
from kernels.crop import crop_transform
from models.landmarks import LandmarkNetworks
from stream.errors import ConfigError
from stream.face_tracking import MEMORY_NS, FaceTracks, FollowingReader, Reading, plainness
from stream.faces import FaceFinder, LoadedNetworks, MediapipeReader, load_networks, open_face_finder
from stream.frames import FaceCrop, VideoFrame
from stream.occlusion import MouthWatch
from tests.faces import FRAME_NS, Rgb, clip, distance_px, frame_of, on_canvas

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def networks() -> LoadedNetworks:
    return load_networks()


@pytest.fixture
def finder(networks: LoadedNetworks) -> FaceFinder:
    return open_face_finder(networks=networks)


@pytest.fixture(scope="module")
def face() -> Rgb:
    """A face and little else, about 240 px."""
    picture = next(iter(clip(count=1)))
    points = LandmarkNetworks().find(picture)[0].points
    left, top = np.clip(points[:, :2].min(axis=0) - 40, 0, None).astype(int)
    right, bottom = (points[:, :2].max(axis=0) + 40).astype(int)
    cut = picture[top:bottom, left:right]
    return cv2.resize(cut, (240, 240 * cut.shape[0] // cut.shape[1]), interpolation=cv2.INTER_AREA)


def _find(finder: FaceFinder, pictures: list[Rgb]) -> list[list[FaceCrop]]:
    return [finder.find(frame_of(picture, number)) for number, picture in enumerate(pictures)]


def test_a_face_keeps_its_number_through_a_clip(finder: FaceFinder) -> None:
    found = _find(finder, list(clip(count=30)))
    assert [[crop.face_id for crop in crops] for crops in found] == [[0]] * 30
    assert [crops[0].pts_ns for crops in found] == [number * FRAME_NS for number in range(30)]


def test_a_crop_is_made_of_its_own_landmarks(finder: FaceFinder) -> None:
    crop = finder.find(frame_of(next(iter(clip(count=1)))))[0]
    assert crop.landmarks.shape == (478, 2)
    assert crop.landmarks.dtype == crop.to_crop.dtype == np.float32
    np.testing.assert_array_equal(crop.to_crop, crop_transform(crop.landmarks, 96))
    assert crop.confidence == pytest.approx(1)


def test_the_crop_size_is_the_callers(networks: LoadedNetworks) -> None:
    crop = open_face_finder(networks=networks, crop_size=192).find(frame_of(next(iter(clip(count=1)))))[0]
    np.testing.assert_array_equal(crop.to_crop, crop_transform(crop.landmarks, 192))


def test_two_faces_keep_their_own_numbers_while_both_move(finder: FaceFinder, face: Rgb) -> None:
    pictures = [on_canvas(360, 640, (face, 60 + i, 20 + 2 * i), (face[:, ::-1], 60 - i, 360 - i)) for i in range(20)]
    found = _find(finder, pictures)
    assert all([crop.face_id for crop in crops] == [0, 1] for crops in found)
    centers = np.array([[crop.landmarks[:, 0].mean() for crop in crops] for crops in found])
    steps = np.diff(centers[1:], axis=0).mean(axis=0)
    assert sorted(steps) == pytest.approx([-1, 2], abs=0.3)


def test_a_second_face_is_noticed_within_a_second(finder: FaceFinder, face: Rgb) -> None:
    alone, together = on_canvas(360, 640, (face, 60, 20)), on_canvas(360, 640, (face, 60, 20), (face, 60, 360))
    found = _find(finder, [alone] * 3 + [together] * 25)
    assert len(found[2]) == 1
    assert [crop.face_id for crop in found[-1]] == [0, 1]


def test_no_more_faces_than_asked_for_are_followed(networks: LoadedNetworks, face: Rgb) -> None:
    finder = open_face_finder(networks=networks, max_faces=1)
    together = on_canvas(360, 640, (face, 60, 20), (face, 60, 360))
    assert [len(crops) for crops in _find(finder, [together] * 3)] == [1, 1, 1]


def test_a_face_that_comes_back_soon_is_the_same_and_after_long_another(finder: FaceFinder, face: Rgb) -> None:
    here, empty = on_canvas(360, 640, (face, 60, 200)), on_canvas(360, 640)
    assert [len(crops) for crops in _find(finder, [here, here, empty, empty])] == [1, 1, 0, 0]
    soon = frame_of(here, 10)
    late = frame_of(here, 10 + 2 + MEMORY_NS // FRAME_NS)
    assert finder.find(soon)[0].face_id == 0
    finder.find(frame_of(empty, 11))
    assert finder.find(late)[0].face_id == 1


def test_a_face_that_comes_back_is_at_once_where_it_is(finder: FaceFinder, face: Rgb) -> None:
    here, empty, there = on_canvas(360, 640, (face, 60, 200)), on_canvas(360, 640), on_canvas(360, 640, (face, 60, 260))
    first = _find(finder, [here, here])[1][0]
    finder.find(frame_of(empty, 2))
    back = finder.find(frame_of(there, 25))[0]
    moved = np.median(back.landmarks - first.landmarks, axis=0)
    assert moved == pytest.approx([60, 0], abs=1.5)


def test_a_fast_turn_is_followed_without_visible_lag(finder: FaceFinder, face: Rgb) -> None:
    still, step_px = 10, 20
    lefts = [20] * still + [20 + step_px * i for i in range(1, 16)]
    found = _find(finder, [on_canvas(360, 640, (face, 60, left)) for left in lefts])
    assert all(len(crops) == 1 for crops in found)
    origin = found[still - 1][0].landmarks
    lags = [
        (left - 20 - float(np.median(crops[0].landmarks[:, 0] - origin[:, 0]))) / step_px
        for left, crops in zip(lefts, found, strict=True)
    ]
    assert max(lags[still:]) < 0.3


def test_jitter_of_a_still_face_is_at_least_halved(networks: LoadedNetworks, face: Rgb) -> None:
    random = np.random.default_rng(3)
    scene = on_canvas(360, 640, (face, 60, 200)).astype(float)
    noisy = [np.clip(scene + random.normal(0, 6, scene.shape), 0, 255).astype(np.uint8) for _ in range(40)]
    reader, finder = FollowingReader(networks.landmarks, 1), open_face_finder(networks=networks, max_faces=1)
    frames = [frame_of(picture, number) for number, picture in enumerate(noisy)]
    raw = np.stack([reader.read(frame)[0].points[:, :2] for frame in frames])
    smooth = np.stack([finder.find(frame)[0].landmarks for frame in frames])
    assert np.diff(smooth[15:], axis=0).std() <= np.diff(raw[15:], axis=0).std() / 2


@pytest.mark.parametrize(("height", "width"), [(16, 16), (2, 2), (17, 33), (720, 1280)])
def test_a_picture_without_a_face_gives_no_faces(finder: FaceFinder, height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert _find(finder, [picture] * 2) == [[], []]


def test_a_720p_picture_of_a_large_face_gives_one(finder: FaceFinder, face: Rgb) -> None:
    large = cv2.resize(face, None, fx=2.4, fy=2.4)
    assert [len(crops) for crops in _find(finder, [on_canvas(720, 1280, (large, 30, 300))] * 2)] == [1, 1]


def test_a_face_that_leaves_the_picture_loses_confidence_before_it_is_lost(finder: FaceFinder, face: Rgb) -> None:
    tops = range(10, 340, 12)
    found = _find(finder, [on_canvas(340, 480, (face, top, 120)) for top in tops])
    confidences = [crops[0].confidence if crops else 0.0 for crops in found]
    assert confidences[0] == pytest.approx(1)
    # The lips are about three quarters down the face.
    lips_out = next(i for i, top in enumerate(tops) if top + 0.7 * face.shape[0] > 340)
    assert max(confidences[lips_out + 2 :]) < 0.4


def test_a_chin_below_the_picture_does_not_matter(finder: FaceFinder, face: Rgb) -> None:
    top = 340 - int(0.88 * face.shape[0])
    found = _find(finder, [on_canvas(340, 480, (face, top, 120))] * 3)
    assert found[-1][0].confidence == pytest.approx(1)


def _turned(degrees: float) -> Reading:
    """A flat face of 100 px, turned about the vertical axis."""
    random = np.random.default_rng(0)
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = random.uniform(-40, 40, (478, 2))
    points[234], points[454] = (-50, 0, 0), (50, 0, 0)
    turn = np.radians(degrees)
    x = points[:, 0].copy()
    points[:, 0], points[:, 2] = x * np.cos(turn), x * np.sin(turn)
    return Reading(points + np.array([100, 100, 0], np.float32), 1.0)


def test_a_profile_is_not_trusted_and_a_half_turn_is() -> None:
    trust = [plainness(_turned(degrees), 200, 200) for degrees in (0, 35, -35, 52.5, 70, -70)]
    assert trust == pytest.approx([1, 1, 1, 0.5, 0, 0], abs=0.01)


def test_a_face_too_small_to_paste_is_not_trusted() -> None:
    reading = _turned(0)
    small = Reading(reading.points * np.float32(0.14), 1.0)
    assert plainness(small, 200, 200) == 0


class _Sees(MouthWatch):
    """Sees every mouth."""

    def __init__(self) -> None:
        pass

    def look(self, frame: VideoFrame, landmarks: Any) -> float:  # noqa: ARG002
        return 1.0


def _tracked(*positions: list[tuple[float, float]]) -> list[list[int]]:
    """Numbers of faces 80 px wide that are read at these places, picture by picture."""
    tracks = FaceTracks(96, _Sees)
    picture, shape = np.zeros((64, 64, 3), np.uint8), _turned(0).points - np.array([100, 100, 0], np.float32)
    numbers = []
    for number, places in enumerate(positions):
        readings = [Reading(shape + np.array([x, y, 0], np.float32), 1.0) for x, y in places]
        crops = tracks.update(frame_of(picture, number), readings)
        numbers.append([crop.face_id for crop in sorted(crops, key=lambda crop: crop.landmarks[:, 0].mean())])
    return numbers


def test_numbers_do_not_depend_on_the_order_in_which_faces_are_read() -> None:
    assert _tracked([(100, 100), (180, 100)], [(182, 100), (101, 100)], [(102, 100), (184, 100)]) == [[0, 1]] * 3


def test_a_newcomer_beside_a_known_face_does_not_take_its_number() -> None:
    assert _tracked([(100, 100)], [(170, 100), (101, 100)]) == [[0], [0, 1]]


def test_a_stream_that_starts_anew_starts_new_faces(finder: FaceFinder, face: Rgb) -> None:
    here = on_canvas(360, 640, (face, 60, 200))
    finder.find(frame_of(here, 100))
    assert finder.find(frame_of(here, 0))[0].face_id == 1


@pytest.mark.parametrize("source", ["bundled clip", "hdtf/RD_Radio2_000.mp4", "grid/bbaf2n.mpg"])
def test_both_back_ends_place_the_face_alike(networks: LoadedNetworks, source: str, request: Any) -> None:
    pytest.importorskip("mediapipe", reason="the mediapipe package is not installed")
    path = {} if source == "bundled clip" else {"path": request.getfixturevalue("material") / "video" / source}
    ours, theirs = FollowingReader(networks.landmarks, 1), MediapipeReader(1)
    smoothing, apart_px = MediapipeSmoothing(), []
    for number, picture in enumerate(clip(count=30, **path)):
        frame = frame_of(picture, number)
        mine, reference = ours.read(frame)[0], theirs.read(frame)[0]
        apart_px.append(distance_px(smoothing(mine.points[:, :2]), reference.points) * 480 / frame.height)
    theirs.close()
    # The goal; 0.1 px of it are bfloat16.
    assert np.mean(apart_px) < 0.25


def test_the_mediapipe_finder_numbers_and_trusts_faces_too(networks: LoadedNetworks) -> None:
    pytest.importorskip("mediapipe", reason="the mediapipe package is not installed")
    finder = open_face_finder("mediapipe", networks=networks)
    found = _find(finder, list(clip(count=5)))
    finder.close()
    assert [[crop.face_id for crop in crops] for crops in found] == [[0]] * 5
    assert found[-1][0].confidence == pytest.approx(1)


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="'openvino' or 'mediapipe'"):
        open_face_finder("dlib")  # type: ignore[arg-type]


def test_no_faces_at_all_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_faces is 0"):
        open_face_finder(max_faces=0)


def test_a_missing_package_is_named_with_its_remedy(networks: LoadedNetworks, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_mediapipe(name: str, *rest: Any, **named: Any) -> Any:
        if name == "mediapipe":
            raise ModuleNotFoundError("No module named 'mediapipe'")
        return real_import(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_mediapipe)
    with pytest.raises(ConfigError, match=r"pip install --no-deps mediapipe==1\.2\.2"):
        open_face_finder("mediapipe", networks=networks)


def test_a_missing_model_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.faces.LandmarkNetworks", lambda: LandmarkNetworks(task_path=tmp_path / "gone.task"))
    with pytest.raises(ConfigError, match=r"gone\.task"):
        load_networks()
