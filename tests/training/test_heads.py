"""Synthetic heads: the truth is where the pixels are, closed lips hide the teeth, and a photograph stays one."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.landmarks import LandmarkNetworks
from training.data import head_renderer
from training.data.clips import MaterialError
from training.data.head_colours import INNER_LIPS, OUTER_LIPS, without_teeth
from training.data.head_fit import CAMERA_DISTANCE, Pose, project
from training.data.head_model import HeadModel, load_head_model
from training.data.head_motion import MANNERS, Manner, MouthShaper, talking
from training.data.head_photo import develop
from training.data.head_renderer import HeadRenderer, RendererError
from training.data.heads import Head, Moment, make_head, varied
from training.data.mouth import mouth_opening, mouth_width

pytestmark = pytest.mark.unit

SIDE = 256
# A man who shows his teeth, and a closed mouth.
SMILING, CLOSED = "A000055", "M001212"
LOOSE = Manner({})


@pytest.fixture(scope="module")
def model(material: Path) -> HeadModel:
    return load_head_model(material / "mesh")


@pytest.fixture(scope="module")
def networks() -> LandmarkNetworks:
    return LandmarkNetworks(precision="f32")


def _head(model: HeadModel, networks: LandmarkNetworks, material: Path, name: str) -> tuple[Head, np.ndarray]:
    portrait = cv2.cvtColor(cv2.imread(str(material / f"faces/congress118_256/{name}.jpg")), cv2.COLOR_BGR2RGB)
    landmarks = networks.find(portrait)[0].points[:, :2]
    return make_head(model, portrait, landmarks), landmarks


@pytest.fixture(scope="module")
def smiling(model: HeadModel, networks: LandmarkNetworks, material: Path) -> tuple[Head, np.ndarray]:
    return _head(model, networks, material, SMILING)


@pytest.fixture(scope="module")
def closed(model: HeadModel, networks: LandmarkNetworks, material: Path) -> tuple[Head, np.ndarray]:
    return _head(model, networks, material, CLOSED)


@pytest.fixture(scope="module")
def renderer(model: HeadModel) -> Iterator[HeadRenderer]:
    with HeadRenderer(model, SIDE) as made:
        yield made


def test_a_nearer_point_is_further_from_the_middle() -> None:
    pose = Pose((0.0, 0.0, 0.0), 10.0, (100.0, 50.0))
    far, near = project(np.array([[1.0, 2.0, 0.0], [1.0, 2.0, CAMERA_DISTANCE / 5]]), pose)
    np.testing.assert_allclose(far[:2], [110, 30])
    np.testing.assert_allclose(near[:2], [112.5, 25])


def test_a_head_that_turns_to_its_left_shows_its_right_to_the_middle() -> None:
    nose = Pose((0.0, 0.3, 0.0), 10.0, (0.0, 0.0)).turned(np.array([[0.0, 0.0, 10.0]]))
    assert nose[0, 0] > 2


def test_a_map_without_motion_is_the_portrait_enlarged() -> None:
    portrait = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    portrait = cv2.GaussianBlur(portrait, (0, 0), 2)
    place, drawn = np.zeros((64, 64, 4), np.float32), np.zeros((64, 64, 4), np.uint8)
    found = develop(portrait, place, drawn, 32)
    wanted = cv2.resize(portrait, (32, 32), interpolation=cv2.INTER_CUBIC)
    # Enlarged to 64 and averaged down is not quite the same filter.
    assert np.abs(found.astype(int) - wanted)[2:-2, 2:-2].max() <= 4


def test_what_moves_drags_its_surroundings_but_not_the_edge_of_the_picture() -> None:
    portrait = np.tile(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], (128, 1, 3))
    place, drawn = np.zeros((128, 128, 4), np.float32), np.zeros((128, 128, 4), np.uint8)
    columns, rows = np.meshgrid(np.arange(54, 74), np.arange(54, 74))
    place[54:74, 54:74] = np.dstack([columns - 4, rows, np.ones_like(rows), np.ones_like(rows)])
    still = develop(portrait, np.zeros_like(place), drawn, 128)
    moved = develop(portrait, place, drawn, 128)
    assert (still[64, 64] - moved[64, 64] == 8).all()
    assert still[64, 80, 0] - moved[64, 80, 0] in range(1, 8)
    np.testing.assert_array_equal(moved[:, :10], still[:, :10])


def test_teeth_in_the_portrait_become_lips() -> None:
    landmarks = np.zeros((478, 2), np.float32)
    for ring, tall in ((OUTER_LIPS, 12), (INNER_LIPS, 5)):
        angles = np.linspace(np.pi, -np.pi, len(ring), endpoint=False)
        landmarks[list(ring)] = np.stack([32 + 20 * np.cos(angles), 32 - tall * np.sin(angles)], 1)
    portrait = np.full((64, 64, 3), (200, 150, 120), np.uint8)
    cv2.fillPoly(portrait, [np.rint(landmarks[list(OUTER_LIPS)]).astype(np.int32)], (170, 70, 70))
    cv2.fillPoly(portrait, [np.rint(landmarks[list(INNER_LIPS)]).astype(np.int32)], (230, 225, 215))
    cleaned = without_teeth(portrait, landmarks)
    assert cleaned[32, 32, 1] < 100
    np.testing.assert_array_equal(cleaned[:15], portrait[:15])


def test_a_folder_without_the_mesh_is_named(tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match=r"ict_facekit_compact\.npz"):
        load_head_model(tmp_path)


def test_a_shape_that_does_not_exist_is_refused(model: HeadModel) -> None:
    with pytest.raises(KeyError, match="mouthClosed"):
        model.weights({"mouthClosed": 1.0})


def test_the_fitted_mesh_lies_on_the_landmarks(smiling: tuple[Head, np.ndarray], renderer: HeadRenderer) -> None:
    head, landmarks = smiling
    view = renderer.draw(head, Moment())
    assert mouth_opening(view.landmarks) == pytest.approx(mouth_opening(landmarks), abs=0.003)
    assert mouth_width(view.landmarks) == pytest.approx(mouth_width(landmarks), abs=0.01)
    assert np.linalg.norm(view.landmarks - landmarks, axis=1).max() < 1.5


def test_without_motion_the_picture_is_the_portrait(smiling: tuple[Head, np.ndarray], renderer: HeadRenderer) -> None:
    head, landmarks = smiling
    off = np.abs(renderer.draw(head, Moment()).picture.astype(int) - head.portrait)
    mouth = cv2.boundingRect(np.rint(landmarks[list(OUTER_LIPS)]).astype(np.int32))
    off[mouth[1] - 3 : mouth[1] + mouth[3] + 3, mouth[0] - 3 : mouth[0] + mouth[2] + 3] = 0
    # Cubic up and averaged down softens edges a little.
    assert off.mean() < 1.5


@pytest.mark.parametrize("point", [1, 50, 280, 17, 0, 200])
def test_a_mark_on_the_skin_is_drawn_where_the_truth_says(
    model: HeadModel, smiling: tuple[Head, np.ndarray], renderer: HeadRenderer, point: int
) -> None:
    head, _ = smiling
    x, y = head.fit.landmarks(head.fit.places)[point]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    dot = 200 * np.exp(-(np.square(columns - x) + np.square(rows - y)) / 8)
    dark = np.zeros(3, np.float32)
    marked = replace(head, teeth=dark, flesh=dark, portrait=np.repeat(dot[..., None], 3, 2).astype(np.uint8))
    moment = Moment(
        model.weights({"jawOpen": 0.4, "mouthSmile": 0.3}), turn=(0.06, -0.1, 0.05), shift=(0.03, 0.02, 0.02)
    )
    view = renderer.draw(marked, moment)
    bright = view.picture[..., 0] > 90
    assert bright.any()
    found = np.argwhere(bright).mean(0)[::-1]
    # The dot is stretched by the skin it is on.
    np.testing.assert_allclose(found, view.landmarks[point], atol=1.0)


@pytest.mark.parametrize("who", ["smiling", "closed"])
@pytest.mark.parametrize("phone", ["P", "M", ""])
def test_closed_lips_hide_the_teeth(
    model: HeadModel, renderer: HeadRenderer, request: pytest.FixtureRequest, who: str, phone: str
) -> None:
    head, _ = request.getfixturevalue(who)
    shaper = MouthShaper(model, head)
    shut, opened = (
        Moment(shaper.weights(opening, shaper.rest_width, MANNERS.get(phone, LOOSE))) for opening in (0.0, 0.1)
    )
    white, black = (replace(head, teeth=np.full(3, level, np.float32)) for level in (255, 0))

    def teeth_seen(moment: Moment) -> int:
        off = renderer.draw(white, moment).picture.astype(int) - renderer.draw(black, moment).picture
        return int((np.abs(off).max(2) > 12).sum())

    assert renderer.draw(head, shut).opening == 0
    assert teeth_seen(shut) <= 4
    assert teeth_seen(opened) > 40


@pytest.mark.parametrize("opening", [0.03, 0.08, 0.15, 0.25])
@pytest.mark.parametrize("phone", ["AA", "UW", "IY", "TH"])
def test_the_mouth_opens_as_far_and_as_wide_as_asked(
    model: HeadModel, smiling: tuple[Head, np.ndarray], renderer: HeadRenderer, opening: float, phone: str
) -> None:
    head, _ = smiling
    shaper = MouthShaper(model, head)
    width = shaper.rest_width * 0.95
    view = renderer.draw(head, Moment(shaper.weights(opening, width, MANNERS.get(phone, LOOSE))))
    # The solver sees a parallel projection.
    assert view.opening == pytest.approx(opening, rel=0.1, abs=0.003)
    assert mouth_width(view.landmarks) == pytest.approx(width, rel=0.04)


def test_the_landmark_network_reads_the_opening_that_the_geometry_has(
    model: HeadModel, networks: LandmarkNetworks, smiling: tuple[Head, np.ndarray], renderer: HeadRenderer
) -> None:
    head, _ = smiling
    shaper = MouthShaper(model, head)
    views = [renderer.draw(head, Moment(shaper.weights(each, shaper.rest_width))) for each in np.linspace(0, 0.25, 9)]
    read = [mouth_opening(networks.find(view.picture)[0].points[:, :2]) for view in views]
    true = [view.opening for view in views]
    assert np.corrcoef(read, true)[0, 1] > 0.97
    assert abs(np.mean(read) - np.mean(true)) < 0.02


def test_the_edge_of_the_picture_stays_as_it_was(
    model: HeadModel, smiling: tuple[Head, np.ndarray], renderer: HeadRenderer
) -> None:
    head, _ = smiling
    still = renderer.draw(head, Moment()).picture
    moved = renderer.draw(head, Moment(model.weights({"jawOpen": 0.3}), light=(0.2, 0, 0))).picture
    assert (moved[150:220] != still[150:220]).any()
    np.testing.assert_array_equal(moved[:, :4], still[:, :4])
    np.testing.assert_array_equal(moved[-2:], still[-2:])


def test_the_same_seed_gives_the_same_pictures_and_another_does_not(
    model: HeadModel, smiling: tuple[Head, np.ndarray], renderer: HeadRenderer
) -> None:
    head, _ = smiling
    mouths = np.stack([np.linspace(0, 0.1, 4), np.ones(4)], 1).astype(np.float32)

    def last(seed: int) -> np.ndarray:
        moments = talking(model, head, mouths, ["", "M", "AA", "L"], 25.0, np.random.default_rng(seed))
        return renderer.draw(head, moments[-1]).picture

    np.testing.assert_array_equal(last(1), last(1))
    assert (last(1) != last(2)).mean() > 0.1


def test_another_identity_changes_the_face_and_keeps_the_asked_opening(
    model: HeadModel, smiling: tuple[Head, np.ndarray], renderer: HeadRenderer
) -> None:
    head, _ = smiling
    other = varied(model, head, np.random.default_rng(0).normal(0, 0.7, 100).astype(np.float32))
    shaper = MouthShaper(model, other)
    view = renderer.draw(other, Moment(shaper.weights(0.1, shaper.rest_width)))
    assert view.opening == pytest.approx(0.1, rel=0.1)
    assert np.abs(view.landmarks - renderer.draw(head, Moment()).landmarks).mean() > 0.5


def test_a_raised_tongue_is_seen(model: HeadModel, smiling: tuple[Head, np.ndarray], renderer: HeadRenderer) -> None:
    head, _ = smiling
    weights = MouthShaper(model, head).weights(0.12, 0.6)
    low, high = (renderer.draw(head, Moment(weights, tongue=tongue)).picture for tongue in ((0.0, 0.0), (1.0, 1.0)))
    changed = np.argwhere(np.abs(high.astype(int) - low).max(2) > 8)
    assert len(changed) > 30
    inner = renderer.draw(head, Moment(weights)).landmarks[list(INNER_LIPS)]
    # Changes lie between the lips.
    assert (changed.min(0)[::-1] >= inner.min(0) - 3).all()
    assert (changed.max(0)[::-1] <= inner.max(0) + 3).all()


def test_without_the_renderer_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, model: HeadModel) -> None:
    monkeypatch.setitem(sys.modules, "moderngl", None)
    with pytest.raises(RendererError, match=r"moderngl is not installed.*pip install 'visavis\[train\]'"):
        HeadRenderer(model, SIDE)


def test_without_a_driver_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, model: HeadModel) -> None:
    monkeypatch.setitem(head_renderer.LIBRARIES, "libegl", "libEGL-none.so.9")
    with pytest.raises(RendererError, match=r"no context could be made .*apt-get install libegl1"):
        HeadRenderer(model, SIDE)
