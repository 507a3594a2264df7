"""The CUDA form of `close_mouth`, compiled for the host, against the definition; and the CPU form against it too."""

import ctypes

import numpy as np
import pytest

from kernels.cuda.mouth_jobs import MOUTH_POINTS, MouthJob, close_mouths, closing_bytes, mouth_table
from kernels.mouth import JAW, LOWER_INNER, UPPER_INNER, close_mouth, close_mouth_definition
from kernels.paste import NOSE, OUTER_LIPS, OUTLINE
from tests.kernels.cuda.host import HostLauncher, addresses, check_guards, guarded, library
from tests.kernels.cuda.mouths import Landmarks, faces_of, mouth_face, real_faces, table_of

pytestmark = pytest.mark.unit

SIZES = [48, 96, 128, 192]
# Where a pixel comes from is computed in float32: 2^-16 of a row of 192, several times over, times a step of 1.
_ATOL = 1e-4
# Halves of up to 1 are 2^-11 apart and rounded once more.
_HALF_ATOL = 2.0**-12 + _ATOL
# Between points 90,000 pixels away float32 has hundredths of a row.
_FAR_ATOL = 0.05


def noise(size: int, faces: int = 1, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """Crops [n, 3, S, S] in [0, 1]."""
    return np.random.default_rng(size).random((faces, 3, size, size)).astype(dtype)


def closed(
    wholes: np.ndarray, faces: list[Landmarks], opening_px: float = 0.0, block: tuple[int, int] | None = None
) -> np.ndarray:
    """Run the kernels; gives channels 3 to 5 of the generator's input, and holds what they must not write."""
    count, _, size, _ = wholes.shape
    dtype = wholes.dtype.type
    inputs = guarded(count, 6, size, dtype)
    scratch = np.full(closing_bytes(count, size) + 64, 0xAB, np.uint8)
    table = table_of(faces, opening_px)
    tables = [addresses(list(each)) for each in (wholes, inputs[1:-1])]
    close_mouths(
        HostLauncher("close_mouth", block),
        table.ctypes.data,
        (ctypes.addressof(tables[0]), ctypes.addressof(tables[1])),
        scratch.ctypes.data,
        faces=count,
        size=size,
        half=dtype is np.float16,
    )
    check_guards(inputs)
    assert np.isnan(inputs[:, :3]).all(), "it writes what the generator is shown of the person"
    assert (scratch[-64:] == 0xAB).all(), "it writes behind its scratch"
    return inputs[1:-1, 3:]


def wanted(whole: np.ndarray, landmarks: Landmarks, opening_px: float = 0.0) -> np.ndarray:
    """float64 [3, S, S]."""
    return close_mouth_definition(whole.transpose(1, 2, 0), landmarks, opening_px).transpose(2, 0, 1)


def test_a_job_lies_in_memory_as_the_kernels_read_it() -> None:
    for stem in ("close_mouth", "draw_masks"):
        size = library(stem).size_of_MouthJob
        size.restype = ctypes.c_ulong
        assert size() == ctypes.sizeof(MouthJob) == mouth_table(1).nbytes
    assert MouthJob.opening_px.offset == 4 * 126


def test_a_job_has_its_points_where_the_kernels_look_for_them() -> None:
    landmarks = np.arange(956, dtype=np.float32).reshape(478, 2)
    points = table_of([landmarks], 3.0)[0, :126].reshape(63, 2)
    places = {0: UPPER_INNER, 11: LOWER_INNER, 22: OUTLINE, 25: JAW, 41: OUTER_LIPS, 61: NOSE}
    for first, run in places.items():
        np.testing.assert_array_equal(points[first : first + len(run)], landmarks[list(run)])
    assert MOUTH_POINTS[[5, 16]].tolist() == [13, 14]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opening", [0.0, 0.04])
def test_closing_equals_the_definition(size: int, opening: float) -> None:
    faces = faces_of(size)
    wholes = noise(size, len(faces))
    found = closed(wholes, list(faces.values()), opening * size)
    for (name, landmarks), whole, result in zip(faces.items(), wholes, found, strict=True):
        atol = _FAR_ATOL if name == "far points" else _ATOL
        np.testing.assert_allclose(result, wanted(whole, landmarks, opening * size), atol=atol, err_msg=name)


@pytest.mark.parametrize("name", ["shut", "out of the picture", "all in one place"])
def test_a_mouth_that_is_shut_or_outside_leaves_every_bit(name: str) -> None:
    for dtype in (np.float32, np.float16):
        whole = noise(96, dtype=dtype)
        np.testing.assert_array_equal(closed(whole, [faces_of(96)[name]]), whole)


def test_an_open_mouth_moves_and_nothing_above_the_cheeks_does() -> None:
    whole, landmarks = noise(96), mouth_face(96, gap=0.15)
    found = closed(whole, [landmarks])
    first = int(landmarks[list(UPPER_INNER), 1].min() - np.ptp(landmarks[[78, 308], 0]))
    np.testing.assert_array_equal(found[..., :first, :], whole[..., :first, :])
    assert (found != whole).any()


def test_halves_equal_the_definition_of_halves() -> None:
    faces = faces_of(96)
    del faces["far points"]
    wholes = noise(96, len(faces), np.float16)
    for landmarks, whole, result in zip(faces.values(), wholes, closed(wholes, list(faces.values())), strict=True):
        np.testing.assert_allclose(result, wanted(whole, landmarks), atol=_HALF_ATOL)


@pytest.mark.parametrize("block", [(16, 16), (64, 4), (7, 5), (1, 2)])
def test_every_block_shape_writes_the_same_and_everything(block: tuple[int, int]) -> None:
    wholes, faces = noise(49, 2), [mouth_face(49, gap=0.2), mouth_face(49, roll=0.3)]
    found = closed(wholes, faces, block=block)
    assert not np.isnan(found).any()
    np.testing.assert_array_equal(found, closed(wholes, faces))


def test_many_faces_in_one_launch_equal_each_of_them_alone() -> None:
    faces = list(faces_of(48).values())
    wholes = noise(48, len(faces))
    alone = [closed(whole[None], [landmarks])[0] for whole, landmarks in zip(wholes, faces, strict=True)]
    np.testing.assert_array_equal(closed(wholes, faces), alone)


def test_points_that_are_no_numbers_stay_inside_the_picture() -> None:
    landmarks = mouth_face(48)
    landmarks[[13, 14, 82, 152]] = np.nan
    closed(noise(48), [landmarks])
    closed(noise(48), [np.full((478, 2), np.inf, np.float32)])


@pytest.mark.parametrize("size", [96, 192])
def test_real_faces_are_closed_alike_on_the_card_and_by_the_cpu(size: int) -> None:
    for picture, landmarks in real_faces(size):
        whole = np.ascontiguousarray(picture.transpose(2, 0, 1)[None] / np.float32(255))
        found = closed(whole, [landmarks])[0]
        np.testing.assert_allclose(found, wanted(whole[0], landmarks), atol=_ATOL)
        by_cpu = close_mouth(picture, landmarks).transpose(2, 0, 1)
        # OpenCV takes rows at 32nds and rounds to whole levels; pictures rise by 100 levels a row at most.
        assert np.abs(found * 255 - by_cpu).max() < 0.6 + 100 / 64
        assert np.abs(found * 255 - by_cpu).mean() < 0.2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opening", [0.0, 0.04])
def test_the_cpu_form_equals_the_definition(size: int, opening: float) -> None:
    faces = faces_of(size)
    # The definition says which part of an edge that turns back counts, and NumPy's interpolation does not.
    for name in ("tangled", "far points", "turned"):
        del faces[name]
    rng = np.random.default_rng(size)
    picture = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    for name, landmarks in faces.items():
        found = close_mouth(picture, landmarks, opening * size)
        # Steps of 255 levels a row, of which OpenCV takes 32nds.
        atol = 0.6 + 255 / 64
        expected = close_mouth_definition(picture, landmarks, opening * size)
        np.testing.assert_allclose(found, expected, atol=atol, err_msg=name)
