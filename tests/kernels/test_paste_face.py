"""The mask, and the pasted mouth: what it reaches, what it must not touch, and that nobody sees a box."""

import cv2
import numpy as np
import pytest

from benchmarks.pictures import SHAPES, WIDE_OPEN, copied, face, noise_planes, smooth_planes
from kernels.crop import crop_face, crop_transform, in_crop
from kernels.light import match_light, match_light_definition
from kernels.paste import mouth_mask, paste_face, paste_face_definition
from kernels.warp import apply, rescaled, shrink_factors, warp_definition
from kernels.yuv import BT601_LIMITED, Colour, Planes, Region

pytestmark = pytest.mark.unit

SIZE = 96
MOUTH = (0, 13, 14, 17, 61, 291)
CHIN = 152


def _mask_of(landmarks: np.ndarray, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    to_crop = crop_transform(landmarks, size)
    return to_crop, mouth_mask(in_crop(landmarks, to_crop), size)


def _noise_crop(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [1, 2, 3, 16, 37, 96, 256])
@pytest.mark.parametrize("roll", [0.0, 0.8])
def test_mask_lies_in_the_lower_half_and_off_the_border(size: int, roll: float) -> None:
    for drop in (0.0, WIDE_OPEN):
        _, mask = _mask_of(face(200.0, 150.0, 60.0, roll=roll, jaw_drop=drop), size)

        assert mask.shape == (size, size)
        assert mask.dtype == np.float32
        assert mask.min() >= 0.0
        assert mask.max() <= 1.0
        assert not mask[: size // 2].any()
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()


@pytest.mark.parametrize("drop", [0.0, 0.2, 0.3, WIDE_OPEN])
@pytest.mark.parametrize("roll", [0.0, -0.5])
def test_mask_covers_the_mouth_and_the_chin_however_far_open(drop: float, roll: float) -> None:
    landmarks = face(200.0, 150.0, 60.0, roll=roll, jaw_drop=drop)
    to_crop, mask = _mask_of(landmarks)
    points = np.rint(in_crop(landmarks, to_crop)).astype(int)

    assert all(mask[points[i, 1], points[i, 0]] > 0.95 for i in MOUTH)
    # A jaw opened all the way ends at the crop's lower edge, where the mask must have faded.
    assert drop == WIDE_OPEN or mask[points[CHIN, 1] - 1, points[CHIN, 0]] > 0.8


def test_mask_ends_inside_the_cheeks_and_just_below_the_chin() -> None:
    landmarks = face(200.0, 150.0, 60.0)
    to_crop, mask = _mask_of(landmarks)
    points = in_crop(landmarks, to_crop)
    rows, columns = np.nonzero(mask)

    # A filled polygon counts the pixels that its edge runs through.
    assert columns.min() > points[[187, 192, 138, 172], 0].min() - 0.5
    assert columns.max() < points[[411, 416, 367, 397], 0].max() + 0.5
    assert points[CHIN, 1] < rows.max() <= points[CHIN, 1] + 0.06 * SIZE


def test_mask_fades_without_a_step() -> None:
    _, mask = _mask_of(face(200.0, 150.0, 60.0))

    # Over a fade of 5 pixels a smooth step rises by at most 1.5 / 5 a pixel; corners are steeper.
    assert max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1)) < 0.5


def test_mask_of_a_bowed_head_begins_below_its_nose() -> None:
    landmarks = in_crop(face(200.0, 150.0, 60.0), crop_transform(face(200.0, 150.0, 60.0), SIZE))
    landmarks[1, 1] = 60.0

    assert not mouth_mask(landmarks, SIZE)[:60].any()


def test_mask_of_landmarks_far_away_is_empty() -> None:
    assert not mouth_mask(np.full((478, 2), 1e7, np.float32), SIZE).any()


@pytest.mark.parametrize("shape", [*SHAPES, (240, 320)])
@pytest.mark.parametrize("eyes_px", [2.0, 9.0, 25.0, 60.0, 150.0])
def test_paste_equals_the_definition(shape: tuple[int, int], eyes_px: float) -> None:
    height, width = shape
    for number, (x, y) in enumerate([(width / 2, height / 3), (width * 1.05, -0.3 * eyes_px)]):
        to_crop, mask = _mask_of(face(x, y, eyes_px, roll=0.5 * number))
        generated, original = (smooth_crop(seed) for seed in (1, 2))
        planes = noise_planes(height, width, strided=True)
        expected = paste_face_definition(planes, generated, original, to_crop, mask)

        paste_face(planes, generated, original, to_crop, mask)

        for plane, wanted in zip(planes, expected, strict=True):
            # Half a level each for the light, the doubling, the warp (more when halving) and the mix, and half a
            # 255th of the weight times the contrast of noise.
            np.testing.assert_allclose(plane, wanted, atol=3.0)


