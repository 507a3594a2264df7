"""The crop's geometry and its pixels."""

import numpy as np
import pytest

from benchmarks.pictures import SHAPES, WIDE_OPEN, face, noise_planes, smooth_planes
from kernels.crop import crop_face, crop_face_definition, crop_transform, drawn_picture, generator_input, in_crop
from kernels.yuv import BT601_LIMITED, Colour, rgb_to_i420

pytestmark = pytest.mark.unit

NOSE_BASE, CHIN, RIGHT_EYE, LEFT_EYE, LOWER_LIP = 2, 152, 33, 263, 14
# One pixel, a side that is no multiple of a vector, and the sizes in production.
SIZES = [1, 37, 96, 256]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("roll", [0.0, 0.5, -1.4, 3.0])
def test_the_nose_base_lies_in_the_middle_under_upright_eyes(size: int, roll: float) -> None:
    landmarks = face(200.0, 150.0, 60.0, roll=roll)

    points = in_crop(landmarks, crop_transform(landmarks, size))

    np.testing.assert_allclose(points[NOSE_BASE], (size - 1) / 2, atol=0.015 * size)
    np.testing.assert_allclose(points[RIGHT_EYE][1], points[LEFT_EYE][1], atol=0.015 * size)
    assert points[RIGHT_EYE][0] <= points[LEFT_EYE][0]


def test_an_opening_jaw_does_not_move_the_crop() -> None:
    closed, opened = (face(200.0, 150.0, 60.0, jaw_drop=drop) for drop in (0.0, WIDE_OPEN))

    assert np.array_equal(crop_transform(closed, 96), crop_transform(opened, 96))


@pytest.mark.parametrize("roll", [0.0, 0.6])
def test_the_lower_half_holds_the_mouth_and_a_jaw_opened_all_the_way(roll: float) -> None:
    landmarks = face(200.0, 150.0, 60.0, roll=roll, jaw_drop=WIDE_OPEN)

    points = in_crop(landmarks, crop_transform(landmarks, 96))

    assert points[0][1] > 48 + 4
    assert points[CHIN][1] < 95


def test_the_map_is_a_similarity() -> None:
    linear = crop_transform(face(20.0, 950.0, 33.0, roll=0.7), 96)[:, :2].astype(float)

    gram = linear @ linear.T
    np.testing.assert_allclose(gram, np.eye(2) * gram[0, 0], atol=1e-6)
    assert np.linalg.det(linear) > 0


def test_twice_the_face_gives_half_the_scale() -> None:
    near, far = (crop_transform(face(100.0, 100.0, eyes), 96) for eyes in (80.0, 40.0))

    np.testing.assert_allclose(far[:, :2], 2 * near[:, :2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("broken", "message"), [(np.nan, "not finite"), (np.inf, "not finite"), (7.0, "no face")])
def test_landmarks_that_are_no_face_are_refused(broken: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crop_transform(np.full((478, 2), broken, np.float32), 96)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 37, 96])
@pytest.mark.parametrize("colour", [BT601_LIMITED, Colour("bt709", full_range=True)], ids=str)
def test_crop_equals_the_definition(shape: tuple[int, int], size: int, colour: Colour) -> None:
    planes = noise_planes(*shape, strided=True)
    height, width = shape
    for eyes_px in (1.0, 12.0, 60.0, 300.0):
        # The second face looks out of the picture.
        for x, y in ((width / 2, height / 2), (width * 1.1, -0.2 * height)):
            to_crop = crop_transform(face(x, y, eyes_px, roll=0.4), size)
            result = crop_face(planes, to_crop, size, colour)
            # Each plane is rounded at every halving and mean before the matrix, whose gain for chroma is up to 2.
            expected = crop_face_definition(planes, to_crop, size, colour)
            np.testing.assert_allclose(result, expected, atol=6.0)


