"""Packed jobs are, byte for byte, those of a plain definition with the structures that the kernels read."""

import ctypes
import math
from typing import NamedTuple

import numpy as np
import pytest

from kernels.cuda import boxes
from kernels.cuda.jobs import CropJob, Plane, Sampling, crop_job, entries_of, packed_i420
from kernels.cuda.paste_jobs import DrawnFace, PasteJob, _first_rows, in_wave, paste_job
from kernels.warp import axis_factors, invert, shrink_factors
from kernels.yuv import BT601_LIMITED, Colour, Region, rgb_to_yuv_matrix, yuv_to_rgb_matrix

pytestmark = pytest.mark.unit

SIDES = [(720, 1280), (241, 319), (37, 53), (2, 3), (1, 1)]
COLOURS = [BT601_LIMITED, Colour("bt709", full_range=True)]


class Case(NamedTuple):
    """A face in a picture, and where things lie."""

    to_crop: np.ndarray
    size: int
    sides: tuple[int, int]
    colour: Colour
    alpha: float
    address: int
    drawn: DrawnFace


def cases(count: int = 400) -> list[Case]:
    """Faces of every size, turned, mirrored, in their pictures and far from them, some of them not seen."""
    dice = np.random.default_rng(5)
    found = []
    for number in range(count):
        size, sides = (48, 96, 192, 37)[number % 4], SIDES[number % len(SIDES)]
        scale, turn = math.exp(dice.uniform(-4, 4)), dice.uniform(-math.pi, math.pi)
        middle = dice.uniform(-0.5, 1.5, 2) * sides[::-1] + (1e6 if number % 13 == 0 else 0)
        a, b = scale * math.cos(turn), scale * math.sin(turn)
        mirrored = -1.0 if number % 7 == 0 else 1.0
        linear = np.array([[a, -b], [mirrored * b, mirrored * a]])
        to_crop = np.column_stack([linear, size / 2 - linear @ middle]).astype(np.float32)
        addresses = [int(each) for each in dice.integers(1, 2**47, 6)]
        alpha = (1.0, 0.25, 0.0)[number % 3]
        colour = COLOURS[number % 2]
        found.append(Case(to_crop, size, sides, colour, alpha, addresses[0], DrawnFace(*addresses[1:])))
    return found


def planes_of(address: int, box: Region) -> tuple[Plane, Plane, Plane]:
    height, width = (box.height + 1) // 2, (box.width + 1) // 2
    blue = address + box.height * box.width
    return (
        Plane(address, box.width, 1, box.width, box.height),
        Plane(blue, width, 1, width, height),
        Plane(blue + height * width, width, 1, width, height),
    )


def sampling(to_source: np.ndarray, factors: tuple[int, float]) -> Sampling:
    return Sampling((ctypes.c_float * 6)(*to_source.ravel().tolist()), *factors)


def crop_definition(case: Case, box: Region, to_crop: np.ndarray) -> bytes:
    to_luma = invert(to_crop)
    to_chroma = to_luma / 2
    to_chroma[:, 2] = (to_luma[:, 2] - 0.5) / 2
    to_rgb = (ctypes.c_float * 12)(*yuv_to_rgb_matrix(case.colour).ravel().tolist())
    scale = math.sqrt(abs(to_luma[0, 0] * to_luma[1, 1] - to_luma[0, 1] * to_luma[1, 0]))
    of_luma, of_chroma = sampling(to_luma, shrink_factors(to_luma)), sampling(to_chroma, axis_factors(scale / 2))
    return bytes(CropJob(*planes_of(case.address, box), of_luma, of_chroma, to_rgb, 40))


