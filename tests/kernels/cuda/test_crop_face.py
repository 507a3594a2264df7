"""The CUDA form of `crop_face`, compiled for the host, against the definition."""

import ctypes

import numpy as np
import pytest

from benchmarks.pictures import SHAPES, face, noise_planes
from kernels.crop import crop_face_definition, crop_transform, generator_input
from kernels.cuda.jobs import CropJob, PlaneAt, crop_job, entries_of, packed_planes
from kernels.yuv import BT601_LIMITED, Colour, Planes
from tests.kernels.cuda.host import crop_faces, library, packed_at, planes_at, pointer

pytestmark = pytest.mark.unit

# Where a sample lies is computed in float32: 2^-12 of a pixel in a picture 2000 wide, times a step of 255 levels and
# the matrix's gain of 2.
_ATOL = 0.15 / 255


def wanted(planes: Planes, to_crop: np.ndarray, size: int, colour: Colour) -> np.ndarray:
    """float64 [3, S, S] in [0, 1]."""
    return crop_face_definition(planes, to_crop, size, colour).transpose(2, 0, 1) / 255


def test_the_job_table_lies_in_memory_as_the_kernel_reads_it() -> None:
    size = library("crop_face").size_of_CropJob
    size.restype = ctypes.c_ulong
    assert size() == ctypes.sizeof(CropJob) == len(crop_job(bytes(72), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 96))


def test_floats_are_rounded_to_halves_as_numpy_does() -> None:
    rng = np.random.default_rng(3)
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].astype(np.float32)
    every = np.concatenate(
        [
            rng.integers(0, 2**32, 400_000, dtype=np.uint32).view(np.float32),
            rng.normal(size=100_000).astype(np.float32),
            np.ldexp(rng.normal(size=100_000), -24).astype(np.float32),
            # Ties, and what overflows.
            halves * np.float32(1 + 2**-11),
            halves * np.float32(1 + 2**-12),
            np.array([65504, 65519.99, 65520, -65520, np.inf, -np.inf, 2**-25, 2**-24, -0.0, 5.96e-8], np.float32),
        ]
    )
    every = every[~np.isnan(every)]
    found = np.empty(len(every), np.float16)
    library("crop_face").half_of_floats(pointer(every), pointer(found), len(every))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found.view(np.uint16), every.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 37, 96])
@pytest.mark.parametrize("colour", [BT601_LIMITED, Colour("bt709", full_range=True)], ids=str)
def test_crop_equals_the_definition(shape: tuple[int, int], size: int, colour: Colour) -> None:
    planes = noise_planes(*shape, strided=True)
    height, width = shape
    maps = [
        crop_transform(face(x, y, eyes_px, roll=0.4), size)
        for eyes_px in (1.0, 12.0, 60.0, 300.0)
        # The second face looks out of the picture, the third is nowhere near it.
        for x, y in ((width / 2, height / 2), (width * 1.1, -0.2 * height), (-9e6, 9e6))
    ]
    jobs = [crop_job(packed_at(planes), entries_of(each), size, colour) for each in maps]
    inputs, wholes = crop_faces(jobs, size, np.float32)
    for to_crop, shown, whole in zip(maps, inputs, wholes, strict=True):
        expected = wanted(planes, to_crop, size, colour)
        np.testing.assert_allclose(whole, expected, atol=_ATOL)
        np.testing.assert_array_equal(shown[:3], whole)
        np.testing.assert_array_equal(shown[3:, : size // 2], whole[:, : size // 2])
        assert not shown[3:, size // 2 :].any()


@pytest.mark.parametrize("block", [(32, 8), (16, 16), (64, 4), (7, 5), (1, 1)])
def test_every_block_shape_writes_the_same_and_everything(block: tuple[int, int]) -> None:
    planes = noise_planes(61, 83, strided=True)
    jobs = [crop_job(packed_at(planes), entries_of(crop_transform(face(40, 30, eyes), 41)), 41) for eyes in (6.0, 20.0)]
    expected = crop_faces(jobs, 41, np.float32)
    for found, reference in zip(crop_faces(jobs, 41, np.float32, block=block), expected, strict=True):
        assert not np.isnan(found).any()
        np.testing.assert_array_equal(found, reference)


def test_halves_are_the_floats_rounded() -> None:
    planes = noise_planes(120, 160)
    job = crop_job(packed_at(planes), entries_of(crop_transform(face(80, 60, 30), 96)), 96)
    for half, whole in zip(crop_faces([job], 96, np.float16), crop_faces([job], 96, np.float32), strict=True):
        np.testing.assert_array_equal(half, whole.astype(np.float16))


def test_nv12_gives_what_i420_gives() -> None:
    luma, blue, red = noise_planes(71, 93)
    both = np.ascontiguousarray(np.stack([blue, red], axis=-1))
    nv12 = [*planes_at((luma, both[..., 0], both[..., 1]))]
    assert [plane.step for plane in nv12] == [1, 2, 2]
    to_crop = entries_of(crop_transform(face(45, 35, 15), 48))
    for one, other in zip(
        crop_faces([crop_job(packed_planes(nv12), to_crop, 48)], 48, np.float32),
        crop_faces([crop_job(packed_at((luma, blue, red)), to_crop, 48)], 48, np.float32),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_faces_of_different_pictures_go_in_one_launch_and_the_identity_is_copied() -> None:
    pictures = [noise_planes(60, 80), noise_planes(33, 47), noise_planes(480, 640)]
    maps = [crop_transform(face(30, 30, eyes), 96) for eyes in (9.0, 12.0, 50.0)]
    jobs = [crop_job(packed_at(each), entries_of(to_crop), 96) for each, to_crop in zip(pictures, maps, strict=True)]
    identity = np.random.default_rng(4).random((3, 96, 96)).astype(np.float32)
    inputs, _ = crop_faces(jobs, 96, np.float32, identities=[None, identity, None])
    for index, (planes, to_crop) in enumerate(zip(pictures, maps, strict=True)):
        expected = wanted(planes, to_crop, 96, BT601_LIMITED)
        np.testing.assert_allclose(inputs[index, 3:, :48], expected[:, :48], atol=_ATOL)
        np.testing.assert_allclose(inputs[index, :3], identity if index == 1 else expected, atol=_ATOL)


def test_the_tensor_is_the_one_that_the_cpu_stacks() -> None:
    planes = noise_planes(120, 160)
    job = crop_job(packed_at(planes), entries_of(crop_transform(face(80, 60, 30), 96)), 96, mask_row=50)
    (shown,), (whole,) = crop_faces([job], 96, np.float32)
    eight_bits = np.rint(whole.transpose(1, 2, 0) * 255).astype(np.uint8)
    # The CPU's crop has eight bits.
    np.testing.assert_allclose(shown, generator_input(eight_bits, eight_bits, 50), atol=0.5 / 255 + 1e-6)


def test_chroma_of_another_size_is_refused() -> None:
    plane = PlaneAt(0, 10, 10, 10)
    with pytest.raises(ValueError, match=r"plane U is \(10, 10\), expected \(5, 5\)"):
        packed_planes([plane, plane, plane])
