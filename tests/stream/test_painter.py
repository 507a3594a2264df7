"""The painter on this machine's processor: what it makes of many shots at once, and of one that cannot be painted."""

from dataclasses import replace

import numpy as np
import pytest

from kernels.identity import IdentityBank
from models.engine import EngineError
from stream.frames import VideoFrame
from stream.painter import CpuPainter, Shot
from tests.stream.fake_faces import face
from tests.stream.fake_generator import FakeGenerator

pytestmark = pytest.mark.unit

LOUD, QUIET = (np.full((80, 27), level, np.float32) for level in (4.0, -4.0))


def grey() -> VideoFrame:
    planes = (np.full((120, 160), 120, np.uint8), np.full((60, 80), 128, np.uint8), np.full((60, 80), 128, np.uint8))
    return VideoFrame(0, 0, "yuv420p", planes)


def shot(frame: VideoFrame, x: float = 80.0, *, mel: np.ndarray = LOUD, alpha: float = 1.0, side: float = 64.0) -> Shot:
    return Shot(frame, face(0, centre=(x, 60.0), side=side), mel, alpha, None)


def beyond_drawing(frame: VideoFrame, x: float = 80.0) -> Shot:
    """Its map has no inverse."""
    good = shot(frame, x)
    return replace(good, face=replace(good.face, to_crop=np.zeros((2, 3), np.float32)))


def touched(frame: VideoFrame) -> bool:
    return any((now != was).any() for now, was in zip(frame.planes, grey().planes, strict=True))


def test_pictures_of_several_sessions_are_one_batch_and_each_follows_its_own_voice() -> None:
    engine, frames = FakeGenerator(), [grey() for _ in range(3)]
    shots = [shot(frame, mel=mel) for frame, mel in zip(frames, (LOUD, QUIET, LOUD), strict=True)]
    assert CpuPainter(engine, max_batch=8).paint(shots) == [None] * 3
    assert engine.batches == [3]
    # Red is where it is loud: V above the middle; blue where it is quiet.
    assert [int(frame.planes[2].max()) > 160 for frame in frames] == [True, False, True]
    assert all(np.array_equal(a, b) for a, b in zip(frames[0].planes, frames[2].planes, strict=True))


def test_a_shot_that_cannot_be_cut_spoils_its_own_picture_only() -> None:
    frames = [grey() for _ in range(3)]
    shots = [shot(frames[0]), shot(frames[1], 40.0, side=40.0), beyond_drawing(frames[1], 120.0), shot(frames[2])]
    verdicts = CpuPainter(FakeGenerator()).paint(shots)
    assert [verdict is None for verdict in verdicts] == [True, False, False, True]
    assert [touched(frame) for frame in frames] == [True, False, True]


def test_a_mel_window_that_does_not_fit_fails_no_other() -> None:
    frames = [grey(), grey()]
    shots = [shot(frames[0], mel=np.zeros((80, 16), np.float32)), shot(frames[1])]
    wrong, right = CpuPainter(FakeGenerator()).paint(shots)
    assert "the mel window is [80, 16], the generator takes [80, 27]" in str(wrong)
    assert right is None
    assert [touched(frame) for frame in frames] == [False, True]


def test_an_engine_that_fails_leaves_every_picture_whole() -> None:
    frames = [grey(), grey()]
    verdicts = CpuPainter(FakeGenerator(fails=True)).paint([shot(frame) for frame in frames])
    assert all(isinstance(verdict, EngineError) for verdict in verdicts)
    assert not any(touched(frame) for frame in frames)


def test_a_share_of_made_lips_lies_between_none_and_all() -> None:
    frames = [grey() for _ in range(3)]
    CpuPainter(FakeGenerator()).paint(
        [shot(frame, alpha=alpha) for frame, alpha in zip(frames, (0.01, 0.5, 1.0), strict=True)]
    )
    least, half, full = (float(np.abs(frame.planes[2].astype(int) - 128).mean()) for frame in frames)
    assert least < half < full
    # Rounding to whole levels.
    assert half == pytest.approx(full / 2, rel=0.02)


def test_a_bank_is_filled_with_what_it_is_asked_to_show() -> None:
    bank: IdentityBank[np.ndarray] = IdentityBank()
    first = replace(shot(grey()), bank=bank)
    CpuPainter(FakeGenerator(), identity="reference").paint([first])
    kept = bank.choose(1, first.face.landmarks, np.zeros((96, 96, 3), np.uint8))
    assert kept.shape == (96, 96, 3)
    assert kept.any()
