"""The landmark networks: they agree with MediaPipe's own package, and awkward pictures do not trouble them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.face_networks import TASK_PATH, FaceNetworks
from models.landmarks import BLENDSHAPES, LandmarkNetworks
from tests.faces import Rgb, clip, distance_px, on_canvas, planes_of, portraits

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def networks() -> LandmarkNetworks:
    return LandmarkNetworks(blendshapes=True)


@pytest.fixture(scope="module")
def exact() -> LandmarkNetworks:
    return LandmarkNetworks(precision="f32", blendshapes=True)


@pytest.fixture(scope="module")
def face() -> Rgb:
    return next(iter(clip(count=1)))


class Reference:
    """MediaPipe's FaceLandmarker on still pictures."""

    def __init__(self) -> None:
        self._mediapipe = pytest.importorskip("mediapipe", reason="the mediapipe package is not installed")
        vision = self._mediapipe.tasks.vision
        base = self._mediapipe.tasks.BaseOptions(model_asset_path=str(TASK_PATH))
        options = vision.FaceLandmarkerOptions(base_options=base, num_faces=2, output_face_blendshapes=True)
        self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def close(self) -> None:
        self._landmarker.close()

    def detect(self, picture: Rgb) -> Any:
        contiguous = np.ascontiguousarray(picture)
        return self._landmarker.detect(
            self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=contiguous)
        )

    def points(self, picture: Rgb) -> list[NDArray[np.float32]]:
        height, width = picture.shape[:2]
        faces = self.detect(picture).face_landmarks
        return [np.array([(p.x * width, p.y * height, p.z * width) for p in f], np.float32) for f in faces]


@pytest.fixture(scope="module")
def reference() -> Iterator[Reference]:
    opened = Reference()
    yield opened
    opened.close()


def test_portraits_measure_as_in_mediapipe(
    exact: LandmarkNetworks, networks: LandmarkNetworks, reference: Reference, material: Path
) -> None:
    distances_px: dict[str, list[float]] = {"f32": [], "default": []}
    for portrait in portraits(material, 40):
        picture = on_canvas(480, 640, (portrait, 100, 200))
        theirs = reference.points(picture)
        for name, ours in (("f32", exact), ("default", networks)):
            meshes = ours.find(picture, max_faces=2)
            assert len(meshes) == len(theirs) == 1
            distances_px[name].append(distance_px(meshes[0].points, theirs[0]))
    # The same networks in float32; what differs is the order of sums and of bilinear steps.
    assert max(distances_px["f32"]) < 0.05
    # bfloat16 convolutions, where the CPU has them; the goal is 0.25 px.
    assert np.mean(distances_px["default"]) < 0.15
    assert max(distances_px["default"]) < 0.25


def test_a_wide_clip_measures_as_in_mediapipe(exact: LandmarkNetworks, reference: Reference) -> None:
    for picture in clip(count=5):
        theirs = reference.points(picture)[0]
        mesh = exact.find(picture)[0]
        # A turned region, 1.4 px of the frame for each of its 256: bilinear steps of 1/32 px weigh more.
        assert distance_px(mesh.points, theirs) < 0.15


def test_blendshapes_are_mediapipes(exact: LandmarkNetworks, reference: Reference, face: Rgb) -> None:
    theirs = reference.detect(face).face_blendshapes[0]
    ours = exact.blendshapes(exact.find(face)[0])
    assert [shape.category_name for shape in theirs] == list(BLENDSHAPES)
    np.testing.assert_allclose(ours, [shape.score for shape in theirs], atol=0.01)


def test_planes_measure_like_rgb(networks: LandmarkNetworks, face: Rgb) -> None:
    from_rgb = networks.find(face)[0]
    from_planes = networks.mesh(planes_of(face), from_rgb.region)
    # Chroma at half size; the mesh hardly looks at colour.
    assert distance_px(from_rgb.points, from_planes.points) < 0.25


