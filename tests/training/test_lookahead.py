"""The look-ahead ablation: what comes is heard, the data are the same, ears resume, tables say what they are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kernels.mel import MelWindow
from tests.training.made import made_clip
from training import lookahead
from training.checkpoint import load_checkpoint
from training.config import ConfigError, MixConfig
from training.data.cache import CachedClip, save_clip, save_split
from training.data.sampler import Sampler
from training.lookahead import RUN, Read, figures_of, look_ahead, summarise, train_ear

pytestmark = pytest.mark.unit

LATE_COLUMNS = 8
QUICK = replace(RUN, steps=4, sound_batch=4, checkpoint_every=2, log_every=1)


def _late_sound(clip: CachedClip) -> CachedClip:
    """The same clip, its sound 100 ms later than its lips."""
    return replace(clip, mel=np.roll(clip.mel, LATE_COLUMNS, axis=1))


CLIPS = [_late_sound(made_clip(name, name, frames=60, seed=seed)) for seed, name in enumerate(("anna", "bert", "cora"))]
HELD = replace(_late_sound(made_clip("dora", "dora", frames=75, seed=9)), split="held_person")


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookahead, "WIDTH", 0.125)


def _sampler(window: MelWindow, seed: int = 1) -> Sampler:
    return Sampler(CLIPS, None, MixConfig(mel_augment=False), seed, window=window)


def test_an_ear_that_hears_what_comes_reads_lips_that_come_first(tmp_path: Path) -> None:
    run = replace(RUN, steps=120, sound_batch=16)
    ears = {}
    for ms in (0, 200):
        window = MelWindow.within(ms)
        ears[ms] = [train_ear(run, _sampler(window), window, tmp_path / str(ms))]
    read = {ms: [Read(HELD, figures_of(each, HELD))] for ms, each in ears.items()}
    rows = summarise(read)["held_person"]
    assert rows[200]["opening_r"].value > 0.8
    assert rows[200]["opening_r"].value > rows[0]["opening_r"].value + 0.15
    less = rows[0]["opening_r_less"]
    assert less.value == pytest.approx(rows[0]["opening_r"].value - rows[200]["opening_r"].value)
    assert less.low <= less.value <= less.high < 0
    assert rows[200]["opening_r_less"] == (0.0, 0.0, 0.0)


def test_every_window_is_taught_on_the_same_moments() -> None:
    mouths = [_sampler(MelWindow.within(ms)).sounds(3, 20)[1] for ms in (0, 80, 200)]
    for each in mouths[1:]:
        np.testing.assert_array_equal(each, mouths[0])


def test_a_stopped_ear_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    window = MelWindow.within(40)
    whole = train_ear(QUICK, _sampler(window), window, tmp_path / "whole")

    class Killed(Sampler):
        def sounds(self, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            if step == 3:
                raise KeyboardInterrupt
            return super().sounds(step, count)

    with pytest.raises(KeyboardInterrupt):
        train_ear(QUICK, Killed(CLIPS, None, MixConfig(mel_augment=False), 1, window=window), window, tmp_path / "cut")
    assert load_checkpoint(tmp_path / "cut" / "checkpoint.pt")["step"] == 2
    resumed = train_ear(QUICK, _sampler(window), window, tmp_path / "cut")
    for part in ("network", "averaged"):
        for name, tensor in getattr(whole, part).state_dict().items():
            assert torch.equal(tensor, getattr(resumed, part).state_dict()[name]), f"{part}.{name}"


def test_an_ear_that_was_trained_otherwise_is_refused(tmp_path: Path) -> None:
    window = MelWindow.within(40)
    train_ear(QUICK, _sampler(window), window, tmp_path)
    with pytest.raises(ConfigError, match="another --out"):
        train_ear(replace(QUICK, steps=5), _sampler(window), window, tmp_path)
    other = MelWindow.within(80)
    with pytest.raises(ConfigError, match="another --out"):
        train_ear(QUICK, _sampler(other), other, tmp_path)


def test_the_tables_say_what_was_measured(tmp_path: Path) -> None:
    cache, out, said = tmp_path / "cache", tmp_path / "out", []
    cache.mkdir()
    for clip in (*CLIPS, HELD):
        save_clip(cache, clip)
    save_split(cache, [{"name": each.name, "person": each.person, "split": each.split} for each in (*CLIPS, HELD)])
    look_ahead(cache, out, said.append, run=QUICK, seeds=(1, 2), look_aheads_ms=(0, 200))
    written = json.loads((out / "lookahead.json").read_text())
    assert "no picture is drawn" in written["what"]
    assert (written["run"]["steps"], written["seeds"]) == (4, [1, 2])
    assert set(written["figures"]["held_person"]["0"]) == {
        "opening_r",
        "width_r",
        "offset_ms",
        "opening_r_less",
        "width_r_less",
    }
    table = (out / "lookahead.md").read_text()
    assert "opening, less 200 ms" in table
    assert table.count("| 0 | 0 |") == 1
    assert table.count("| 200 | 200 |") == 1
    assert len(said) == 4
