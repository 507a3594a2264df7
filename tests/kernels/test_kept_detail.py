"""The original's fine structure: kept where the generated picture agrees, gone where it does not, never on the lips."""

import cv2
import numpy as np
import pytest

from benchmarks.pictures import copied, face, smooth_planes
from kernels.crop import crop_face, crop_transform, in_crop
from kernels.detail import kept_detail, kept_detail_definition
from kernels.paste import mouth_mask, paste_face, paste_face_definition, resting_mask
from kernels.yuv import Planes

pytestmark = pytest.mark.unit

SIZE = 96


def _noise(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def _textured(seed: int) -> Planes:
    """A smooth picture with a fine grain on its luma, like skin and beard."""
    luma, *chroma = smooth_planes(480, 640)
    grain = np.random.default_rng(seed).normal(0.0, 12.0, luma.shape)
    return np.clip(luma.astype(np.float64) * 0.5 + 64.0 + grain, 0, 255).astype(np.uint8), *chroma


def _softened(picture: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), 2.0)


@pytest.mark.parametrize("size", [37, 96, 192])
def test_kept_detail_equals_the_definition(size: int) -> None:
    generated, original = _softened(_noise(1, size)), _softened(_noise(2, size))

    kept, change = kept_detail(generated, original, size)
    wanted_kept, wanted_change = kept_detail_definition(generated, original)

    # float32 sums of at most 35 x 35 bytes.
    np.testing.assert_allclose(change, wanted_change, atol=1e-3)
    np.testing.assert_allclose(kept, wanted_kept, atol=1e-4)


def test_a_softer_picture_of_the_same_face_says_nothing_new() -> None:
    original = 96 + _noise(3) // 4
    kept, change = kept_detail(_softened(original), original, SIZE)

    assert kept.min() > 0.9
    assert np.abs(change).max() < 6.0


def test_another_mouth_is_new() -> None:
    original = np.full((SIZE, SIZE), 150, np.uint8)
    generated = original.copy()
    cv2.ellipse(generated, (48, 66), (14, 7), 0, 0, 360, 40, -1)

    kept, _ = kept_detail(generated, original, SIZE)

    assert kept[66, 48] < 0.01
    assert kept[20, 20] > 0.99


def test_nothing_stays_on_the_lips_however_far_open() -> None:
    for drop in (0.0, 0.2):
        landmarks = face(200.0, 150.0, 60.0, jaw_drop=drop)
        points = in_crop(landmarks, crop_transform(landmarks, SIZE))
        resting = resting_mask(points, SIZE)
        lips = np.rint(points[[0, 13, 14, 17, 61, 291]]).astype(int)

        assert resting[lips[:, 1], lips[:, 0]].max() == 0.0
        assert resting[:40].min() == 1.0


def _pasted(drop_pixels: int) -> tuple[Planes, Planes, np.ndarray, np.ndarray]:
    """Paste a softened copy of the original, darkened where the mouth opens; return what was and what is."""
    planes = _textured(5)
    landmarks = face(320.0, 200.0, 80.0)
    to_crop = crop_transform(landmarks, SIZE)
    original = crop_face(planes, to_crop, SIZE)
    points = in_crop(landmarks, to_crop)
    generated = _softened(original)
    centre = np.rint(points[[13, 14]].mean(axis=0)).astype(int)
    cv2.ellipse(generated, (int(centre[0]), int(centre[1])), (12, drop_pixels), 0, 0, 360, (20, 10, 10), -1)
    before = copied(planes)
    paste_face(planes, generated, original, to_crop, mouth_mask(points, SIZE), resting=resting_mask(points, SIZE))
    return before, planes, landmarks, to_crop


def _grain(luma: np.ndarray, at: np.ndarray) -> float:
    x, y = np.rint(at).astype(int)
    patch = luma[y - 8 : y + 9, x - 8 : x + 9].astype(np.float64)
    return float((patch - cv2.GaussianBlur(patch, (0, 0), 2.0)).std())


def test_the_chin_keeps_its_grain_and_the_mouth_takes_the_new_picture() -> None:
    before, after, landmarks, _ = _pasted(6)
    chin, mouth = landmarks[199], landmarks[[13, 14]].mean(axis=0)

    assert _grain(after[0], chin) > 0.8 * _grain(before[0], chin)
    x, y = np.rint(mouth).astype(int)
    assert after[0][y, x] < before[0][y, x] - 60


def test_every_byte_outside_the_mask_stays() -> None:
    before, after, landmarks, to_crop = _pasted(6)
    mask = mouth_mask(in_crop(landmarks, to_crop), SIZE)
    # A frame pixel lies outside where no crop pixel within two of its own carries weight.
    reach = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    outside = cv2.warpAffine(reach, to_crop, (640, 480), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) == 0

    assert np.array_equal(before[0][outside], after[0][outside])
    assert not np.array_equal(before[0], after[0])


@pytest.mark.parametrize("size", [96, 192])
@pytest.mark.parametrize("eyes_px", [25.0, 60.0, 150.0])
def test_a_paste_that_keeps_detail_equals_the_definition(size: int, eyes_px: float) -> None:
    planes = _textured(6)
    landmarks = face(320.0, 200.0, eyes_px, roll=0.4)
    to_crop = crop_transform(landmarks, size)
    points = in_crop(landmarks, to_crop)
    original = crop_face(planes, to_crop, size)
    generated = cv2.addWeighted(
        _softened(original), 0.8, crop_face(smooth_planes(480, 640, 9), to_crop, size), 0.2, 0.0
    )
    mask, resting = mouth_mask(points, size), resting_mask(points, size)
    wanted = paste_face_definition(planes, generated, original, to_crop, mask, resting=resting)

    paste_face(planes, generated, original, to_crop, mask, resting=resting)

    for plane, expected in zip(planes, wanted, strict=True):
        # Half a level each for YUV, the light, the doubling, the warp and the mix, an eighth for how it moves, and the
        # part beside the mask that is mirrored where the definition goes on.
        np.testing.assert_allclose(plane, expected, atol=3.0)