def smooth_crop(seed: int, size: int = SIZE) -> np.ndarray:
    planes = smooth_planes(size, size, seed)
    return crop_face(planes, np.array([[1, 0, 0], [0, 1, 0]], np.float32), size)


@pytest.mark.parametrize("shape", [(37, 53), (97, 95), (240, 320)])
@pytest.mark.parametrize("eyes_px", [9.0, 25.0, 60.0])
@pytest.mark.parametrize("roll", [0.0, 0.7])
def test_where_the_mask_is_zero_every_byte_stays(shape: tuple[int, int], eyes_px: float, roll: float) -> None:
    height, width = shape
    to_crop, mask = _mask_of(face(width / 2, height / 2, eyes_px, roll=roll))
    planes = noise_planes(height, width)
    before = copied(planes)

    region = paste_face(planes, _noise_crop(1), _noise_crop(2), to_crop, mask)

    # As far as interpolation between pixels of the (doubled) crop can carry the mask, on the frame's grid.
    doubled = cv2.dilate((mask > 0).astype(np.uint8).repeat(2, 0).repeat(2, 1), np.ones((3, 3), np.uint8)) * 255
    if shrink_factors(to_crop) != (1, 0.0):
        doubled = cv2.dilate(doubled, np.ones((9, 9), np.uint8))
    support = warp_definition(np.asarray(doubled, np.uint8), rescaled(to_crop, to_pixel=0.5), height, width) > 0
    changed = [plane != old for plane, old in zip(planes, before, strict=True)]
    assert changed[0].any()
    assert not changed[0][~support].any()
    whole = np.pad(support, ((0, height % 2), (0, width % 2)), mode="edge")
    all_four = whole[::2, ::2] & whole[1::2, ::2] & whole[::2, 1::2] & whole[1::2, 1::2]
    for plane in changed[1:]:
        assert plane.any()
        assert not plane[~all_four].any()
    outside = np.ones(shape, bool)
    region.of(outside)[...] = False
    assert not changed[0][outside].any()


def test_strided_planes_are_written_in_place_and_nothing_beside_them() -> None:
    backing = np.zeros((3, 64, 80), np.uint8)
    planes: Planes = (backing[0, :60, :62], backing[1, :30, :31], backing[2, :30, :31])
    to_crop, mask = _mask_of(face(31.0, 25.0, 20.0))

    paste_face(planes, np.full((SIZE, SIZE, 3), 200, np.uint8), np.zeros((SIZE, SIZE, 3), np.uint8), to_crop, mask)

    assert backing[0, :60, :62].any()
    backing[0, :60, :62] = backing[1, :30, :31] = backing[2, :30, :31] = 0
    assert not backing.any()


@pytest.mark.parametrize(("x", "y"), [(-500.0, 50.0), (50.0, -500.0), (5000.0, 5000.0)])
def test_a_face_outside_the_picture_touches_nothing(x: float, y: float) -> None:
    to_crop, mask = _mask_of(face(x, y, 20.0))
    planes = noise_planes(97, 95)
    before = copied(planes)

    assert paste_face(planes, _noise_crop(1), _noise_crop(2), to_crop, mask).is_empty
    assert all(np.array_equal(a, b) for a, b in zip(planes, before, strict=True))


def test_an_empty_mask_touches_nothing() -> None:
    planes = noise_planes(97, 95)
    before = copied(planes)
    to_crop, mask = _mask_of(face(48.0, 40.0, 20.0))

    assert paste_face(planes, _noise_crop(1), _noise_crop(2), to_crop, np.zeros_like(mask)) == Region(0, 0, 0, 0)
    assert all(np.array_equal(a, b) for a, b in zip(planes, before, strict=True))