@pytest.mark.parametrize("eyes_px", [20.0, 45.0, 80.0, 150.0])
def test_crop_equals_the_definition_within_about_a_level_on_average(eyes_px: float) -> None:
    planes = noise_planes(480, 640)
    to_crop = crop_transform(face(300.0, 200.0, eyes_px, roll=-0.2), 96)

    error = crop_face(planes, to_crop, 96) - crop_face_definition(planes, to_crop, 96)

    # Roundings are independent; halving in whole numbers rounds halves up, an eighth of a level each time, three
    # times for the largest face, and the matrix adds its gain.
    assert np.abs(error).mean() < 1.2
    assert abs(error.mean()) < 0.8


def test_a_face_far_outside_the_picture_is_its_repeated_border() -> None:
    planes = noise_planes(16, 16)
    to_crop = crop_transform(face(-4000.0, -4000.0, 30.0), 96)

    crop = crop_face(planes, to_crop, 96)

    assert crop.shape == (96, 96, 3)
    assert (crop == crop[0, 0]).all()


def test_a_turned_head_in_a_turned_picture_gives_the_same_crop() -> None:
    upright = smooth_planes(240, 240)
    # A quarter turn to the left keeps every pixel: column x becomes row 239 - x.
    turned = tuple(np.ascontiguousarray(np.rot90(plane)) for plane in upright)
    landmarks = face(120.0, 110.0, 50.0)
    turned_landmarks = np.stack([landmarks[:, 1], 239 - landmarks[:, 0]], axis=1)

    crops = [
        crop_face(planes, crop_transform(points, 96), 96)  # type: ignore[arg-type]
        for planes, points in ((upright, landmarks), (turned, turned_landmarks))
    ]

    # Rounding falls otherwise, and halving starts at other blocks.
    np.testing.assert_allclose(crops[0].astype(float), crops[1], atol=5.0)
    assert np.abs(crops[0].astype(float) - crops[1]).mean() < 0.8


def test_colours_survive_the_planes() -> None:
    picture = np.full((64, 64, 3), (200, 120, 90), np.uint8)

    for colour in (BT601_LIMITED, Colour("bt709"), Colour("bt601", full_range=True)):
        crop = crop_face(rgb_to_i420(picture, colour), crop_transform(face(32, 32, 15), 96), 96, colour)
        np.testing.assert_allclose(crop.reshape(-1, 3).astype(float), np.tile((200, 120, 90), (96 * 96, 1)), atol=2)


@pytest.mark.parametrize("size", [1, 2, 37, 96])
def test_generator_input_is_identity_first_and_hides_the_lower_half(size: int) -> None:
    rng = np.random.default_rng(5)
    identity, target = rng.integers(0, 256, (2, size, size, 3), dtype=np.uint8)

    tensor = generator_input(identity, target)

    expected = np.concatenate([identity, target], axis=2).transpose(2, 0, 1) / 255.0
    expected[3:, size // 2 :] = 0.0
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    # float32 has 24 bits.
    np.testing.assert_allclose(tensor, expected, atol=1e-7)
    assert tensor.max() <= 1.0


def test_a_drawn_picture_is_rounded_and_keeps_to_its_range() -> None:
    output = np.zeros((3, 2, 4), np.float32)
    output[:, 0] = [[-0.7, 0.0, 0.499 / 255, 0.501 / 255], [1.0, 1.7, 0.5, 0.25], [254.49 / 255, 254.51 / 255, 0, 0]]

    picture = drawn_picture(output)

    assert picture.shape == (2, 4, 3)
    assert picture[0].T.tolist() == [[0, 0, 0, 1], [255, 255, 128, 64], [254, 255, 0, 0]]
    assert not picture[1].any()


@pytest.mark.parametrize("size", [1, 37, 96])
def test_a_drawn_picture_undoes_the_generators_input(size: int) -> None:
    picture = np.random.default_rng(5).integers(0, 256, (size, size, 3), dtype=np.uint8)

    assert np.array_equal(drawn_picture(generator_input(picture, picture)[:3]), picture)
