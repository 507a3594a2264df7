import numpy as np
import pytest

from stream.frames import NS_PER_MS as MS
from stream.passage import LoopedVoice
from tests.stream.session_fakes import Ramp

pytestmark = pytest.mark.unit

START_NS = 3000 * MS


def looped(duration_ms: int = 1000, pause_ms: int = 400) -> LoopedVoice:
    return LoopedVoice(Ramp(duration_ms * MS), START_NS, pause_ms * MS)


def test_every_round_sounds_the_same() -> None:
    voice = looped()
    rounds = [voice.audio(START_NS + turn * 1400 * MS + 300 * MS, 960) for turn in range(3)]
    np.testing.assert_array_equal(rounds[0], rounds[1])
    np.testing.assert_array_equal(rounds[0], rounds[2])
    assert rounds[0][0] == pytest.approx(1.3)


@pytest.mark.parametrize("since_ms", [-500, -20, 1000, 1199, 1200, 1380])
def test_before_its_start_and_in_its_pause_it_is_silent(since_ms: int) -> None:
    assert not looped().audio(START_NS + since_ms * MS, 960).any()


@pytest.mark.parametrize("step", [960, 331])
def test_cut_in_chunks_of_any_size_the_rounds_join_without_a_seam(step: int) -> None:
    voice, whole = looped(), 2 * 1400 * 48
    firsts = range(0, whole, step)
    cut = np.concatenate([voice.audio(START_NS + first * 1_000_000 // 48, step) for first in firsts])[:whole]
    expected = np.tile(Ramp(1000 * MS).audio(0, 1400 * 48), 2)
    np.testing.assert_array_equal(cut, expected)


def test_the_lips_see_the_coming_round_before_it_begins() -> None:
    assert looped().mel(START_NS + 1300 * MS)[0, 0] == pytest.approx(-100)


def test_a_pause_in_which_a_mel_window_would_see_both_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter than 400 ms"):
        looped(pause_ms=399)
