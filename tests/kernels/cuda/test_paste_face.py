"""The CUDA form of `paste_face`, compiled for the host, against the definition."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from benchmarks.pictures import SHAPES, WIDE_OPEN, copied, face, noise_planes, smooth_planes
from kernels.crop import crop_face_definition, crop_transform, in_crop
from kernels.cuda.jobs import PlaneAt, entries_of, packed_planes
from kernels.cuda.paste_jobs import (
    DrawnFace,
    PasteJob,
    Pasting,
    in_wave,
    in_waves,
    paste_faces,
    paste_job,
    paste_table,
    scratch_bytes,
)
from kernels.paste import mouth_mask, paste_face, paste_face_definition, resting_mask
from kernels.yuv import BT601_LIMITED, Colour, Planes
from tests.kernels.cuda.host import HostLauncher, kernel_names, library, planes_at, pointer

pytestmark = pytest.mark.unit

# Rounding to bytes, and luma in halves: 1/16 of a level where it is lit, twice that after the cubic curves, and 1/16
# again in the sheet.
_ATOL = 0.5 + 0.2
_GUARD = 4096


@dataclass
class Pasted:
    """One face on its way into a picture.

    Attributes:
        generated: float32 or float16 [3, S, S] in [0, 1].
        original: The same of the crop.
    """

    planes: Planes
    to_crop: np.ndarray
    mask: np.ndarray
    resting: np.ndarray | None
    generated: np.ndarray
    original: np.ndarray
    alpha: float = 1.0
    colour: Colour = BT601_LIMITED
    scratch: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.scratch = np.full(scratch_bytes(self.size) + 2 * _GUARD, 0xFF, np.uint8)

    @property
    def size(self) -> int:
        return len(self.mask)

    def job(self, planes: Sequence[PlaneAt] | None = None) -> Pasting:
        resting = 0 if self.resting is None else self.resting.ctypes.data
        at = [each.ctypes.data for each in (self.generated, self.original, self.mask)]
        drawn = DrawnFace(*at, resting, self.scratch.ctypes.data + _GUARD)
        packed, to_crop = packed_planes(planes or planes_at(self.planes)), entries_of(self.to_crop)
        return paste_job(packed, *self.planes[0].shape, to_crop, self.size, drawn, self.colour, alpha=self.alpha)

    def wanted(self, planes: Planes | None = None) -> tuple[np.ndarray, ...]:
        """What the definition says, float64."""
        generated, original = (
            each.astype(np.float64).transpose(1, 2, 0) * 255 for each in (self.generated, self.original)
        )
        return paste_face_definition(
            planes or self.planes,
            np.clip(generated, 0, 255),
            original,
            self.to_crop,
            self.mask,
            self.colour,
            resting=self.resting,
            alpha=self.alpha,
        )


def pasted(
    planes: Planes,
    landmarks: np.ndarray,
    size: int = 96,
    dtype: type = np.float32,
    *,
    rests: bool = True,
    alpha: float = 1.0,
    colour: Colour = BT601_LIMITED,
) -> Pasted:
    """A face that is drawn a little differently all over, and quite differently at the mouth."""
    to_crop = crop_transform(landmarks, size)
    points = in_crop(landmarks, to_crop)
    original = crop_face_definition(planes, to_crop, size, colour).transpose(2, 0, 1) / 255
    waves = np.stack(smooth_rgb(size, 7)) / 255
    y, x = np.mgrid[0:size, 0:size] / size
    mouth = np.exp(-(((x - 0.5) / 0.12) ** 2) - ((y - 0.68) / 0.07) ** 2)
    generated = original * 0.85 + 0.15 * waves + 0.04 + 0.25 * mouth * (waves - 0.7)
    return Pasted(
        planes,
        to_crop,
        mouth_mask(points, size),
        resting_mask(points, size) if rests else None,
        np.ascontiguousarray(generated, dtype),
        np.ascontiguousarray(original, dtype),
        alpha,
        colour,
    )


def smooth_rgb(size: int, seed: int) -> list[np.ndarray]:
    return [smooth_planes(size, size, seed + index)[0].astype(np.float64) for index in range(3)]


def run(faces: Sequence[Pasted], device: HostLauncher | None = None, planes: Sequence[PlaneAt] | None = None) -> int:
    """Paste in place, all faces in each launch; return the number of waves."""
    jobs = [each.job(planes) for each in faces]
    waves = in_waves([id(each.planes) for each in faces], [job.region for job in jobs])
    packed = b"".join(in_wave(job.job, wave) for job, wave in zip(jobs, waves, strict=True))
    table, weights = np.frombuffer(packed, np.uint8), paste_table(faces[0].size)
    at = [pointer(each).value or 0 for each in (table, weights)]
    half = faces[0].generated.dtype == np.float16
    paste_faces(device or HostLauncher("paste_face"), *at, len(jobs), faces[0].size, half=half, waves=max(waves) + 1)
    for each in faces:
        assert (each.scratch[:_GUARD] == 0xFF).all(), "it writes before its scratch"
        assert (each.scratch[-_GUARD:] == 0xFF).all(), "it writes behind its scratch"
    return max(waves) + 1


def off_by(planes: Planes, wanted: Sequence[np.ndarray]) -> float:
    """Levels by which bytes are off at most."""
    return max(float(np.abs(plane - each).max()) for plane, each in zip(planes, wanted, strict=True))


def check(faces: Sequence[Pasted], atol: float = _ATOL) -> None:
    """Paste faces of pictures of their own; what the definition does not touch keeps its bytes."""
    wanted, before = [each.wanted() for each in faces], [copied(each.planes) for each in faces]
    beside = [[_padding(plane) for plane in each.planes] for each in faces]
    assert run(faces) == 1
    for one, expected, old, padding in zip(faces, wanted, before, beside, strict=True):
        assert off_by(one.planes, expected) <= atol
        for plane, value, was, edge in zip(one.planes, expected, old, padding, strict=True):
            np.testing.assert_array_equal(plane[value == was], was[value == was])
            np.testing.assert_array_equal(_padding(plane), edge)


def _padding(plane: np.ndarray) -> np.ndarray:
    """What lies beside a strided plane, copied."""
    backing = plane if plane.base is None else plane.base
    return np.asarray(backing[:, plane.shape[1] :]).copy()


def test_the_job_table_lies_in_memory_as_the_kernels_read_it() -> None:
    size = library("paste_face").size_of_PasteJob
    size.restype = ctypes.c_ulong
    job = pasted(noise_planes(40, 40), face(20.0, 20.0, 10.0), 16).job().job
    assert size() == ctypes.sizeof(PasteJob) == len(job)


# Doubled before it is warped, doubled and averaged, neither, averaged over blocks and neighbours; the first is larger
# than the picture.
@pytest.mark.parametrize("eyes_px", [150.0, 60.0, 46.0, 32.0, 12.0, 3.0])
@pytest.mark.parametrize("size", [16, 37, 48, 96, 128, 192])
def test_paste_equals_the_definition(size: int, eyes_px: float) -> None:
    check(
        [
            pasted(smooth_planes(161, 219), face(110.0, 60.0, eyes_px), size),
            pasted(noise_planes(161, 219, strided=True), face(110.0, 60.0, eyes_px, roll=0.5), size),
            pasted(noise_planes(161, 219), face(222.0, 3.0, eyes_px, roll=-0.4), size, rests=False),
        ]
    )


@pytest.mark.parametrize("shape", [*SHAPES, (240, 320)])
@pytest.mark.parametrize("eyes_px", [2.0, 9.0, 25.0])
def test_odd_and_smallest_pictures_equal_the_definition(shape: tuple[int, int], eyes_px: float) -> None:
    height, width = shape
    check(
        [
            pasted(noise_planes(height, width, strided=True), face(width * across, height * down, eyes_px, roll=roll))
            for across, down, roll in ((0.5, 0.33, 0.0), (1.05, -0.1, 0.5), (-0.2, 0.9, 3.0))
        ]
    )


@pytest.mark.parametrize("colour", [Colour("bt709"), Colour("bt601", full_range=True)], ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_every_colour_and_either_type_equal_the_definition(colour: Colour, dtype: type) -> None:
    check([pasted(smooth_planes(120, 160), face(80.0, 50.0, 30.0), 96, dtype, colour=colour, alpha=0.3)])


@pytest.mark.parametrize("size", [96, 192])
def test_a_picture_of_noise_that_leaves_its_range_equals_the_definition(size: int) -> None:
    one = pasted(noise_planes(161, 219), face(110.0, 60.0, 50.0, roll=0.3, jaw_drop=WIDE_OPEN), size, np.float16)
    one.generated[:] = np.random.default_rng(1).normal(0.5, 0.4, one.generated.shape)

    check([one])


def test_what_the_doubling_of_black_and_white_overshoots_is_cut_off() -> None:
    full = Colour("bt601", full_range=True)
    one = pasted(smooth_planes(161, 219), face(110.0, 60.0, 80.0, roll=0.3), rests=False, colour=full)
    one.generated[:] = np.random.default_rng(1).integers(0, 2, one.generated.shape[1:])

    check([one])


@pytest.mark.parametrize("size", [96, 192])
def test_halves_give_what_the_same_numbers_give_as_floats(size: int) -> None:
    halves, floats = (pasted(smooth_planes(120, 160), face(80.0, 50.0, 30.0), size, np.float16) for _ in range(2))
    floats.generated, floats.original = (each.astype(np.float32) for each in (halves.generated, halves.original))
    before = copied(halves.planes)

    run([halves])
    run([floats])

    assert not np.array_equal(halves.planes[0], before[0])
    assert_same(halves.planes, floats.planes)


def assert_same(planes: Planes, others: Planes) -> None:
    for plane, other in zip(planes, others, strict=True):
        np.testing.assert_array_equal(plane, other)


def test_nv12_becomes_what_i420_becomes() -> None:
    planar = pasted(noise_planes(71, 93), face(45.0, 25.0, 20.0))
    luma, blue, red = copied(planar.planes)
    both = np.ascontiguousarray(np.stack([blue, red], axis=-1))
    nv12 = planes_at((luma, both[..., 0], both[..., 1]))
    assert [plane.step for plane in nv12] == [1, 2, 2]

    run([planar], planes=nv12)
    run([planar])

    assert_same((luma, both[..., 0], both[..., 1]), planar.planes)


@pytest.mark.parametrize("shape", [(16, 16), (64, 4), (7, 5), (1, 1)])
def test_every_block_shape_writes_the_same(shape: tuple[int, int]) -> None:
    one, other = (pasted(noise_planes(120, 160), face(80.0, 50.0, 30.0), 48) for _ in range(2))

    run([one])
    run([other], HostLauncher("paste_face", shape))

    assert_same(one.planes, other.planes)


def test_nothing_is_touched_without_a_mask_a_share_or_a_face_in_the_picture() -> None:
    unmasked, unseen = (pasted(noise_planes(97, 95), face(48.0, 40.0, 20.0)) for _ in range(2))
    outside = [pasted(noise_planes(97, 95), face(x, y, 20.0)) for x, y in ((-500.0, 50.0), (50.0, -500.0), (5e3, 5e3))]
    unmasked.mask[:] = 0.0
    unseen.alpha = 0.0
    # A crop so much finer than the picture that its averages leave nothing of the mask.
    faces = [unmasked, unseen, *outside, pasted(noise_planes(97, 95), face(48.0, 40.0, 0.3))]
    before = [copied(each.planes) for each in faces]

    run(faces)

    regions = [each.job().region for each in faces]
    assert regions[0][2:] > regions[0][:2]
    assert regions[1:] == [(0, 0, 0, 0)] * 5
    for each, old in zip(faces, before, strict=True):
        assert_same(each.planes, old)


def test_a_job_of_zeros_does_nothing() -> None:
    paste_faces(
        HostLauncher("paste_face"), pointer((PasteJob * 2)()).value or 0, pointer(paste_table(96)).value or 0, 2, 96
    )


def test_a_mask_without_a_rim_leaves_the_light() -> None:
    one = pasted(smooth_planes(120, 160), face(80.0, 50.0, 30.0), rests=False)
    one.mask[:] = 0.0
    one.mask[50:90, 20:70] = 1.0

    check([one])


def test_faces_of_several_pictures_in_one_launch_become_what_each_becomes_alone() -> None:
    shapes, eyes_px = [(60, 80), (33, 47), (240, 320)], [9.0, 12.0, 50.0]
    together, alone = (
        [pasted(noise_planes(*shape), face(30.0, 30.0, eyes)) for shape, eyes in zip(shapes, eyes_px, strict=True)]
        for _ in range(2)
    )

    assert run(together) == 1
    for each in alone:
        run([each])

    for one, other in zip(together, alone, strict=True):
        assert_same(one.planes, other.planes)


def test_faces_that_overlap_are_pasted_one_after_the_other() -> None:
    def three_faces(planes: Planes) -> list[Pasted]:
        # The second overlaps the first, the third neither.
        return [pasted(planes, face(x, 50.0, 25.0, roll=0.1 * x), 48) for x in (60.0, 80.0, 250.0)]

    planes, others = noise_planes(120, 320), noise_planes(120, 320)
    together, alone = three_faces(planes), three_faces(others)
    regions = [each.job().region for each in together]

    assert run(together) == 2
    assert in_waves([7, 7, 7], regions) == [0, 1, 0]
    for each in alone:
        run([each])

    assert_same(planes, others)


def test_a_chain_of_faces_keeps_its_order_and_another_picture_is_not_waited_for() -> None:
    planes = noise_planes(120, 320)
    regions = [pasted(planes, face(x, 50.0, 20.0), 48).job().region for x in (60.0, 100.0, 140.0, 60.0, 60.0)]

    assert in_waves([1, 1, 1, 1, 2], regions) == [0, 1, 2, 2, 0]


def test_the_launches_depend_on_the_size_and_on_counts_only_and_use_every_kernel() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.seen: list[tuple[object, ...]] = []

        def launch(
            self,
            kernel: str,
            grid: tuple[int, int, int],
            block: tuple[int, int, int],
            *arguments: "ctypes._SimpleCData[Any]",
        ) -> None:
            self.seen.append((kernel, grid, block, *(each.value for each in arguments)))

    half, single = Recorder(), Recorder()
    paste_faces(half, 1, 2, 5, 96, waves=2)
    paste_faces(single, 1, 2, 5, 96, half=False)

    assert {str(each[0]) for each in half.seen + single.seen} == set(kernel_names("paste_face"))
    assert [each[-1] for each in half.seen if each[0] == "paste_blend"] == [0, 1]
    assert all(each[1][2] == 5 for each in half.seen if isinstance(each[1], tuple))
    assert all(np.prod(each[2]) <= 256 for each in half.seen)


@pytest.mark.parametrize("size", [96, 192])
@pytest.mark.parametrize("eyes_px", [25.0, 70.0])
@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_the_cpu_form_becomes_nearly_the_same(size: int, eyes_px: float, alpha: float) -> None:
    one = pasted(smooth_planes(240, 320), face(160.0, 100.0, eyes_px, roll=0.2), size)
    # The CPU's pictures have eight bits.
    eight_bits = [np.rint(each.transpose(1, 2, 0) * 255).astype(np.uint8) for each in (one.generated, one.original)]
    one.generated, one.original = (
        np.ascontiguousarray(each.transpose(2, 0, 1) / np.float32(255)) for each in eight_bits
    )
    one.alpha = alpha
    cpu, wanted = copied(one.planes), one.wanted()

    paste_face(cpu, *eight_bits, one.to_crop, one.mask, resting=one.resting)
    for plane, old in zip(cpu, one.planes, strict=True):
        plane[:] = np.rint(old + np.float32(alpha) * (plane.astype(np.float32) - old))
    run([one])

    # Half a level each for YUV, light, doubling, the warp and the mix, an eighth for how it moves; and the CPU mirrors
    # a part of the crop where the definition goes on, at the rim of the mask.
    assert off_by(cpu, wanted) <= 3.0
    assert off_by(cpu, [plane.astype(np.float64) for plane in one.planes]) <= 3.0
    for plane, value in zip(cpu, wanted, strict=True):
        touched = plane != value
        assert np.abs(plane - value)[touched].mean() < 0.5


def test_a_flat_map_is_refused() -> None:
    with pytest.raises(ValueError, match="has no inverse"):
        entries_of(np.zeros((2, 3)))
