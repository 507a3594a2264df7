"""A frame to a tensor and back: against the definitions, and what must not be touched."""

import cv2
import numpy as np
import pytest

from benchmarks.pictures import SHAPES, copied, noise_planes, smooth_planes
from kernels.frame_tensor import (
    Axis,
    Size,
    axis_weights,
    frame_to_tensor,
    frame_to_tensor_definition,
    tensor_to_frame,
    tensor_to_frame_definition,
)
from kernels.warp import CUBIC_QUARTER, doubled_definition, warp_definition
from kernels.yuv import BT601_LIMITED, Colour, Planes, Region

pytestmark = pytest.mark.unit

COLOURS = [BT601_LIMITED, Colour("bt709"), Colour("bt601", full_range=True), Colour("bt709", full_range=True)]
SIZES = [(1, 1), (29, 64), (96, 96)]
# Half a level each for halving, for the neighbours' mean and for the sample, times the matrix's gain of 2; and a half
# for RGB. Luma and chroma seldom miss by as much together.
_TENSOR_ATOL = 5.0 / 127.5
# Half a level each for the tensor, the sample or the averages, YUV and the mix; they seldom miss by as much together.
_FRAME_ATOL = 1.8


def _noise_tensor(size: Size, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.1, 1.1, (3, *size)).astype(np.float32)


def _regions(height: int, width: int) -> list[Region | None]:
    """All, a part with odd sides, one that leaves the picture on all sides, and all but a border of one pixel."""
    parts = [Region(height // 3, width // 3, height, width), Region(-7, -5, height + 4, width + 9)]
    inner = Region(1, 1, height - 1, width - 1)
    return [None, *parts, *([] if inner.is_empty else [inner])]


def _same(one: Planes, other: Planes) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("shape", [*SHAPES, (240, 320)])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_a_tensor_equals_the_definition(shape: tuple[int, int], size: Size, colour: Colour) -> None:
    planes = noise_planes(*shape, strided=True)
    for region in _regions(*shape):
        tensor = frame_to_tensor(planes, size, colour, region)

        assert (tensor.shape, tensor.dtype) == ((3, *size), np.float32)
        np.testing.assert_allclose(tensor, frame_to_tensor_definition(planes, size, colour, region), atol=_TENSOR_ATOL)


@pytest.mark.parametrize("shape", [*SHAPES, (240, 320)])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_a_frame_equals_the_definition(shape: tuple[int, int], size: Size, colour: Colour) -> None:
    tensor = _noise_tensor(size)
    for region, strength in zip(_regions(*shape), (1.0, 0.8, 0.5, 0.3), strict=False):
        planes = noise_planes(*shape, strided=True)
        wipe = 0 if region is None else shape[1] // 4
        expected = tensor_to_frame_definition(tensor, planes, region, strength, colour, wipe_column=wipe)

        tensor_to_frame(tensor, planes, region, strength, colour, wipe_column=wipe)

        for plane, wanted in zip(planes, expected, strict=True):
            np.testing.assert_allclose(plane, wanted, atol=_FRAME_ATOL)


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.3, 1.9, 2.5, 7.0])
def test_axes_of_one_scale_are_resampled_as_a_warp_is(scale: float) -> None:
    source = np.random.default_rng(2).uniform(0, 255, (61, 83))
    rows, columns = Axis(scale, -3.3, 40), Axis(scale, 4.7, 30)

    found = axis_weights(rows, 61) @ source @ axis_weights(columns, 83).T

    to_source = np.array([[scale, 0.0, 4.7], [0.0, scale, -3.3]])
    np.testing.assert_allclose(found, warp_definition(source, to_source, 40, 30), atol=1e-9)


def test_twice_as_large_the_cubic_curve_is_the_doubling_of_pastes() -> None:
    source = np.random.default_rng(2).uniform(0, 255, (17, 23))
    rows, columns = (axis_weights(Axis.covering(0, n, 2 * n), n, cubic=True) for n in source.shape)

    np.testing.assert_allclose(rows @ source @ columns.T, doubled_definition(source, CUBIC_QUARTER), atol=1e-9)


@pytest.mark.parametrize("cubic", [False, True])
def test_a_flat_picture_stays_flat(cubic: bool) -> None:
    for scale in (0.3, 1.0) if cubic else (0.3, 1.0, 1.7, 5.1):
        np.testing.assert_allclose(axis_weights(Axis(scale, -9.2, 60), 31, cubic=cubic).sum(axis=1), 1.0)


def test_stripes_finer_than_the_tensor_give_their_mean_on_either_axis() -> None:
    grey = np.full((240, 256), 128, np.uint8)
    for axis, size in ((1, (480, 205)), (0, (192, 512))):
        luma = np.where(np.indices((480, 512))[axis] % 2, 235, 16).astype(np.uint8)
        tensor = frame_to_tensor((luma, grey, grey), size)

        # 2.5 to one along one axis, and one to one along the other: point samples would leave a deviation of 1.
        assert abs(float(tensor.mean())) < 0.02
        assert tensor.std() < 0.25


@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_black_is_minus_one_and_white_exactly_one(colour: Colour) -> None:
    grey = np.full((10, 10), 128, np.uint8)
    black, white = (0, 255) if colour.full_range else (16, 235)
    for level, unit in ((black, -1.0), (white, 1.0)):
        assert (frame_to_tensor((np.full((20, 20), level, np.uint8), grey, grey), (8, 8), colour) == unit).all()