def region_definition(case: Case, box: Region, to_crop: np.ndarray, clear: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what the crop's lower half reaches, by the middle and half sides of it."""
    size, (a, b, x), (c, d, y) = case.size, *to_crop.tolist()
    determinant, top = a * d - b * c, size // 2 - clear - 1
    if case.alpha <= 0.0 or 2 * clear >= size:
        return 0, 0, 0, 0
    u, v = (size - 1) / 2 - x, (size + top) / 2 - y
    middle = (d * u - b * v) / determinant, (a * v - c * u) / determinant
    wide, high = (size + 1) / 2 / abs(determinant), (size - top) / 2 / abs(determinant)
    half = abs(d) * wide + abs(b) * high, abs(c) * wide + abs(a) * high
    first = [max(math.floor(m - h) - 1, 0) for m, h in zip(middle, half, strict=True)]
    last = [min(math.ceil(m + h) + 2, side) for m, h, side in zip(middle, half, (box.width, box.height), strict=True)]
    if any(low >= high for low, high in zip(first, last, strict=True)):
        return 0, 0, 0, 0
    ends = [min((high + 1) // 2 * 2, side) for high, side in zip(last, (box.width, box.height), strict=True)]
    return first[0] // 2 * 2, first[1] // 2 * 2, ends[0], ends[1]


def paste_definition(case: Case, box: Region, to_crop: np.ndarray, wave: int) -> bytes:
    (a, b, _), (c, d, _) = to_crop.tolist()
    scale, enlarging = math.sqrt(abs(a * d - b * c)), math.hypot(a, c)
    block, beside = axis_factors(scale)
    clear = 2 * block if beside else block
    region = region_definition(case, box, to_crop, clear)
    of_luma = to_crop.copy()
    of_luma[:, 2] = to_crop[:, 2] + to_crop[:, 0] * region[0] + to_crop[:, 1] * region[1]
    of_chroma = 2 * of_luma
    of_chroma[:, 2] = of_luma[:, 2] + (of_luma[:, 0] + of_luma[:, 1]) / 2
    sheets, doubled = [], []
    for to_sheet, pixels in ((of_luma, 1), (of_chroma, 2)):
        # Enlarged one and a half times and more.
        doubled.append(pixels * enlarging < 1.0 / 1.5)
        if doubled[-1]:
            to_sheet *= 2
            to_sheet[:, 2] += 0.5
        sheets.append(sampling(to_sheet, axis_factors(scale * pixels * (2 if doubled[-1] else 1))))
    to_yuv = rgb_to_yuv_matrix(case.colour) * (255.0, 255.0, 255.0, 1.0)
    matrix = (ctypes.c_float * 12)(*to_yuv.ravel().tolist())
    rows = _first_rows(case.size, block)
    planes = planes_of(case.address, box)
    return bytes(PasteJob(*planes, *case.drawn, *sheets, matrix, *region, case.alpha, *doubled, clear, *rows, wave))


def test_jobs_are_those_of_the_definition() -> None:
    seen = set()
    for number, case in enumerate(cases()):
        to_crop = entries_of(case.to_crop)
        box = boxes.face_box([to_crop], case.size, *case.sides)
        inside = boxes.inside(to_crop, box)
        plain = case.to_crop.astype(np.float64)
        plain[:, 2] = plain[:, 2] + plain[:, 0] * box.left + plain[:, 1] * box.top
        planes = packed_i420(case.address, box.height, box.width)
        assert crop_job(planes, inside, case.size, case.colour, 40) == crop_definition(case, box, plain)
        pasting = paste_job(planes, box.height, box.width, inside, case.size, case.drawn, case.colour, alpha=case.alpha)
        job = in_wave(pasting.job, number % 5)
        assert job == paste_definition(case, box, plain, number % 5)
        read = PasteJob.from_buffer_copy(job)
        assert pasting.region == (read.left, read.top, read.right, read.bottom)
        seen.add((read.right > read.left, read.luma_doubled, read.chroma_doubled, read.of_luma.block > 1))
    # Nothing to paste, doubled or not, averaged or not.
    assert len(seen) >= 6


@pytest.mark.parametrize(
    "to_crop",
    [
        np.zeros((2, 3)),
        np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]),
        np.full((2, 3), np.nan),
        np.array([[1.0, 0.0, np.inf], [0.0, 1.0, 0.0]]),
        np.array([[1.0, 0.0, 0.0], [0.0, 1.0, np.nan]]),
        np.eye(2, 3) * 1e-20,
    ],
)
def test_a_map_without_a_way_back_is_refused(to_crop: np.ndarray) -> None:
    with pytest.raises(ValueError, match="has no inverse"):
        entries_of(to_crop)
