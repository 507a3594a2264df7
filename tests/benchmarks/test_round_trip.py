"""The round trip of a dub, with back ends and an ear that a test holds in its hand."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks import round_trip
from benchmarks.round_trip import Trip, account, plain, scores
from stream.speech.chain import Chain
from tests.stream.speech.words import Humming, Scripted, Shouting

pytestmark = pytest.mark.unit


class Counting:
    """An ear that says how many seconds it has heard."""

    def hear(self, samples: np.ndarray) -> str:
        return f"{len(samples) / 16_000:.1f} seconds"


def test_words_keep_their_accents_and_lose_their_punctuation() -> None:
    assert plain("¿Qué DÍA es, señor?") == "qué día es señor"


def test_what_is_heard_rightly_scores_full_and_the_wrong_text_next_to_nothing() -> None:
    texts = ["uno dos tres cuatro cinco", "seis siete ocho nueve diez"]
    assert scores([text.upper() + "." for text in texts], texts) == {"bleu": 100.0, "chrf": 100.0, "wer_percent": 0.0}
    assert scores(texts, texts[::-1])["bleu"] < 5
    assert scores(texts, texts[::-1])["wer_percent"] == 100.0


def test_nothing_heard_is_every_word_wrong() -> None:
    assert scores(["", ""], ["uno dos", "tres"]) == {"bleu": 0.0, "chrf": 0.0, "wer_percent": 100.0}


def test_the_account_holds_each_dub_against_its_text_its_reference_and_a_wrong_one() -> None:
    trips = [
        Trip("la casa roja es grande", "casa roja es grande", "casa roja es grande", "casa roja es", (1.0, 1.2)),
        Trip("el perro negro duerme hoy", "el perro negro duerme", "el perro negro duerme", "el perro", (0.9,)),
    ]
    body = account(trips)
    assert body["heard_against_spoken"]["wer_percent"] == 0.0
    assert body["at_its_own_speed_against_spoken"]["wer_percent"] == pytest.approx(100 * 3 / 8)
    assert body["control_against_the_next"]["wer_percent"] == 100.0
    assert body["heard_against_reference"]["wer_percent"] == pytest.approx(100 * 2 / 10)
    assert body["speed"]["max"] == 1.2


def test_without_references_there_is_no_score_against_them() -> None:
    assert "heard_against_reference" not in account([Trip("", "uno", "uno", "uno", (1.0,))])


def test_silence_gives_no_dub_and_no_word() -> None:
    chain = Chain(Scripted(""), {"es": Shouting()}, Humming(), (), Counter())
    assert round_trip.round_trip(np.zeros(16_000, np.float32), chain, Counting()).spoken == ""


def test_without_its_model_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert round_trip.main([]) == 2
    assert "visavis models get whisper-base" in capsys.readouterr().out
