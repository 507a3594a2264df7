"""The evaluation tells a mouth that follows the voice from one that is copied or still."""

from typing import Any

import numpy as np
import pytest

from tests.training.made import made_clip
from training import evaluate
from training.data.cache import CachedClip
from training.evaluate import measure, summarise

pytestmark = pytest.mark.unit

CLIPS = [
    made_clip(name, name, "held_person", frames=60, seed=seed) for seed, name in enumerate(("anna", "bert", "carl"))
]


def _read(_networks: Any, crops: np.ndarray, _landmarks: np.ndarray) -> np.ndarray:
    """Height of the dark mouth in the middle column."""
    return (crops[:, 48:, 48, 1] < 40).sum(1).astype(float)


def _copy(face: np.ndarray, _mel: np.ndarray) -> np.ndarray:
    return face[:, :3]


def _follow(face: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """Skin, and a mouth as tall as the middle column is loud."""
    drawn = np.repeat(np.repeat(face[:, :3, 45:46, 48:49], 96, 2), 96, 3)
    for picture, loudness in zip(drawn, mel[:, 0, :, 13].mean(1), strict=True):
        half = round(float(max(loudness + 3, 0)) * 2)
        picture[:, 72 - half : 72 + half] = 0.03
    return drawn


@pytest.fixture(autouse=True)
def _drawn_mouths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "read_openings", _read)


def _row(paint: Any, clip: CachedClip = CLIPS[0]) -> dict[str, Any]:
    networks: Any = None
    return measure(paint, networks, clip, CLIPS[1:], "same_frame")[0]


def test_a_mouth_that_follows_keeps_following_when_the_voice_is_swapped() -> None:
    row = _row(_follow)
    assert min(row["own_r"], row["swap_r"]) > 0.95
    assert row["swap_leak_r"] == pytest.approx(row["swap_chance_r"], abs=0.1)
    assert abs(row["offset_ms"]) <= 10
    assert row["opening_silence"] == 0


def test_a_copied_mouth_is_exposed_by_the_swap() -> None:
    row = _row(_copy)
    assert row["own_r"] > 0.95
    assert row["swap_leak_r"] > 0.95
    assert row["swap_r"] == pytest.approx(row["swap_chance_r"], abs=0.1)
    assert row["shuffled_r"] > 0.95


def test_a_summary_leaves_out_figures_that_do_not_exist() -> None:
    rows: list[Any] = [
        {"clip": "a", "split": "s", "identity": "same_frame", "own_r": value} for value in (0.5, np.nan, 0.7)
    ]
    assert summarise(rows)[0]["own_r"] == pytest.approx(0.6)
    assert summarise(rows)[0]["clips"] == 3
