"""Phones of recordings: where they are is heard again in the sound itself."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.mel import SAMPLE_RATE_HZ
from training.data.clips import MaterialError, read_sound
from training.data.phones import (
    SILENT,
    Phone,
    align_phones,
    flite_speech,
    flite_voices,
    pronounced,
    spoken_words,
)

pytestmark = pytest.mark.unit

VOICE = Path(__file__).parents[2] / "stream" / "assets" / "voice.wav"
SAID = "And it is worth mention in passing that, as an example of fine typography,"


@pytest.fixture(scope="module")
def aligned() -> tuple[NDArray[np.float32], list[Phone]]:
    samples, _ = read_sound(VOICE)
    phones = align_phones(samples, SAID)
    assert phones is not None
    return samples, phones


def test_phones_follow_each_other_from_the_first_word_to_the_end(
    aligned: tuple[NDArray[np.float32], list[Phone]],
) -> None:
    samples, phones = aligned
    # Without vowels, of which the dictionary has several for a small word.
    names = [each.name for each in phones if each.name != SILENT and each.name[0] not in "AEIOU"]
    assert " ".join(names) == "N D T Z W TH M N SH N N P S NG DH T Z N G Z M P L V F N T P G R F"
    assert all(0 <= a.start_s < a.end_s <= b.start_s + 1e-6 for a, b in pairwise(phones))
    assert phones[-1].end_s == pytest.approx(len(samples) / SAMPLE_RATE_HZ, abs=0.05)


def test_hisses_hiss_where_they_were_found_and_vowels_do_not(
    aligned: tuple[NDArray[np.float32], list[Phone]],
) -> None:
    samples, phones = aligned
    hissing = [_share_above_3_khz(samples, each) for each in phones if each.name in {"S", "SH"}]
    vowels = [_share_above_3_khz(samples, each) for each in phones if each.name in {"AE", "AY", "AA", "EH", "AH"}]
    assert min(hissing) > 0.5
    assert max(vowels) < 0.3


def test_a_long_recording_is_aligned_in_halves(aligned: tuple[NDArray[np.float32], list[Phone]]) -> None:
    samples, once = aligned
    phones = align_phones(np.tile(samples, 3), " ".join([SAID] * 3))
    assert phones is not None
    spoken = [each for each in phones if each.name != SILENT]
    single = [each for each in once if each.name != SILENT]
    assert len(spoken) == 3 * len(single)
    length_s = len(samples) / SAMPLE_RATE_HZ
    third = [each.start_s - 2 * length_s for each in spoken[2 * len(single) :]]
    assert np.median(np.abs(np.array(third) - [each.start_s for each in single])) < 0.03


def test_a_word_that_nobody_knows_gives_no_phones() -> None:
    samples, _ = read_sound(VOICE)
    assert align_phones(samples, "and it is wrthxq mention") is None
    assert align_phones(samples, "[laughter]") is None


def test_other_languages_are_said_in_the_nearest_english_phones() -> None:
    assert pronounced("schön", "de") == ("SH", "UW", "N")
    assert pronounced("bueno", "es")[0] == "B"


def test_without_espeak_the_message_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MaterialError, match="apt-get install espeak-ng"):
        pronounced("unerhört", "de")


def test_brackets_are_not_said_and_signs_are() -> None:
    assert spoken_words("It’s 5 % off [pause] – really.") == ["it's", "5", "percent", "off", "really"]


def test_a_synthesiser_says_when_each_phone_ends() -> None:
    assert "slt" in flite_voices()
    samples, phones = flite_speech("Stop. She sees ships.", "slt")
    assert [each.name for each in phones if each.name != SILENT] == [
        *("S", "T", "AA", "P", "SH", "IY", "S", "IY", "Z", "SH", "IH", "P", "S"),
    ]
    assert phones[-1].end_s == pytest.approx(len(samples) / SAMPLE_RATE_HZ, abs=0.05)
    assert min(_share_above_3_khz(samples, each) for each in phones if each.name == "SH") > 0.3


def _share_above_3_khz(samples: NDArray[np.float32], phone: Phone) -> float:
    inside = samples[round(phone.start_s * SAMPLE_RATE_HZ) : round(phone.end_s * SAMPLE_RATE_HZ)]
    power = np.abs(np.fft.rfft(inside * np.hanning(len(inside)))) ** 2
    return float(power[np.fft.rfftfreq(len(inside), 1 / SAMPLE_RATE_HZ) > 3000].sum() / power.sum())
