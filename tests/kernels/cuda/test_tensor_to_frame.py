"""The CUDA form of `tensor_to_frame`, compiled for the host, against the definition."""

import ctypes
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.pictures import SHAPES, copied, noise_planes
from kernels.cuda.frame_jobs import TensorToFrameJob, launch_tensors_to_frames, tensor_to_frame_job
from kernels.cuda.jobs import PlaneAt
from kernels.frame_tensor import Size, tensor_to_frame_definition
from kernels.yuv import BT601_LIMITED, Colour, Planes, Region
from tests.kernels.cuda.host import HostLauncher, addresses, library, planes_at, pointer
from tests.kernels.cuda.test_frame_to_tensor import COLOURS

pytestmark = pytest.mark.unit

# Half a level of rounding, and positions in float32: 2^-14 of a pixel, times a step of 255 levels and the cubic's gain.
_ATOL = 0.53
SENTINEL = 77


@dataclass(frozen=True)
class Blend:
    """One frame's part of a launch."""

    planes: Planes
    tensor: np.ndarray
    region: Region | None = None
    strength: float = 1.0
    colour: Colour = BT601_LIMITED
    wipe_column: int = 0

    def job(self) -> TensorToFrameJob:
        return tensor_to_frame_job(
            planes_at(self.planes),
            self.tensor.shape[1:],
            self.region,
            self.strength,
            self.colour,
            wipe_column=self.wipe_column,
        )

    def expected(self) -> tuple[np.ndarray, ...]:
        wanted = self.region, self.strength, self.colour
        return tensor_to_frame_definition(self.tensor, self.planes, *wanted, wipe_column=self.wipe_column)


def run(blends: list[Blend], block: tuple[int, int] | None = None) -> None:
    """Run them in place, in one launch."""
    jobs = (TensorToFrameJob * len(blends))(*(each.job() for each in blends))
    tensors = addresses([each.tensor for each in blends])
    size: Size = blends[0].tensor.shape[1:]
    half = blends[0].tensor.dtype == np.float16
    largest = tuple(max(each.planes[0].shape[axis] for each in blends) for axis in (0, 1))
    at = [pointer(table).value or 0 for table in (jobs, tensors)]
    launch_tensors_to_frames(
        HostLauncher("tensor_to_frame", block), at[0], at[1], len(blends), size, largest, half=half
    )


