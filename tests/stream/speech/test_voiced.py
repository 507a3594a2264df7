"""A clause's sound and phones, without the silence around them."""

import numpy as np
import pytest

from kernels.mel import SILENCE, MelWindow
from stream.speech.protocol import Phone, SpokenChunk
from stream.speech.track import DubTrack
from stream.speech.voiced import voiced
from tests.stream.speech.words import MS

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


def test_lips_are_shut_on_m_b_and_p_alone_however_fast_they_are_said() -> None:
    made = voiced(spoken(("p", 100, 150), ("a", 150, 300), ("β", 300, 350), ("mː", 400, 500)))
    (first, second) = made.shut_ns(0.5)
    assert abs(first[0] - 5 * MS) <= 1 * MS
    assert abs(second[1] - 205 * MS) <= 1 * MS


def test_nothing_said_is_no_sound() -> None:
    made = voiced([])
    assert (made.duration_ns, made.phones, made.shut_ns(1.0)) == (0, (), ())


def test_only_the_lips_see_that_they_are_to_be_shut() -> None:
    tone = (0.3 * np.sin(np.arange(24_000) * 0.05)).astype(np.float32)
    track, plain = DubTrack(MelWindow(4, 1)), DubTrack(MelWindow(4, 1))
    track.place(1, 1000 * MS, tone, ((200 * MS, 300 * MS),))
    plain.place(1, 1000 * MS, tone)
    assert track.window(1240 * MS).max() == SILENCE < plain.window(1240 * MS).max()
    assert np.array_equal(track.window(1100 * MS), plain.window(1100 * MS))
    assert np.array_equal(track.audio(1000 * MS, 24_000), plain.audio(1000 * MS, 24_000))
    track.cut(1280 * MS)
    assert track.window(1240 * MS).max() == SILENCE