@pytest.mark.parametrize("colour", [BT601_LIMITED, Colour("bt709"), Colour("bt601", full_range=True)], ids=str)
@pytest.mark.parametrize("eyes_px", [20.0, 60.0])
def test_pasting_the_original_back_shows_no_difference(colour: Colour, eyes_px: float) -> None:
    planes = smooth_planes(240, 320)
    before = copied(planes)
    to_crop, mask = _mask_of(face(160.0, 100.0, eyes_px, roll=0.3))
    original = crop_face(planes, to_crop, SIZE, colour)

    paste_face(planes, original, original, to_crop, mask, colour)

    # Waves of a few dozen pixels pass the crop's grid nearly unharmed; saturated chroma is clipped in RGB.
    difference = planes[0].astype(int) - before[0]
    assert np.abs(difference).mean() < 0.5
    assert np.abs(difference).max() <= 8


@pytest.mark.parametrize("light", [(25, 25, 25), (-20, 10, 30)])
def test_another_light_on_the_generated_face_leaves_no_seam(light: tuple[int, int, int]) -> None:
    planes = smooth_planes(240, 320)
    before = copied(planes)
    to_crop, mask = _mask_of(face(160.0, 100.0, 60.0))
    original = crop_face(planes, to_crop, SIZE)
    # Brighter to the left than to the right as well.
    slope = np.linspace(12, -12, SIZE)[None, :, None]
    generated = np.clip(original + np.array(light) + slope, 0, 255).astype(np.uint8)

    paste_face(planes, generated, original, to_crop, mask)

    difference = np.abs(planes[0].astype(int) - before[0])
    assert difference.mean() < 1.0
    assert difference.max() <= 10


@pytest.mark.parametrize("size", [96, 192])
def test_light_equals_the_definition(size: int) -> None:
    _, mask = _mask_of(face(160.0, 100.0, 60.0), size)
    generated, original = smooth_crop(3, size), smooth_crop(4, size)

    matched = np.dstack(match_light(generated, original, mask))

    # Half a level of rounding, and sums of 9,216 products in float32.
    np.testing.assert_allclose(matched, match_light_definition(generated, original, mask), atol=0.6)


def test_a_part_is_lit_as_it_is_in_the_whole() -> None:
    _, mask = _mask_of(face(160.0, 100.0, 60.0), 192)
    generated, original = smooth_crop(3, 192), smooth_crop(4, 192)
    part = slice(80, 192), slice(20, 176)
    outside = mask.copy()
    outside[part] = 0.0
    assert not outside.any()

    whole = match_light(generated, original, mask)
    lit = match_light(generated[part], original[part], mask, part)

    # float32 sums in another order: a value next to a half may round the other way.
    for plane, wanted in zip(lit, whole, strict=True):
        np.testing.assert_allclose(plane.astype(int), wanted[part], atol=1)


def test_without_a_rim_the_light_stays() -> None:
    generated, original = _noise_crop(1), _noise_crop(2)

    for flat in (0.0, 1.0):
        matched = match_light(generated, original, np.full((SIZE, SIZE), flat, np.float32))
        assert np.array_equal(np.dstack(matched), generated)


def test_a_different_mouth_does_not_change_the_light() -> None:
    """What differs in the middle of the mask is what the generator was asked for."""
    _, mask = _mask_of(face(160.0, 100.0, 60.0))
    original = smooth_crop(5)
    generated = original.copy()
    generated[58:66, 40:56] = 20

    assert np.array_equal(np.dstack(match_light(generated, original, mask)), generated)


def test_the_mouth_lands_where_the_face_is() -> None:
    grey = np.full((120, 160), 128, np.uint8)
    planes: Planes = (np.zeros((240, 320), np.uint8), grey, grey.copy())
    landmarks = face(160.0, 100.0, 60.0, roll=0.6)
    to_crop, mask = _mask_of(landmarks)
    generated = np.zeros((SIZE, SIZE, 3), np.uint8)
    mouth = np.rint(in_crop(landmarks, to_crop)[13]).astype(int)
    generated[mouth[1] - 1 : mouth[1] + 2, mouth[0] - 1 : mouth[0] + 2] = 255

    paste_face(planes, generated, np.zeros_like(generated), to_crop, mask)

    bright = planes[0].astype(float) - 16
    rows, columns = np.nonzero(bright > 100)
    centre = apply(to_crop, np.array([[columns.mean(), rows.mean()]]))[0]
    np.testing.assert_allclose(centre, mouth, atol=0.3)