def noise_tensor(size: Size, seed: int = 5, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """Some of it beyond [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1.1, 1.1, (3, *size)).astype(dtype)


def guarded(height: int, width: int, seed: int = 0) -> tuple[Planes, list[np.ndarray]]:
    """Planes of noise inside larger ones of `SENTINEL`."""
    backing, planes = [], []
    for plane in noise_planes(height, width, seed):
        around = np.full((plane.shape[0] + 6, plane.shape[1] + 11), SENTINEL, np.uint8)
        inside = around[3:-3, 4:-7]
        inside[...] = plane
        backing.append(around)
        planes.append(inside)
    return (planes[0], planes[1], planes[2]), backing


def check_guards(planes: Planes, backing: list[np.ndarray]) -> None:
    for plane in planes:
        plane[...] = SENTINEL
    assert all((around == SENTINEL).all() for around in backing), "it writes beside the planes"


def test_the_job_table_lies_in_memory_as_the_kernel_reads_it() -> None:
    size = library("tensor_to_frame").size_of_TensorToFrameJob
    size.restype = ctypes.c_ulong
    assert size() == ctypes.sizeof(TensorToFrameJob)


@pytest.mark.parametrize("shape", [*SHAPES, (72, 133)])
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (64, 13)])
@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_a_frame_equals_the_definition(shape: tuple[int, int], size: Size, colour: Colour) -> None:
    height, width = shape
    regions = [
        None,
        Region(height // 3, width // 3, height, width),
        Region(-7, -5, height + 4, width + 9),
        Region(1, 1, height - 1, width - 1),
    ]
    for seed, region in enumerate(each for each in regions if each is None or not each.is_empty):
        planes, backing = guarded(height, width)
        strength = (1.0, 0.8, 0.5, 0.3)[seed]
        blend = Blend(planes, noise_tensor(size), region, strength, colour, wipe_column=seed * width // 5)
        expected = blend.expected()
        run([blend])
        for plane, wanted in zip(planes, expected, strict=True):
            np.testing.assert_allclose(plane, wanted, atol=_ATOL)
        check_guards(planes, backing)


def test_halves_are_read_exactly_as_the_floats_that_they_are() -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(1, 256, 256)
    tensor = np.concatenate([every, every[:, ::-1], every[:, :, ::-1]])
    first, second = noise_planes(256, 256), noise_planes(256, 256)
    run([Blend(first, tensor)])
    run([Blend(second, tensor.astype(np.float32))])
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("block", [(32, 8), (16, 16), (64, 4), (7, 5)])
def test_every_block_shape_writes_the_same(block: tuple[int, int]) -> None:
    tensor = noise_tensor((24, 20))
    results = []
    for shape in (None, block):
        blends = [Blend(noise_planes(61, 83), tensor), Blend(noise_planes(47, 30), tensor, Region(3, 5, 32, 29))]
        run(blends, shape)
        results.append([plane for blend in blends for plane in blend.planes])
    assert all(np.array_equal(one, other) for one, other in zip(*results, strict=True))


def test_nv12_becomes_what_i420_becomes() -> None:
    planes = noise_planes(71, 93)
    both = np.ascontiguousarray(np.stack(planes[1:], axis=-1))
    nv12 = planes[0].copy(), both[..., 0], both[..., 1]
    for each in (planes, nv12):
        run([Blend(each, noise_tensor((32, 32)), Region(3, 3, 60, 70), 0.6)])
    assert all(np.array_equal(one, other) for one, other in zip(planes, nv12, strict=True))


def test_frames_of_different_sizes_strengths_and_colours_go_in_one_launch() -> None:
    shapes = [(60, 80), (33, 47), (97, 95), (16, 16)]
    blends = [
        Blend(noise_planes(*shape), noise_tensor((32, 32), seed), None, 0.25 * seed, COLOURS[seed])
        for seed, shape in enumerate(shapes)
    ]
    expected = [blend.expected() for blend in blends]
    run(blends)
    for blend, wanted in zip(blends, expected, strict=True):
        for plane, floats in zip(blend.planes, wanted, strict=True):
            np.testing.assert_allclose(plane, floats, atol=_ATOL)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.3])
def test_strength_0_leaves_every_byte_whatever_was_generated(value: float) -> None:
    planes = noise_planes(37, 53)
    before = copied(planes)
    run([Blend(planes, np.full((3, 8, 8), value, np.float32), strength=0.0)])
    assert all(np.array_equal(one, other) for one, other in zip(planes, before, strict=True))


def test_what_is_no_number_is_black() -> None:
    planes = noise_planes(16, 16)
    run([Blend(planes, np.full((3, 8, 8), np.nan, np.float16))])
    assert [np.unique(plane).tolist() for plane in planes] == [[16], [128], [128]]


@pytest.mark.parametrize(
    ("region", "wipe_column"),
    [(Region(-50, 10, 0, 30), 0), (Region(10, 53, 20, 90), 0), (None, 53), (None, 1000), (Region(3, 3, 9, 9), 9)],
)
def test_a_region_outside_the_picture_or_left_of_the_wipe_changes_nothing(
    region: Region | None, wipe_column: int
) -> None:
    planes = noise_planes(37, 53)
    before = copied(planes)
    run([Blend(planes, noise_tensor((8, 8)), region, wipe_column=wipe_column)])
    assert all(np.array_equal(one, other) for one, other in zip(planes, before, strict=True))


def test_what_cannot_be_is_refused() -> None:
    plane = PlaneAt(0, 10, 10, 10)
    with pytest.raises(ValueError, match=r"plane U is \(10, 10\), expected \(5, 5\)"):
        tensor_to_frame_job([plane, plane, plane], (8, 8))
    at = planes_at(noise_planes(10, 10))
    with pytest.raises(ValueError, match=r"strength is 1\.5, expected 0"):
        tensor_to_frame_job(at, (8, 8), strength=1.5)
    with pytest.raises(ValueError, match="holds no pixel"):
        tensor_to_frame_job(at, (8, 8), Region(4, 4, 4, 9))
