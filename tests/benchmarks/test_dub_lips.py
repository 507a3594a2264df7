"""The meters that hold lips against a dub: they find known shifts, and they are able to fail."""

from collections import Counter

import numpy as np
import pytest

from benchmarks import dub_voices
from benchmarks.dub_lips import others
from benchmarks.dub_voices import Replayed, Skewed, live_dub, placed_phones
from benchmarks.lip_meters import (
    STEP_NS,
    WINDOW_NS,
    ShutLips,
    Watched,
    delayed,
    drawn_spans,
    mean_shut,
    pooled,
    shut_lips,
    speech_share,
    starts_of,
    window_scores,
)
from benchmarks.phone_opening import mouth_phones, opening_of, said, shut_spans_ns
from kernels.mel import LIPGAN_WINDOW, SILENCE
from stream.frames import NS_PER_MS as MS
from stream.frames import NS_PER_S
from stream.speech.chain import Chain
from stream.speech.offline import Line
from stream.speech.protocol import Phone, SpokenChunk
from tests.stream.clip_maker import SAMPLE
from tests.stream.speech.words import Humming, Scripted, Shouting, clause
from training.sync_curve import SHIFTS_MS, ShiftCurve

pytestmark = pytest.mark.unit

TURNS = [(0, 20 * NS_PER_S)]


def babble(seed: int, seconds: float = 12.0) -> tuple[Phone, ...]:
    """Random phones of 60 to 140 ms."""
    generator = np.random.default_rng(seed)
    phones, at_ns = [], 500 * MS
    while at_ns < seconds * NS_PER_S:
        end_ns = at_ns + int(generator.integers(60, 140)) * MS
        phones.append(Phone(str(generator.choice(["a", "m", "e", "s", "p", "o", "t", "i"])), at_ns, end_ns))
        at_ns = end_ns
    return tuple(phones)


def filmed(phones: tuple[Phone, ...], late_ms: float) -> tuple[np.ndarray, np.ndarray]:
    """The opening that these phones ask for, seen at 25 pictures a second and so late."""
    times_s, gaps = opening_of(said(phones))
    pictures_s = np.arange(300) / 25
    return pictures_s, np.interp(pictures_s - late_ms / 1000, times_s, gaps)


@pytest.mark.parametrize("late_ms", [-80, -33, 0, 20, 80])
def test_lips_that_are_late_make_the_sound_early_by_as_much(late_ms: int) -> None:
    phones = babble(1)
    found = pooled(window_scores(opening_of(said(phones)), filmed(phones, late_ms), TURNS))
    # A picture is 40 ms: between two of them only a straight line is known.
    assert found.offset_ms == pytest.approx(-late_ms, abs=3)
    assert found.low_ms - 1 <= found.offset_ms <= found.high_ms + 1
    assert found.alike > 0.9


def test_lips_of_another_dub_are_not_alike() -> None:
    found = pooled(window_scores(opening_of(said(babble(1))), filmed(babble(2), 0), TURNS))
    assert found.alike < 0.3
    assert found.high_ms - found.low_ms > 40


def test_a_voice_without_phones_is_refused_and_so_is_silence() -> None:
    with pytest.raises(ValueError, match="no phones"):
        said(())
    phones = babble(1)
    with pytest.raises(ValueError, match="no window"):
        pooled(window_scores(opening_of(said(phones)), filmed(phones, 0), []))


def test_vowels_open_the_mouth_and_bilabials_shut_it() -> None:
    phones = tuple(Phone(ipa, at * 200 * MS, (at + 1) * 200 * MS) for at, ipa in enumerate("amasa"))
    times_s, gaps = opening_of(said(phones))
    a, m, _, s, _ = (float(np.interp((at + 0.5) * 0.2, times_s, gaps)) for at in range(5))
    rest = float(np.interp(-0.8, times_s, gaps))
    assert a > s > m
    assert m < 0.03
    assert rest < 0.03


def test_a_phone_has_a_mouth_whatever_its_length_marks() -> None:
    assert mouth_phones("aː") == ["AA"]
    assert mouth_phones("ɲ") == ["N", "Y"]
    assert mouth_phones("") == ["SIL"]
    assert mouth_phones("?") == ["AH"]


def test_only_m_b_and_p_ask_for_shut_lips() -> None:
    phones = tuple(Phone(ipa, at * 10 * MS, (at + 1) * 10 * MS) for at, ipa in enumerate(["m", "a", "β", "pː"]))
    assert shut_spans_ns(said(phones)).tolist() == [[0, 10 * MS], [30 * MS, 40 * MS]]


def seen_with_shut(shut_s: list[float]) -> Watched:
    times_s = np.arange(250) / 25
    opening = np.full(250, 0.2)
    for each in shut_s:
        opening[np.abs(times_s - each) < 0.03] = 0.0
    return Watched((times_s * NS_PER_S).astype(np.int64), opening, np.zeros((250, 1, 1, 3), np.uint8))


