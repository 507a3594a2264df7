"""The layout of a portrait: landmarks alone say where everything is, also what they do not show."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.pictures import face
from kernels.crop import upright_region
from kernels.portrait_layout import PORTRAIT_CLASSES, portrait_layout, portrait_region
from kernels.yuv import Region

pytestmark = pytest.mark.unit

SIZE = (128, 128)


def layout_of(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    return portrait_layout(landmarks, portrait_region(landmarks), SIZE)


def middle_of(layout: NDArray[np.float32], name: str) -> NDArray[np.float64]:
    """Row and column."""
    return np.asarray(np.argwhere(layout[PORTRAIT_CLASSES.index(name)]).mean(0), np.float64)


def test_every_pixel_has_one_class_and_hair_is_above_the_neck_above_the_clothes() -> None:
    layout = layout_of(face(320.0, 240.0, 60.0))
    assert (layout.shape, layout.dtype) == ((len(PORTRAIT_CLASSES), *SIZE), np.float32)
    assert (layout.sum(0) == 1.0).all()
    rows = [middle_of(layout, name)[0] for name in ("hair", "skin", "neck", "clothes")]
    assert rows == sorted(rows)


def test_without_a_face_all_is_background() -> None:
    layout = portrait_layout(None, Region(0, 0, 100, 100), (20, 30))
    assert (layout[0] == 1.0).all()
    assert not layout[1:].any()


@pytest.mark.parametrize(("x", "y", "eyes_px"), [(100.0, 80.0, 60.0), (320.0, 240.0, 120.0), (-30.0, 999.0, 20.0)])
def test_a_face_elsewhere_or_larger_has_nearly_the_same_layout(x: float, y: float, eyes_px: float) -> None:
    first, second = layout_of(face(320.0, 240.0, 60.0)), layout_of(face(x, y, eyes_px))
    # Squares have whole, even corners: outlines are off by a pixel.
    assert (first.argmax(0) != second.argmax(0)).mean() < 0.05


def test_a_head_that_tilts_takes_its_hair_along_and_leaves_its_clothes() -> None:
    still, tilted = layout_of(face(320.0, 240.0, 60.0)), layout_of(face(320.0, 240.0, 60.0, roll=0.3))
    assert middle_of(tilted, "hair")[1] > middle_of(still, "hair")[1] + 10
    assert np.abs(middle_of(tilted, "clothes") - middle_of(still, "clothes")).max() < 4


def test_a_head_that_turns_shows_more_hair_behind() -> None:
    landmarks = face(320.0, 240.0, 60.0)
    turned = landmarks.copy()
    # Towards the left: what is near moves left, temples and ears hardly do.
    nearer = [168, 6, 2, 98, 327, 64, 294]
    turned[nearer, 0] -= 18
    change = middle_of(layout_of(turned), "hair")[1] - middle_of(layout_of(landmarks), "hair")[1]
    assert change > 2


def test_the_square_of_a_portrait_is_around_that_of_its_face_and_even() -> None:
    landmarks = face(321.0, 239.0, 61.0)
    around, inner = portrait_region(landmarks), upright_region(landmarks)
    assert all(edge % 2 == 0 for edge in around)
    assert around.top < inner.top
    assert around.bottom > inner.bottom
    assert around.left < inner.left
    assert around.right > inner.right


def test_landmarks_that_are_no_face_have_no_square() -> None:
    with pytest.raises(ValueError, match="not finite"):
        portrait_region(np.full((478, 2), np.nan, np.float32))
