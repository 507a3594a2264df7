"""What eSpeak NG can do beyond what every speaker must."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from stream.clock import MonotonicClock
from stream.errors import BackEndError, ConfigError
from stream.speech.espeak import ESPEAK
from stream.speech.speak import ProcessSpeaker
from tests.stream.speech.conformance import check_chunks, check_phones

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(
        shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt-get install espeak-ng"
    ),
]


@pytest.fixture
def espeak() -> Iterator[ProcessSpeaker]:
    speaker = ProcessSpeaker(replace(ESPEAK, start_ms=60_000, answer_ms=60_000), MonotonicClock())
    yield speaker
    speaker.close()


@pytest.mark.parametrize(
    ("language", "text", "ipa"),
    [
        ("en", "Pet.", ["p", "ɛ", "t"]),
        ("es", "Mano.", ["m", "a", "n", "o"]),
        ("ca", "Mà.", ["m", "a"]),
        ("de", "Ja.", ["j", "ɑː"]),
    ],
)
def test_it_says_which_sounds_it_makes(espeak: ProcessSpeaker, language: str, text: str, ipa: list[str]) -> None:
    chunks = list(espeak.speak(1, text, language))
    check_chunks(chunks, 1)
    check_phones(chunks)
    assert [phone.ipa for chunk in chunks for phone in chunk.phones if phone.ipa] == ipa


@pytest.mark.parametrize("rate", [0.7, 0.85, 1.3, 1.9])
def test_rate_changes_how_long_a_clause_lasts(espeak: ProcessSpeaker, rate: float) -> None:
    def length_ns(clause_id: int, rate: float) -> int:
        text = "Hoy hablamos de la cara y de la voz, mañana de los labios."
        return list(espeak.speak(clause_id, text, "es", rate=rate))[-1].end_ns

    # Pauses and the shortest sounds do not follow in full.
    assert length_ns(1, 1.0) / length_ns(2, rate) == pytest.approx(rate, rel=0.15)


@pytest.mark.parametrize("rate", [0.4, 2.1])
def test_a_rate_out_of_range_is_refused(espeak: ProcessSpeaker, rate: float) -> None:
    with pytest.raises(BackEndError, match=f"rate is {rate}, it must be between"):
        list(espeak.speak(1, "Hola.", "es", rate=rate))


def test_a_voice_that_is_not_there_is_refused(espeak: ProcessSpeaker) -> None:
    with pytest.raises(BackEndError, match="no voice 'nobody'"):
        list(espeak.speak(1, "Hola.", "es", voice="nobody"))


@pytest.mark.parametrize("text", ["", " ", "?!", "\0", "[[h@l'oU]] <b>&amp;</b> $^\\"])
def test_any_text_ends(espeak: ProcessSpeaker, text: str) -> None:
    chunks = list(espeak.speak(1, text, "es"))
    assert all(chunk.clause_id == 1 for chunk in chunks)
    check_chunks(list(espeak.speak(2, "Hola.", "es")), 2)


def test_a_missing_library_names_the_package() -> None:
    code = "import stream.speech.espeak_worker as worker; worker.LIBRARY = 'libnobody.so'; worker.main()"
    speaker = ProcessSpeaker(replace(ESPEAK, command=(sys.executable, "-c", code), start_ms=60_000), MonotonicClock())
    with pytest.raises(ConfigError, match=r"libnobody\.so.*apt-get install espeak-ng"):
        _ = speaker.caps
    speaker.close()


def test_its_library_is_never_loaded_into_this_process(espeak: ProcessSpeaker) -> None:
    list(espeak.speak(1, "Hola.", "es"))
    with open("/proc/self/maps") as maps:
        assert "espeak" not in maps.read()


def test_where_it_is_slower_than_people_a_live_dub_is_told_so(espeak: ProcessSpeaker) -> None:
    assert espeak.caps.brisk == {"es": 1.15, "ca": 1.15}
