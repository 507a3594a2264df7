"""The CUDA form of `frame_to_tensor`, compiled for the host, against the definition."""

import ctypes

import numpy as np
import pytest

from benchmarks.pictures import SHAPES, noise_planes
from kernels.cuda.frame_jobs import FrameToTensorJob, frame_to_tensor_job, launch_frames_to_tensors
from kernels.cuda.jobs import PlaneAt
from kernels.frame_tensor import Size, frame_to_tensor_definition
from kernels.yuv import BT601_LIMITED, Colour, Region
from tests.kernels.cuda.host import HostLauncher, addresses, library, planes_at, pointer

pytestmark = pytest.mark.unit

# Where a sample lies is computed in float32: 2^-12 of a pixel in a picture 2000 wide, times a step of 255 levels and
# the matrix's gain of 2.
_ATOL = 0.15 / 127.5
COLOURS = [BT601_LIMITED, Colour("bt709"), Colour("bt601", full_range=True), Colour("bt709", full_range=True)]


def run(
    jobs: list[FrameToTensorJob],
    size: Size,
    dtype: type[np.float16 | np.float32] = np.float32,
    block: tuple[int, int] | None = None,
) -> np.ndarray:
    """[n, 3, h, w] between guards that must stay; what is not written stays NaN."""
    made = np.full((len(jobs) + 2, 3, *size), np.nan, dtype)
    tables = (FrameToTensorJob * len(jobs))(*jobs), addresses(list(made[1:-1]))
    device = HostLauncher("frame_to_tensor", block)
    at = [pointer(table).value or 0 for table in tables]
    launch_frames_to_tensors(device, at[0], at[1], len(jobs), size, half=dtype is np.float16)
    assert np.isnan(made[[0, -1]]).all(), "it writes beside the tensors"
    return made[1:-1]


def test_the_job_table_lies_in_memory_as_the_kernel_reads_it() -> None:
    size = library("frame_to_tensor").size_of_FrameToTensorJob
    size.restype = ctypes.c_ulong
    assert size() == ctypes.sizeof(FrameToTensorJob)


@pytest.mark.parametrize("shape", [*SHAPES, (120, 213)])
@pytest.mark.parametrize("size", [(1, 1), (29, 64), (64, 13)])
@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_a_tensor_equals_the_definition(shape: tuple[int, int], size: Size, colour: Colour) -> None:
    planes = noise_planes(*shape, strided=True)
    height, width = shape
    # All, a part with odd sides, one that leaves the picture on all sides, and one that is nowhere near it.
    regions = [None, Region(height // 3, width // 3, height, width), Region(-7, -5, height + 4, width + 9)]
    regions.append(Region(5000, -4000, 5100, -3900))
    found = run([frame_to_tensor_job(planes_at(planes), size, colour, region) for region in regions], size)
    for region, tensor in zip(regions, found, strict=True):
        np.testing.assert_allclose(tensor, frame_to_tensor_definition(planes, size, colour, region), atol=_ATOL)


def test_axes_that_shrink_by_different_factors_equal_the_definition() -> None:
    # 16, 5 and 2.5 to one along rows; 1.9, 1 and 0.5 to one along columns.
    for shape, size in [((61, 512), (32, 32)), ((40, 160), (40, 32)), ((33, 100), (66, 40))]:
        planes = noise_planes(*shape, strided=True)
        found = run([frame_to_tensor_job(planes_at(planes), size)], size)
        np.testing.assert_allclose(found[0], frame_to_tensor_definition(planes, size), atol=_ATOL)


@pytest.mark.parametrize("block", [(32, 8), (16, 16), (64, 4), (7, 5)])
def test_every_block_shape_writes_the_same_and_everything(block: tuple[int, int]) -> None:
    planes, size = noise_planes(61, 83, strided=True), (41, 37)
    jobs = [frame_to_tensor_job(planes_at(planes), size, region=region) for region in (None, Region(3, 9, 40, 44))]
    found = run(jobs, size, block=block)
    assert not np.isnan(found).any()
    np.testing.assert_array_equal(found, run(jobs, size))


def test_halves_are_the_floats_rounded() -> None:
    planes = noise_planes(60, 80)
    job = [frame_to_tensor_job(planes_at(planes), (48, 48))]
    np.testing.assert_array_equal(run(job, (48, 48), np.float16), run(job, (48, 48)).astype(np.float16))


def test_nv12_gives_what_i420_gives() -> None:
    luma, blue, red = noise_planes(71, 93)
    both = np.ascontiguousarray(np.stack([blue, red], axis=-1))
    nv12 = planes_at((luma, both[..., 0], both[..., 1]))
    assert [plane.step for plane in nv12] == [1, 2, 2]
    size = (40, 24)
    one, other = (run([frame_to_tensor_job(at, size)], size) for at in (nv12, planes_at((luma, blue, red))))
    np.testing.assert_array_equal(one, other)


def test_pictures_of_different_sizes_and_colours_go_in_one_launch() -> None:
    pictures = [noise_planes(60, 80), noise_planes(33, 47), noise_planes(144, 176)]
    jobs = [frame_to_tensor_job(planes_at(each), (32, 32), by) for each, by in zip(pictures, COLOURS, strict=False)]
    for planes, colour, tensor in zip(pictures, COLOURS, run(jobs, (32, 32)), strict=False):
        np.testing.assert_allclose(tensor, frame_to_tensor_definition(planes, (32, 32), colour), atol=_ATOL)


@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_black_is_minus_one_and_white_is_one(colour: Colour) -> None:
    grey = np.full((10, 10), 128, np.uint8)
    for unit, limited, full in ((-1.0, 16, 0), (1.0, 235, 255)):
        luma = np.full((20, 20), full if colour.full_range else limited, np.uint8)
        job = [frame_to_tensor_job(planes_at((luma, grey, grey)), (8, 8), colour)]
        # The matrix is applied in float32: 255 times 2^-23.
        np.testing.assert_allclose(run(job, (8, 8)), unit, atol=1e-6)
        assert (run(job, (8, 8), np.float16) == unit).all()


def test_what_has_no_pixel_and_chroma_of_another_size_are_refused() -> None:
    plane = PlaneAt(0, 10, 10, 10)
    with pytest.raises(ValueError, match=r"plane U is \(10, 10\), expected \(5, 5\)"):
        frame_to_tensor_job([plane, plane, plane], (8, 8))
    with pytest.raises(ValueError, match="holds no pixel"):
        frame_to_tensor_job(planes_at(noise_planes(10, 10)), (8, 8), region=Region(4, 4, 4, 9))
