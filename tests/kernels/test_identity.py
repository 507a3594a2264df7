"""The identity picture: the most closed mouth of the nearest pose, without flicker."""

import numpy as np
import pytest

from benchmarks.pictures import face
from kernels.identity import IdentityBank

pytestmark = pytest.mark.unit

FRAME_NS = 40_000_000


def _picture(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number, np.uint8)


def _landmarks(*, drop: float = 0.0, nose_px: float = 0.0) -> np.ndarray:
    landmarks = face(200.0, 150.0, 60.0, jaw_drop=drop)
    landmarks[1, 0] += nose_px
    return landmarks


def test_a_closed_mouth_is_preferred_to_the_current_open_one() -> None:
    bank = IdentityBank()
    bank.choose(0, _landmarks(drop=0.0), _picture(1))
    shown = bank.choose(FRAME_NS, _landmarks(drop=0.3), _picture(2))

    assert shown[0, 0, 0] == 1


def test_an_open_first_picture_gives_way_to_the_first_closed_one() -> None:
    bank = IdentityBank()
    bank.choose(0, _landmarks(drop=0.3), _picture(1))
    shown = bank.choose(FRAME_NS, _landmarks(drop=0.0), _picture(2))

    assert shown[0, 0, 0] == 2


def test_a_turned_head_finds_its_like_and_turns_back_to_the_other() -> None:
    bank = IdentityBank()
    bank.choose(0, _landmarks(), _picture(1))
    turned = bank.choose(FRAME_NS, _landmarks(nose_px=20.0), _picture(2))
    back = bank.choose(2 * FRAME_NS, _landmarks(), _picture(3))

    assert (turned[0, 0, 0], back[0, 0, 0]) == (2, 1)


def test_small_differences_do_not_make_it_flicker() -> None:
    bank = IdentityBank()
    bank.choose(0, _landmarks(), _picture(0))
    rng = np.random.default_rng(0)
    shown = [
        int(bank.choose(n * FRAME_NS, _landmarks(nose_px=float(rng.normal(0.0, 0.5))), _picture(n))[0, 0, 0])
        for n in range(1, 60)
    ]

    assert len(set(shown)) == 1


def test_what_is_kept_is_bounded_and_old_pictures_of_a_pose_are_renewed() -> None:
    bank = IdentityBank(capacity=3)
    for number in range(20):
        bank.choose(number * FRAME_NS, _landmarks(nose_px=6.0 * number), _picture(number))
    renewed = bank.choose(60_000_000_000, _landmarks(nose_px=6.0 * 19), _picture(77))

    assert len(bank._pictures) == 3
    assert renewed[0, 0, 0] == 77