def test_following_stays_on_the_face_of_a_clip(networks: LandmarkNetworks) -> None:
    pictures = list(clip(count=25))
    mesh = networks.find(pictures[0])[0]
    for picture in pictures[1:]:
        followed = networks.follow(picture, [mesh])[0]
        assert followed is not None
        mesh = followed
    found_anew = networks.find(pictures[-1])[0]
    width_px = np.ptp(mesh.points[:, 0])
    assert distance_px(mesh.points, found_anew.points) < 0.03 * width_px


def test_a_turned_picture_gives_turned_points(networks: LandmarkNetworks, face: Rgb) -> None:
    height, width = face.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 25, 1)
    turned = cv2.warpAffine(face, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    upright, tilted = networks.find(face)[0].points, networks.find(turned)[0].points
    expected = upright[:, :2] @ turn[:, :2].T + turn[:, 2]
    assert distance_px(tilted, expected.astype(np.float32)) < 0.03 * np.ptp(upright[:, 0])


@pytest.mark.parametrize("scale", [0.5, 2, 3])
def test_size_does_not_matter(networks: LandmarkNetworks, face: Rgb, scale: float) -> None:
    scaled = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    points = networks.find(face)[0].points
    assert distance_px(networks.find(scaled)[0].points / scale, points) < 0.03 * np.ptp(points[:, 0])


def test_two_faces_are_found_where_they_are(networks: LandmarkNetworks, material: Path) -> None:
    left, right = portraits(material, 2)
    meshes = networks.find(on_canvas(360, 640, (left, 50, 20), (right, 60, 360)), max_faces=2)
    centers = sorted(mesh.points[:, 0].mean() for mesh in meshes)
    assert centers == pytest.approx([148, 488], abs=30)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (1, 1), (2, 300), (37, 53), (97, 95)])
def test_pictures_without_a_face_give_none_at_any_size(networks: LandmarkNetworks, height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert networks.find(picture) == []
    assert networks.find(planes_of(picture)) == []


def test_a_picture_of_odd_size_measures_like_an_even_one(networks: LandmarkNetworks, face: Rgb) -> None:
    odd = face[: face.shape[0] // 2 * 2 - 1, : face.shape[1] // 2 * 2 - 1]
    assert distance_px(networks.find(planes_of(odd))[0].points, networks.find(face)[0].points) < 1


def test_a_face_cut_by_the_border_is_measured_or_missed_but_never_an_error(
    networks: LandmarkNetworks, material: Path
) -> None:
    portrait = portraits(material, 1)[0]
    found = []
    for left in range(-240, 0, 20):
        meshes = networks.find(planes_of(on_canvas(240, 320, (portrait, 0, left))))
        assert all(np.isfinite(mesh.points).all() for mesh in meshes)
        found.append(len(meshes))
    assert (found[0], found[-1]) == (0, 1)


def test_street_scenes_hold_next_to_no_faces(networks: LandmarkNetworks, material: Path) -> None:
    paths = sorted((material / "paired" / "camvid_256").rglob("*.jpg"))[::4]
    assert len(paths) > 50
    found = sum(bool(networks.find(cv2.imread(str(path))[..., ::-1])) for path in paths)
    assert found / len(paths) <= 0.01


def test_asking_for_blendshapes_that_were_not_loaded_says_so(networks: LandmarkNetworks, face: Rgb) -> None:
    mesh = networks.find(face)[0]
    with pytest.raises(ValueError, match="blendshapes=True"):
        LandmarkNetworks().blendshapes(mesh)


def test_a_damaged_task_file_is_refused_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "face_landmarker.task"
    damaged.write_bytes(TASK_PATH.read_bytes()[:-1] + b"x")
    monkeypatch.setattr("models.face_networks.TASK_PATH", damaged)
    with pytest.raises(ValueError, match="git checkout"):
        FaceNetworks(task_path=damaged)


def test_a_missing_task_file_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.task"):
        FaceNetworks(task_path=tmp_path / "nowhere.task")
