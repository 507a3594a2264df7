"""Where a filter works around a face, and what a drawing filter is shown."""

import numpy as np
import pytest

from benchmarks.pictures import face
from kernels.crop import UPRIGHT_SHARE, crop_transform, upright_region
from kernels.face_layout import _OUTLINES as OUTLINES
from kernels.face_layout import FACE_CLASSES, face_layout
from kernels.lines import line_drawing
from kernels.yuv import Region

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("roll", [0.0, 20.0, -35.0])
@pytest.mark.parametrize("eyes_px", [12.0, 40.0, 300.0])
def test_the_square_lies_around_the_crops_centre_and_does_not_turn_with_the_head(roll: float, eyes_px: float) -> None:
    landmarks = face(320.0, 240.0, eyes_px, roll=np.deg2rad(roll))
    region, to_crop = upright_region(landmarks), crop_transform(landmarks, 96)
    middle = np.array([(region.left + region.right - 1) / 2, (region.top + region.bottom - 1) / 2])
    scale = float(np.hypot(to_crop[0, 0], to_crop[1, 0]))
    # Edges go to even pixels: up to one and a half away from where they were, in each direction.
    assert np.abs(to_crop[:, :2] @ middle + to_crop[:, 2] - 47.5).max() <= 2.2 * scale
    assert abs(region.width - UPRIGHT_SHARE * 96 / scale) <= 2
    assert abs(region.height - region.width) <= 2
    assert all(edge % 2 == 0 for edge in region)


def test_a_square_may_leave_the_picture_and_no_face_is_refused() -> None:
    assert upright_region(face(0.0, 0.0, 40.0)).left < 0
    with pytest.raises(ValueError, match="not finite"):
        upright_region(np.full((478, 2), np.nan, np.float32))


def test_blank_paper_stays_blank_an_edge_is_a_line_and_dark_all_over_is_none() -> None:
    for level in (0, 30, 128, 255):
        # Two Gaussians of the same grey differ in the last bits.
        np.testing.assert_allclose(line_drawing(np.full((40, 50, 3), level, np.uint8)), 1.0, atol=1e-4)
    photo = np.full((40, 60, 3), 220, np.uint8)
    photo[:, 30:33] = 20
    drawn = line_drawing(photo)
    assert (drawn.shape, drawn.dtype) == ((40, 60), np.float32)
    assert drawn[:, 31].max() < 0.2
    assert min(drawn[:, :15].min(), drawn[:, 50:].min()) > 0.9999


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 53)])
def test_any_size_is_drawn_within_its_range(shape: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    drawn = line_drawing(photo)
    assert drawn.shape == shape
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0


def test_a_layout_has_one_class_in_every_pixel_and_each_where_its_landmarks_are() -> None:
    landmarks = face(320.0, 240.0, 60.0)
    centres = {"lips": (320.0, 290.0), "eyes": (290.0, 200.0), "left eye": (350.0, 200.0), "brows": (320.0, 170.0)}
    for name, (x, y) in centres.items():
        angles = np.linspace(0, 2 * np.pi, len(OUTLINES[name]), endpoint=False)
        landmarks[list(OUTLINES[name])] = np.stack([x + 20 * np.cos(angles), y + 8 * np.sin(angles)], 1)
    for name, (x, y) in {"irises": (290.0, 200.0), "left iris": (350.0, 200.0), "left brow": (320.0, 170.0)}.items():
        landmarks[list(OUTLINES[name])] = (x, y)
    centres["eyes"] = (320.0, centres.pop("left eye")[1])
    region = upright_region(landmarks)
    layout = face_layout(landmarks, region, (128, 128))
    assert (layout.shape, layout.dtype) == ((len(FACE_CLASSES), 128, 128), np.float32)
    assert (layout.sum(axis=0) == 1.0).all()
    for name, (x, y) in centres.items():
        drawn = np.argwhere(layout[FACE_CLASSES.index(name)])
        place = (np.array([y - region.top, x - region.left]) + 0.5) * 128 / region.width - 0.5
        assert np.abs(drawn.mean(axis=0) - place).max() < 3.0, name


def test_without_a_face_all_is_background() -> None:
    layout = face_layout(None, Region(0, 0, 100, 100), (20, 30))
    assert (layout[0] == 1.0).all()
    assert not layout[1:].any()
