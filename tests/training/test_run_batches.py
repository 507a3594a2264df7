"""Runs of five: neighbours in order, one camera, one voice, and the sound that belongs to each picture."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.mel import BANDS, LIPGAN_WINDOW, MelWindow, window_at
from models.sync_expert import RUN_FRAMES, SPAN
from tests.training.made import made_clip
from training.config import MixConfig
from training.data.cache import CachedClip, CachedPortraits, CachedSpeech, inner, margin_px
from training.data.run_batches import RunBatch, RunSampler

pytestmark = pytest.mark.unit

SIDE = 96 + 2 * margin_px(96)


def _numbered(clip: CachedClip) -> CachedClip:
    """A corner says which frame it is: drawn faces repeat."""
    crops = clip.crops.copy()
    crops[:, margin_px(96), margin_px(96)] = np.arange(len(crops))[:, None]
    return replace(clip, crops=crops)


CLIP = _numbered(made_clip("a", "anna", seed=1, frames=40))
PLAIN = MixConfig(portrait_share=0, silence_share=0, picture_augment=False, mel_augment=False)


def _sound(clip_seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(clip_seed).normal(0, 1, CLIP.mel.shape)
    return np.clip(CLIP.mel + noise, -4, 4).astype(np.float32)


NOISY = replace(CLIP, mel=_sound(3))


def _portraits() -> CachedPortraits:
    rng = np.random.default_rng(4)
    crops = rng.integers(0, 255, (2, 3, SIDE, SIDE, 3), np.uint8)
    return CachedPortraits(["p", "q"], crops, np.array([0, 0.1, 0.2], np.float32), np.ones(3, np.float32))


def _speech() -> CachedSpeech:
    rng = np.random.default_rng(5)
    mouths = np.stack([rng.uniform(0, 0.2, 300), np.ones(300)], 1).astype(np.float32)
    return CachedSpeech("s", "voice", rng.normal(0, 1, (BANDS, 240)).astype(np.float32), mouths)


def _frame_of(target: NDArray[np.float32]) -> int:
    frame = round(float(target[0, 0, 0]) * 255)
    wanted = inner(CLIP.crops)[frame].transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_allclose(target, wanted, atol=1e-6)
    return frame


def test_a_run_is_five_neighbours_each_with_its_own_window() -> None:
    for window in (LIPGAN_WINDOW, MelWindow.within(0)):
        batch = RunSampler([NOISY], None, PLAIN, 7, window=window).batch(0, 10)
        assert batch.pictures.target.shape == (10, 3, 96, 96)
        assert batch.span.shape == (2, 1, BANDS, SPAN.columns)
        for run in range(2):
            first = _frame_of(batch.pictures.target[5 * run])
            for place in range(RUN_FRAMES):
                at, frame = 5 * run + place, first + place
                assert _frame_of(batch.pictures.target[at]) == frame
                wanted = window_at(NOISY.mel, int(CLIP.pts_ns[frame]), window)
                np.testing.assert_array_equal(batch.pictures.mel[at, 0], wanted)
                assert batch.pictures.mouth[at, 0] == pytest.approx(max(0, CLIP.opening[frame] - CLIP.rest))
            span = window_at(NOISY.mel, int(CLIP.pts_ns[first + 2]), SPAN)
            np.testing.assert_array_equal(batch.span[run, 0], span)


def test_a_run_has_one_camera() -> None:
    still = replace(CLIP, crops=np.repeat(CLIP.crops[:1], len(CLIP.crops), 0))
    mix = replace(PLAIN, picture_augment=True)
    targets = [RunSampler([still], None, mix, 7).batch(step, 5).pictures.target for step in range(2)]
    for target in targets:
        np.testing.assert_array_equal(target, np.repeat(target[:1], 5, 0))
    assert not np.array_equal(targets[0], targets[1])


def test_a_run_has_one_voice() -> None:
    """Windows of neighbours overlap; one microphone and one room make them agree there."""
    mix = replace(PLAIN, mel_augment=True)
    batch = RunSampler([NOISY], None, mix, 7).batch(0, 5)
    first = _frame_of(batch.pictures.target[0])
    columns = np.round(CLIP.pts_ns[first : first + 5] / 12_500_000).astype(int)
    shift = columns[1] - columns[0]
    mel = batch.pictures.mel[:, 0]
    np.testing.assert_array_equal(mel[0][:, shift:], mel[1][:, :-shift])
    assert not np.array_equal(mel[0], window_at(NOISY.mel, int(CLIP.pts_ns[first]), LIPGAN_WINDOW))


def test_in_silence_nothing_moves() -> None:
    batch = RunSampler([NOISY], None, replace(PLAIN, silence_share=1.0), 7).batch(0, 5)
    np.testing.assert_array_equal(batch.pictures.target, np.repeat(batch.pictures.target[:1], 5, 0))
    assert CLIP.opening[_frame_of(batch.pictures.target[0])] < CLIP.rest + 0.012
    assert (batch.pictures.mouth[:, 0] == 0).all()
    assert batch.pictures.mel.max() < 0


def test_a_portrait_says_five_moments_of_a_recording() -> None:
    portraits, speech = _portraits(), _speech()
    mix = replace(PLAIN, portrait_share=1.0)
    batch = RunSampler([NOISY], portraits, mix, 7, speech=[speech]).batch(0, 5)
    openings = batch.pictures.mouth[:, 0]
    assert set(openings.tolist()) <= set(portraits.openings.tolist())
    assert np.isnan(batch.pictures.mouth[:, 1]).all()
    spoken = [
        at for at in range(300 - 20) if np.abs(speech.mouths[at : at + 20 : 4, 0] - openings).max() <= 0.05 + 1e-6
    ]
    windows = [window_at(speech.mel, (at + 8) * 10_000_000, SPAN) for at in spoken]
    assert any(np.array_equal(window, batch.span[0, 0]) for window in windows)


@pytest.mark.parametrize("masked", [True, False])
def test_a_batch_is_a_function_of_its_number(*, masked: bool) -> None:
    mix = MixConfig(portrait_share=0.3, heads_share=0.3, silence_share=0.1)
    heads = [made_clip("h", "head", seed=8)]

    def batch(step: int) -> RunBatch:
        sampler = RunSampler([CLIP], _portraits(), mix, 7, speech=[_speech()], heads=heads, masked=masked)
        return sampler.batch(step, 20)

    first, again, other = batch(3), batch(3), batch(4)
    for name in ("face", "target", "mel", "mouth"):
        mine, same = getattr(first.pictures, name), getattr(again.pictures, name)
        assert len(mine) == 20
        np.testing.assert_array_equal(mine, same)
        assert not np.array_equal(mine, getattr(other.pictures, name), equal_nan=True)
    np.testing.assert_array_equal(first.span, again.span)


def test_what_is_shown_is_chosen_alike_for_the_five() -> None:
    """A generator that hides the mouth is shown one identity, not five."""
    batch = RunSampler([NOISY], None, replace(PLAIN, contrary_share=0.0), 7).batch(2, 5)
    identities = [_frame_of(each) for each in batch.pictures.face[:, :3]]
    assert max(identities) - min(identities) <= RUN_FRAMES
