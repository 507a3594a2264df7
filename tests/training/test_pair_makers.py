"""Pairs made of photos: the same size, the same for the same seed, spoilt alike but for the grain."""

import numpy as np
import pytest

from kernels.lines import line_drawing
from tests.training.pictures import made_picture
from training.config import ConfigError
from training.data.pair_makers import PAIR_MAKERS, Rgb, blocks_of_four, maker_named

pytestmark = pytest.mark.unit

MAKERS = sorted(PAIR_MAKERS)
SPOILING = ["enhance", "relight", "colour"]


def _spoilt(name: str, photo: Rgb, how: int = 1, grain: int = 2) -> Rgb:
    maker = PAIR_MAKERS[name]
    source = maker.once(photo).source
    return maker.again(source, np.random.default_rng(how), np.random.default_rng(grain))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("size", [(48, 64), (37, 53)])
def test_both_sides_have_the_photos_size(name: str, size: tuple[int, int]) -> None:
    photo = made_picture(3, *size)
    kept = photo.copy()
    pair = PAIR_MAKERS[name].once(photo)
    for picture in (*pair, _spoilt(name, photo)):
        assert picture.shape == (*size, 3)
        assert picture.dtype == np.uint8
    assert np.array_equal(photo, kept)


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seeds_spoil_to_the_same_bits(name: str) -> None:
    photo = made_picture(4)
    assert np.array_equal(_spoilt(name, photo), _spoilt(name, photo))


@pytest.mark.parametrize("name", SPOILING)
def test_another_grain_is_a_smaller_change_than_another_way_to_spoil(name: str) -> None:
    photo = made_picture(4)

    def change(how: int, grain: int) -> float:
        return float(np.abs(_spoilt(name, photo).astype(int) - _spoilt(name, photo, how, grain)).mean())

    others = [change(how, 2) for how in range(3, 9)]
    assert 0.0 < change(1, 9) < max(others)


@pytest.mark.parametrize("name", SPOILING)
def test_the_photo_itself_is_what_should_be_drawn(name: str) -> None:
    photo = made_picture(5)
    assert np.array_equal(PAIR_MAKERS[name].once(photo).target, photo)
    assert not np.array_equal(_spoilt(name, photo), photo)


def test_colour_shows_no_colour_and_sketch_draws_none() -> None:
    photo = made_picture(6)
    for picture in (_spoilt("colour", photo), PAIR_MAKERS["sketch"].once(photo).target):
        assert np.ptp(picture, axis=2).max() == 0


def test_relight_shows_a_darker_picture() -> None:
    photo = made_picture(7)
    darker = [_spoilt("relight", photo, how).mean() < photo.mean() for how in range(8)]
    assert sum(darker) >= 7  # one exposure in eight may be as good as the photo's


def test_lines_are_drawn_at_edges_and_nowhere_on_plain_paper() -> None:
    # Rounding of float32.
    assert line_drawing(np.full((40, 40, 3), 90, np.uint8)).min() > 1 - 1e-5
    half = np.full((40, 40, 3), 220, np.uint8)
    half[:, 20:] = 30
    drawn = line_drawing(half)
    assert drawn[:, 17:24].min() < 0.5
    assert drawn[:, :10].min() > 1 - 1e-5


@pytest.mark.parametrize("size", [(16, 16), (13, 19)])
def test_blocks_of_four_at_a_fine_step_give_the_picture_back(size: tuple[int, int]) -> None:
    photo = made_picture(8, *size)
    # Conversion to Y'CbCr and back rounds twice.
    assert np.abs(blocks_of_four(photo, 0.01).astype(int) - photo).max() <= 3
    coarse = np.abs(blocks_of_four(photo, 60.0).astype(int) - photo).mean()
    assert coarse > np.abs(blocks_of_four(photo, 10.0).astype(int) - photo).mean()


def test_an_unknown_maker_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no pair maker 'sketsch'; there are enhance, relight, colour, sketch"):
        maker_named("sketsch")
