"""The evaluation tells a mouth that follows the voice from one that is copied or still."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest

from kernels.mel import MelWindow
from tests.training.made import drawn_landmarks, made_clip
from training import clip_figures, evaluate, intervals
from training.clip_figures import DRAWN, INPUT, OTHER_INPUT, OTHER_MOUTH, REFERENCE, SHUFFLED, SHUT, STATIC, measure
from training.data.cache import CachedClip, save_clip, save_split
from training.data.phones import Phone
from training.judges import Judges
from training.subject import Subject
from training.sync_curve import SHIFTS_MS, ShiftCurve

pytestmark = pytest.mark.unit

NOBODY = Judges(cast("Any", None))


def _clip(name: str, seed: int) -> CachedClip:
    clip, landmarks = made_clip(name, name, "held_person", frames=48, seed=seed), drawn_landmarks(48)
    landmarks[:, [13, 14], 1] += np.stack([-50 * clip.opening, 50 * clip.opening], -1)
    return replace(clip, landmarks=landmarks)


CLIPS = [_clip(name, seed) for seed, name in enumerate(("anna", "bert", "carl"))]


def _read(_networks: Any, pictures: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Inner lips at the ends of the dark mouth in the middle column, the rest where it always is."""
    points = landmarks[: len(pictures)].copy()
    middle = pictures.shape[2] // 2
    dark = (pictures[:, pictures.shape[1] // 2 :, middle, 1] < 60).sum(1)
    points[:, 13, 1] = 80 - dark / 2
    points[:, 14, 1] = 80 + dark / 2
    return points


def _copy_identity(face: np.ndarray, _mel: np.ndarray) -> np.ndarray:
    return face[:, :3]


def _copy_shown(face: np.ndarray, _mel: np.ndarray) -> np.ndarray:
    return face[:, 3:]


def _follow(face: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """Skin, and a mouth as tall as the middle column is loud."""
    drawn = np.repeat(np.repeat(face[:, :3, 45:46, 48:49], 96, 2), 96, 3)
    for picture, loudness in zip(drawn, mel[:, 0, :, 13].mean(1), strict=True):
        half = round(float(max(loudness + 3, 0)) * 2)
        picture[:, 72 - half : 73 + half, 36:60] = 0.03
    return drawn


@pytest.fixture(autouse=True)
def _drawn_mouths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_figures, "read_points", _read)
    # Intervals have a test of their own.
    monkeypatch.setattr(intervals, "RESAMPLES", 50)


def _methods(subject: Subject, clip: CachedClip = CLIPS[0]) -> dict[str, dict[str, float]]:
    methods = measure(subject, NOBODY, clip, CLIPS[1:]).methods
    return {name: {key: each.interval.value for key, each in figures.items()} for name, figures in methods.items()}


def test_a_mouth_that_follows_keeps_following_when_the_voice_is_swapped() -> None:
    drawn = _methods(Subject("follows", _follow))[DRAWN]
    assert min(drawn["own_r"], drawn["foreign_r"]) > 0.9
    assert drawn["leak_r"] == pytest.approx(drawn["chance_r"], abs=0.1)
    assert abs(drawn["offset_ms"]) <= 10
    assert drawn["closed_silence"] == 1


def test_a_copied_mouth_is_exposed_by_the_swap() -> None:
    methods = _methods(Subject("copies", _copy_identity, identity="same_frame"))
    assert methods[DRAWN]["own_r"] > 0.95
    assert methods[DRAWN]["leak_r"] > 0.95
    assert methods[DRAWN]["foreign_r"] == pytest.approx(methods[DRAWN]["chance_r"], abs=0.1)
    assert methods[SHUFFLED]["own_r"] > 0.95


def test_a_still_mouth_is_far_from_the_true_one_and_closed() -> None:
    methods = _methods(Subject("follows", _follow))
    still, drawn = methods[STATIC], methods[DRAWN]
    assert still["distance_percent"] > 2 * drawn["distance_percent"]
    assert still["spread"] < 0.1
    assert still["closed_silence"] == 1
    assert "offset_ms" not in still


def test_an_editor_that_changes_nothing_leaves_the_mouth_shut_that_it_is_shown() -> None:
    editor = Subject("changes nothing", _copy_shown, mask_row=96, identity="open_mouth")
    methods = _methods(editor)
    drawn, given = methods[DRAWN], methods[INPUT]
    assert drawn["closed_silence"] > 0.8
    assert drawn["spread"] < 0.3
    assert drawn["psnr_db"] == methods[SHUT]["psnr_db"]
    assert methods[SHUT]["closed_silence"] == drawn["closed_silence"]
    assert given["psnr_db"] == pytest.approx(100)
    assert given["leak_r"] == pytest.approx(1)
    assert methods[OTHER_INPUT]["own_r"] < 0.6
    assert methods[OTHER_INPUT]["spread"] > 0.7
    assert methods[OTHER_MOUTH]["distance_percent"] > 3 * given["distance_percent"]
    assert OTHER_MOUTH not in _methods(replace(editor, mask_row=48))


def test_the_reference_of_an_editor_is_the_open_mouth() -> None:
    painted: list[np.ndarray] = []

    def paint(face: np.ndarray, _mel: np.ndarray) -> np.ndarray:
        painted.append(face)
        return face[:, 3:]

    methods = _methods(Subject("looks", paint, mask_row=96, identity="open_mouth"))
    assert methods[REFERENCE]["closed_silence"] < 0.5
    assert painted[0][:, 3:, 48:].any()
    painted.clear()
    methods = _methods(Subject("looks", paint))
    assert methods[REFERENCE]["closed_silence"] > 0.5
    assert not painted[0][:, 3:, 48:].any()


def _saying(clip: CachedClip, *frames: int) -> CachedClip:
    """Says p, b, m in turn at these frames, and "ah" at all times."""
    times_s = clip.pts_ns[list(frames)] / 1e9
    lips = [Phone("PBM"[index % 3], at_s - 0.01, at_s + 0.01) for index, at_s in enumerate(times_s)]
    return replace(clip, phones=(*lips, Phone("AH", 0.0, clip.pts_ns[-1] / 1e9)))


def test_lips_are_counted_as_closed_on_the_phones_of_the_voice_that_drives_them() -> None:
    first, last = 1, len(CLIPS[0].crops) - 2
    shut, foreign = (first + int(np.argmin(each.opening[first:last])) for each in CLIPS[:2])
    wide = first + int(np.argmax(CLIPS[0].opening[first:last]))
    others = [_saying(CLIPS[1], foreign)]
    methods = measure(Subject("follows", _follow), NOBODY, _saying(CLIPS[0], shut, wide, wide, shut), others).methods
    own = {name: figures["closed_bilabials"].interval.value for name, figures in methods.items()}
    assert (own[INPUT], own[DRAWN], own[STATIC]) == (0.5, 0.5, 1)
    assert methods[DRAWN]["closed_bilabials_foreign"].interval.value == 1
    assert methods[INPUT]["closed_bilabials_foreign"].interval.value == 0


def test_without_known_phones_while_it_is_seen_no_closed_lips_are_counted() -> None:
    unseen = replace(CLIPS[0], phones=(Phone("B", 1.88, 1.95), Phone("M", 2.0, 2.1), Phone("AH", 0.5, 0.6)))
    for clip in (CLIPS[0], unseen):
        figures = measure(Subject("follows", _follow), NOBODY, clip, CLIPS[1:]).methods[DRAWN]
        assert not {"closed_bilabials", "closed_bilabials_foreign"} & set(figures)


def test_a_generator_is_asked_for_its_own_mel_window() -> None:
    asked: list[tuple[int, ...]] = []

    def paint(face: np.ndarray, mel: np.ndarray) -> np.ndarray:
        asked.append(mel.shape[1:])
        return face[:, :3]

    _methods(Subject("short window", paint, window=MelWindow(20, 5)))
    assert set(asked) == {(1, 80, 20)}


def test_the_command_writes_figures_with_intervals_and_pictures(tmp_path: Path) -> None:
    for clip in (_saying(CLIPS[0], 9, 20), *CLIPS[1:]):
        save_clip(tmp_path, clip)
    save_split(tmp_path, [{"name": each.name, "person": each.person, "split": each.split} for each in CLIPS])
    evaluate.evaluate(tmp_path, Subject("follows", _follow), NOBODY, tmp_path / "out", lambda _: None)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    value, low, high = written["means"]["held_person"][DRAWN]["own_r"]
    assert low <= value <= high
    assert written["bytes_changed_outside_the_mask"] == 0
    assert written["not_measured"] == "own sync expert, own identity similarity, LPIPS, FID, LSE-C and LSE-D"
    assert len(written["by_clip"]) == 3
    assert written["known_p_b_m"] == "0 measured, 2 held_person, 0 held_clip"
    assert len(written["means"]["held_person"][DRAWN]["closed_bilabials"]) == 3
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert f"| r, own sound | {value:.2f} [{low:.2f}, {high:.2f}] |" in text
    assert (tmp_path / "out" / "evaluation.jpg").stat().st_size > 10_000
    with av.open(str(tmp_path / "out" / "evaluation.mp4")) as film:
        pictures = [frame.width for frame in film.decode(video=0)]
    assert pictures == [4 * 96] * (2 * 2 * 48)


def test_the_sync_expert_is_asked_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def curve(_expert: Any, pictures: np.ndarray, mel: np.ndarray, times_ns: np.ndarray) -> ShiftCurve:
        assert len(pictures) == len(times_ns)
        assert any(mel is each.mel for each in CLIPS)
        similarity = np.tile(np.where(SHIFTS_MS == 25, 0.5, 0.1), (len(pictures), 1))
        return ShiftCurve(similarity.astype(np.float32), times_ns)

    monkeypatch.setattr(clip_figures, "shift_curve", curve)
    asked = Judges(cast("Any", None), cast("Any", "expert"))
    methods = measure(Subject("follows", _follow), asked, CLIPS[0], CLIPS[1:]).methods
    assert methods[DRAWN]["expert"].interval.value == pytest.approx(0.4)
    assert methods[DRAWN]["expert_foreign"].interval.value == pytest.approx(0.4)
    assert methods[STATIC]["expert_offset_ms"].interval == (25, 25, 25)
    assert "expert" not in _methods(Subject("follows", _follow))[DRAWN]


def _distances(count: int, samples: np.ndarray) -> np.ndarray:
    assert len(samples) == 7
    return np.tile(np.where(np.arange(31) == 14, 7.0, 9.0), (count, 1))


def test_standard_names_appear_only_with_the_standard_s_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def features(_network: Any, crops: np.ndarray) -> np.ndarray:
        return crops.reshape(len(crops), -1)[:, ::2000].astype(np.float32)

    monkeypatch.setattr(clip_figures, "inception_features", features)
    monkeypatch.setattr(clip_figures, "lpips_distances", lambda _, drawn, truth: (drawn != truth).mean((1, 2, 3)))
    monkeypatch.setattr(clip_figures, "sync_distances", lambda _, pictures, samples: _distances(len(pictures), samples))
    given, sounds = cast("Any", "given"), {each.name: np.ones(7, np.float32) for each in CLIPS}
    judges = Judges(cast("Any", None), lpips=given, inception=given, syncnet=given, sounds=sounds)
    found = [measure(Subject("follows", _follow), judges, clip, []) for clip in CLIPS[:2]]
    table = evaluate.summarise(found)["held_person"]
    assert table[INPUT]["lpips"].value == 0 < table[STATIC]["lpips"].low
    assert table[INPUT]["fid"].value == pytest.approx(0, abs=1e-3)
    assert table[STATIC]["fid"].value > 1
    assert table[DRAWN]["lse_d"].value == pytest.approx(7)
    assert table[DRAWN]["lse_c"].value == pytest.approx(2)
    plain = measure(Subject("follows", _follow), NOBODY, CLIPS[0], [])
    assert not {"lpips", "fid", "lse_c", "lse_d"} & {key for figures in plain.methods.values() for key in figures}
    assert not plain.features


def test_raw_crops_are_measured_whole() -> None:
    def blacken(face: np.ndarray, _mel: np.ndarray) -> np.ndarray:
        return np.zeros_like(face[:, :3])

    subject = Subject("blackens", blacken)
    raw, served = (measure(subject, NOBODY, CLIPS[0], [], raw=each).methods[DRAWN] for each in (True, False))
    assert raw["psnr_db"].interval.value < served["psnr_db"].interval.value - 3
    assert "foreign_r" not in raw


@pytest.mark.parametrize(("show_measured", "pictures"), [(False, []), (True, ["evaluation.jpg", "evaluation.mp4"])])
def test_clips_that_may_only_be_measured_are_shown_on_demand_alone(
    tmp_path: Path, show_measured: bool, pictures: list[str]
) -> None:
    clips = [replace(each, split="measured") for each in CLIPS[:2]]
    for clip in clips:
        save_clip(tmp_path, clip)
    save_split(tmp_path, [{"name": each.name, "person": each.person, "split": each.split} for each in clips])
    out, subject = tmp_path / "out", Subject("follows", _follow)
    evaluate.evaluate(tmp_path, subject, NOBODY, out, lambda _: None, show_measured=show_measured)
    assert sorted(each.name for each in out.iterdir()) == sorted(["evaluation.json", "evaluation.md", *pictures])
