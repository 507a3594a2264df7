"""A clause's sound and phones, without the silence around them."""

from dataclasses import replace

import numpy as np
import pytest

from stream.speech.protocol import Phone, SpokenChunk
from stream.speech.voiced import as_spoken, voiced
from tests.stream.speech.words import MS, clause, words

pytestmark = pytest.mark.unit

RATE_HZ = 16_000


def spoken(*phones: tuple[str, int, int]) -> list[SpokenChunk]:
    """100 ms of silence, 400 ms of a tone, 100 ms of silence, in two chunks; phones in ms."""
    tone = 0.3 * np.sin(np.arange(400 * 16) * 0.1)
    sound = np.concatenate([np.zeros(1600), tone, np.zeros(1600)]).astype(np.float32)
    said = tuple(Phone(ipa, start * MS, end * MS) for ipa, start, end in phones)
    first, second = sound[:4800], sound[4800:]
    return [SpokenChunk(1, 0, RATE_HZ, first, said[:1]), SpokenChunk(1, 300 * MS, RATE_HZ, second, said[1:])]


def test_silence_around_it_is_cut_and_phones_move_with_the_sound() -> None:
    made = voiced(spoken(("", 0, 100), ("a", 100, 300), ("m", 300, 500)))
    assert abs(made.duration_ns - 420 * MS) <= 10 * MS
    assert [phone.ipa for phone in made.phones] == ["", "a", "m"]
    assert abs(made.phones[1].start_ns - 10 * MS) <= 2 * MS


def test_nothing_said_is_no_sound() -> None:
    made = voiced([])
    assert (made.duration_ns, made.phones) == (0, ())


@pytest.mark.parametrize(
    ("text", "ahead", "given"),
    [
        ("era el mejor", "times", "era el mejor,"),
        ("era el mejor", "", "era el mejor"),
        (" tiempos. ", "it", "tiempos."),
        ("", "it", ""),
    ],
)
def test_what_goes_on_is_spoken_so(text: str, ahead: str, given: str) -> None:
    assert as_spoken(replace(clause(1, "it was", 0), ahead=words(ahead, 600)), text) == given