def test_lips_shut_in_time_count_and_shut_elsewhere_do_not() -> None:
    at_s = [1.0, 3.0, 5.0, 7.0]
    spans = np.array([[round((each - 0.03) * NS_PER_S), round((each + 0.03) * NS_PER_S)] for each in at_s])
    own = seen_with_shut(list(np.arange(0.5, 9.5, 0.5)))
    turns = [(0, 9 * NS_PER_S)]
    right = shut_lips(seen_with_shut(at_s), own, spans, turns)
    assert (right.phones, right.shut) == (4, 1.0)
    assert right.by_chance < 0.3
    assert shut_lips(seen_with_shut([each + 0.5 for each in at_s]), own, spans, turns).shut == 0.0


def test_a_clip_without_such_phones_does_not_count() -> None:
    own = seen_with_shut([1.0])
    none = shut_lips(own, own, np.zeros((0, 2), np.int64), [(0, 9 * NS_PER_S)])
    some = ShutLips(4, 0.5, 0.25)
    assert mean_shut({"a": none, "b": some}) == some


def test_drawn_spans_begin_in_turns_and_keep_their_length() -> None:
    spans = np.array([[0, 50], [100, 180]])
    drawn = drawn_spans(spans, [(1000, 2000), (5000, 5500)], 3)
    assert (drawn[:, 1] - drawn[:, 0]).tolist() == [50, 80]
    assert all(1000 <= start < 2000 or 5000 <= start < 5500 for start in drawn[:, 0])


def test_windows_begin_where_the_voice_speaks() -> None:
    pts_ns = np.arange(200) * 40 * MS
    curve = ShiftCurve(np.zeros((200, len(SHIFTS_MS)), np.float32), pts_ns)
    speaks = [(2 * NS_PER_S, 5 * NS_PER_S)]
    assert starts_of(curve, speaks) == [2 * STEP_NS, 3 * STEP_NS]
    assert speech_share(speaks, NS_PER_S, NS_PER_S + WINDOW_NS) == 0.5


def test_a_short_clip_is_one_window() -> None:
    curve = ShiftCurve(np.zeros((40, len(SHIFTS_MS)), np.float32), 700 * MS + np.arange(40) * 40 * MS)
    assert starts_of(curve, TURNS) == [700 * MS]


def test_a_sound_is_delayed_and_keeps_its_length() -> None:
    sound = np.arange(1600, dtype=np.float32) + 1
    late, early = delayed(sound, 80), delayed(sound, -80)
    assert np.array_equal(late[1280:], sound[:320])
    assert not late[:1280].any()
    assert np.array_equal(early[:320], sound[1280:])
    assert not early[320:].any()


def test_a_skewed_voice_has_late_lips_and_its_own_sound() -> None:
    mels = {at: np.full((80, 2), at, np.float32) for at in (0, 80 * MS)}
    plain = Replayed(mels, np.arange(4800, dtype=np.float32))
    late = Skewed(plain, 80 * MS)
    assert late.mel(80 * MS) is mels[0]
    assert late.mel(40 * MS) is None
    assert np.array_equal(late.audio(50 * MS, 10), plain.audio(50 * MS, 10))
    assert plain.audio(50 * MS, 1)[0] == 2400


def test_phones_follow_the_cut_and_the_speed_of_their_clause() -> None:
    quiet, tone = np.zeros(1600, np.float32), np.full(8000, 0.5, np.float32)
    phones = (Phone("", 0, 100 * MS), Phone("a", 100 * MS, 600 * MS), Phone("", 600 * MS, 700 * MS))
    chunk = SpokenChunk(1, 0, 16_000, np.concatenate([quiet, tone, quiet]), phones)
    # 520 ms are left of it, with 10 ms around, and spoken in half of that.
    line = Line(clause(1, "a", 0), "a", 2 * NS_PER_S, 2 * NS_PER_S + 260 * MS, 2.0)
    vowel = next(each for each in placed_phones(line, [chunk]) if each.ipa == "a")
    assert vowel.start_ns == pytest.approx(2005 * MS, abs=MS)
    assert vowel.end_ns == pytest.approx(2255 * MS, abs=MS)


def test_each_clip_meets_two_others() -> None:
    assert others({"a": 1, "b": 1, "c": 1, "d": 1})[:2] == [("a", "b"), ("a", "c")]
    assert others({"a": 1}) == []
    assert all(one != other for one, other in others({"a": 1, "b": 1}))


def test_a_live_dub_is_heard_and_seen_at_the_same_times(monkeypatch: pytest.MonkeyPatch) -> None:
    def scripted(*_: object) -> Chain:
        text = "one two three. four five six. seven eight nine."
        return Chain(Scripted(text), {"xx": Shouting()}, Humming(), (), Counter())

    monkeypatch.setattr(dub_voices, "open_chain", scripted)
    dub = live_dub(SAMPLE, "xx", LIPGAN_WINDOW)
    assert dub.turns
    for start_ns, end_ns in dub.turns:
        middle_ns = (start_ns + end_ns) // 2
        assert np.abs(dub.audio(middle_ns - 20 * MS, 1920)).max() > 0.1
        seen_ns = min(dub.mels, key=lambda pts_ns: abs(pts_ns - middle_ns))
        window = dub.mel(seen_ns)
        assert window is not None
        # The column at the picture's own time hears the hum.
        assert window[:, LIPGAN_WINDOW.past].max() > SILENCE + 1
    assert dub.mel(1) is None
