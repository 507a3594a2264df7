"""The account of a dub, on placements whose figures are known."""

import numpy as np
import pytest

from benchmarks.av_lips import loudness
from benchmarks.dubbing import Policy, Run, figures, looped
from benchmarks.speech import errors, plain
from stream.config import SessionConfig
from stream.frames import NS_PER_MS as MS
from stream.speech.clauses import ClauseConfig
from stream.speech.interpreter import Dubbed, Prepared
from stream.speech.lag import LagConfig, Placement
from stream.speech.protocol import TranslatedClause
from stream.speech.voiced import voiced
from tests.stream.speech.words import clause

pytestmark = pytest.mark.unit

POLICY = Policy("en", "es", LagConfig(target_ms=2000, end_ms=2000), ClauseConfig())


EXIT_MS = round(SessionConfig().dub_delay_ms)


def dubbed(index: int, lag_ms: int, length_ms: int = 900) -> Dubbed:
    """Three words in 900 ms, heard `lag_ms` after they began, with the exit's delay."""
    said = clause(index, "a b c", index * 1000)
    translated = TranslatedClause(index, "x y z", "es", said.start_ns, said.end_ns, "draft")
    start_ns = said.start_ns + (lag_ms - EXIT_MS) * MS
    placement = Placement(start_ns, 1.0, lag_ms * MS)
    return Dubbed(Prepared(said, translated, voiced(())), placement, start_ns + length_ms * MS)


def account(*lags_ms: int, length_ms: int = 900) -> dict:
    run = Run([dubbed(index, lag, length_ms) for index, lag in enumerate(lags_ms)])
    run.listen_ms, run.prepare_ms, run.media_s = [1.0], [1.0], 10.0
    run.source_end_ns = ((len(lags_ms) - 1) * 1000 + 900) * MS
    return figures(run, POLICY)


def test_a_steady_lag_has_no_drift_and_lies_in_its_slot() -> None:
    body = account(*[2000] * 10)
    assert body["evs_s"]["mean"] == pytest.approx(2.0)
    assert body["drift_ms_per_minute"] == pytest.approx(0.0, abs=1e-6)
    assert body["isochrony_share"] == 1.0
    assert body["end_offset_s"] == pytest.approx(2.0)
    assert body["laal_s"] == pytest.approx(2.0, abs=0.1)
    assert body["erasure"] == 0


def test_a_lag_that_grows_drifts_and_leaves_its_slot() -> None:
    body = account(*[2000 + 100 * index for index in range(10)])
    assert body["drift_ms_per_minute"] == pytest.approx(6000.0)
    assert body["isochrony_share"] == pytest.approx(0.6)
    assert body["lag_max_s"] == pytest.approx(2.9)


def test_a_dub_over_another_is_seen() -> None:
    assert account(2000, 2000, 2000, length_ms=1100)["erasure"] == 2


def test_a_recording_is_looped_with_its_pause() -> None:
    sound = looped(np.ones(16_000, np.float32), 4.0)
    pieces = [sound(index) for index in range(201)]
    assert pieces[200] is None
    whole = np.concatenate(pieces[:200])
    assert whole.sum() == pytest.approx(2.8 * 16_000, abs=1)


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert plain("Don't stop-gap, PLEASE.") == ["dont", "stop", "gap", "please"]
    assert errors(["a", "b", "c"], ["a", "x", "c", "d"]) == 2


def watched(late_ms: int) -> dict:
    """A dub that is loud and quiet by turns, and lips that are shown it so late."""
    times = np.arange(0, 8, 1 / 16_000)
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 2.3 * times) * np.sin(2 * np.pi * 0.7 * times)
    noise = np.random.default_rng(1).normal(size=len(times))
    run = Run([dubbed(index, 2000) for index in range(4)])
    run.listen_ms, run.prepare_ms, run.media_s = [1.0], [1.0], 8.0
    run.heard = (0.2 * envelope * noise).astype(np.float32)
    curve = loudness(run.heard)
    pictures = np.arange(0, 8, 0.04)
    run.lips = list(zip(pictures, np.interp(pictures - late_ms / 1000, *curve), strict=True))
    return figures(run, POLICY)["av_offset_ms"]


@pytest.mark.parametrize("late_ms", [-80, 0, 40])
def test_lips_that_are_late_make_the_sound_early(late_ms: int) -> None:
    assert watched(late_ms)["median"] == pytest.approx(-late_ms, abs=3)
