"""A face's box is all of the picture that its crop sees, and what comes back from it changes nothing else."""

import numpy as np
import pytest

from kernels.cuda import boxes
from kernels.cuda.jobs import crop_job, entries_of, packed_i420, packed_planes
from kernels.yuv import Planes, Region
from tests.kernels.cuda.host import crop_faces, packed_at

pytestmark = pytest.mark.unit

# Positions are float32 and counted from another corner: as `test_crop_face`, in units of the tensor.
_ATOL = 0.15 / 255


def noise_planes(height: int, width: int, seed: int = 0) -> Planes:
    random = np.random.default_rng(seed)
    half = (height + 1) // 2, (width + 1) // 2
    luma, blue, red = (random.integers(0, 256, shape, np.uint8) for shape in ((height, width), half, half))
    return luma, blue, red


def turned(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    a, b = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[a, b, x], [-b, a, y]], np.float32)


# Near and far (blocks of 1 to 8), upright and turned, inside, across each border and outside of it.
MAPS = [
    turned(0.4, 5, -60, -40),
    turned(1.3, -20, -50, -90),
    turned(0.12, 0, 4, 9),
    turned(0.17, 33, -10, 20),
    turned(0.5, 0, 30, 40),
    turned(0.5, 90, -120, 170),
    turned(0.6, 10, 400, 0),
    turned(0.6, 10, -400, -300),
]


@pytest.mark.parametrize("height_width", [(240, 320), (241, 319), (37, 53)])
@pytest.mark.parametrize("to_crop", MAPS)
def test_a_crop_of_the_box_is_the_crop_of_the_picture(to_crop: np.ndarray, height_width: tuple[int, int]) -> None:
    planes = noise_planes(*height_width)
    box = boxes.face_box([entries_of(to_crop)], 48, *height_width)
    assert not box.is_empty
    assert (box.top % 2, box.left % 2) == (0, 0)
    packed = np.full(boxes.box_bytes(box), 99, np.uint8)
    assert boxes.pack(planes, box, packed) == len(packed)
    at = packed_planes(boxes.planes_in(box, packed.ctypes.data))
    assert at == packed_i420(packed.ctypes.data, box.height, box.width)
    _, (whole,) = crop_faces([crop_job(packed_at(planes), entries_of(to_crop), 48)], 48, np.float32)
    _, (boxed,) = crop_faces([crop_job(at, boxes.inside(entries_of(to_crop), box), 48)], 48, np.float32)
    np.testing.assert_allclose(boxed, whole, atol=_ATOL)


def test_faces_that_share_a_box_are_cut_out_of_it_as_out_of_the_picture() -> None:
    planes = noise_planes(241, 319)
    shared = [MAPS[3], MAPS[4], MAPS[0]]
    box = boxes.face_box([entries_of(each) for each in shared], 48, 241, 319)
    packed = np.full(boxes.box_bytes(box), 99, np.uint8)
    boxes.pack(planes, box, packed)
    at = packed_planes(boxes.planes_in(box, packed.ctypes.data))
    for to_crop in shared:
        _, whole = crop_faces([crop_job(packed_at(planes), entries_of(to_crop), 48)], 48, np.float32)
        _, boxed = crop_faces([crop_job(at, boxes.inside(entries_of(to_crop), box), 48)], 48, np.float32)
        np.testing.assert_allclose(boxed, whole, atol=_ATOL)


def test_a_box_is_much_smaller_than_a_picture() -> None:
    box = boxes.face_box([entries_of(turned(96 / 300, 0, -60, -40))], 96, 1080, 1920)
    assert boxes.box_bytes(box) < 0.06 * 1080 * 1920 * 1.5


# Left, top, right and bottom in the box, which lies at the picture's corner: inside, all of it, at its end, nothing.
@pytest.mark.parametrize("region", [(60, 40, 120, 90), (0, 0, 225, 241), (200, 140, 225, 241), (60, 40, 60, 90)])
def test_only_the_changed_region_comes_back(region: tuple[int, int, int, int]) -> None:
    planes = noise_planes(241, 319)
    before = [plane.copy() for plane in planes]
    box = Region(0, 94, 241, 319)
    packed = np.full(boxes.box_bytes(box), 7, np.uint8)
    left, top, right, bottom = region
    changed = Region(top, left + 94, bottom, right + 94)
    assert boxes.unpack(packed, box, planes, region) == (0 if changed.is_empty else boxes.box_bytes(changed))
    for plane, old, view in zip(planes, before, (Region.of, Region.of_chroma, Region.of_chroma), strict=True):
        expected = old.copy()
        if not changed.is_empty:
            view(changed, expected)[...] = 7
        np.testing.assert_array_equal(plane, expected)
