"""Stills that move are seen as their maps say, and what moved between two views is found again."""

import cv2
import numpy as np
import pytest

from tests.training.pictures import made_picture
from training.data.still_motion import (
    UNSEEN,
    maps_of_part,
    maps_of_views,
    places_between,
    seen_through,
)
from training.flicker import warp_errors
from training.steadiness import lag_pictures, moving_psnr_db

pytestmark = pytest.mark.unit

HEIGHT, WIDTH = 96, 128


def _maps(frames: int = 4, seed: int = 2) -> np.ndarray:
    return maps_of_part(np.random.default_rng(seed), frames, HEIGHT, WIDTH)


def test_a_part_moves_before_a_background_that_stands_still() -> None:
    maps = _maps()
    still = maps_of_views(np.stack([np.eye(2, 3)] * 4), HEIGHT, WIDTH)
    off = np.abs(maps - still).max(-1)
    assert off[0].max() < 1e-4
    assert off[1:].max() > 0.5
    edge = np.ones((HEIGHT, WIDTH), bool)
    edge[4:-4, 4:-4] = False
    assert (off[:, edge] < 1e-4).mean() > 0.9


def test_places_of_a_camera_are_those_of_its_views() -> None:
    right = np.array([[1, 0, 3], [0, 1, 0]], np.float64)
    maps = maps_of_views(np.stack([np.eye(2, 3), right]), HEIGHT, WIDTH)
    places = places_between(maps)[0]
    assert np.allclose(places[5, :-3], np.stack([np.arange(3, WIDTH), np.full(WIDTH - 3, 5)], -1), atol=1e-3)
    assert (places[:, -3:] == UNSEEN).all()


def test_what_a_view_shows_lay_in_the_one_before_where_it_is_said() -> None:
    # Fine enough to show motion, smooth enough not to show interpolation.
    picture = cv2.GaussianBlur(made_picture(5, HEIGHT, WIDTH), (0, 0), 2.0)
    maps = _maps()
    film = [seen_through(picture, view) for view in maps]
    flows = [(each, each.min(-1) >= 0) for each in places_between(maps)]
    grid = maps_of_views(np.eye(2, 3)[None], HEIGHT, WIDTH)[0]
    still = [(grid, seen) for _, seen in flows]
    assert np.mean(warp_errors(film, flows)) < 0.4 * np.mean(warp_errors(film, still))


def test_a_film_that_comes_late_is_found_out() -> None:
    light = np.random.default_rng(1).uniform(60, 200, 24).astype(np.uint8)
    target = [np.full((32, 32, 3), each, np.uint8) for each in light]
    assert lag_pictures(target, target) == 0
    assert lag_pictures([target[0], *target[:-1]], target) == 1
    assert lag_pictures([*target[2:], *target[:2]], target) == -2
    assert lag_pictures(target[:5], target[:5]) is None
    assert lag_pictures(target, [target[0]] * 24) is None


def test_only_what_moved_counts_for_the_moving_part() -> None:
    target = [np.zeros((8, 8, 3), np.uint8)] * 2
    drawn = [each + np.uint8(9) for each in target]
    drawn[1][:4] = 5
    moved = np.zeros((8, 8), bool)
    moved[:4] = True
    assert moving_psnr_db(drawn, target, [moved]) == pytest.approx(20 * np.log10(255 / 5))
    assert np.isnan(moving_psnr_db(drawn, target, [~np.ones((8, 8), bool)]))