@pytest.mark.parametrize("size", [(48, 64), (120, 160), (96, 96)])
def test_there_and_back_shows_no_difference(size: Size) -> None:
    planes = smooth_planes(240, 320)
    before = copied(planes)

    tensor_to_frame(frame_to_tensor(planes, size), planes)

    # Waves of 80 pixels pass nearly unharmed, four or five to one; saturated chroma is clipped in RGB.
    difference = planes[0].astype(int) - before[0]
    assert np.abs(difference).mean() < 1.0
    # A mean of four rounds its halves up: an eighth of a level for each halving.
    assert abs(difference.mean()) < 0.25


@pytest.mark.parametrize("value", [-1.0, 0.3, np.nan])
def test_strength_0_leaves_every_byte(value: float) -> None:
    planes = noise_planes(37, 53)
    before = copied(planes)

    assert tensor_to_frame(np.full((3, 8, 8), value, np.float32), planes, strength=0.0).is_empty
    assert _same(planes, before)


@pytest.mark.parametrize("strength", [0.4, 1.0])
@pytest.mark.parametrize("region", [Region(3, 5, 30, 40), Region(4, 6, 30, 40), Region(-9, 11, 20, 99)])
@pytest.mark.parametrize("wipe_column", [0, 15])
def test_outside_the_region_and_left_of_the_wipe_every_byte_stays(
    strength: float, region: Region, wipe_column: int
) -> None:
    backing = [np.random.default_rng(3).integers(0, 256, (60, 70), dtype=np.uint8) for _ in range(3)]
    planes: Planes = (backing[0][:37, :53], backing[1][:19, :27], backing[2][:19, :27])
    before = [each.copy() for each in backing]

    box = tensor_to_frame(_noise_tensor((16, 16)), planes, region, strength, wipe_column=wipe_column)

    inside = np.zeros((37, 53), bool)
    inside[max(region.top, 0) : region.bottom, max(region.left, wipe_column) : region.right] = True
    assert np.array_equal(inside, _drawn(box, (37, 53)))
    whole = np.pad(inside, ((0, 1), (0, 1)), mode="edge").reshape(19, 2, 27, 2).all(axis=(1, 3))
    for changes, plane, old in zip((inside, whole, whole), backing, before, strict=True):
        may = np.zeros(plane.shape, bool)
        may[: changes.shape[0], : changes.shape[1]] = changes
        assert (plane != old).any()
        assert not (plane != old)[~may].any()


def _drawn(box: Region, shape: tuple[int, int]) -> np.ndarray:
    drawn = np.zeros(shape, bool)
    box.of(drawn)[...] = True
    return drawn


@pytest.mark.parametrize("wipe_column", [53, 1000])
def test_a_wipe_to_the_right_edge_leaves_the_original(wipe_column: int) -> None:
    planes = noise_planes(37, 53)
    before = copied(planes)

    assert tensor_to_frame(_noise_tensor((8, 8)), planes, wipe_column=wipe_column).is_empty
    assert _same(planes, before)


def test_a_wipe_does_not_move_the_picture() -> None:
    whole, wiped = noise_planes(48, 64), noise_planes(48, 64)

    tensor_to_frame(_noise_tensor((16, 16)), whole)
    tensor_to_frame(_noise_tensor((16, 16)), wiped, wipe_column=22)

    assert np.array_equal(whole[0][:, 22:], wiped[0][:, 22:])
    assert np.array_equal(whole[1][:, 11:], wiped[1][:, 11:])


def test_nv12_is_read_and_written_as_i420_is() -> None:
    planes = noise_planes(71, 93)
    both = np.ascontiguousarray(np.stack(planes[1:], axis=-1))
    nv12 = planes[0].copy(), both[..., 0], both[..., 1]

    assert np.array_equal(frame_to_tensor(nv12, (32, 40)), frame_to_tensor(planes, (32, 40)))
    for each in (planes, nv12):
        tensor_to_frame(_noise_tensor((32, 40)), each, Region(3, 3, 60, 70), 0.6)
    assert _same(planes, nv12)


def test_the_tensor_shows_red_where_the_frame_is_red() -> None:
    rgb = np.zeros((64, 96, 3), np.uint8)
    rgb[:32, :48], rgb[32:, 48:] = (255, 0, 0), (0, 0, 255)
    flat = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).ravel()
    luma, blue, red = flat[:6144].reshape(64, 96), flat[6144:7680].reshape(32, 48), flat[7680:].reshape(32, 48)

    tensor = frame_to_tensor((luma, blue, red), (32, 32))

    np.testing.assert_allclose(tensor[:, 5, 5], (1, -1, -1), atol=0.05)
    np.testing.assert_allclose(tensor[:, 25, 25], (-1, -1, 1), atol=0.05)
    np.testing.assert_allclose(tensor[:, 5, 25], -1, atol=0.05)


def test_what_cannot_be_is_refused() -> None:
    planes = noise_planes(10, 10)
    with pytest.raises(ValueError, match="holds no pixel"):
        frame_to_tensor(planes, (8, 8), region=Region(4, 4, 4, 9))
    with pytest.raises(ValueError, match="holds no pixel"):
        tensor_to_frame(_noise_tensor((8, 8)), planes, Region(4, 4, 4, 9))
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="strength is"):
            tensor_to_frame(_noise_tensor((8, 8)), planes, strength=strength)
    with pytest.raises(ValueError, match="plane U"):
        frame_to_tensor((planes[0], planes[0], planes[0]), (8, 8))
