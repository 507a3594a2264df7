"""The measures: signs and anchors of offset, correlation, PSNR and SSIM."""

import numpy as np
import pytest

from tests.training.made import made_clip
from training.glance import centre
from training.mouths import correlation, lower_psnr_db, lower_ssim, offset_ms

pytestmark = pytest.mark.unit

PTS_NS = np.arange(75, dtype=np.int64) * 40_000_000


def _track(delay_ns: int = 0) -> np.ndarray:
    seconds = (PTS_NS - delay_ns) / 1e9
    return np.sin(9 * seconds) + np.sin(23 * seconds + 1)


@pytest.mark.parametrize("delay_ms", [0, 60, -80])
def test_lips_that_come_early_have_a_positive_offset(delay_ms: int) -> None:
    # Linear interpolation between 25 pictures a second moves the peak by a few ms.
    assert offset_ms(_track(delay_ms * 1_000_000), _track(), PTS_NS) == pytest.approx(-delay_ms, abs=8)


def test_a_still_mouth_has_no_correlation() -> None:
    assert np.isnan(correlation(np.full(75, 0.1), _track()))
    assert correlation(3 * _track() + 1, _track()) == pytest.approx(1)


def test_equal_pictures_score_best_and_the_upper_half_does_not_count() -> None:
    crops = np.ascontiguousarray(centre(made_clip("a", "anna", frames=6)))
    other = crops.copy()
    other[:, :48] = 0
    assert lower_psnr_db(other, crops) > 100
    assert lower_ssim(other, crops) == pytest.approx(1)
    other[:, 48:] //= 2
    assert lower_psnr_db(other, crops) < 20
    assert lower_ssim(other, crops) < 0.99
