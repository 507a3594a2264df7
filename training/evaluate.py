"""Does the mouth follow the voice? Held-back clips, beside what no network does, with confidence intervals.

One command: `evaluation.json`, `.md`, `.jpg` and `.mp4`. HDTF clips are only ever measured here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.clip_figures import DRAWN, INPUT, Measured, measure
from training.data.cache import CachedClip, load_clips
from training.intervals import BLOCK_FRAMES, RESAMPLES, Interval, over_clips
from training.intervals import SEED as BOOTSTRAP_SEED
from training.judges import Judges
from training.report import evenly_spaced, write_report, write_sheet
from training.side_by_side import write_side_by_side
from training.standard.fid import frechet_distance
from training.subject import Subject

MEASURED = "measured"
HELD_SPLITS = (MEASURED, "held_person", "held_clip")
FOREIGN_VOICES = 2
MIN_FRAMES = 25
QUICK_FRAMES = 75
SHOWN_CLIPS = 2


def evaluate(
    cache: Path,
    subject: Subject,
    judges: Judges,
    out: Path,
    say: Callable[[str], None],
    *,
    quick: bool = False,
    raw: bool = False,
    show_measured: bool = False,
) -> list[Measured]:
    """Measure one generator and write evaluation.json, .md, .jpg and .mp4.

    Args:
        cache: Folder by `prepare`.
        subject: The generator, from `engine_subject` or `checkpoint_subject`.
        judges: Networks that measure.
        out: Folder to write to.
        say: Takes one line of progress.
        quick: Only the first three seconds of each clip, and one foreign voice.
        raw: Measure the crops as they are drawn, instead of the frames that they are pasted into.
        show_measured: Sheet and film show the clips of split "measured" as well, whose licence may not allow it to be
            published.
    """
    clips = [each for each in load_clips(cache, set(HELD_SPLITS)) if len(each.crops) >= MIN_FRAMES]
    clips = [_shortened(each) if quick else each for each in clips]
    found: list[Measured] = []
    shown = 0
    for clip in sorted(clips, key=lambda each: HELD_SPLITS.index(each.split)):
        others = _others(clips, clip)[: 1 if quick else FOREIGN_VOICES]
        measured = measure(subject, judges, clip, others, raw=raw)
        shown += (is_shown := show_measured or clip.split != MEASURED)
        found.append(measured if is_shown and shown <= SHOWN_CLIPS else _few_pictures(measured))
        own = {key: each.interval.value for key, each in measured.methods[DRAWN].items()}
        figures = (
            f"r {own['own_r']:.2f}, foreign sound {own.get('foreign_r', np.nan):.2f}, PSNR {own['psnr_db']:.1f} dB"
        )
        say(f"{clip.name}: {figures}")
    out.mkdir(parents=True, exist_ok=True)
    notes, means = _notes(subject, judges, found, quick=quick, raw=raw), summarise(found)
    _write_json(out / "evaluation.json", notes, means, found)
    write_report(out / "evaluation.md", notes, means, {each.clip: _intervals(each) for each in found})
    may_be_shown = [each for each in found if show_measured or each.split != MEASURED]
    if may_be_shown:
        write_sheet(out / "evaluation.jpg", {each.clip: each.strips for each in _to_look_at(may_be_shown)})
        write_side_by_side(out / "evaluation.mp4", may_be_shown[:SHOWN_CLIPS])
    return found


Means = dict[str, dict[str, dict[str, Interval]]]
"""Split, method, figure."""


def summarise(found: Sequence[Measured]) -> Means:
    """Means over the clips of each split; clips that a figure does not exist for are left out.

    FID is of all pictures of a split against the true ones, and comes without an interval.
    """
    means: Means = {}
    for split in dict.fromkeys(each.split for each in found):
        clips = [each for each in found if each.split == split]
        for method in clips[0].methods:
            rows = [each.methods[method] for each in clips]
            keys = dict.fromkeys(key for row in rows for key in row)
            figures = {key: over_clips([row[key] for row in rows if key in row]) for key in keys}
            if all(each.features for each in clips):
                sets = (np.concatenate([each.features[name] for each in clips]) for name in (method, INPUT))
                figures["fid"] = Interval(frechet_distance(*sets), np.nan, np.nan)
            means.setdefault(split, {})[method] = figures
    return means


def _to_look_at(found: Sequence[Measured]) -> list[Measured]:
    """All clips of persons never trained on, and the first of each other split."""
    first = {each.split: each for each in reversed(found)}
    return [each for each in found if each.split in HELD_SPLITS[:2] or each is first[each.split]]


def _few_pictures(measured: Measured) -> Measured:
    """Without the pictures that no sheet shows: a clip's are 30 MB in each of a dozen versions."""
    few = {name: each[evenly_spaced(len(each))] for name, each in measured.strips.items()}
    return replace(measured, strips=few)


def _intervals(measured: Measured) -> dict[str, dict[str, Interval]]:
    methods = measured.methods.items()
    return {method: {key: each.interval for key, each in figures.items()} for method, figures in methods}


def _notes(subject: Subject, judges: Judges, found: Sequence[Measured], *, quick: bool, raw: bool) -> dict[str, object]:
    side_px = found[0].strips["real"].shape[1]
    return {
        "measured": subject.name,
        "identity": subject.identity,
        "edits": subject.edits,
        "crop_px": subject.size_px,
        "frame_crop_px": side_px,
        "pictures": "drawn crops" if raw else "pasted into the frame, as served",
        "frames_per_clip": f"first {QUICK_FRAMES}" if quick else "all",
        "clips": ", ".join(f"{sum(each.split == split for each in found)} {split}" for split in HELD_SPLITS),
        "known_p_b_m": ", ".join(
            f"{sum(each.bilabials for each in found if each.split == split)} {split}" for split in HELD_SPLITS
        ),
        "intervals": f"95 %, {RESAMPLES} resamples of clips and {BLOCK_FRAMES}-frame blocks (or single phones), "
        f"seed {BOOTSTRAP_SEED}",
        "not_measured": ", ".join(judges.missing) or "nothing",
        "bytes_changed_outside_the_mask": sum(each.strayed for each in found),
    }


def _write_json(path: Path, notes: dict[str, object], means: Means, found: Sequence[Measured]) -> None:
    """Intervals as [value, low, high]; null where a figure does not exist."""
    clips = [{"clip": each.clip, "split": each.split, "methods": _intervals(each)} for each in found]
    text = json.dumps(_finite({**notes, "means": means, "by_clip": clips}), indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _finite(value: object) -> object:
    """JSON has no word for what is not a number."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value if not isinstance(value, float) or np.isfinite(value) else None


def _others(clips: list[CachedClip], clip: CachedClip) -> list[CachedClip]:
    """Clips of other persons in the same kind of material, the next ones in the list."""
    measured = clip.split == "measured"
    start = next(index for index, each in enumerate(clips) if each is clip)
    ring = clips[start + 1 :] + clips[:start]
    return [each for each in ring if each.person != clip.person and (each.split == "measured") == measured]


def _shortened(clip: CachedClip) -> CachedClip:
    """The first seconds of a long clip."""
    per_frame = ("crops", "pts_ns", "opening", "width", "landmarks")
    return replace(clip, **{name: getattr(clip, name)[:QUICK_FRAMES] for name in per_frame})
