"""The CUDA form of the masks, compiled for the host, against their definition; and the CPU form against it too."""

import numpy as np
import pytest

from kernels.cuda.mouth_jobs import blur_sums, draw_masks, masks_bytes
from kernels.paste import (
    OUTER_LIPS,
    fade_px,
    gaussian,
    lips_reach_px,
    mouth_mask,
    mouth_mask_definition,
    resting_mask,
    resting_mask_definition,
)
from tests.kernels.cuda.host import HostLauncher, check_guards, guarded
from tests.kernels.cuda.mouths import Landmarks, faces_of, mouth_face, real_faces, table_of

pytestmark = pytest.mark.unit

SIZES = [48, 96, 128, 192]
# Crossings are computed in float32, 2^-15 of a pixel of 384 and the hull's 1e-4; the curves double it and more, and an
# edge along a line of measurement moves by several times as much.
_ATOL = 1e-3
# OpenCV draws with eight bits and one pixel wide edges whose coverage strays by 0.17 (standard deviation over 200
# directions) and doubles at corners; a fade 2 px wide shows more of it than one of 5.
_CPU_MOST = {48: 0.45, 96: 0.2, 128: 0.2, 192: 0.15}
_CPU_MEAN = {48: 0.006, 96: 0.003, 128: 0.003, 192: 0.002}


def drawn(faces: list[Landmarks], size: int, block: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Run the kernels; gives the mouth masks and the resting masks [n, S, S], and holds what they must not write."""
    count = len(faces)
    masks, restings = (guarded(count, 1, size, np.float32) for _ in range(2))
    scratch = np.full(masks_bytes(count, size) + 64, 0xAB, np.uint8)
    table, sums = table_of(faces), blur_sums(size)
    draw_masks(
        HostLauncher("draw_masks", block),
        table.ctypes.data,
        (masks[1:].ctypes.data, restings[1:].ctypes.data),
        sums.ctypes.data,
        scratch.ctypes.data,
        faces=count,
        size=size,
    )
    for each in (masks, restings):
        check_guards(each)
    assert (scratch[-64:] == 0xAB).all(), "it writes behind its scratch"
    return masks[1:-1, 0], restings[1:-1, 0]


def test_the_sums_are_those_of_the_weights_that_the_cpu_blurs_with() -> None:
    for size in SIZES:
        fade, reach = np.split(blur_sums(size), [2 * fade_px(size) + 2])
        for sums, radius in ((fade, fade_px(size)), (reach, lips_reach_px(size))):
            assert (sums[0], sums[-1]) == (0.0, 1.0)
            np.testing.assert_allclose(np.diff(sums), gaussian(radius).ravel(), atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_masks_equal_the_definition(size: int) -> None:
    faces = faces_of(size)
    masks, restings = drawn(list(faces.values()), size)
    for (name, landmarks), mask, resting in zip(faces.items(), masks, restings, strict=True):
        np.testing.assert_allclose(mask, mouth_mask_definition(landmarks, size), atol=_ATOL, err_msg=name)
        np.testing.assert_allclose(resting, resting_mask_definition(landmarks, size), atol=_ATOL, err_msg=name)


def test_masks_of_small_and_odd_crops_equal_the_definition() -> None:
    for size in (2, 3, 17, 37):
        faces = [mouth_face(size), mouth_face(size, roll=0.4, gap=0.2)]
        for landmarks, mask, resting in zip(faces, *drawn(faces, size), strict=True):
            np.testing.assert_allclose(mask, mouth_mask_definition(landmarks, size), atol=_ATOL)
            np.testing.assert_allclose(resting, resting_mask_definition(landmarks, size), atol=_ATOL)


@pytest.mark.parametrize("block", [(16, 16), (64, 4), (7, 5), (1, 2)])
def test_every_block_shape_writes_the_same_and_everything(block: tuple[int, int]) -> None:
    faces = [mouth_face(49, gap=0.2), mouth_face(49, roll=0.3)]
    for found, reference in zip(drawn(faces, 49, block), drawn(faces, 49), strict=True):
        assert not np.isnan(found).any()
        np.testing.assert_array_equal(found, reference)


def test_many_faces_in_one_launch_equal_each_of_them_alone() -> None:
    faces = list(faces_of(48).values())
    together = drawn(faces, 48)
    for index, landmarks in enumerate(faces):
        for all_of_them, alone in zip(together, drawn([landmarks], 48), strict=True):
            np.testing.assert_array_equal(all_of_them[index], alone[0])


def test_lips_anywhere_have_the_hull_that_the_definition_draws() -> None:
    rng = np.random.default_rng(7)
    faces = []
    for spread in (0.0, 0.5, 3.0, 20.0, 60.0) * 4:
        landmarks = mouth_face(96)
        landmarks[OUTER_LIPS] = rng.normal(0.0, spread, (20, 2)) + rng.uniform(0, 96, 2)
        faces.append(landmarks.astype(np.float32))
    for landmarks, resting in zip(faces, drawn(faces, 96)[1], strict=True):
        np.testing.assert_allclose(resting, resting_mask_definition(landmarks, 96), atol=_ATOL)


def test_landmarks_far_away_leave_nothing_to_replace_and_everything_at_rest() -> None:
    masks, restings = drawn([np.full((478, 2), 1e7, np.float32)], 96)
    assert not masks.any()
    assert (restings == 1.0).all()


def test_points_that_are_no_numbers_write_nothing_but_masks() -> None:
    landmarks = mouth_face(48)
    landmarks[[14, 61, 152]] = np.nan
    drawn([landmarks, np.full((478, 2), np.nan, np.float32), np.full((478, 2), np.inf, np.float32)], 48)


@pytest.mark.parametrize("size", [96, 192])
def test_masks_of_real_faces_are_alike_on_the_card_and_by_the_cpu(size: int) -> None:
    faces = [landmarks for _, landmarks in real_faces(size)]
    for landmarks, mask, resting in zip(faces, *drawn(faces, size), strict=True):
        for found, by_cpu in ((mask, mouth_mask(landmarks, size)), (resting, resting_mask(landmarks, size))):
            assert np.abs(found - by_cpu).max() < _CPU_MOST[size]
            assert np.abs(found - by_cpu).mean() < _CPU_MEAN[size]


@pytest.mark.parametrize("size", SIZES)
def test_the_cpu_form_equals_the_definition(size: int) -> None:
    faces = faces_of(size)
    # OpenCV draws what lies within a rectangle, and an outline that crosses itself is inside where the other is not.
    for name in ("tangled", "far points", "all in one place"):
        del faces[name]
    for name, landmarks in faces.items():
        for found, expected in (
            (mouth_mask(landmarks, size), mouth_mask_definition(landmarks, size)),
            (resting_mask(landmarks, size), resting_mask_definition(landmarks, size)),
        ):
            assert np.abs(found - expected).max() < _CPU_MOST[size], name
            assert np.abs(found - expected).mean() < _CPU_MEAN[size], name
