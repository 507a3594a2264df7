"""The sync expert: it learns from true pairs, resumes to the same bits, and its curve is signed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kernels.mel import BANDS, COLUMN_NS, window_at
from models.checkpoint import load_notes
from models.engine import EngineError
from models.sync_expert import (
    RUN_FRAMES,
    SPAN,
    SyncExpert,
    SyncExpertConfig,
    expert_loss,
    load_expert,
    lower_half,
    save_expert,
)
from tests.training.made import FRAME_NS, made_clip
from training import expert as recipe
from training.__main__ import main
from training.checkpoint import load_checkpoint
from training.config import ConfigError
from training.data.cache import CachedPortraits, CachedSpeech, inner, margin_px, save_clip, save_split
from training.data.runs import StretchMix, StretchSampler, shares, shrink, shrunk, stretch_starts
from training.expert import (
    ExpertConfig,
    ExpertMaterial,
    choice_losses,
    expert_of_run,
    load_expert_config,
    train_expert_on,
)
from training.sync_curve import MOST_COLUMNS, SHIFTS_MS, ShiftCurve, confidence, off_sync_accuracy, runs_of, shift_curve
from training.sync_report import publish

pytestmark = pytest.mark.unit

CLIPS = [made_clip("a", "anna", seed=1, frames=60), made_clip("b", "bert", seed=2, frames=60)]
SIDE = 96 + 2 * margin_px(96)


def _config(steps: int, **changes: Any) -> ExpertConfig:
    config = load_expert_config("expert")
    run = replace(
        config.run,
        **{"steps": steps, "batch": 2, "frames": 13, "sound_batch": 2, "bf16": False, "look_every": 1000, **changes},
    )
    return replace(config, network=SyncExpertConfig(8), run=run)


def _expert(width: int = 8) -> SyncExpert:
    torch.manual_seed(3)
    return SyncExpert(SyncExpertConfig(width)).eval()


def test_it_learns_which_sound_belongs_to_which_pictures(tmp_path: Path) -> None:
    config = _config(60, log_every=1, warm_up_steps=5, learning_rate=3e-3, decay_from_step=40, ema_decay=0.8)
    plain = replace(config, mix=StretchMix(augment=False))
    checkpoint = train_expert_on(plain, ExpertMaterial(CLIPS), tmp_path)
    losses = [json.loads(line)["within"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 60
    assert losses[0] == pytest.approx(np.log(9 - 4), abs=0.5)
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    expert, notes = expert_of_run(checkpoint)
    assert notes["steps"] == 60
    clip = CLIPS[0]
    assert off_sync_accuracy(shift_curve(expert, clip.crops, clip.mel, clip.pts_ns, margin=True)) > 0.6


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(4, checkpoint_every=2)
    whole = load_checkpoint(train_expert_on(config, ExpertMaterial(CLIPS), tmp_path / "whole"))
    step = recipe.train_step

    def dies_at_3(trainer: recipe.ExpertTrainer, *given: Any) -> dict[str, float]:
        if trainer.step == 3:
            raise KeyboardInterrupt
        return step(trainer, *given)

    monkeypatch.setattr(recipe, "train_step", dies_at_3)
    with pytest.raises(KeyboardInterrupt):
        train_expert_on(config, ExpertMaterial(CLIPS), tmp_path / "cut")
    monkeypatch.setattr(recipe, "train_step", step)
    resumed = load_checkpoint(train_expert_on(config, ExpertMaterial(CLIPS), tmp_path / "cut", resume=True))
    assert resumed["step"] == whole["step"] == 4
    for part in ("expert", "averaged", "see_mouth", "hear_mouth"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, resumed[part][name]), f"{part}.{name}"


def test_a_run_folder_is_not_overwritten_and_another_network_is_refused(tmp_path: Path) -> None:
    config = _config(1)
    train_expert_on(config, ExpertMaterial(CLIPS), tmp_path)
    with pytest.raises(ConfigError, match="--resume"):
        train_expert_on(config, ExpertMaterial(CLIPS), tmp_path)
    wider = replace(config, network=SyncExpertConfig(16))
    with pytest.raises(ConfigError, match="start a new run folder"):
        train_expert_on(wider, ExpertMaterial(CLIPS), tmp_path, resume=True)


def test_a_width_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple of 8, found 12"):
        train_expert_on(replace(_config(1), network=SyncExpertConfig(12)), ExpertMaterial(CLIPS), tmp_path)


def test_the_true_partner_wins_and_close_neighbours_do_not_count() -> None:
    stretch = torch.tensor([0] * 6 + [1] * 6)
    within, across = choice_losses(torch.zeros(12, 12), stretch)
    # Of six runs, itself and those three or more away: 4, 3, 2, 2, 3, 4 candidates.
    assert within.item() == pytest.approx(np.log([4, 3, 2, 2, 3, 4]).mean())
    assert across.item() == pytest.approx(np.log([10, 9, 8, 8, 9, 10]).mean())
    neighbours = torch.zeros(12, 12)
    neighbours[0, 1] = neighbours[5, 7] = 50.0
    assert choice_losses(neighbours, stretch)[0] == within
    assert choice_losses(neighbours, stretch)[1] > 3


def test_the_same_pictures_with_wrong_lips_are_told_apart_by_the_sound_alone() -> None:
    stretch = torch.tensor([0] * 6 + [1] * 6 + [1] * 6)
    fooled = torch.zeros(18, 12)
    within, across = choice_losses(fooled, stretch)
    plain = choice_losses(fooled[:12], stretch[:12])
    # Every sound of the second stretch has six more pictures to choose from, every sound of the batch likewise.
    more = [4, 3, 2, 2, 3, 4, 10, 9, 8, 8, 9, 10]
    assert within.item() == pytest.approx((np.log([4, 3, 2, 2, 3, 4]).mean() + np.log(more).mean()) / 2)
    assert across.item() == pytest.approx((plain[1].item() + np.log([16, 15, 14, 14, 15, 16]).mean()) / 2)
    fooled[12, 7] = 50.0
    assert choice_losses(fooled, stretch)[0] > within + 1


def test_heads_bring_the_same_pictures_with_other_lips() -> None:
    head = made_clip("h", "head", seed=8)
    head = replace(head, others=255 - head.crops)
    sampler = StretchSampler(CLIPS, [head], None, [], StretchMix(heads_share=0.5, augment=False), 7, 13)
    batch = sampler.batch(1, 8)
    assert 0 < len(batch.wrong_of) < 8
    np.testing.assert_allclose(batch.wrong, 1 - batch.lower[batch.wrong_of], atol=1e-6)


def test_late_sound_moves_the_curve_to_later_shifts() -> None:
    expert, clip = _expert(), made_clip("c", "carl", seed=5, frames=75)
    pictures = inner(clip.crops)
    noise = np.random.default_rng(1).normal(0, 1, clip.mel.shape).astype(np.float32)
    mel = np.clip(clip.mel + noise, -4, 4)
    late = 16
    delayed = np.concatenate([np.full((BANDS, late), -4, np.float32), mel], 1)
    then, now = shift_curve(expert, pictures, mel, clip.pts_ns), shift_curve(expert, pictures, delayed, clip.pts_ns)
    assert now.similarity.shape[1] == len(SHIFTS_MS) == 2 * MOST_COLUMNS + 1
    shared = np.intersect1d(then.pts_ns, now.pts_ns)
    assert len(shared) > 10
    before = then.similarity[np.isin(then.pts_ns, shared)]
    after = now.similarity[np.isin(now.pts_ns, shared)]
    np.testing.assert_allclose(after[:, late:], before[:, :-late], atol=1e-5)


def test_the_curve_is_the_networks_own_similarity() -> None:
    expert, clip = _expert(), made_clip("c", "carl", seed=5, frames=75)
    pictures = inner(clip.crops)
    curve = shift_curve(expert, pictures, clip.mel, clip.pts_ns)
    middle = int(np.flatnonzero(clip.pts_ns == curve.pts_ns[4])[0])
    run = torch.from_numpy(pictures[middle - 2 : middle + 3]).permute(0, 3, 1, 2)[None].float() / 255
    for at in (0, MOST_COLUMNS, MOST_COLUMNS + 7):
        time_ns = int(curve.pts_ns[4]) + (at - MOST_COLUMNS) * COLUMN_NS
        mel = torch.from_numpy(window_at(clip.mel, time_ns, SPAN))[None, None]
        assert expert(run, mel).item() == pytest.approx(float(curve.similarity[4, at]), abs=1e-5)


def test_a_curve_says_offset_and_confidence() -> None:
    similarity = np.zeros((30, len(SHIFTS_MS)), np.float32)
    similarity[:, MOST_COLUMNS + 4] = 0.75
    curve = ShiftCurve(similarity, np.arange(30, dtype=np.int64) * FRAME_NS)
    assert curve.offset_ms == 50.0
    assert curve.confidence == 0.75


def test_chance_is_a_half_and_certainty_is_one() -> None:
    rng = np.random.default_rng(0)
    pts_ns = np.arange(400, dtype=np.int64) * FRAME_NS
    similarity = rng.normal(0, 1, (400, len(SHIFTS_MS))).astype(np.float32)
    assert off_sync_accuracy(ShiftCurve(similarity, pts_ns)) == pytest.approx(0.5, abs=0.05)
    similarity[:, MOST_COLUMNS] += 1
    single, second = (off_sync_accuracy(ShiftCurve(similarity, pts_ns), runs) for runs in (1, 25))
    # Two normal numbers a deviation apart: 76 %; of 25 together nearly all.
    assert single == pytest.approx(0.76, abs=0.05)
    assert second > 0.99
    assert np.isnan(off_sync_accuracy(ShiftCurve(similarity[:20], pts_ns[:20]), 25))


def test_a_clip_that_is_too_short_has_no_curve() -> None:
    clip = made_clip("d", "dora", frames=20)
    curve = shift_curve(_expert(), inner(clip.crops), clip.mel, clip.pts_ns)
    assert len(curve.similarity) == 0
    assert np.isnan(curve.offset_ms)
    assert np.isnan(off_sync_accuracy(curve))
    assert np.isnan(confidence(_expert(), inner(clip.crops), clip.mel, clip.pts_ns))


def test_runs_are_25_pictures_a_second_whatever_the_rate() -> None:
    runs, middles = runs_of(np.arange(9, dtype=np.int64) * FRAME_NS)
    assert runs.tolist() == [[at - 2, at - 1, at, at + 1, at + 2] for at in range(2, 7)]
    assert middles.tolist() == list(range(2, 7))
    twice, _ = runs_of(np.arange(18, dtype=np.int64) * (FRAME_NS // 2))
    assert twice[0].tolist() == [0, 2, 4, 6, 8]
    gap = np.concatenate([np.arange(5), np.arange(8, 13)]).astype(np.int64) * FRAME_NS
    assert runs_of(gap)[1].tolist() == [2, 7]
    assert len(runs_of(np.arange(3, dtype=np.int64) * FRAME_NS)[0]) == 0


def test_stretches_do_not_cross_gaps() -> None:
    gap = np.concatenate([np.arange(6), np.arange(9, 13)]).astype(np.int64) * FRAME_NS
    assert stretch_starts(gap, 4).tolist() == [0, 1, 2, 6]
    assert len(stretch_starts(gap, 7)) == 0


def test_a_persons_share_grows_with_the_root_of_their_frames() -> None:
    weights = shares([100, 100, 100, 100, 100], ["a", "a", "a", "a", "b"])
    assert weights.sum() == pytest.approx(1)
    assert weights[:4].sum() == pytest.approx(2 * weights[4])


def _portraits() -> CachedPortraits:
    rng = np.random.default_rng(4)
    crops = rng.integers(0, 255, (2, 3, SIDE, SIDE, 3), np.uint8)
    return CachedPortraits(["p", "q"], crops, np.array([0, 0.1, 0.2], np.float32), np.ones(3, np.float32))


def _speech() -> CachedSpeech:
    rng = np.random.default_rng(5)
    mouths = np.stack([rng.uniform(0, 0.2, 300), np.ones(300)], 1).astype(np.float32)
    return CachedSpeech("s", "voice", rng.normal(0, 1, (BANDS, 240)).astype(np.float32), mouths)


def test_a_batch_is_a_function_of_its_number() -> None:
    mix = StretchMix(heads_share=0.3, portrait_share=0.4)
    heads = [made_clip("h", "head", seed=8)]

    def sampler() -> StretchSampler:
        return StretchSampler(CLIPS, heads, _portraits(), [_speech()], mix, 7, 13)

    first, again, other = sampler().batch(3, 6), sampler().batch(3, 6), sampler().batch(4, 6)
    assert first.lower.shape == (6, 13, 3, 48, 96)
    assert first.mel.shape == (6, 9, 1, BANDS, SPAN.columns)
    assert first.mouths.shape == (6, 13, 2)
    assert 0 <= first.lower.min() < first.lower.max() <= 1
    for name in ("lower", "mel", "mouths", "wrong", "wrong_of"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    for name in ("lower", "mel", "mouths"):
        assert not np.array_equal(getattr(first, name), getattr(other, name), equal_nan=True)
    mel, mouths = sampler().sounds(3, 5)
    assert mel.shape == (5, 1, BANDS, SPAN.columns)
    assert mouths.shape == (5, RUN_FRAMES, 2)


def test_pictures_and_sound_of_a_run_are_of_one_time() -> None:
    sampler = StretchSampler(CLIPS[:1], [], None, [], StretchMix(augment=False), 7, 13)
    clip = shrunk(CLIPS[0])
    batch = sampler.batch(0, 1)
    lower = (inner(clip.crops)[:, 48:].transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)
    first = next(at for at in range(48) if np.array_equal(lower[at], batch.lower[0, 0]))
    np.testing.assert_array_equal(batch.lower[0], lower[first : first + 13])
    for run in range(9):
        wanted = window_at(clip.mel, int(clip.pts_ns[first + run + 2]), SPAN)
        np.testing.assert_array_equal(batch.mel[0, run, 0], wanted)
    np.testing.assert_array_equal(batch.mouths[0], clip.mouths[first : first + 13])


def test_the_span_is_as_long_before_the_middle_picture_as_after_it() -> None:
    assert SPAN.past == SPAN.look_ahead
    assert SPAN.columns * COLUMN_NS == pytest.approx(RUN_FRAMES * FRAME_NS, abs=COLUMN_NS)


def test_crops_of_every_size_are_read_alike() -> None:
    ramp = np.linspace(0, 255, 192 + 32).astype(np.uint8)
    large = np.stack([np.broadcast_to(ramp, (224, 224)), np.broadcast_to(ramp[:, None], (224, 224))] * 2, 2)[..., :3]
    small = shrink(np.ascontiguousarray(large))
    assert small.shape == (SIDE, SIDE, 3)
    halves = [
        lower_half(torch.from_numpy(inner(each).copy()).permute(2, 0, 1)[None].float()) for each in (large, small)
    ]
    assert halves[0].shape == halves[1].shape == (1, 3, 48, 96)
    assert (halves[0] - halves[1]).abs().max() <= 1


def test_the_loss_for_a_generator_reaches_the_pictures_and_leaves_the_expert() -> None:
    expert = _expert().requires_grad_(requires_grad=False)
    pictures = torch.rand(2, RUN_FRAMES, 3, 192, 192, requires_grad=True)
    mel = torch.randn(2, 1, BANDS, SPAN.columns)
    loss = expert_loss(expert, pictures, mel)
    assert 0 <= loss.item() <= 2
    torch.autograd.backward(loss)
    assert pictures.grad is not None
    assert pictures.grad[:, :, :, 96:].abs().sum() > 0
    assert pictures.grad[:, :, :, :96].abs().sum() == 0
    assert all(each.grad is None for each in expert.parameters())


def test_weights_come_back_frozen(tmp_path: Path) -> None:
    expert = _expert(16)
    save_expert(tmp_path / "expert.safetensors", expert, {"steps": 3})
    loaded = load_expert(tmp_path / "expert.safetensors")
    assert loaded.config == expert.config
    assert not any(each.requires_grad for each in loaded.parameters())
    pictures, mel = torch.rand(3, RUN_FRAMES, 3, 96, 96), torch.randn(3, 1, BANDS, SPAN.columns)
    # Half precision on disk: 11 bits.
    torch.testing.assert_close(loaded(pictures, mel), expert(pictures, mel), atol=5e-3, rtol=0)


def test_what_is_no_expert_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is missing"):
        load_expert(tmp_path / "expert.safetensors")
    shipped = Path("models/weights/lipgan/generator.safetensors")
    with pytest.raises(EngineError, match="holds no sync expert"):
        load_expert(shipped)


def test_the_shipped_expert_can_be_read_and_its_curve_is_that_of_its_card() -> None:
    folder = Path("models/weights/expert")
    weights = folder / "expert.safetensors"
    assert weights.stat().st_size <= 4 << 20
    assert sum(each.numel() for each in load_expert(weights).parameters()) == 1_840_048
    report, card = json.loads((folder / "curve.json").read_text()), (folder / "card.md").read_text()
    assert f"{load_notes(weights)['steps']:,} steps" in card
    for split in ("held_clip", "held_person", "measured"):
        figures = report["splits"][split]
        assert f"| {figures['accuracy']:.3f} | {figures['accuracy_second']:.3f} | {figures['offset_ms']:+.1f} |" in card


def _cache(folder: Path) -> Path:
    rows: list[dict[str, object]] = []
    for seed, split in enumerate(("held_clip", "held_person", "measured")):
        clip = made_clip(f"{split}-x", split, split, frames=75, seed=seed)
        save_clip(folder, clip)
        rows.append({"name": clip.name, "person": clip.person, "split": clip.split})
    save_split(folder, rows)
    return folder


def test_the_curve_is_published_whatever_comes_out(tmp_path: Path) -> None:
    save_expert(tmp_path / "expert.safetensors", _expert(), {})
    lines: list[str] = []
    report = publish(tmp_path / "expert.safetensors", _cache(tmp_path), tmp_path / "out", lines.append)
    assert len(lines) == len(report["clips"]) == 3
    assert json.loads((tmp_path / "out" / "curve.json").read_text()) == report
    assert len(report["splits"]["measured"]["mean"]) == len(report["shifts_ms"]) == len(SHIFTS_MS)
    text = (tmp_path / "out" / "curve.md").read_text()
    assert "held-back persons" in text
    assert f"{report['splits']['held_person']['accuracy']:.3f}" in text
    assert (tmp_path / "out" / "curve.png").stat().st_size > 5000


def test_the_commands_end_in_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expert", "--cache", str(tmp_path), "--run", str(tmp_path / "run")]) == 2
    assert "python -m training prepare" in capsys.readouterr().err
    assert main(["expert-curve", "--cache", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "expert.safetensors is missing" in capsys.readouterr().err
